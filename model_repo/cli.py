"""The console script: finds the commands by file name and imports only the one asked for."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from model_repo.errors import BadInput, FareboxError, NotFound
from model_repo.files import refused

PACKAGES = ("model_repo.commands", "compilers.commands", "gateway.commands")
AS_USED = [
    "compile",
    "import",
    "report",
    "list",
    "verify",
    "remove",
    "prices",
    "export",
    "measure",
    "advise",
    "serve",
    "infer",
]
"""The order of the help; a command that is not named comes last."""
DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def find_commands() -> dict[str, tuple[str, str]]:
    """Command name -> (module, first line of its file), as used; nothing is imported."""
    found: dict[str, tuple[str, str]] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in spec.submodule_search_locations or [] if spec else []:
            for path in sorted(Path(folder).glob("[!_]*.py")):
                with path.open(encoding="utf-8") as file:
                    summary = file.readline().strip().strip('"').rstrip(".")
                found[path.stem] = (f"{package}.{path.stem}", summary)
    named = [name for name in AS_USED if name in found]
    return {name: found[name] for name in dict.fromkeys([*named, *found])}


def build_parser(
    commands: dict[str, tuple[str, str]], chosen: str | None
) -> argparse.ArgumentParser:
    """The parser, with the options of the chosen command only."""
    parser = argparse.ArgumentParser(
        prog="farebox",
        description="Compile a model into variants, and serve each request from the cheapest one "
        "that meets its latency and accuracy SLO.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, (module, summary) in commands.items():
        action = actions.add_parser(name, help=summary, description=f"{summary}.")
        if name == chosen:
            importlib.import_module(module).configure(action)
    return parser


def _version() -> str:
    from importlib.metadata import version

    return f"farebox {version('farebox')}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; exit 0 done, 1 failed, 2 bad input, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = find_commands()
    chosen = next((word for word in arguments if word in commands), None)
    parser = build_parser(commands, chosen)
    options = parser.parse_args(arguments)
    if options.version:
        print(_version())
        return DONE
    if options.command is None:
        parser.print_help(sys.stderr)
        return BAD_INPUT
    try:
        return int(importlib.import_module(commands[options.command][0]).run(options) or DONE)
    except (BadInput, NotFound) as error:
        print(f"farebox {options.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    except FareboxError as error:
        print(f"farebox {options.command}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"farebox {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) went away: that is no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        failure = refused(error, str(error.filename or "the operating system refused"))
        print(f"farebox {options.command}: {failure}", file=sys.stderr)
        return BAD_INPUT if isinstance(failure, BadInput) else FAILED


if __name__ == "__main__":
    sys.exit(main())
