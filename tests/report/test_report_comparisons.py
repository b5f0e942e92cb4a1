"""Equal budgets, kills with their audits, effects and the Pareto front, against numbers worked out by hand."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from paramalloc.files import append_jsonl, read_json, read_jsonl, write_json
from paramalloc.formats import DASH
from paramalloc.report.figures.gallery import make_figures
from paramalloc.report.figures.pareto import Candidate, draw_pareto, front
from paramalloc.report.figures.style import looks, style
from paramalloc.report.kills import killed_trials
from paramalloc.report.load import Trial, load_results
from paramalloc.report.sections import kills
from paramalloc.report.sections.budgets import at_equal_budgets, budgets_section, finalist_runs
from paramalloc.report.sections.discussion import discussion
from paramalloc.report.sections.kills import kills_section
from paramalloc.report.sections.setting import best_setting
from paramalloc.report.sections.table import variants_table
from paramalloc.report.variants import Spread, variant_results
from paramalloc.results import AUDIT, FINALISTS, JUDGED_BY, RANKING


def test_at_equal_flops_the_cheaper_model_is_read_at_more_tokens(embed_sweep: Any) -> None:
    results = load_results(embed_sweep.folder)
    tokens, flops = at_equal_budgets(results, finalist_runs(variant_results(results)))
    plans = {item["name"]: item for item in results.plan["variants"]}
    cost = {name: plans[name]["flops_per_token"] for name in ("emb35", "emb25")}
    end = plans["emb35"]["final"]["tokens"]
    assert (tokens.amount, flops.amount) == (end, min(cost.values()) * end)
    dear, cheap = sorted(cost, key=lambda name: -cost[name])
    at = flops.amount / cost[dear]
    for seed in range(3):
        rows = read_jsonl(embed_sweep.folder.trial(FINALISTS, f"{dear}-seed{seed}").history)
        before = max((row for row in rows if row["tokens"] <= at), key=lambda row: row["tokens"])
        after = min((row for row in rows if row["tokens"] > at), key=lambda row: row["tokens"])
        share = math.log(at / before["tokens"]) / math.log(after["tokens"] / before["tokens"])
        loss = (1 - share) * math.log(before["dev_ppl"]) + share * math.log(after["dev_ppl"])
        reading = flops.readings[dear][seed]
        assert reading.interpolated
        assert reading.value == pytest.approx(math.exp(loss))
        assert not flops.readings[cheap][seed].interpolated
        assert not tokens.readings[dear][seed].interpolated


def test_bytes_are_a_budget_of_their_own_only_across_tokenizers(new_sweep: Callable[..., Any]) -> None:
    sweep = new_sweep([{"name": "v16k", "vocab_size": 16_000}, {"name": "v8k", "vocab_size": 8_000}])
    sweep.begin(shapes=dict.fromkeys(("v16k", "v8k"), (220, 11, 11, 584, 0.35, 2.65)))
    for name in ("v16k", "v8k"):
        sweep.trial(FINALISTS, name, final_ppl=80.0)
    sizes = [
        {"vocab_size": size, "splits": {"train": {"bytes_per_token": each}}}
        for size, each in ((16_000, 4.0), (8_000, 3.0))
    ]
    write_json(sweep.folder.manifest, {"vocabularies": sizes, "settings": {"documents": None}})
    results = load_results(sweep.folder)
    found = {one.budget.name: one for one in at_equal_budgets(results, finalist_runs(variant_results(results)))}
    assert list(found) == ["tokens", "FLOPs", "bytes"]
    end = results.plan["variants"][0]["final"]["tokens"]
    assert found["bytes"].amount == 3.0 * end  # v8k has read fewer bytes in as many tokens
    assert found["bytes"].readings["v16k"][0].interpolated


def test_the_section_marks_what_was_interpolated_and_needs_two_variants(
    embed_sweep: Any, new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    results = load_results(embed_sweep.folder)
    text = "\n".join(budgets_section(results, variant_results(results)))
    finalists = text.split("### Finalists")[1]
    assert re.search(rf"\| emb35 \(baseline\) \| [\d.]+ ± [\d.]+ \| {DASH} \|", finalists)
    assert "\N{TILDE OPERATOR}" in finalists.split("Dev perplexity")[0]
    assert "With one tokenizer equal tokens are equal bytes" in text
    lone = new_sweep(shares[:2])
    lone.begin()
    lone.trial(RANKING, "emb35", final_ppl=312.0)
    results = load_results(lone.folder)
    assert budgets_section(results, variant_results(results)) == []


@pytest.fixture
def killed(new_sweep: Callable[..., Any], shares: list[dict[str, Any]]) -> Any:
    sweep = new_sweep(shares[:2])
    sweep.begin()
    sweep.trial(RANKING, "emb35", final_ppl=300.0)
    sweep.kill("emb25", 1_750_000, 4.25)
    sweep.trial(RANKING, "emb25", final_ppl=330.0, status="killed", until_tokens=1_750_000)
    sweep.close()
    cost = read_json(sweep.folder.cost_summary)
    (line,) = cost["savings"]["kill_rule_against_running_on"]["by_trial"]
    line |= {"tokens_not_trained": 3_250_000, "usd": 0.12}
    for trial in cost["by_trial"]:
        trial["budget_tokens"] = 5_000_000
    write_json(sweep.folder.cost_summary, cost)
    return sweep


def test_a_kill_is_told_with_its_curve_margin_and_savings(killed: Any) -> None:
    results = load_results(killed.folder)
    (kill,) = killed_trials(results)
    curves = {name: read_jsonl(killed.folder.trial(RANKING, name).history) for name in ("emb35", "emb25")}
    baseline = {row["tokens"]: row["dev_ppl"] for row in curves["emb35"]}
    assert dict(kill.gaps) == {r["tokens"]: r["dev_ppl"] - baseline[r["tokens"]] for r in curves["emb25"]}
    heading, table, note, gallery = kills_section(results, "GALLERY")
    assert (heading, gallery) == ("## Kills", "GALLERY")
    row = table.splitlines()[-1].strip("| ").split(" | ")
    assert row == ["emb25", "1.75M tokens", "304.2", "4.25 PPL", "0.5 PPL", "1.00M", "3.25M", "$0.12", DASH]
    assert "1 kill spared 3.25M tokens, 32.5% of what its trials were to train." in note  # of two runs of 5M
    assert "No killed trial was trained to its end, so whether its kill was right is not known." in note
    assert note.endswith("on the slice of dev, at equal tokens.")


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (None, "emb25 to 2.50M tokens, which spares nothing; the record of each stops where it lost. No killed"),
        (
            330.0,
            "its end, which spares nothing; the record of each stops where it lost. emb25 ended at 330.0 PPL on all",
        ),
    ],
)
def test_a_verdict_that_came_late_is_told_with_how_far_the_trial_had_come(
    killed: Any, score: float | None, said: str
) -> None:
    path = killed.folder.trial(RANKING, "emb25").metrics
    write_json(path, read_json(path) | {"ran_on": {"tokens": 2_500_000, JUDGED_BY: score}})
    _, _, note, _ = kills_section(load_results(killed.folder), "")
    assert said in note
    assert ("is not known" in note) == (score is None)
    assert (" of dev, its baseline at 300.0." in note) == (score is not None)


def test_a_score_that_a_killed_trial_ended_with_stands_in_the_main_table(killed: Any) -> None:
    path = killed.folder.trial(RANKING, "emb25").metrics
    write_json(path, read_json(path) | {"ran_on": {"tokens": 5_000_000, JUDGED_BY: 330.0}})
    results = load_results(killed.folder)
    assert "killed at 1.75M tokens, ended at 330.0" in variants_table(results, variant_results(results))


def test_many_variants_stand_by_their_scores_after_the_baseline(new_sweep: Callable[..., Any]) -> None:
    names = ["base", *(f"v{n:02}" for n in range(13))]
    sweep = new_sweep([{"name": name} for name in names])
    sweep.begin(shapes=dict.fromkeys(names, (220, 11, 11, 584, 0.35, 2.66)))
    for number, name in enumerate(names[:-1]):
        sweep.trial(RANKING, name, final_ppl=400.0 - number)
    sweep.trial(FINALISTS, "v03", final_ppl=390.0)
    results = load_results(sweep.folder)
    rows = variants_table(results, variant_results(results)).splitlines()[2:16]
    order = [row.split("|")[1].strip().split(" ")[0] for row in rows]
    assert order == ["base", "v03", *(f"v{n:02}" for n in range(11, -1, -1) if n != 3), "v12"]


def test_many_late_verdicts_are_counted(killed: Any) -> None:
    (kill,) = killed_trials(load_results(killed.folder))
    late = {"tokens": 2_500_000, JUDGED_BY: None}
    said = kills._late([replace(kill, trial=f"v{number}", ran_on=late) for number in range(7)])
    assert [sentence[:35] for sentence in said] == ["What 7 of them lost against came la"]


@pytest.mark.parametrize(("right", "word"), [(True, "right"), (False, "**wrong**"), (None, "within noise")])
def test_an_audit_tells_whether_a_kill_was_right(killed: Any, right: bool | None, word: str) -> None:
    text = "emb25 was run on to its end: 310.0 against 300.0 of emb35"
    audit = {
        "decision": "audit",
        "stage": "audit",
        "of_stage": RANKING,
        "trial": "emb25",
        "variant": "emb25",
        "dev_ppl": 310.0,
    }
    append_jsonl(killed.folder.decisions, audit | {"baseline_dev_ppl": 300.0, "kill_was_right": right, "text": text})
    killed.trial(AUDIT, "emb25", final_ppl=310.0)
    _, table, note, _ = kills_section(load_results(killed.folder), "")
    assert table.splitlines()[-1].endswith(f"| {word} |")
    assert f"{text[0].upper()}{text[1:]}." in note
    assert "not known" not in note
    assert note.endswith("at equal tokens; an audit's are on all of dev.")
    assert re.search(r"The audit trained 5\.01M tokens(?: \(\$[\d.]+\))? to check one\.", note)


def test_the_kill_figure_has_the_gap_the_margin_and_the_window(killed: Any) -> None:
    with style():
        figure = {picture.name: figure for picture, figure in make_figures(load_results(killed.folder))}["kills"]
    (axes,) = figure.axes
    (kill,) = killed_trials(load_results(killed.folder))
    lines = {line.get_label(): line for line in axes.lines}
    assert [tuple(point) for point in lines["gap"].get_xydata()] == [(t / 1e6, gap) for t, gap in kill.gaps]
    assert set(lines["margin 0.5 PPL"].get_ydata()) == {0.5}
    (window,) = axes.patches
    assert (window.get_x(), window.get_x() + window.get_width()) == pytest.approx((0.75, 1.75))
    assert axes.get_ylim()[1] > kill.gaps[-1][1]


def test_the_front_has_those_that_nothing_beats_in_both() -> None:
    points = {"slow": (3.0, 1.0), "middle": (2.0, 1.1), "fast": (1.0, 1.3), "beaten": (2.5, 1.2), "twin": (2.0, 1.1)}
    assert front(points) == ["fast", "middle", "slow"]
    assert front({}) == []


def test_of_many_variants_the_baseline_the_front_and_the_best_have_names() -> None:
    """The cheapest and worst of thirty is on the front, for it costs the least; the baseline is beaten by all."""
    bpb = {"base": 2.0, "cheap": 1.9} | {f"v{n:02}": 1.5 - n / 100 for n in range(28)}
    found = [
        Candidate(name, Spread(score, None, 1), None, 1e12 * (2 - (name == "cheap"))) for name, score in bpb.items()
    ]
    with style():
        figure = draw_pareto(found, None, looks(list(bpb), "base"))
    assert figure is not None
    (axes,) = figure.axes
    assert [note.get_text() for note in axes.texts] == ["base", "cheap", *(f"v{n:02}" for n in range(18, 28))]
    (crowd,) = [line for line in axes.lines if len(line.get_xydata()) == 18]
    assert sorted(crowd.get_ydata()) == sorted(bpb[f"v{n:02}"] for n in range(18))


def test_effects_are_those_of_the_verdict(embed_sweep: Any) -> None:
    results = load_results(embed_sweep.folder)
    with style():
        figure = {picture.name: figure for picture, figure in make_figures(results)}["effects"]
    (axes,) = figure.axes
    (item,) = results.decided("winner")["comparisons"]
    bar, point = axes.lines[-2:]
    assert list(bar.get_xdata()) == [100 * item["low"], 100 * item["high"]]
    assert list(point.get_xdata()) == [100 * item["improvement"]]


def test_a_lower_mean_that_does_not_win_is_told_beside_the_best_setting(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    sweep = new_sweep(shares[:2], finalists={"seeds": [0]})
    sweep.begin()
    sweep.trial(FINALISTS, "emb35", final_ppl=70.0)
    sweep.trial(FINALISTS, "emb25", final_ppl=69.0)
    sweep.decide()
    results = load_results(sweep.folder)
    _, bullets = best_setting(results, variant_results(results))
    assert "**emb35 (baseline)**" in bullets
    assert (
        "emb25 has a lower mean, 69.00 on dev (1.4% lower than the baseline's), less than the 5% asked for" in bullets
    )


def _slower(run: Trial) -> Trial:
    """The run with twice the latency of the fastest finalist."""
    return replace(run, metrics=run.metrics | {"latency_ms": {"128": {"p50": 26.0, "p95": 27.0, "p99": 28.0}}})


def test_the_discussion_says_what_seeds_can_tell_and_waits_for_the_verdict(embed_sweep: Any, killed: Any) -> None:
    results = load_results(embed_sweep.folder)
    text = "\n".join(discussion(results, variant_results(results)))
    assert "With 3 seeds a true improvement has to be about" in text
    assert "given these scores: emb25 >99% and emb35 <1%." in text or "emb25 99% and emb35 1%." in text
    assert "Beyond what a seed does to all variants alike" in text
    assert "instead of equal tokens the order of the scores is the same: the best challenger, emb25, then has" in text
    assert re.search(
        r"lower perplexity than the baseline \(95% interval over seeds: .* lower\), on a slice of dev", text
    )
    assert "read before the learning rate had decayed" not in text  # both cost the same to a percent
    plan = copy.deepcopy(results.plan)
    for item in plan["variants"]:
        item["flops_per_token"] *= 2 if item["name"] == "emb35" else 1
    dear = replace(results, plan=plan)
    text = "\n".join(discussion(dear, variant_results(dear)))
    assert "There emb35 is read before the learning rate had decayed, which favours emb25." in text
    assert "The finalists are as fast as each other within 5%: " in text
    slow = [
        replace(variant, finals=tuple(_slower(run) for run in variant.finals)) if variant.is_baseline else variant
        for variant in variant_results(dear)
    ]
    assert "Of the finalists emb25 is the fastest, with 13.0 ms for 128 tokens against the 26" in "\n".join(
        discussion(dear, slow)
    )
    unfinished = load_results(killed.folder)
    assert discussion(unfinished, variant_results(unfinished)) == []
