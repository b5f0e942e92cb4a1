"""Log-likelihoods of the choices of zero-shot probes, and the scores of whole tasks.

Always holds: a choice's score is the summed log-probability of its tokens after its context, in nats, tokenized and
cut as lm-evaluation-harness does it: context and choice are encoded together and split at the length of the context
encoded alone; white space at the end of a context goes to the choice; what does not fit is cut from the left; an
empty context is end-of-text. How probes are batched changes nothing but rounding.

    evaluate_smallbench(model, load_tokenizer(path), tasks, end_of_text, numerics)["sst2"]["auroc"]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

from paramalloc.data.probes import Probe, ProbeTask
from paramalloc.data.tokenizer import encode
from paramalloc.errors import UserError
from paramalloc.evaluation.smallbench.statistics import task_statistics
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics, scoring_batch_size

Tokens = tuple[int, ...]


def evaluate_smallbench(
    model: Transformer, tokenizer: Tokenizer, tasks: Sequence[ProbeTask], end_of_text: int, numerics: Numerics
) -> dict[str, dict[str, float | int | None]]:
    """Each task's statistics by its name, ready for metrics.json. Errors: UserError as `score_probes`."""
    results = {}
    for task in tasks:
        log_likelihoods = score_probes(model, tokenizer, task.probes, end_of_text, numerics)
        results[task.name] = task_statistics(log_likelihoods, [probe.answer for probe in task.probes])
    return results


@torch.inference_mode()
def score_probes(
    model: Transformer, tokenizer: Tokenizer, probes: Sequence[Probe], end_of_text: int, numerics: Numerics
) -> np.ndarray:
    """Log-likelihood of each choice in nats, (N, C) float64; the model is left in the mode it came in.

    Errors: UserError for a choice of more tokens than the model's context holds.
    """
    choices = len(probes[0].choices) if probes else 0
    assert all(len(probe.choices) == choices for probe in probes), "one task, one number of choices"
    predicted = _predictions(_token_pairs(tokenizer, probes, end_of_text), model.shape.context_length)
    log_likelihoods = np.zeros((len(probes), choices))
    was_training = model.training
    model.eval()
    for inputs in _batches(list(predicted), numerics.device):
        with numerics.autocast():
            hidden = model.hidden(_padded(inputs, end_of_text).to(numerics.device))  # (B, T, D)
            _add_log_probabilities(log_likelihoods, model.head, hidden, inputs, predicted)
    model.train(was_training)
    return log_likelihoods


@dataclass(frozen=True)
class _Prediction:
    """The tokens of one choice: those that follow the last places of an input, one each."""

    probe: int
    choice: int
    tokens: Tokens


def _token_pairs(
    tokenizer: Tokenizer, probes: Sequence[Probe], end_of_text: int
) -> Iterator[tuple[int, int, Tokens, Tokens]]:
    """Probe, choice, and the tokens of context and choice; every text is encoded once."""
    stems = [probe.context.rstrip() for probe in probes]
    wholes = [[probe.context + choice for choice in probe.choices] for probe in probes]
    texts = dict.fromkeys([*stems, *(whole for choices in wholes for whole in choices)])
    tokens = {text: tuple(ids.tolist()) for text, ids in encode(tokenizer, texts)}
    for probe, stem in enumerate(stems):
        for choice, whole in enumerate(wholes[probe]):
            continuation = tokens[whole][len(tokens[stem]) :]
            yield probe, choice, tokens[stem] or (end_of_text,), continuation


def _predictions(pairs: Iterator[tuple[int, int, Tokens, Tokens]], length: int) -> Mapping[Tokens, list[_Prediction]]:
    """What is to be predicted from each input; choices of one token share their context's, which is run once."""
    predictions: defaultdict[Tokens, list[_Prediction]] = defaultdict(list)
    for probe, choice, context, continuation in pairs:
        if len(continuation) > length:
            got = f"{length}, with a probe's answer of {len(continuation)} tokens"
            raise UserError("model.context_length", got, f"SmallBench needs at least {len(continuation)}")
        inputs = (context + continuation)[-(length + 1) : -1]
        predictions[inputs].append(_Prediction(probe, choice, continuation))
    return predictions


def _batches(inputs: list[Tokens], device: torch.device) -> Iterator[list[Tokens]]:
    """Inputs of like length together, the longest first, so that too little memory shows at once."""
    inputs.sort(key=len, reverse=True)
    while inputs:
        fitting = scoring_batch_size(len(inputs[0]), device)
        yield inputs[:fitting]
        inputs = inputs[fitting:]


def _padded(inputs: list[Tokens], padding: int) -> torch.Tensor:
    """(B, T), padded at the right, where a causal model never looks."""
    longest = max(map(len, inputs))
    return torch.tensor([tokens + (padding,) * (longest - len(tokens)) for tokens in inputs])


def _add_log_probabilities(
    log_likelihoods: np.ndarray,
    head: torch.nn.Module,
    hidden: torch.Tensor,
    inputs: list[Tokens],
    predicted: Mapping[Tokens, list[_Prediction]],
) -> None:
    """Add what `head` makes of `hidden` (B, T, D) for each predicted token to the sums (N, C) of its choice.

    Most positions of a probe predict nothing that is asked for: they cost no logits.
    """
    wanted = [
        (row, len(tokens) - len(prediction.tokens) + i, target, prediction.probe, prediction.choice)
        for row, tokens in enumerate(inputs)
        for prediction in predicted[tokens]
        for i, target in enumerate(prediction.tokens)
    ]
    row, position, target, probe, choice = torch.tensor(wanted).T
    row, position, target = (index.to(hidden.device) for index in (row, position, target))
    logits = head(hidden[row, position])  # (K, V)
    log_probabilities = logits.float().log_softmax(-1)  # fp32 whatever the model ran in
    chosen = log_probabilities.gather(1, target[:, None]).squeeze(1)
    np.add.at(log_likelihoods, (probe.numpy(), choice.numpy()), chosen.double().cpu().numpy())
