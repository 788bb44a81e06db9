"""Check every artifact on the shelf against its SHA-256."""

from __future__ import annotations

import argparse
import sys

from model_repo import options
from model_repo.errors import Corrupt
from model_repo.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_repository(parser)


def run(args: argparse.Namespace) -> int:
    store = Store(args.repository)
    sound, broken = 0, 0
    for name, version in store.versions():
        for key in store.keys(name, version):
            try:
                store.artifact(store.variant(key))
                sound += 1
            except Corrupt as error:
                print(error, file=sys.stderr)
                broken += 1
    print(f"{sound} sound, {broken} broken in {args.repository}")
    return 1 if broken else 0
