"""Scores of choices against a plain loop, one sequence at a time, and what batching must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from paramalloc.allocation import Shape
from paramalloc.data.probes import Probe, ProbeTask
from paramalloc.data.tokenizer import END_OF_TEXT_ID, train_tokenizer
from paramalloc.errors import UserError
from paramalloc.evaluation.smallbench.scoring import evaluate_smallbench, score_probes
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics

LENGTH = 12
VOCABULARY = 280
SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=VOCABULARY, context_length=LENGTH, tied=True)
CPU = Numerics(torch.device("cpu"), "fp32")
CHOICES = (" no", " perhaps")  # one token and several
CONTEXTS = (
    "is it a",
    "",
    "the answer to it is what there was in the beginning",  # longer than the context
    "the answer to it is what there is",
    "white space  ",
    " \n",
    "is it",
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    text = "no the answer to it is what there is a no no the space space white"
    tokenizer = train_tokenizer([text] * 3, VOCABULARY)
    lengths = [len(tokenizer.encode(choice).ids) for choice in CHOICES]
    assert lengths[0] == 1
    assert lengths[1] > 2
    return tokenizer


@pytest.fixture(scope="module")
def model() -> Transformer:
    model = Transformer(SHAPE, seed=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 4  # far from uniform, so that a wrong context shows
    return model


def probes() -> list[Probe]:
    return [Probe(f"made-{i}", context, CHOICES, i % 2, "") for i, context in enumerate(CONTEXTS)]


def plainly(model: Transformer, tokenizer: Tokenizer, context: str, choice: str) -> float:
    """One token after the other, each seeing what the harness would show it."""
    stem = context.rstrip()
    before = tokenizer.encode(stem).ids
    targets = tokenizer.encode(context + choice).ids[len(before) :]
    sequence = [*(before or [END_OF_TEXT_ID]), *targets]
    visible = sequence[-(LENGTH + 1) :]
    total = 0.0
    for place in range(len(visible) - len(targets), len(visible)):
        with torch.no_grad():
            logits = model(torch.tensor([visible[:place]]))[0, -1]
        total += logits.log_softmax(-1)[visible[place]].item()
    return total


def test_each_choice_in_its_context(model: Transformer, tokenizer: Tokenizer) -> None:
    expected = [[plainly(model, tokenizer, context, choice) for choice in CHOICES] for context in CONTEXTS]
    found = score_probes(model, tokenizer, probes(), END_OF_TEXT_ID, CPU)
    assert found.dtype == np.float64
    assert found == pytest.approx(np.array(expected), rel=1e-5)


def test_batching_changes_nothing_and_respects_its_bound(
    model: Transformer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []
    hook = model.token_embedding.register_forward_pre_hook(
        lambda _, arguments: sizes.append(tuple(arguments[0].shape))
    )
    together = score_probes(model, tokenizer, probes(), END_OF_TEXT_ID, CPU)
    assert len(sizes) == 1
    sizes.clear()
    bound = {"cpu": 2 * LENGTH}
    monkeypatch.setattr("paramalloc.numerics._TOKENS_AT_ONCE", bound)
    in_parts = score_probes(model, tokenizer, probes(), END_OF_TEXT_ID, CPU)
    hook.remove()
    assert in_parts == pytest.approx(together, rel=1e-5)
    assert max(rows * length for rows, length in sizes) <= 2 * LENGTH
    lengths = [length for _, length in sizes]
    assert lengths == sorted(lengths, reverse=True)


def test_choices_of_one_token_share_one_input(model: Transformer, tokenizer: Tokenizer) -> None:
    rows: list[int] = []
    hook = model.token_embedding.register_forward_pre_hook(lambda _, arguments: rows.append(len(arguments[0])))
    short = [Probe("made-0", "is it", (" no", " the"), 0, ""), Probe("made-1", "is it", (" to", " it"), 0, "")]
    score_probes(model, tokenizer, short, END_OF_TEXT_ID, CPU)
    hook.remove()
    assert rows == [1]


def test_the_mode_of_the_model_is_left_as_it_was(model: Transformer, tokenizer: Tokenizer) -> None:
    for training in (True, False):
        score_probes(model.train(training), tokenizer, probes(), END_OF_TEXT_ID, CPU)
        assert model.training is training


def test_a_choice_that_no_context_holds_is_refused(model: Transformer, tokenizer: Tokenizer) -> None:
    fits = Probe("made-0", "is it", (" no", " " + "x" * (LENGTH - 1)), 0, "")
    score_probes(model, tokenizer, [fits], END_OF_TEXT_ID, CPU)
    too_long = Probe("made-1", "is it", (" no", " " + "x" * LENGTH), 0, "")
    with pytest.raises(UserError, match=r"model.context_length: got 12, .*13 tokens; SmallBench needs at least 13"):
        score_probes(model, tokenizer, [too_long], END_OF_TEXT_ID, CPU)


def test_statistics_of_each_task_by_name(model: Transformer, tokenizer: Tokenizer) -> None:
    tasks = [ProbeTask("first", tuple(probes())), ProbeTask("second", tuple(probes()[:1])), ProbeTask("none", ())]
    found = evaluate_smallbench(model, tokenizer, tasks, END_OF_TEXT_ID, CPU)
    scores = score_probes(model, tokenizer, tasks[0].probes, END_OF_TEXT_ID, CPU)
    right = [scores[i].argmax() == i % 2 for i in range(len(CONTEXTS))]
    assert found["first"]["accuracy"] == pytest.approx(np.mean(right))
    assert [found[name]["n"] for name in ("first", "second", "none")] == [7, 1, 0]
    assert found["none"].keys() == found["first"].keys()
    assert found["none"]["accuracy"] is found["none"]["majority_baseline"] is None
