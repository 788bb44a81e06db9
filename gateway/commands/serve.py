"""Serve the models on the shelf over HTTP and gRPC."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway import settings as settings_file
from gateway.settings import Settings
from model_repo import options
from model_repo.files import read_text
from model_repo.store import Store

if TYPE_CHECKING:
    from gateway.server import Server


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_repository(parser)
    options.add_prices(parser)
    # What the environment says comes last, after the flags and the settings file.
    parser.set_defaults(
        fallback_repository=parser.get_default("repository"),
        fallback_prices=parser.get_default("prices"),
        repository=None,
        prices=None,
    )
    parser.add_argument("--config", type=Path, metavar="FILE.yaml", help="settings file")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--http-port", type=int, metavar="N", help="default: 8000; 0 takes any")
    parser.add_argument("--grpc-port", type=int, metavar="N", help="default: 8001; 0 takes any")
    parser.add_argument("--metrics-port", type=int, metavar="N", help="default: 8002; 0 takes any")
    parser.add_argument(
        "--report-only",
        action="store_true",
        default=None,
        help="serve the reference to everyone and meter what routing would have cost",
    )
    parser.add_argument(
        "--allow-estimated",
        action="store_true",
        default=None,
        help="route to variants too that were not measured on the hardware they are for",
    )
    parser.add_argument(
        "--check-config", action="store_true", help="check settings, prices and policies, and exit"
    )
    parser.add_argument("--welcome", action="store_true", help="print what to try once it is up")


def read_settings(args: argparse.Namespace) -> Settings:
    """The environment and defaults, then the file, then the flags; raises BadInput."""
    found = Settings()
    if args.config:
        found = settings_file.parse(read_text(args.config, "the settings file"), str(args.config))
    return settings_file.override(
        found,
        repository=str(args.repository or found.repository or args.fallback_repository),
        prices=_text(args.prices or found.prices or args.fallback_prices),
        host=args.host,
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        metrics_port=args.metrics_port,
        report_only=args.report_only,
        allow_estimated=args.allow_estimated,
    )


def _text(path: object) -> str | None:
    return str(path) if path else None


def run(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    prices = options.read_prices(Path(settings.prices) if settings.prices else None)
    prices.target_price("cpu", options.today())
    from gateway import loader  # heavy: not before the cheap checks have passed

    for model in ["", *settings.models]:
        loader.load_policy(settings.policy_of(model), False)
    store = Store(Path(settings.repository or args.fallback_repository))
    if args.check_config:
        print(msgspec.json.format(msgspec.json.encode(settings), indent=2).decode())
        return 0
    from gateway import log, server

    log.configure(settings.log_level)

    def on_ready(running: server.Server) -> None:
        if args.welcome:
            print("\n".join(_welcome(running, settings.host, store)), flush=True)

    server.serve(lambda: server.Server(settings, store, prices), on_ready)
    return 0


def _welcome(running: Server, host: str, store: Store) -> list[str]:
    from gateway import welcome

    entries, fronts = running.plane.catalog.entries(), running.fronts
    found = [(each, store.example(each.model.name, each.model.version)) for each in entries]
    # A model with a real request to try is the better one to show.
    entry, example = max(found, key=lambda pair: pair[1] is not None, default=(None, None))
    return welcome.lines(
        entry,
        host,
        fronts.http,
        fronts.grpc,
        fronts.metrics,
        example,
        os.path.relpath(sys.executable),
    )
