"""boto3 as the commands here use it: clients with short waits, and AWS's refusals in words.

Always holds: credentials are read as boto3 always reads them, and by nobody else; what AWS answers badly becomes
one `ClusterError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cluster.errors import ClusterError

Clients = Callable[[str], Any]
LIVING = ("pending", "running", "stopping", "stopped")  # states of an instance that costs something
CLUSTER_TAG, KIND_TAG, HEAD_KIND = "ray-cluster-name", "ray-node-type", "head"  # Ray's own
PROJECT_TAG = {"Key": "project", "Value": "paramalloc"}


def clients(region: str) -> Clients:
    """boto3 clients of one session, by service."""
    import boto3
    from botocore.config import Config

    session = boto3.Session(region_name=region)
    patience = Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2})
    made: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in made:
            made[service] = session.client(service, config=patience)
        return made[service]

    return client


@contextmanager
def refusals_in_words() -> Iterator[None]:
    """Errors: ClusterError for what AWS refuses inside, and for AWS that does not answer."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError  # a proxy's page, say, which is no kind of BotoCoreError

    try:
        yield
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        raise ClusterError(error.operation_name, f"{code}: {message}", "ask for the permission, or mend it") from None
    except BotoCoreError as error:
        raise ClusterError("AWS", " ".join(str(error).split()), "check your credentials") from None
    except ResponseParserError:
        raise ClusterError("AWS", "an answer that is not AWS's", "see what stands between you and it") from None


def living_instances(ec2: Any, tags: dict[str, str]) -> list[dict[str, Any]]:
    """The instances with all of these tags that are not terminated, as DescribeInstances gives them."""
    query = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[*query, {"Name": "instance-state-name", "Values": list(LIVING)}]
    )
    return [instance for page in pages for group in page["Reservations"] for instance in group["Instances"]]


def tags_of(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}
