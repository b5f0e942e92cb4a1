"""The data type of zero-shot multiple-choice questions, by task, wherever they come from.

Always holds: plain frozen data without torch; `context` followed by a choice is what a model reads, and the choices
carry the space that separates them from the context. `ProbeTask("sst2", (Probe("sst2-17", ...), ...))`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """One zero-shot multiple-choice question.

    `id` is stable: task and index in its source ("sst2-17"). `context` is the rendered prompt, `choices` are its
    possible continuations, `choices[answer]` is right. `text` is the original wording, without the prompt, that is
    looked for in the training text. Probes of one `pair` are drawn together or not at all.
    """

    id: str
    context: str
    choices: tuple[str, ...]
    answer: int
    text: str
    pair: str | None = None

    @property
    def unit(self) -> str:
        """Names what is drawn or left out as a whole: the pair, or the probe alone."""
        return self.pair or self.id


@dataclass(frozen=True)
class ProbeTask:
    """All probes of one task, such as "sst2"."""

    name: str
    probes: tuple[Probe, ...]
