"""The metadata client against a real HTTP server: tokens, absence, slowness and nonsense."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import ClusterError
from cluster.imds import MetadataClient, MetadataError
from cluster.notice import NodeRecord
from tests.cluster.imds_mock import IDENTITY, LAUNCHED_AT, REBALANCE, SPOT, MetadataService

DEADLINE = 1_800_000_000.0


@pytest.fixture
def service() -> Iterator[MetadataService]:
    with MetadataService() as running:
        yield running


@pytest.fixture
def client(service: MetadataService) -> MetadataClient:
    return MetadataClient(service.endpoint, timeout_seconds=0.2)


def test_a_quiet_machine_has_neither_notice_nor_recommendation(client: MetadataClient) -> None:
    assert client.spot_notice() is None
    assert client.rebalance() is None


def test_the_machine_its_notice_and_its_recommendation(client: MetadataClient, service: MetadataService) -> None:
    service.spot_notice("stop", DEADLINE)
    service.recommend_rebalance(DEADLINE - 100)
    assert client.spot_notice() == ("stop", DEADLINE)
    assert client.rebalance() == DEADLINE - 100
    assert client.record() == NodeRecord(
        "i-0123456789abcdef0", "g5.xlarge", "us-east-1b", "spot", launched_at=LAUNCHED_AT
    )


@pytest.mark.parametrize("document", [None, "{}"])
def test_a_launch_that_nobody_tells_is_unknown(
    client: MetadataClient, service: MetadataService, document: str | None
) -> None:
    del service.answers[IDENTITY]
    if document:
        service.answers[IDENTITY] = document
    record = client.record()
    assert (record.instance_id, record.launched_at) == ("i-0123456789abcdef0", None)


def test_one_token_serves_until_it_expires_and_is_then_renewed_once(
    client: MetadataClient, service: MetadataService
) -> None:
    for _ in range(3):
        client.spot_notice()
    service.expire_tokens()
    assert client.spot_notice() is None
    methods = [method for method, _ in service.requests]
    assert methods == ["PUT", "GET", "GET", "GET", "GET", "PUT", "GET"]


def test_a_service_that_refuses_fresh_tokens_is_an_error_not_a_loop(
    client: MetadataClient, service: MetadataService
) -> None:
    class Forgetful(set[str]):
        def add(self, token: str) -> None:
            """Hands out tokens and knows none of them."""

    service.tokens = Forgetful()
    with pytest.raises(MetadataError, match="refuses a fresh token"):
        client.spot_notice()
    assert len(service.requests) == 4


@pytest.mark.parametrize(("mode", "why"), [("hang", "timed out"), ("error", "503"), ("garbage", "gives no token")])
def test_trouble_has_one_name(client: MetadataClient, service: MetadataService, mode: str, why: str) -> None:
    service.mode = mode
    with pytest.raises(MetadataError, match=why):
        client.spot_notice()


def test_trouble_after_the_token(client: MetadataClient, service: MetadataService) -> None:
    client.spot_notice()
    for mode, why in (("hang", "timed out"), ("error", "503"), ("garbage", "no JSON")):
        service.mode = mode
        with pytest.raises(MetadataError, match=why):
            client.spot_notice()


@pytest.mark.parametrize("answer", ["[]", "{}", '{"action": "terminate"}', '{"action": 1, "time": 2}'])
def test_a_notice_without_its_fields(client: MetadataClient, service: MetadataService, answer: str) -> None:
    service.answers[SPOT] = answer
    with pytest.raises(MetadataError):
        client.spot_notice()


def test_a_time_that_is_none(client: MetadataClient, service: MetadataService) -> None:
    service.answers[REBALANCE] = '{"noticeTime": "soon"}'
    with pytest.raises(MetadataError, match="soon"):
        client.rebalance()


def test_nobody_there() -> None:
    with MetadataService() as service:
        client = MetadataClient(service.endpoint, timeout_seconds=0.2)
    with pytest.raises(MetadataError, match="refused"):
        client.spot_notice()


def test_a_proxy_of_the_environment_is_not_asked(service: MetadataService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert MetadataClient(service.endpoint, timeout_seconds=0.2).spot_notice() is None


def test_the_environment_decides_where_to_ask() -> None:
    by_default = MetadataClient.from_environment({})
    assert by_default is not None
    assert by_default.endpoint == "http://169.254.169.254"
    elsewhere = MetadataClient.from_environment({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[fd00:ec2::254]/"})
    assert elsewhere is not None
    assert elsewhere.endpoint == "http://[fd00:ec2::254]"
    assert MetadataClient.from_environment({"AWS_EC2_METADATA_DISABLED": "true"}) is None
    with pytest.raises(ClusterError, match="AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        MetadataClient.from_environment({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "file:///etc"})


def test_no_credential_is_ever_read(client: MetadataClient, service: MetadataService) -> None:
    service.answers |= {"/latest/meta-data/iam/security-credentials/": "role"}
    client.record(), client.spot_notice(), client.rebalance()
    assert not [path for _, path in service.requests if "iam" in path or "user-data" in path]
