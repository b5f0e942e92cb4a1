"""The shipped spot.yaml from `ray up` to `ray down` on a simulated AWS; `make cluster-test` runs this."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from cost.invariants import check
from paramalloc.files import read_json
from tests.chaos.checks import differences
from tests.cluster.e2e.ec2 import ON_DEMAND_USD_PER_HOUR, SPOT_USD_PER_HOUR
from tests.cluster.e2e.story import TRIALS, Outcome, simulation, tell
from tests.sweep.outcomes import numbers

pytestmark = pytest.mark.long
CENT = 0.01
EC2_MINIMUM_SECONDS = 60.0


@pytest.fixture(scope="module")
def outcome() -> Iterator[Outcome]:
    with simulation() as (aws, machines, laptop):
        yield tell(aws, machines, laptop)


def of(outcome: Outcome, kind: str) -> list[dict[str, Any]]:
    return [row for row in outcome.events if row["event"] == kind]


def test_the_head_is_rented_on_demand_and_every_worker_as_spot(outcome: Outcome) -> None:
    head, *workers = outcome.launches
    assert "InstanceMarketOptions" not in head
    assert head["InstanceType"] == "m6i.large"
    assert len(workers) >= 2  # the first two at once or one by one, and the replacement
    for launch in workers:
        assert launch["InstanceType"] == "g5.xlarge"
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        assert launch["InstanceMarketOptions"] == {"MarketType": "spot", "SpotOptions": options}


def test_every_machine_is_closed_encrypted_and_tagged(outcome: Outcome) -> None:
    groups = set()
    for number, launch in enumerate(outcome.launches):
        assert launch["MetadataOptions"]["HttpTokens"] == "required"
        assert launch["MetadataOptions"]["HttpPutResponseHopLimit"] == "1"
        assert [disk["Ebs"]["Encrypted"] for disk in launch["BlockDeviceMapping"]] == ["true"]
        assert [disk["Ebs"]["DeleteOnTermination"] for disk in launch["BlockDeviceMapping"]] == ["true"]
        tags = {spec["ResourceType"]: spec["Tag"] for spec in launch["TagSpecification"]}
        assert {"Key": "project", "Value": "paramalloc"} in tags["instance"]
        assert {"Key": "project", "Value": "paramalloc"} in tags["volume"]
        assert {"Key": "ray-cluster-name", "Value": "paramalloc"} in tags["instance"]
        assert launch["IamInstanceProfile"] == {"Name": "paramalloc-worker" if number else "paramalloc-head"}
        groups.add(*launch["SecurityGroupId"])
    assert len(groups) == 1


def test_the_trial_on_the_reclaimed_machine_loses_nothing(outcome: Outcome) -> None:
    (left,), (resumed,) = of(outcome, "trial_preempted"), of(outcome, "trial_resumed")
    assert (left["trial"], left["node"]) == (resumed["trial"], outcome.reclaimed)
    assert left["tokens"] == resumed["tokens"] > 0
    began = [row["node"] for row in of(outcome, "trial_start") if row["trial"] == left["trial"]]
    assert began[0] == outcome.reclaimed
    assert outcome.reclaimed not in began[1:]
    noticed = [row for row in of(outcome, "node_down") if row["why"] in ("aws", "drained")]
    assert [row["node"] for row in noticed] == [outcome.reclaimed]


def test_the_numbers_are_those_of_an_undisturbed_run(outcome: Outcome) -> None:
    assert list(differences(numbers(outcome.results), numbers(outcome.undisturbed))) == []


def test_the_bill_adds_up_and_only_what_ec2_surely_took_is_free(outcome: Outcome) -> None:
    summary = read_json(outcome.results.cost_summary)
    check(summary)
    machines = {node["node"]: node for node in summary["by_node"]}
    assert [node["lifecycle"] for node in machines.values() if node["kind"] == "head"] == ["on-demand"]
    assert {node["lifecycle"] for node in machines.values() if node["kind"] == "worker"} == {"spot"}
    assert len(machines) >= 3  # and more where an idle one has gone before it was needed again
    taken = machines[outcome.reclaimed]
    assert taken["first_hour_free"] == (taken["ended"] == "aws")  # not where Ray had left it before
    if taken["first_hour_free"]:
        assert machines.pop(outcome.reclaimed)["usd"] == 0.0
    for node in machines.values():
        assert node["usd"] > 0
        spot = node["kind"] == "worker"
        usd_per_hour = SPOT_USD_PER_HOUR["g5.xlarge"] if spot else ON_DEMAND_USD_PER_HOUR["m6i.large"]
        # A minute at least once it has ended; one that is left to the teardown is billed for what it ran until then.
        billed_seconds = max(node["node_seconds"], EC2_MINIMUM_SECONDS if node["ended"] else 0.0)
        assert node["usd"] == pytest.approx(billed_seconds * float(usd_per_hour) / 3600, abs=CENT)
    assert summary["total_usd"] == pytest.approx(sum(node["usd"] for node in machines.values()), abs=CENT / 2)


def test_no_other_machine_is_lost(outcome: Outcome) -> None:
    assert [row["node"] for row in of(outcome, "node_lost")] == [outcome.reclaimed]


def test_results_can_be_read_from_s3_while_the_sweep_runs(outcome: Outcome) -> None:
    assert all(trial in outcome.early_report for trial in TRIALS)


def test_commands_show_the_cluster_while_the_sweep_runs(outcome: Outcome) -> None:
    assert "g5-spot" in outcome.meanwhile["status"]
    assert "on-demand m6i.large, head of cluster paramalloc, running" in outcome.meanwhile["orphans"]
    assert "on-demand m6i.large in us-east-1a" in outcome.meanwhile["status"]


def test_the_sweep_ends_the_cluster_workers_first_and_leaves_nothing(outcome: Outcome) -> None:
    assert re.search(r"report: .*terminating \d+ worker.*terminating the head", outcome.shown, re.DOTALL)
    assert outcome.processes_left == []


def test_ray_down_ends_what_runs(outcome: Outcome) -> None:
    before, after = outcome.down
    assert len(before) == 1
    assert after == []


def test_nothing_listens_beyond_loopback(outcome: Outcome) -> None:
    assert outcome.listening
    assert {address.removeprefix("::ffff:") for address in outcome.listening} <= {"127.0.0.1", "::1"}


def test_no_secret_is_printed_logged_or_among_the_results(outcome: Outcome) -> None:
    assert any("spot notice" in text for text in outcome.written.values())  # it is the right haystack
    found = [name for name, text in outcome.written.items() if any(secret in text for secret in outcome.secrets)]
    assert found == []
