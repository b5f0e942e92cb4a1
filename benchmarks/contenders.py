"""The training loops that `train_throughput` compares, each in a process: `python -m benchmarks.contenders`.

Always holds: all get the same batches, optimiser settings (AdamW, clipping at 1), precision and threads; a loop is
built as its own project recommends; parameter counts are as near as each architecture allows.

A process reads one JSON line with its `Setting`, answers with one (parameters), and then, for each further line,
takes a round of steps and answers with its seconds and last loss; at the end of its input it writes its peak memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain_model import PlainTransformer
from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Trainer
from paramalloc.training.memory import keep_freed_memory
from paramalloc.training.run import TrainingRun

LEARNING_RATE = 1e-3
_BATCHES = 16  # of random tokens, taken in turn

Round = Callable[[int], float]  # takes so many steps; the last one's loss
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Setting:
    """What one process is to do. `shape` are the sizes of `paramalloc.allocation.Shape`."""

    name: str
    shape: dict[str, Any]
    batch_size: int
    precision: str
    threads: int
    steps: int  # a round
    keeps_memory: bool

    @property
    def sizes(self) -> Shape:
        return Shape(**self.shape)

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def batches(self) -> list[Batch]:
        """Inputs and targets, (B, T) each."""
        random, sizes = torch.Generator().manual_seed(0), self.sizes
        tokens = torch.randint(
            sizes.vocab_size, (_BATCHES, self.batch_size, sizes.context_length + 1), generator=random
        )
        return [(batch[:, :-1].contiguous(), batch[:, 1:].contiguous()) for batch in tokens]


def contenders() -> list[str]:
    """Every loop that can run here; ours come first."""
    by_hand = [f"{name}{suffix}" for name in _MODELS for suffix in ("", " compiled")]
    return ["ours", "ours compiled", *by_hand, *(["llama trainer"] if find_spec("accelerate") else [])]


def build(setting: Setting) -> tuple[int, Round]:
    """Parameters of the model, and what takes a round of steps."""
    name, _, how = setting.name.partition(" ")
    if name == "ours":
        return _ours(setting, how == "compiled")
    model = _MODELS[name](setting.sizes)
    torch.manual_seed(0)
    if how == "trainer":
        return _parameters(model), _by_trainer(setting, model)
    return _parameters(model), _by_hand(setting, model, how == "compiled")


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


class _FixedBatches:
    """The batches of a benchmark, in the form that the trainer asks for."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = [(inputs.numpy(), targets.numpy()) for inputs, targets in batches]

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        return self._batches[step % len(self._batches)]


def _ours(setting: Setting, compiled: bool) -> tuple[int, Round]:
    """The project's own step loop, whole: schedule, clipping, tally."""
    sizes = setting.sizes
    training = TrainingConfig(batch_size=setting.batch_size, precision=setting.precision, compile=compiled)
    run = TrainingRun(sizes, training, 10**9, 10**9, seed=0, learning_rate=LEARNING_RATE)
    text = np.zeros(sizes.context_length + 1, dtype=np.int64)  # never trained on
    numerics = Numerics(torch.device("cpu"), setting.precision)
    with tempfile.TemporaryDirectory() as nowhere:
        trainer = Trainer(run, text, lambda model: {}, numerics, CheckpointStore(Path(nowhere)))
    trainer.batches = _FixedBatches(setting.batches())  # type: ignore[assignment]

    def take(steps: int) -> float:
        trainer.tally.clear()
        for _ in range(steps):
            trainer.take_step()
        window = trainer.tally.read()
        return window.loss_sum / window.taken

    return _parameters(trainer.model), take


def _by_hand(setting: Setting, model: nn.Module, compiled: bool) -> Round:
    """The loop of every tutorial: full logits, cross-entropy, clipping, AdamW (fused, as nanoGPT has it)."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)
    forward = torch.compile(model) if compiled else model
    batches, taken = setting.batches(), 0

    def take(steps: int) -> float:
        nonlocal taken
        for _ in range(steps):
            inputs, targets = batches[taken % len(batches)]
            with setting.autocast():
                logits = _logits(forward(inputs))
                loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            taken += 1
        return loss.item()

    return take


def _logits(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.logits


def _by_trainer(setting: Setting, model: nn.Module) -> Round:
    """Hugging Face's Trainer; a round is a call of `train`, timed by its caller with its start, spread over steps."""
    from transformers import Trainer as HuggingFaceTrainer
    from transformers import TrainingArguments

    rows = [
        {"input_ids": torch.cat([row, last[-1:]]), "labels": torch.cat([row, last[-1:]])}
        for inputs, targets in setting.batches()
        for row, last in zip(inputs, targets, strict=True)
    ]
    rows = [{name: ids[: setting.sizes.context_length] for name, ids in row.items()} for row in rows]

    def take(steps: int) -> float:
        with tempfile.TemporaryDirectory() as nowhere:
            arguments = TrainingArguments(
                output_dir=nowhere,
                per_device_train_batch_size=setting.batch_size,
                max_steps=steps,
                learning_rate=LEARNING_RATE,
                bf16=setting.precision == "bf16",
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            )
            return HuggingFaceTrainer(model=model, args=arguments, train_dataset=rows).train().training_loss

    return take


def _plain(sizes: Shape) -> nn.Module:
    model = PlainTransformer(sizes)
    model.load_state_dict(Transformer(sizes, seed=0).state_dict())
    return model


def _llama(sizes: Shape) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=sizes.vocab_size,
            hidden_size=sizes.d_model,
            intermediate_size=sizes.d_ff,
            num_hidden_layers=sizes.n_layers,
            num_attention_heads=sizes.n_heads,
            max_position_embeddings=sizes.context_length,
            tie_word_embeddings=sizes.tied,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )


def _gpt2(sizes: Shape) -> nn.Module:
    """nanoGPT's recipe: GPT-2 without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=sizes.vocab_size,
            n_positions=sizes.context_length,
            n_embd=sizes.d_model,
            n_layer=sizes.n_layers,
            n_head=sizes.n_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )


def _litgpt(sizes: Shape) -> nn.Module:
    from litgpt.config import Config
    from litgpt.model import GPT

    model = GPT(
        Config(
            name="benchmark",
            block_size=sizes.context_length,
            padded_vocab_size=sizes.vocab_size,
            vocab_size=sizes.vocab_size,
            n_layer=sizes.n_layers,
            n_head=sizes.n_heads,
            n_embd=sizes.d_model,
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=False,
            norm_class_name="RMSNorm",
            mlp_class_name="LLaMAMLP",
            intermediate_size=sizes.d_ff,
        )
    )
    if sizes.tied:
        model.lm_head.weight = model.transformer.wte.weight
    return model


_MODELS: dict[str, Callable[[Shape], nn.Module]] = {"plain": _plain}
if find_spec("transformers"):
    _MODELS |= {"llama": _llama, "nanogpt": _gpt2}
if find_spec("litgpt"):
    _MODELS |= {"litgpt": _litgpt}


def peak_mb() -> float | None:
    """Peak of this process' resident set in MB of 10^6 bytes; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not come between the answers
    setting = Setting(**json.loads(sys.stdin.readline()))
    if setting.keeps_memory:
        keep_freed_memory()
    torch.set_num_threads(setting.threads)
    before = peak_mb()
    parameters, take = build(setting)
    _answer(answers, {"parameters": parameters})
    for _ in sys.stdin:
        begun, used = time.perf_counter(), time.process_time()
        loss = take(setting.steps)
        seconds = {"wall": time.perf_counter() - begun, "cpu": time.process_time() - used}
        _answer(answers, {"seconds": seconds, "loss": loss})
    now = peak_mb()
    _answer(answers, {"peak_mb": now - before if now is not None and before is not None else None})


def _answer(stream: Any, values: dict[str, Any]) -> None:
    stream.write(json.dumps(values) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
