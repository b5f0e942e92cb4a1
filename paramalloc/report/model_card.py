"""MODEL_CARD.md: the winner's model, how it was chosen, how well it does, what it is not for, how to get its weights.

Always holds: what is told of the model itself is the text of an export's README.md; the run told of is the winner's
first seed, not the luckiest; without a winner there is no card.
"""

from __future__ import annotations

from paramalloc.export.card import FRONT_MATTER, about_model, scores_table
from paramalloc.formats import count_of, perplexity_text, with_spread
from paramalloc.report.blocks import bullets
from paramalloc.report.load import SweepResults
from paramalloc.report.sections.findings import limits
from paramalloc.report.variants import VariantResult, variant_results
from paramalloc.results import FINALISTS

_NOT_FOR = (
    "A model of this size, trained on this much text, continues text in the manner of what it has read. It knows no "
    "facts that can be relied on, follows no instructions, was not made safe in any way, and repeats what is wrong "
    "or offensive in its text. It is there to compare how parameters are spent, not to be used for anything else."
)


def winner_card(results: SweepResults) -> str | None:
    """The page; None before there is a winner with a finished run."""
    winner = results.decided("winner")
    variants = variant_results(results)
    variant = next((item for item in variants if winner and item.name == winner["winner"]), None)
    if winner is None or variant is None or not variant.finished_finals:
        return None
    run = variant.finished_finals[0]
    trial = f"results/{results.config.name}/{FINALISTS}/{run.name}"
    return (
        "\n\n".join(
            [
                FRONT_MATTER,
                f"# {results.config.name}: {variant.name}",
                *about_model(run.metrics, results.config.data.corpus),
                "**Text.** " + _text(results),
                "## Intended use",
                _NOT_FOR,
                "## How it was chosen",
                winner["sentence"],
                "## Scores",
                f"Of seed {run.metrics['seed']}, after the last step, on all of dev and test:",
                scores_table(run.metrics),
                _over_seeds(variant),
                "## Limits of the comparison",
                bullets(limits(results, variants)),
                "## Getting the weights",
                f"    python -m paramalloc export {trial}\n\nwrites them as a folder that `transformers` loads.",
            ]
        )
        + "\n"
    )


def _text(results: SweepResults) -> str:
    if results.manifest is None:
        return "Not described."
    licence = results.manifest["source"]["licence"] or "unknown"
    return f"Licence of the text: {licence}. DATASET_MANIFEST.json has every file with its hash."


def _over_seeds(variant: VariantResult) -> str:
    ppl, bpb = variant.over_seeds("dev_ppl"), variant.over_seeds("dev_bpb")
    return (
        f"Over {count_of(ppl.n, 'seed')}: dev perplexity {perplexity_text(ppl.mean, ppl.sd)}, "
        f"{with_spread(bpb.mean, bpb.sd)} bits per byte{' (mean ± sd)' if ppl.sd else ''}."
    )
