"""What a sweep will take: by hand, from a stated speed, and from what earlier results have measured."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cost.now import HourlyPrice
from paramalloc.allocation import flops_per_token
from paramalloc.config import SweepConfig
from paramalloc.files import atomic_write, write_json
from paramalloc.forecast import BOOT_SECONDS, Forecast, final_work, forecast, forecast_as_json, ranking_work
from paramalloc.forecast_text import print_forecast
from paramalloc.plan import Plan, make_plan
from paramalloc.rental import Machine, Rental
from paramalloc.results import RANKING, ResultsFolder
from paramalloc.sweep_file import check_sweep, dump_sweep

RANKED, FINAL, WINDOW = 128_000, 512_000, 32_000  # whole steps of 4 x 32 tokens
EXPERIMENTS = [{"name": "base"}, {"name": "wide", "glu_expansion": 4.0}, {"name": "thin", "glu_expansion": 2.0}]


def make(**changes: Any) -> SweepConfig:
    raw: dict[str, Any] = {
        "name": "t",
        "model": {"total_params": 100_000, "vocab_size": 600, "context_length": 32},
        "experiments": EXPERIMENTS,
        "training": {"tokens": FINAL, "batch_size": 4},
        "ranking": {"tokens": RANKED, "kill_rule": {"window_tokens": WINDOW}},
        "finalists": {"count": 2, "seeds": [0, 1]},
    }
    return check_sweep(raw | changes)


def earlier(root: Path, plan: Plan, seconds: dict[str, float]) -> None:
    """A results folder whose ranking took so long."""
    folder = ResultsFolder(root)
    atomic_write(folder.sweep, dump_sweep(plan.config))
    for name, wall in seconds.items():
        flops = flops_per_token(plan[name].shape) * RANKED
        metrics = {"status": "finished", "tokens": RANKED, "train_flops": flops}
        metrics |= {"wall_seconds": wall + 5.0, "lost_seconds": 5.0}
        write_json(folder.trial(RANKING, name).metrics, metrics)
    write_json(folder.trial(RANKING, "killed").metrics, {"status": "killed", "train_flops": 1, "wall_seconds": 1e9})


def test_the_least_and_the_most_that_is_trained() -> None:
    plan = make_plan(make())
    least, most = ranking_work(plan)
    assert (least.tokens, most.tokens) == (2 * RANKED + WINDOW, 3 * RANKED)
    least, most = final_work(plan)
    assert (least.tokens, most.tokens) == (2 * 2 * FINAL, 3 * 2 * FINAL)
    assert (least.runs, most.runs) == (4, 6)
    unruled = make_plan(make(ranking={"tokens": RANKED, "stop": "none"}))
    assert len({work.tokens for work in ranking_work(unruled)}) == 1
    alone = make_plan(make(experiments=EXPERIMENTS[:1]))
    assert [work.tokens for work in final_work(alone)] == [2 * FINAL, 2 * FINAL]


def test_several_learning_rates_are_as_many_runs() -> None:
    plan = make_plan(make(experiments=[{"name": "base", "learning_rate": [1e-3, 2e-3]}]))
    assert ranking_work(plan)[1].runs == 2
    assert ranking_work(plan)[1].tokens == 2 * RANKED


def test_a_stated_speed_gives_hours_and_dollars(tmp_path: Path) -> None:
    plan = make_plan(make(cost={"tokens_per_second": 1_000, "fixed_usd_per_hour": 36}))
    found = forecast(plan, tmp_path, tmp_path / "t").estimate
    least, most = 2 * RANKED + WINDOW + 4 * FINAL, 3 * RANKED + 6 * FINAL
    assert found.hours == pytest.approx((least / 3.6e6, most / 3.6e6))
    assert found.usd == pytest.approx((least / 1e5, most / 1e5))


def test_measured_speeds_are_those_of_finished_trials_scaled_by_flops_and_trials_at_once(tmp_path: Path) -> None:
    plan = make_plan(make(cost={"fixed_usd_per_hour": 3600}))
    speed = flops_per_token(plan["base"].shape) * RANKED / 64.0  # of base, the slower one
    wide = 32.0 * flops_per_token(plan["wide"].shape) / flops_per_token(plan["base"].shape)  # twice as fast
    earlier(tmp_path / "before", plan, {"base": 64.0, "wide": wide})
    found = forecast(plan, tmp_path, tmp_path / "t", slots=2)
    slow = (ranking_work(plan)[1].flops + final_work(plan)[1].flops) / 2 / speed
    fast = (ranking_work(plan)[0].flops + final_work(plan)[0].flops) / 2 / (2 * speed)
    assert found.estimate.usd == pytest.approx((fast, slow))
    assert "2 finished trials of before, 2 trials at a time" in found.said_by


def test_a_speed_is_taken_from_models_as_large_or_called_a_guess(tmp_path: Path) -> None:
    small = make_plan(make())
    large = make_plan(make(model={"total_params": 1_000_000, "vocab_size": 2_000, "context_length": 32}))
    of_small, of_large = ([flops_per_token(item.shape) for item in plan.variants] for plan in (small, large))
    earlier(tmp_path / "small", small, {"base": 64.0})
    assert forecast(small, tmp_path, tmp_path / "t").said_by.endswith("trials at a time")
    said_by = forecast(large, tmp_path, tmp_path / "t").said_by
    assert f"a guess, from models {max(of_large) / of_small[0]:.2g} times smaller, which use" in said_by
    earlier(tmp_path / "large", large, {"base": 64.0})
    for name, plan in (("small", small), ("large", large)):
        said_by = forecast(plan, tmp_path, tmp_path / "t").said_by
        assert said_by.startswith(f"as measured by one finished trial of {name}, ")
        assert "guess" not in said_by
    (tmp_path / "small" / "sweep.yaml").unlink()
    said_by = forecast(small, tmp_path, tmp_path / "t").said_by
    assert (
        f"{of_large[0] / min(of_small):.2g} times larger, which use a machine better: it may take far more" in said_by
    )


def test_one_model_of_a_plan_that_nobody_has_measured_makes_its_speed_a_guess(tmp_path: Path) -> None:
    small = make_plan(make())
    both = make_plan(
        make(experiments=[{"name": "base"}, {"name": "deep", "total_params": 1_000_000, "vocab_size": 2_000}])
    )
    earlier(tmp_path / "small", small, {"base": 64.0})
    assert "times smaller, which use" in forecast(both, tmp_path, tmp_path / "t").said_by
    earlier(tmp_path / "both", both, {"deep": 64.0})
    said_by = forecast(both, tmp_path, tmp_path / "t").said_by
    assert "2 finished trials of both, small" in said_by
    assert "guess" not in said_by


def test_the_sweeps_own_results_go_before_those_of_others_and_other_resources_say_nothing(tmp_path: Path) -> None:
    plan = make_plan(make())
    earlier(tmp_path / "other", plan, {"base": 64.0})
    earlier(tmp_path / "t", plan, {"base": 8.0})
    assert "one finished trial of t" in forecast(plan, tmp_path, tmp_path / "t").said_by
    apart = make_plan(make(resources={"cpus_per_trial": 0.5}))
    assert forecast(apart, tmp_path, tmp_path / "t").estimate is None
    (tmp_path / "t" / "ranking" / "base" / "metrics.json").write_text("{")
    assert "of other" in forecast(plan, tmp_path, tmp_path / "t").said_by
    (tmp_path / "t" / "sweep.yaml").write_text("no: sweep")
    assert "of other" in forecast(plan, tmp_path, tmp_path / "t").said_by


@pytest.mark.parametrize(
    ("cost", "parts"),
    [
        ({}, ["estimate: unknown", "cost.tokens_per_second"]),
        (
            {"tokens_per_second": 1_000},
            ["minutes of training", "as stated: 1,000 tokens per second", "nothing on this machine"],
        ),
        ({"tokens_per_second": 10, "fixed_usd_per_hour": 9}, ["hours of training", "warning: that may be more"]),
    ],
)
def test_the_reader_learns_what_the_estimate_rests_on(tmp_path: Path, cost: dict[str, Any], parts: list[str]) -> None:
    plan, stream = make_plan(make(cost=cost)), io.StringIO()
    print_forecast(forecast(plan, tmp_path, tmp_path / "t"), plan.config.cost, Console(file=stream, width=80))
    assert all(part in stream.getvalue() for part in parts)


ON_TOP = "what idles or is done twice comes on top"
HEAD = HourlyPrice((0.1, 0.1), "the price list")
BOOT_HOURS = 0.1
LEAST_HOURS = (2 * RANKED + WINDOW + 4 * FINAL) / 3.6e5  # at 100 tokens per second
MOST_HOURS = (3 * RANKED + 6 * FINAL) / 3.6e5


def spot(here: bool, at_most: int = 1, head: HourlyPrice | None = HEAD) -> Rental:
    price = HourlyPrice((0.4, 0.5), "EC2's spot price now")
    machine = Machine("g5.xlarge", "us-east-1", (), "cluster/spot.yaml", at_most, "m6i.large")
    return Rental(machine, price, here, head)


def printed(found: Forecast, plan: Plan) -> list[str]:
    stream = io.StringIO()
    print_forecast(found, plan.config.cost, Console(file=stream, width=80))
    return stream.getvalue().splitlines()


def test_on_a_cluster_the_prices_of_its_machines_their_head_and_their_start_count(tmp_path: Path) -> None:
    plan = make_plan(make(cost={"tokens_per_second": 100}))
    found = forecast(plan, tmp_path, tmp_path / "t", rented=spot(here=True))
    usd = ((LEAST_HOURS + BOOT_HOURS) * (0.4 + 0.1), (MOST_HOURS + BOOT_HOURS) * (0.5 + 0.1))
    assert BOOT_SECONDS == 3600 * BOOT_HOURS
    assert found.estimate
    assert found.estimate.usd == pytest.approx(usd)
    assert found.estimate.hours == pytest.approx((LEAST_HOURS, MOST_HOURS))  # of training
    assert printed(found, plan)[1] == (
        f"cost: ${usd[0]:.2f} to ${usd[1]:.2f} on g5.xlarge spot at $0.4 to $0.5 an hour (EC2's spot price now), "
        "of a budget of $50.00; with a head, m6i.large at $0.1 an hour (the price list), and 6 minutes of boot each "
        f"(assumed) for one machine; {ON_TOP}"
    )
    assert forecast_as_json(found) == {
        "hours": list(found.estimate.hours),
        "usd": list(found.estimate.usd),
        "speed": "as stated: 100 tokens per second (cost.tokens_per_second)",
        "usd_per_hour": [0.4, 0.5],
        "price": "EC2's spot price now",
        "instance_type": "g5.xlarge",
        "head_usd_per_hour": 0.1,
        "boot_seconds": 360.0,
    }


def test_the_range_holds_for_any_number_of_machines(tmp_path: Path) -> None:
    """More of them share the hours of the head, and boot more often; with six runs no seventh machine starts."""
    plan = make_plan(make(cost={"tokens_per_second": 100}))
    found = forecast(plan, tmp_path, tmp_path / "t", rented=spot(here=True, at_most=8))

    def usd(hours: float, machines: int, price: float) -> float:
        waited = hours / machines + BOOT_HOURS
        return machines * waited * price + waited * 0.1

    assert found.estimate
    assert found.estimate.usd == pytest.approx(
        (
            min(usd(LEAST_HOURS, machines, 0.4) for machines in range(1, 7)),
            max(usd(MOST_HOURS, machines, 0.5) for machines in range(1, 7)),
        )
    )
    assert "for 1 to 8 machines" in printed(found, plan)[1]


def test_a_head_whose_price_nobody_knows_comes_on_top_and_that_is_said(tmp_path: Path) -> None:
    plan = make_plan(make(cost={"tokens_per_second": 100}))
    found = forecast(plan, tmp_path, tmp_path / "t", rented=spot(here=True, head=None))
    assert found.estimate
    usd = ((LEAST_HOURS + BOOT_HOURS) * 0.4, (MOST_HOURS + BOOT_HOURS) * 0.5)
    assert found.estimate.usd == pytest.approx(usd)
    assert printed(found, plan)[1].endswith(f"; the head, whose price is not known, and {ON_TOP}")
    assert forecast_as_json(found)["head_usd_per_hour"] is None


def test_on_a_cluster_with_a_fixed_price_head_and_boot_are_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(make(cost={"tokens_per_second": 100, "fixed_usd_per_hour": 1}))
    found = forecast(plan, tmp_path, tmp_path / "t")
    assert "head" not in printed(found, plan)[1]
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert printed(found, plan)[1].endswith("; head, boot and idling come on top")


def test_elsewhere_it_is_told_beside_and_only_a_stated_speed_gives_dollars(tmp_path: Path) -> None:
    plan = make_plan(make(cost={"tokens_per_second": 100}))
    found = forecast(plan, tmp_path, tmp_path / "t", rented=spot(here=False))
    assert found.estimate
    assert found.estimate.usd == (0.0, 0.0)
    low, high = (LEAST_HOURS + BOOT_HOURS) * 0.5, (MOST_HOURS + BOOT_HOURS) * 0.6
    assert printed(found, plan)[1] == "cost: nothing on this machine (cost.fixed_usd_per_hour is 0)"
    assert printed(found, plan)[2].startswith(
        f"rented (cluster/spot.yaml): ${low:.2f} to ${high:.2f} at the stated speed, "
        "on g5.xlarge spot at $0.4 to $0.5 an hour (EC2's spot price now); with a head, m6i.large"
    )
    measured = make_plan(make())
    earlier(tmp_path / "before", measured, {"base": 64.0})
    said = printed(forecast(measured, tmp_path, tmp_path / "t", rented=spot(here=False)), measured)
    assert said[-1].startswith("rented (cluster/spot.yaml): g5.xlarge spot at $0.4 to $0.5 an hour")
    assert said[-1].endswith("state its cost.tokens_per_second to see what the sweep would cost there")
    priced = make_plan(make(cost={"tokens_per_second": 100, "fixed_usd_per_hour": 1}))
    found = forecast(priced, tmp_path, tmp_path / "t", rented=spot(here=False))
    assert not any("rented" in line for line in printed(found, priced))


def test_without_a_speed_plan_json_has_null_and_why(tmp_path: Path) -> None:
    estimate = forecast_as_json(forecast(make_plan(make()), tmp_path, tmp_path / "t"))
    assert (estimate["hours"], estimate["usd"], estimate["instance_type"]) == (None, None, None)
    assert "no finished trial" in estimate["speed"]


def test_all_stages_the_noise_calibration_and_the_audit_count() -> None:
    stages = [
        {"name": "embed", "experiments": EXPERIMENTS},
        {
            "name": "rate",
            "builds_on": "embed",
            "experiments": [{"name": "same"}, {"name": "low", "learning_rate": 1e-4}],
        },
    ]
    ranking = {"tokens": RANKED, "noise_seeds": [0, 9], "audit": True, "kill_rule": {"window_tokens": WINDOW}}
    raw = make().model_dump(exclude={"experiments", "baseline", "stages"}) | {"stages": stages, "ranking": ranking}
    plan = make_plan(check_sweep(raw))
    noise = 2 * RANKED + FINAL  # of the final's own seeds, 0 to 2, nothing is trained twice
    least, most = ranking_work(plan)
    assert least.tokens == noise + (2 * RANKED + WINDOW) + RANKED  # "same" is what the stage is built on
    assert most.tokens == noise + 3 * RANKED + 2 * RANKED + RANKED
    assert final_work(plan)[1].tokens == 5 * 2 * FINAL  # all there are, and two seeds


def test_successive_halving_stops_at_the_first_rung_at_the_earliest() -> None:
    least, _ = ranking_work(make_plan(make(ranking={"tokens": RANKED, "stop": "asha"})))
    assert least.tokens == 2 * RANKED + math.ceil(RANKED / 9)
