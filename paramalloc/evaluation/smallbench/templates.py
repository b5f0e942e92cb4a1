"""The four questions that SmallBench asks, worded as lm-evaluation-harness 0.4.13 words them.

Always holds: prompts, choices and label order are those of its tasks sst2, rte, mrpc (GLUE, version 1.0) and boolq
(SuperGLUE, version 2.0), zero-shot: a byte that differs gives numbers that compare with nobody else's.

    TEMPLATES["sst2"].probe("sst2-0", {"sentence": "a joy . ", "label": 1}, "sst2.jsonl:1")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paramalloc.data.probes import Probe
from paramalloc.errors import UserError


@dataclass(frozen=True)
class Template:
    """How the rows of one task become probes.

    `fields` are the texts of a row that fill `prompt`; label 0 or 1, found under one of `labels`, is the index of
    the right one of `choices`. The space that begins a choice is the harness' delimiter between prompt and answer.
    """

    fields: tuple[str, ...]
    prompt: str
    choices: tuple[str, str]
    labels: tuple[str, ...] = ("label",)

    def probe(self, probe_id: str, row: Mapping[str, Any], place: str) -> Probe:
        """One row as a probe. Errors: UserError naming `place` for a missing field, or a label that is not 0 or 1."""
        texts = {field: self._text(field, row, place) for field in self.fields}
        return Probe(
            id=probe_id,
            context=self.prompt.format_map(texts),
            choices=self.choices,
            answer=self._answer(row, place),
            text="\n".join(texts.values()),
        )

    def _text(self, field: str, row: Mapping[str, Any], place: str) -> str:
        text = row.get(field)
        if not isinstance(text, str):
            raise UserError(place, _found(field, row), f"each row needs the texts {', '.join(self.fields)}")
        return text

    def _answer(self, row: Mapping[str, Any], place: str) -> int:
        field = next((name for name in self.labels if name in row), self.labels[0])
        label = row.get(field)
        if not isinstance(label, int) or label not in (0, 1):  # bool is an int; hidden test labels are -1
            first, second = (choice.strip() for choice in self.choices)
            allowed = f"`{' or '.join(self.labels)}` is 0 (false) for '{first}' or 1 (true) for '{second}'"
            raise UserError(place, _found(field, row), allowed)
        return int(label)


def _found(field: str, row: Mapping[str, Any]) -> str:
    return f"`{field}` {row[field]!r}" if field in row else f"no `{field}`"


TEMPLATES = {
    "sst2": Template(
        fields=("sentence",),
        prompt="{sentence}\nQuestion: Is this sentence positive or negative?\nAnswer:",
        choices=(" negative", " positive"),
    ),
    "rte": Template(
        fields=("sentence1", "sentence2"),
        prompt="{sentence1}\nQuestion: {sentence2} True or False?\nAnswer:",
        choices=(" True", " False"),
    ),
    "boolq": Template(
        fields=("passage", "question"),
        prompt="{passage}\nQuestion: {question}?\nAnswer:",
        choices=(" no", " yes"),
        labels=("label", "answer"),  # SuperGLUE's name, and that of the original BoolQ files
    ),
    "mrpc": Template(
        fields=("sentence1", "sentence2"),
        prompt="Sentence 1: {sentence1}\nSentence 2: {sentence2}\n"
        "Question: Do both sentences mean the same thing?\nAnswer:",
        choices=(" no", " yes"),
    ),
}
