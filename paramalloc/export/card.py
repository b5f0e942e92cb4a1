"""What is told of a trained model: shape, training, scores; as the README.md of an export and in MODEL_CARD.md.

Always holds: a score stands there with the weights it was measured on, and one that was not measured is left out;
of a text of one's own only its name is told, not where it lies. `model_card(load_trained(path))`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paramalloc.export.trained import TrainedModel

FRONT_MATTER = "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [paramalloc]\n---"
_UNITS = {"ppl": "perplexity per token", "bpb": "bits per byte", "word_ppl": "perplexity per word"}

_LOADING = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this one
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
prompt = tokenizer(tokenizer.bos_token, split_special_tokens=False, return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, do_sample=True)[0]))
```

It runs with transformers 4.50 or newer and the two files of code in this folder. A text begins and ends with
`{end_of_text}` (id 0), which the tokenizer does not add by itself; the same characters inside a text are taken for
text, unless `split_special_tokens=False` says otherwise.
"""


def model_card(trained: TrainedModel) -> str:
    """Markdown for the folder of an export, with the front matter that model hubs read."""
    from paramalloc.data.tokenizer import END_OF_TEXT

    scores = scores_table(trained.metrics)
    if scores and trained.step != trained.last_step:
        scores += f"\n\nMeasured on the weights after the last step, {trained.last_step:,}, not on these."
    return "\n\n".join(
        [
            FRONT_MATTER,
            f"# {trained.config.name}: {trained.folder.name}",
            *about_model(trained.metrics, trained.config.data.corpus),
            _weights(trained),
            "## Scores",
            scores or "Not measured: the trial did not finish.",
            "## Loading it",
            _LOADING.format(end_of_text=END_OF_TEXT),
        ]
    )


def about_model(metrics: dict[str, Any], corpus: str) -> list[str]:
    """Paragraphs: what it is, its shape, its training. `metrics` is a trial's metrics.json."""
    return [
        f"A decoder-only transformer of {metrics['total_params']:,} parameters, trained by paramalloc.",
        _shape_table(metrics),
        f"**Training.** {metrics['tokens']:,} tokens of `{Path(corpus).name}` "
        f"({metrics['epochs_over_corpus']:.2f} epochs), seed {metrics['seed']}; {metrics['status']}.",
    ]


def scores_table(metrics: dict[str, Any]) -> str:
    """Scores on all of dev and test; empty where none was measured."""
    rows = []
    for split in ("dev", "test"):
        values = [metrics.get(f"{split}_{unit}") for unit in _UNITS]
        if None not in values:
            rows.append(f"| {split} | " + " | ".join(f"{value:.4g}" for value in values) + " |")
    heads = ["| text | " + " | ".join(_UNITS.values()) + " |", "| --- |" + " ---: |" * len(_UNITS)]
    return "\n".join([*heads, *rows]) if rows else ""


def _shape_table(metrics: dict[str, Any]) -> str:
    rows = {
        **{name: metrics[name] for name in ("d_model", "n_layers", "n_heads", "d_ff")},
        "vocab_size": f"{metrics['vocab_size']:,}",
        "context_length": f"{metrics['context_length']:,} tokens",
        "head": "the token table itself" if metrics["tied"] else "of its own",
        "token table's share": f"{metrics['embedding_share']:.1%}",
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def _weights(trained: TrainedModel) -> str:
    if trained.checkpoint == "last":
        return f"**Weights.** Those after the last step, {trained.step:,}."
    return f"**Weights.** Those of step {trained.step:,} of {trained.last_step:,}, the best on a slice of dev."
