"""`python -m cluster agent | tell-ray | validate | setup | doctor | orphans`: nodes, cluster files, accounts.

Always holds: exit code 0 for all well, 1 for problems found, 2 for a mistake in what was asked, which is one line
on stderr. Heavy imports wait for the command that needs them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.errors import EXIT_USER_ERROR, ClusterError


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ClusterError as error:
        sys.stderr.write(f"cluster: {error}\n")
        return EXIT_USER_ERROR


def _agent(options: argparse.Namespace) -> int:
    from cluster.agent_process import run

    return run(options.address, options.node_id, options.once)


def _tell_ray(options: argparse.Namespace) -> int:
    from cluster.drain import tell_ray
    from cluster.notice import NodeRecord

    try:
        record = NodeRecord.from_json(json.loads(options.record))
    except (ValueError, TypeError) as error:
        raise ClusterError("record", str(error), "give the content of a node.json") from None
    sys.stdout.write(tell_ray(record, options.address, options.node_id) + "\n")
    return 0


def _validate(options: argparse.Namespace) -> int:
    from cluster.validate import validate_file

    found = 0
    for path in options.files:
        problems = validate_file(path)
        found += len(problems)
        sys.stdout.write("".join(f"{path}: {problem}\n" for problem in problems) or f"{path}: ok\n")
    return 1 if found else 0


def _setup(options: argparse.Namespace) -> int:
    from cluster.setup_account import run

    return run(options.file, options.storage, options.ssh_from)


def _doctor(options: argparse.Namespace) -> int:
    from cluster.doctor import run

    return run(options.file, options.storage)


def _orphans(options: argparse.Namespace) -> int:
    from cluster.orphans import run

    return run(options.file, options.region)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster", description="Nodes, cluster files and accounts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    agent = commands.add_parser("agent", help="watch this machine for a spot notice until SIGTERM")
    agent.add_argument("--once", action="store_true", help="look once, tell Ray, and end")
    agent.set_defaults(run=_agent)

    tell = commands.add_parser("tell-ray", help="drain and publish this node, as the agent does")
    tell.add_argument("record", metavar="JSON", help="the content of a node.json")
    tell.set_defaults(run=_tell_ray)

    validate = commands.add_parser("validate", help="check cluster files and IAM policies, offline")
    validate.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".yaml or .json")
    validate.set_defaults(run=_validate)

    setup = commands.add_parser("setup", help="make once what an account needs: token, bucket, roles, group")
    setup.add_argument("--ssh-from", metavar="ADDRESS", help="who may use SSH (default: this machine's address)")
    setup.set_defaults(run=_setup)

    doctor = commands.add_parser("doctor", help="check an account before a machine is paid for")
    doctor.set_defaults(run=_doctor)

    orphans = commands.add_parser("orphans", help="list what still costs money; exit code 1 when there is something")
    orphans.add_argument("--region", action="append", default=[], help="instead of the file's; repeatable")
    orphans.set_defaults(run=_orphans)

    for command in (setup, doctor, orphans):
        command.add_argument("file", type=Path, metavar="FILE", help="cluster file, e.g. cluster/spot.yaml")
    for command in (setup, doctor):
        command.add_argument("--storage", required=True, metavar="s3://BUCKET/PREFIX", help="where results go")
    for command in (agent, tell):
        command.add_argument("--address", metavar="HOST:PORT", help="Ray's head (default: found on this machine)")
        command.add_argument("--node-id", metavar="HEX", help="the Ray node (default: the one on this machine)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
