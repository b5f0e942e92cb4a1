"""The README.md of an exported model: what it is, what it was trained on, how well it does, how to load it.

Always holds: a score stands there with the weights it was measured on, and one that was not measured is left out.
`model_card(load_trained(path))`.
"""

from __future__ import annotations

from pathlib import Path

from paramalloc.data.tokenizer import END_OF_TEXT
from paramalloc.export.trained import TrainedModel

_FRONT_MATTER = "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [paramalloc]\n---\n"
_UNITS = {"ppl": "perplexity per token", "bpb": "bits per byte", "word_ppl": "perplexity per word"}

_LOADING = f"""\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this one
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
prompt = tokenizer(tokenizer.bos_token, split_special_tokens=False, return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, do_sample=True)[0]))
```

It runs with transformers 4.50 or newer and the two files of code in this folder. A text begins and ends with
`{END_OF_TEXT}` (id 0), which the tokenizer does not add by itself; the same characters inside a text are taken for
text, unless `split_special_tokens=False` says otherwise.
"""


def model_card(trained: TrainedModel) -> str:
    """Markdown, with the front matter that model hubs read."""
    metrics, folder = trained.metrics, trained.folder
    return "\n".join(
        [
            _FRONT_MATTER,
            f"# {trained.config.name}: {folder.name}",
            "",
            f"A decoder-only transformer of {metrics['total_params']:,} parameters, trained by paramalloc.",
            "",
            _shape_table(trained),
            "",
            _training(trained),
            "",
            _weights(trained),
            "",
            "## Scores",
            "",
            _scores(trained),
            "",
            "## Loading it",
            "",
            _LOADING,
        ]
    )


def _shape_table(trained: TrainedModel) -> str:
    shape = trained.model.shape
    rows = {
        "d_model": shape.d_model,
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "d_ff": shape.d_ff,
        "vocab_size": f"{shape.vocab_size:,}",
        "context_length": f"{shape.context_length:,} tokens",
        "head": "the token table itself" if shape.tied else "of its own",
        "token table's share": f"{shape.embedding_share:.1%}",
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def _training(trained: TrainedModel) -> str:
    """Of a text of one's own only its name is told, not where it lies."""
    metrics, corpus = trained.metrics, Path(trained.config.data.corpus).name
    return (
        f"**Training.** {metrics['tokens']:,} tokens of `{corpus}` ({metrics['epochs_over_corpus']:.2f} epochs), "
        f"seed {metrics['seed']}; {metrics['status']}."
    )


def _weights(trained: TrainedModel) -> str:
    if trained.checkpoint == "last":
        return f"**Weights.** Those after the last step, {trained.step:,}."
    return f"**Weights.** Those of step {trained.step:,} of {trained.last_step:,}, the best on a slice of dev."


def _scores(trained: TrainedModel) -> str:
    lines = ["| text | " + " | ".join(_UNITS.values()) + " |", "| --- |" + " ---: |" * len(_UNITS)]
    for split in ("dev", "test"):
        values = [trained.metrics.get(f"{split}_{unit}") for unit in _UNITS]
        if None not in values:
            lines.append(f"| {split} | " + " | ".join(f"{value:.4g}" for value in values) + " |")
    if len(lines) == 2:
        return "Not measured: the trial did not finish."
    if trained.step != trained.last_step:
        lines += ["", f"Measured on the weights after the last step, {trained.last_step:,}, not on these."]
    return "\n".join(lines)
