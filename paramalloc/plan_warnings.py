"""What a careful reader would object to in a plan, before the start.

Always holds: a warning is a sentence that names the key to change, or the variants; nothing is refused here.
"""

from __future__ import annotations

import itertools

from paramalloc.config import SweepConfig
from paramalloc.plan import CorpusSize, Plan, epochs, make_plan
from paramalloc.training.run import Budget

FEW_STEPS = 200
MANY_EPOCHS = 4  # beyond about four passes repeated text is worth less than new (Muennighoff et al. 2023)


def warnings(plan: Plan, size: CorpusSize) -> list[str]:
    """What a careful reader would object to before the start, in words."""
    found = []
    shortest = min((item.ranking for item in plan.variants), key=lambda run: run.total_steps)
    if shortest.total_steps < FEW_STEPS:
        found.append(
            f"a ranking run has only {shortest.total_steps} steps of {shortest.step_tokens:,} tokens: too few to "
            "rank variants by; lower training.batch_size or raise ranking.tokens"
        )
    if len({item.final.budget_tokens for item in plan.variants}) > 1:
        found.append("the finalists' budgets differ (training.tokens): their scores will not compare at equal tokens")
    runs = {"ranking": [item.ranking for item in plan.variants], "final": [item.final for item in plan.variants]}
    for kind, each in runs.items():
        most = max(epochs(run, size) for run in each)
        if most > MANY_EPOCHS:
            found.append(
                f"a {kind} run passes {most:.1f} times over the corpus: above {MANY_EPOCHS}, variants are ranked "
                "by how they over-fit; use more text or fewer tokens"
            )
    if plan.baseline.ranking.budget_tokens > plan.baseline.final.budget_tokens:
        found.append("ranking.tokens is more than training.tokens: the ranking trains longer than the final")
    ranking = plan.config.ranking
    if ranking.stop == "kill_rule" and ranking.kill_rule.window_tokens >= ranking.tokens:
        found.append("ranking.kill_rule.window_tokens is as long as a ranking run: the rule can never act")
    for section, run in (("ranking", plan.baseline.ranking), ("finalists", plan.baseline.final)):
        if run.eval_interval_tokens >= run.budget_tokens:
            found.append(f"{section}.eval_interval_tokens is as long as such a run: its curve will be a single point")
    for stage in plan.stages:
        first_of: dict[Budget, str] = {}
        for item in stage.variants:
            twin = first_of.setdefault(item.ranking, item.name)
            if twin != item.name:
                found.append(
                    f"{twin} and {item.name} come to the same shape and training: they are one variant, trained "
                    "twice; take one out or set them further apart"
                )
        if stage.built_on is not None and not plan.takes_over(stage):
            found.append(
                f"no variant of the stage {stage.name} is what it is built on, unchanged: "
                f"its winner may be worse than {stage.built_on}"
            )
    if any(stage.assumed for stage in plan.stages):
        found += dead_ends(plan.config)
    return found


def dead_ends(config: SweepConfig) -> list[str]:
    """Variants of later stages that some winners of the stages before would leave without a shape, in words."""
    built_on = {stage.builds_on for stage in config.places.values()}
    bases = [stage for stage in config.places.values() if stage.name in built_on]
    found: dict[tuple[str, str], list[str]] = {}
    for choice in itertools.product(*([item.name for item in stage.enabled] for stage in bases)):
        plan = make_plan(config, dict(zip((stage.name for stage in bases), choice, strict=True)))
        for stage in plan.stages:
            for name in stage.left_out:
                found.setdefault((stage.name, name), []).append(" with ".join(choice))
    return [
        f"{name} has no shape on some winners, and would be left out of the stage {stage}: {', '.join(choices)}"
        for (stage, name), choices in found.items()
    ]
