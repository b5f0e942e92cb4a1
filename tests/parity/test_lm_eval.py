"""lm-evaluation-harness itself, on the same weights, tokenizer and texts, gives the same numbers as this package.

From the harness: the task files (only where their rows lie is overridden), prompts, metrics, and its Hugging Face
backend, which tokenizes, batches, cuts and scores. Ours: the same `Transformer` behind the interface of transformers.
PARAMALLOC_PARITY_ITEMS says how many items of each task are compared; `--junitxml` records the differences.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer

from paramalloc.allocation import Shape
from paramalloc.data.documents import read_documents
from paramalloc.data.probes import ProbeTask
from paramalloc.data.token_set import HeldOut
from paramalloc.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, encode, train_tokenizer
from paramalloc.evaluation.perplexity import nats_per_document, score
from paramalloc.evaluation.smallbench.loading import draw, load_tasks
from paramalloc.evaluation.smallbench.scoring import evaluate_smallbench, score_probes
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics

WHY = "lm-evaluation-harness with its Hugging Face backend is not installed"
pytest.importorskip("accelerate", reason=WHY)
lm_eval = pytest.importorskip("lm_eval", reason=WHY)
transformers = pytest.importorskip("transformers", reason=WHY)

from lm_eval.models.huggingface import HFLM  # noqa: E402  (only once it is known to be there)
from lm_eval.tasks import TaskManager  # noqa: E402
from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer  # noqa: E402
from transformers.modeling_outputs import CausalLMOutput  # noqa: E402

ITEMS = int(os.environ.get("PARAMALLOC_PARITY_ITEMS", "100"))
ORIGINALS = {"sst2": "glue/sst2", "rte": "glue/rte", "mrpc": "glue/mrpc", "boolq": "super_glue/boolq"}
TASKS_FOLDER = Path(lm_eval.__file__).parent / "tasks"
SHAPE = Shape(d_model=48, n_layers=2, n_heads=3, d_ff=96, vocab_size=1024, context_length=128, tied=True)
TRAIN_DOCUMENTS, PAGES = 60, 6
CPU = Numerics(torch.device("cpu"), "fp32")


class HuggingFaceModel(transformers.PreTrainedModel):
    """Our model as the harness' Hugging Face backend wants it: token ids in, an object with logits out."""

    config_class = transformers.PretrainedConfig

    def __init__(self, model: Transformer) -> None:
        super().__init__(transformers.PretrainedConfig())
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> CausalLMOutput:
        return CausalLMOutput(logits=self.model(input_ids))


@pytest.fixture(scope="module", autouse=True)
def _no_network_no_pool_no_chatter() -> Iterator[None]:
    asked = []

    def refuse(*address: object, **_: object) -> None:
        asked.append(address)
        raise OSError(f"the network was asked for {address}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setenv("DISABLE_MULTIPROC", "1")
        patch.setattr(logging.getLogger("lm_eval"), "level", logging.ERROR)  # else a line for each cut context
        yield
    assert not asked


@pytest.fixture(scope="module")
def tokenizer(shared_data: Path) -> Tokenizer:
    documents = list(read_documents(shared_data / "wikitext-2" / "train.txt", "article"))
    return train_tokenizer(documents[:TRAIN_DOCUMENTS], SHAPE.vocab_size)


@pytest.fixture(scope="module")
def model() -> Transformer:
    model = Transformer(SHAPE, seed=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 3  # far from uniform, so that another context or another token shows
    return model


@pytest.fixture(scope="module")
def harness(model: Transformer, tokenizer: Tokenizer) -> HFLM:
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT)
    return HFLM(
        pretrained=HuggingFaceModel(model),
        tokenizer=wrapped,
        backend="causal",
        max_length=SHAPE.context_length,
        batch_size=16,
    )


@pytest.fixture(scope="module")
def tasks(shared_data: Path) -> tuple[ProbeTask, ...]:
    return tuple(draw(task, ITEMS, seed=0) for task in load_tasks(str(shared_data / "smallbench")))


def run_harness(harness: HFLM, folder: Path, original: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The harness' results and samples of one of its own tasks on `rows`."""
    name = f"local_{Path(original).parent.name}"
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "include": str(TASKS_FOLDER / original),
        "task": name,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"validation": str(data)}, "cache_dir": str(folder)},
        "training_split": None,
        "test_split": None,
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(settings))
    loaded = TaskManager(include_defaults=False).load([str(folder / "task.yaml")])
    found = lm_eval.evaluate(harness, loaded, bootstrap_iters=2)
    return {"results": found["results"][name], "samples": found["samples"][name]}


@pytest.fixture(scope="module")
def theirs(
    harness: HFLM, tasks: tuple[ProbeTask, ...], shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What the harness makes of the very items that were drawn, by task."""
    found = {}
    for task in tasks:
        lines = (shared_data / "smallbench" / f"{task.name}.jsonl").read_text().splitlines()
        rows = [json.loads(lines[int(probe.id.split("-")[1])]) for probe in task.probes]
        labelled = [row | {"label": int(row.get("label", row.get("answer")))} for row in rows]
        folder = tmp_path_factory.mktemp(task.name)
        found[task.name] = run_harness(harness, folder, f"{ORIGINALS[task.name]}/default.yaml", labelled)
    return found


def test_contexts_and_choices_are_the_harness_own(
    tasks: tuple[ProbeTask, ...], theirs: dict[str, dict[str, Any]]
) -> None:
    for task in tasks:
        for probe, sample in zip(task.probes, theirs[task.name]["samples"], strict=True):
            assert sample["arguments"] == [(probe.context, choice) for choice in probe.choices]
            assert sample["doc"]["label"] == probe.answer


def test_log_likelihoods_and_predictions_of_every_item(
    model: Transformer,
    tokenizer: Tokenizer,
    tasks: tuple[ProbeTask, ...],
    theirs: dict[str, dict[str, Any]],
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    truncated = 0
    for task in tasks:
        ours = score_probes(model, tokenizer, task.probes, END_OF_TEXT_ID, CPU)
        answers = [sample["filtered_resps"] for sample in theirs[task.name]["samples"]]
        expected = np.array([[nats for nats, _ in answer] for answer in answers])
        record_testsuite_property(
            f"{task.name}: largest difference of {len(ours)} items", np.abs(ours - expected).max()
        )
        assert np.abs(ours - expected).max() < 1e-4
        assert ours.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()
        assert np.ptp(expected[:, 1] - expected[:, 0]) > 0.1  # the model does not ignore its context
        truncated += sum(len(tokenizer.encode(probe.context).ids) > SHAPE.context_length for probe in task.probes)
    assert truncated > ITEMS / 2  # BoolQ's passages do not fit


def test_accuracy_and_its_standard_error(
    model: Transformer, tokenizer: Tokenizer, tasks: tuple[ProbeTask, ...], theirs: dict[str, dict[str, Any]]
) -> None:
    ours = evaluate_smallbench(model, tokenizer, tasks, END_OF_TEXT_ID, CPU)
    for task in tasks:
        results = theirs[task.name]["results"]
        assert ours[task.name]["accuracy"] == pytest.approx(results["acc,none"], abs=1e-12)
        assert ours[task.name]["accuracy_se"] == pytest.approx(results["acc_stderr,none"], abs=1e-12)


def test_rolling_log_likelihood_and_the_measures_of_its_wikitext_task(
    model: Transformer,
    tokenizer: Tokenizer,
    harness: HFLM,
    shared_data: Path,
    tmp_path: Path,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """The task scores a detokenized page, but counts bytes and words of the page as it was."""
    pages = [page.strip() for page in read_documents(shared_data / "wikitext-2" / "test.raw.txt", "article")][:PAGES]
    rows = [{"page": page} for page in pages]
    found = run_harness(harness, tmp_path, "wikitext/wikitext.yaml", rows)
    tokens = [ids for _, ids in encode(tokenizer, map(wikitext_detokenizer, rows))]
    held_out = HeldOut(
        tokens=np.concatenate(tokens),
        starts=np.cumsum([0, *map(len, tokens)]),
        bytes_per_document=np.array([len(page.encode()) for page in pages]),
        words_per_document=np.array([len(page.split()) for page in pages]),
    )
    ours = nats_per_document(model, held_out, END_OF_TEXT_ID, CPU)
    expected = [-sample["filtered_resps"][0] for sample in found["samples"]]
    record_testsuite_property(
        f"rolling: largest relative difference of {len(ours)} pages", np.abs(ours / expected - 1).max()
    )
    assert ours == pytest.approx(expected, rel=1e-4)
    total = score(model, held_out, END_OF_TEXT_ID, CPU)
    assert total.bpb == pytest.approx(found["results"]["bits_per_byte,none"], rel=1e-4)
    assert math.log(2) * total.bpb == pytest.approx(math.log(found["results"]["byte_perplexity,none"]), rel=1e-4)
    assert total.nats / total.words == pytest.approx(math.log(found["results"]["word_perplexity,none"]), rel=1e-4)
