"""`python -m paramalloc COMMAND`: everything beside the sweep itself; `--help` lists the commands.

Always holds: a mistake is one line on stderr and exit code 2, a check that failed exit code 1; a command is a module
with HELP, `add_arguments` and `run` (which may return an exit code), and imports what is slow only when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from paramalloc.commands import data, export, fetch, generate, lr_find, overfit, profile, replay, report
from paramalloc.errors import EXIT_USER_ERROR, UserError

COMMANDS = {
    "data": data,
    "overfit": overfit,
    "lr-find": lr_find,
    "profile": profile,
    "report": report,
    "fetch": fetch,
    "export": export,
    "generate": generate,
    "replay": replay,
}


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        return options.run(options, Console()) or 0
    except (UserError, OSError) as error:  # OSError: a full disk, a folder that may not be written
        sys.stderr.write(f"paramalloc: {error}\n")
        return EXIT_USER_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m paramalloc",
        description="Prepare text, try out variants, and work with the results of sweeps.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
