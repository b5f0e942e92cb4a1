"""IAM policies: are they well formed, and is every permission as narrow as AWS lets it be?

Always holds: pure, on plain data; `@ACCOUNT@`, `@REGION@`, `@BUCKET@` and so on are filled in by `fill` and by
nothing else; a filled policy has no such mark left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.problems import Problem

POLICIES = Path(__file__).parent / "iam"
MARKS = ("ACCOUNT", "REGION", "BUCKET", "PREFIX", "CLUSTER", "WORKER")
# Actions for which the service authorization reference lists no resource type: `*` is all that works.
WITHOUT_RESOURCE = re.compile(r"ec2:Describe\w+|servicequotas:(Get|List)\w+|pricing:\w+|sts:GetCallerIdentity")
VERSION = "2012-10-17"


def fill(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The policy of `iam/<name>.json` with its marks replaced. Errors: ClusterError for a mark without a value."""
    text = (POLICIES / f"{name}.json").read_text(encoding="utf-8")
    for mark in MARKS:
        if f"@{mark}@" in text and not values.get(mark):
            raise ClusterError(f"iam/{name}.json", f"no value for @{mark}@", "give it")
        text = text.replace(f"@{mark}@", values.get(mark, ""))
    filled: dict[str, Any] = json.loads(text)
    return filled


def check_policy(policy: dict[str, Any]) -> list[Problem]:
    """What is wrong with a policy document; a trust policy names a principal instead of resources."""
    problems = list(_check_head(policy))
    statements = policy.get("Statement")
    if not isinstance(statements, list) or not statements:
        return [*problems, Problem("Statement", f"{statements!r}", "give a list of statements")]
    for number, statement in enumerate(statements):
        place = f"Statement[{number}]"
        if not isinstance(statement, dict):
            problems.append(Problem(place, f"{statement!r}", "give a statement"))
            continue
        problems += _check_statement(statement, f"{place} ({statement['Sid']})" if "Sid" in statement else place)
    return problems


def _check_head(policy: dict[str, Any]) -> Iterator[Problem]:
    if policy.get("Version") != VERSION:
        yield Problem("Version", f"{policy.get('Version')!r}", f"give {VERSION!r}")
    for key in policy.keys() - {"Version", "Id", "Statement"}:
        yield Problem(key, "IAM knows no such key", "allowed: Version, Id, Statement")


def _check_statement(statement: dict[str, Any], place: str) -> Iterator[Problem]:
    known = {"Sid", "Effect", "Action", "Resource", "Principal", "Condition"}
    for key in sorted(statement.keys() - known):
        yield Problem(f"{place}.{key}", "not used here", f"allowed: {', '.join(sorted(known))}")
    if statement.get("Effect") not in ("Allow", "Deny"):
        yield Problem(f"{place}.Effect", f"{statement.get('Effect')!r}", "give Allow or Deny")
    actions = _listed(statement.get("Action"))
    for action in actions:
        if not re.fullmatch(r"[a-z0-9-]+:[A-Za-z]+", action):
            yield Problem(f"{place}.Action", f"{action!r}", "name one action of one service")
    if not actions:
        yield Problem(f"{place}.Action", "nothing", "name the actions")
    if "Principal" not in statement:
        yield from _check_resources(_listed(statement.get("Resource")), actions, place)
    if "s3:ListBucket" in actions and statement.get("Effect") == "Allow":
        yield from _check_listing(statement.get("Condition"), place)


def _check_resources(resources: list[str], actions: list[str], place: str) -> Iterator[Problem]:
    if not resources:
        yield Problem(f"{place}.Resource", "nothing", "name the resources")
    narrower = [action for action in actions if not WITHOUT_RESOURCE.fullmatch(action)]
    for resource in resources:
        if resource == "*" and narrower:
            yield Problem(f"{place}.Resource", f"'*' for {narrower[0]}", "name its resources")
        elif resource != "*" and not re.fullmatch(r"arn:aws:[a-z0-9-]+:[^:]*:[^:]*:.+", resource):
            yield Problem(f"{place}.Resource", f"{resource!r} is no ARN", "give arn:aws:service:region:account:name")
        elif re.fullmatch(r"arn:aws:[a-z0-9-]+:[^:]*:[^:]*:\*|arn:aws:s3:::\*.*", resource):
            yield Problem(f"{place}.Resource", f"{resource!r} is everything of a service", "name the resources")


def _check_listing(condition: Any, place: str) -> Iterator[Problem]:
    """A bucket is its own resource: only a condition narrows what of it may be listed.

    S3 puts the key of an object that is asked for and is not there in the prefix's place, and says that there is none
    instead of refusing; so the condition must let through every key below the prefix.
    """
    like = condition.get("StringLike") if isinstance(condition, dict) else None
    prefixes = _listed(like.get("s3:prefix")) if isinstance(like, dict) else []
    if not prefixes:
        yield Problem(f"{place}.Condition", "s3:ListBucket of the whole bucket", "give StringLike with s3:prefix")
    for prefix in prefixes:
        if not prefix.endswith("/*") or prefix.startswith("*"):
            yield Problem(f"{place}.Condition", f"{prefix!r} as s3:prefix", "give a folder, such as sweeps/*")


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value or []]
