"""`python -m cluster doctor FILE --storage s3://BUCKET/PREFIX`: is all there, before a machine is paid for?

Always holds: nothing is rented or changed; every line is ok, a problem with how to mend it, or `?` for what may not
be asked; a check that fails leaves the others running; no secret is printed. Exit code 1 for any problem.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from cluster import account, permissions
from cluster.account import Finding
from cluster.aws import Clients, clients
from cluster.errors import ClusterError
from cluster.validate import load, validate_file
from cluster.wanted import Storage, Wanted, wanted_by

REFUSALS = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError")
MARKS = {"ok": "ok      ", "problem": "PROBLEM ", "unknown": "?       "}


def run(file: Path, storage: str, aws: Clients | None = None) -> int:
    """Print the report; 1 for any problem. Errors: ClusterError for a file or an address that is none."""
    where, wanted = Storage.parse(storage), read_wanted(file)
    problems = 0
    for finding in examine(aws or clients(wanted.region), wanted, where):
        problems += finding.state == "problem"
        mend = f"\n          -> {finding.mend}" if finding.mend else ""
        sys.stdout.write(f"{MARKS[finding.state]}{finding.subject}: {finding.got}{mend}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{problems} problem{'' if problems == 1 else 's'}\n")
    return 1 if problems else 0


def read_wanted(file: Path) -> Wanted:
    """What a cluster file wants. Errors: ClusterError for one that is not valid."""
    if problems := validate_file(file):
        raise ClusterError(str(file), str(problems[0]), "see `python -m cluster validate`")
    return wanted_by(load(file))


def examine(aws: Clients, wanted: Wanted, storage: Storage) -> Iterator[Finding]:
    """All findings, in the order in which a person would mend them."""
    yield from check_this_machine(wanted)
    owner: list[str] = []
    yield from _ask("credentials", lambda: _check_credentials(aws, owner))
    if not owner:
        return  # Every other question would fail with the same words.
    now = datetime.now(UTC)
    questions: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("region", lambda: account.check_region(aws, wanted)),
        ("subnets", lambda: account.check_subnets(aws, wanted)),
        ("machines", lambda: account.check_offerings(aws, wanted)),
        ("quotas", lambda: permissions.check_quotas(aws, wanted)),
        ("spot role", lambda: account.check_spot_role(aws, wanted)),
        ("images", lambda: account.check_images(aws, wanted)),
        ("security group", lambda: account.check_group(aws, wanted)),
        ("key pair", lambda: account.check_key(aws, wanted)),
        ("roles", lambda: permissions.check_roles(aws, wanted, storage, owner[0])),
        (f"bucket {storage.bucket}", lambda: account.check_bucket(aws, storage, wanted.region)),
        ("prices", lambda: account.check_prices(aws, wanted, now)),
    ]
    for subject, question in questions:
        yield from _ask(subject, question)


def _check_credentials(aws: Clients, owner: list[str]) -> Iterator[Finding]:
    identity = aws("sts").get_caller_identity()
    owner.append(identity["Account"])
    yield Finding("ok", "credentials", f"account {identity['Account']} as {identity['Arn'].rpartition(':')[2]}")


def _ask(subject: str, question: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of one question; AWS's refusals and failures become findings, too."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield from question()
    except ClientError as error:
        code, operation = error.response["Error"]["Code"], error.operation_name
        if code in REFUSALS:
            yield Finding("unknown", subject, f"you may not ask ({operation})", f"allow {operation} to check this")
        else:
            yield Finding("problem", subject, f"{operation}: {code}", _advice(subject, code))
    except BotoCoreError as error:
        yield Finding("problem", subject, " ".join(str(error).split()), _advice(subject, type(error).__name__))
    except ResponseParserError:
        yield Finding("problem", subject, "an answer that is not AWS's", "see what stands between you and it")


def _advice(subject: str, code: str) -> str:
    if subject == "credentials":
        return "aws configure, aws sso login, or set AWS_PROFILE"
    if code in ("NoSuchBucket", "404"):
        return "python -m cluster setup"
    return "try again; see the AWS documentation of this code"


def check_this_machine(wanted: Wanted) -> Iterator[Finding]:
    """What `ray up` needs here: ssh, rsync, the token that all nodes share, the key where one is named."""
    for tool in ("ssh", "rsync"):
        if shutil.which(tool):
            yield Finding("ok", tool, "installed")
        else:
            yield Finding("problem", tool, "not installed here", f"install {tool}")
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    yield _check_secret("Ray token", token, "python -m cluster setup")
    if wanted.private_key:
        yield _check_secret("private key", Path(wanted.private_key).expanduser(), "mend auth.ssh_private_key")


def _check_secret(subject: str, path: Path, mend: str) -> Finding:
    if not path.is_file():
        return Finding("problem", subject, f"no file {path}", mend)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Finding("problem", subject, f"others may read {path}", f"chmod 600 {path}")
    return Finding("ok", subject, str(path))
