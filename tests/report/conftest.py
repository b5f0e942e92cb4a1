"""Made-up but realistic results folders, written file by file as a sweep writes them.

Learning curves are power laws with seeded noise; final scores are what the test asks for, so that every number of a
report can be worked out independently.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cost import ledger, summarize
from paramalloc.config import SweepConfig, Variant
from paramalloc.files import append_jsonl, atomic_write, read_jsonl, write_json, write_jsonl
from paramalloc.report import build_report
from paramalloc.results import FINALISTS, FINISHED, RANKING, SCHEMA_VERSION, ResultsFolder, TrialFolder
from paramalloc.sweep.runbook.selection import SeedScore, decide, promote
from paramalloc.sweep_file import check_sweep, dump_sweep

BYTES_PER_TOKEN = {16_000: 4.3, 8_000: 3.9, 4_000: 3.5}
STEP_TOKENS = 16_384
SHAPES = {  # d_model, n_layers, n_heads, d_ff, achieved share, achieved expansion
    "emb35": (220, 11, 11, 584, 0.3516, 2.6545),
    "emb25": (156, 25, 6, 424, 0.2511, 2.7179),
    "emb45": (276, 6, 12, 736, 0.4418, 2.6667),
    "emb15": (96, 60, 3, 256, 0.1537, 2.6667),
}

PROFILE = (
    "decode_prompt_tokens", "decode_tokens_per_second", "training_tokens_per_second", "forward_flops_per_token",
    "train_flops_per_token", "mfu", "other_load_cores",
)  # fmt: skip


def intervals(split: str, ppl: float) -> dict[str, list[float]]:
    return {f"{split}_{unit}_ci95": [0.98 * ppl, 1.03 * ppl] for unit in ("ppl", "bpb", "word_ppl")}


@dataclass
class Sweep:
    """Writes result files; `clock` is the time of the next event, in Unix seconds."""

    folder: ResultsFolder
    config: SweepConfig
    clock: float = 1_000_000.0
    scores: dict[str, dict[int, SeedScore]] = field(default_factory=dict)

    def begin(self, *, shapes: dict[str, tuple[Any, ...]] | None = None, warnings: Iterable[str] = ()) -> None:
        """sweep.yaml, plan.json, and a node that is up."""
        self.shapes = shapes or SHAPES
        atomic_write(self.folder.sweep, dump_sweep(self.config))
        write_json(
            self.folder.plan,
            {
                "sweep": self.config.name,
                "baseline": self.config.baseline_name,
                "corpus": self.config.data.corpus,
                "train_tokens_estimated": False,
                "variants": [self.planned(variant.name) for variant in self.config.variants],
                "warnings": list(warnings),
            },
        )
        self.bill(ledger.session_start)
        self.bill(ledger.node_up, node="laptop", kind="head", gpus=0.0, cpus=2.0)

    def variant(self, name: str) -> Variant:
        return next(item for item in self.config.variants if item.name == name)

    def planned(self, name: str) -> dict[str, Any]:
        variant = self.variant(name)
        d_model, n_layers, n_heads, d_ff, share, expansion = self.shapes[name]
        total_params = round(variant.model.vocab_size * d_model / share)
        return {
            "name": name,
            "d_model": d_model,
            "n_layers": n_layers,
            "n_heads": n_heads,
            "d_ff": d_ff,
            "vocab_size": variant.model.vocab_size,
            "context_length": variant.model.context_length,
            "tied": variant.model.tied,
            "params": {"token_embedding": variant.model.vocab_size * d_model, "head": 0},
            "total_params": total_params,
            "embedding_share": share,
            "glu_expansion": expansion,
            "flops_per_token": 6 * total_params,
            "train_tokens": 117_900_000,
            "ranking": self._budget(self.config.ranking.tokens, total_params),
            "final": self._budget(variant.training.tokens, total_params),
        }

    def _budget(self, tokens: int, total_params: int) -> dict[str, Any]:
        steps = math.ceil(tokens / STEP_TOKENS)
        run_tokens = steps * STEP_TOKENS
        return {
            "tokens": run_tokens,
            "steps": steps,
            "epochs_over_corpus": run_tokens / 117_900_000,
            "train_flops": 6 * total_params * run_tokens,
        }

    def start(self, stage: str, name: str, variant: str, share: float = 0.5) -> None:
        self.bill(ledger.trial_start, node="laptop", stage=stage, trial=name, variant=variant, share=share)

    def trial(
        self,
        stage: str,
        variant: str,
        *,
        final_ppl: float,
        status: str = FINISHED,
        seed: int = 0,
        until_tokens: int | None = None,
        latency_ms: float | None = 12.5,
        memory_mb: float = 900.0,
        rate: float = 0.30,
        learning_rate: float | None = None,
        smallbench: dict[str, Any] | None = None,
    ) -> None:
        """One trial from start to end; `status` unfinished leaves it without metrics.json.

        `learning_rate`: of a ranking run that is one of several of its variant.

        `final_ppl` is per token of the baseline's tokenizer, which without another tokenizer is the model's own.
        """
        name = f"{variant}-seed{seed}" if stage == FINALISTS else variant
        if learning_rate is not None:
            name += f"@lr{learning_rate}"
        self.start(stage, name, variant)
        budget = self.planned(variant)["final" if stage == FINALISTS else "ranking"]["tokens"]
        section = self.config.finalists if stage == FINALISTS else self.config.ranking
        rows = self.curve(variant, final_ppl, budget, section.eval_interval_tokens, rate)
        rows = [row for row in rows if until_tokens is None or row["tokens"] <= until_tokens]
        files = self.folder.trial(stage, name)
        write_jsonl(files.history, rows)
        self.clock += 1800
        if status != "unfinished":
            self._end(
                files,
                variant,
                seed,
                status,
                rows,
                final_ppl,
                latency_ms,
                memory_mb,
                learning_rate or 1e-3,
                smallbench,
            )

    def curve(self, variant: str, final_ppl: float, budget: int, interval: int, rate: float) -> list[dict[str, Any]]:
        noise = random.Random(f"{variant}{final_ppl}")
        rows = []
        for tokens in [*range(interval, budget, interval), budget]:
            loss = math.log(final_ppl) * (tokens / budget) ** (-rate / 3) + noise.gauss(0, 0.002)
            rows.append(
                {
                    "step": tokens // STEP_TOKENS,
                    "tokens": tokens,
                    "train_loss": loss - 0.05,
                    "learning_rate": 1e-3,
                    "grad_norm": 0.7,
                    **self.scores_of(variant, "dev", math.exp(loss)),
                    "training_seconds": tokens / 20_000,
                }
            )
        return rows

    def _end(
        self, files: TrialFolder, variant: str, seed: int, status: str, rows: list[dict[str, Any]], ppl: float,
        latency_ms: float | None, memory_mb: float, learning_rate: float, smallbench: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        self.bill(ledger.trial_end, node="laptop", stage=files.stage, trial=files.name, status=status)
        finished = status == FINISHED
        planned = self.planned(variant)
        tokens = rows[-1]["tokens"] if rows else 0
        dev, test = (
            self.scores_of(variant, split, value) | intervals(split, value)
            for split, value in (("dev", ppl), ("test", ppl * 1.04))
        )
        quantiles = {"p50": latency_ms, "p95": 1.2 * latency_ms, "p99": 1.5 * latency_ms} if latency_ms else None
        write_json(
            files.metrics,
            {
                "schema_version": SCHEMA_VERSION,
                "sweep": self.config.name,
                "stage": files.stage,
                "trial": files.name,
                "variant": variant,
                "seed": seed,
                "status": status,
                "same_run_as": None,
                "config_hash": f"{variant}-config".encode().hex().ljust(64, "0"),
                "tokenizer_hash": f"{planned['vocab_size']:064x}",
                "git_sha": "0123456789abcdef0123456789abcdef01234567-dirty",
                "torch_version": "2.13.0",
                "ray_version": "2.60.0",
                "device": "cpu" if status != "failed" else None,
                "precision": "fp32" if status != "failed" else None,
                "embedding_ratio": self.variant(variant).model.embedding_ratio,
                **{key: planned[key] for key in ("vocab_size", "context_length", "tied")},
                **{key: planned[key] for key in ("d_model", "n_layers", "n_heads", "d_ff")},
                **{key: planned[key] for key in ("total_params", "params", "embedding_share", "glu_expansion")},
                "learning_rate": learning_rate,
                "tokens": tokens,
                "ran_on": None,
                "train_flops": planned["flops_per_token"] * tokens,
                "epochs_over_corpus": tokens / planned["train_tokens"],
                "train_loss": rows[-1]["train_loss"] if rows else None,
                **(dev | test if finished else dict.fromkeys(dev | test)),
                "last_evaluation": rows[-1] if rows else None,
                "smallbench": smallbench if finished else None,
                "skipped_steps": 0,
                "latency_ms": {"128": quantiles, "512": None} if finished else None,
                "tokens_per_second": 20_123.4 if finished else None,
                "peak_memory_mb": memory_mb if finished else None,
                "profiled_alone": None,
                **dict.fromkeys(PROFILE),
                "wall_seconds": 1800.0,
                "lost_seconds": 0.0,
                "preemptions": 0,
                "cost_usd": 0.0,
            },
        )
        if finished and files.stage == FINALISTS:
            score = SeedScore(dev["dev_ppl_per_baseline_token"], latency_ms, memory_mb)
            self.scores.setdefault(variant, {})[seed] = score

    def scores_of(self, variant: str, split: str, ppl_per_baseline_token: float) -> dict[str, float]:
        """The same surprise of the same text in every unit."""
        vocab = {item.name: item.model.vocab_size for item in self.config.variants}
        baseline_bytes = BYTES_PER_TOKEN[vocab[self.config.baseline_name]]
        nats_per_byte = math.log(ppl_per_baseline_token) / baseline_bytes
        loss = nats_per_byte * BYTES_PER_TOKEN[vocab[variant]]
        return {
            f"{split}_loss": loss,
            f"{split}_ppl": math.exp(loss),
            f"{split}_bpb": nats_per_byte / math.log(2),
            f"{split}_word_ppl": math.exp(min(20.0, 5.6 * nats_per_byte)),
            f"{split}_ppl_per_baseline_token": ppl_per_baseline_token,
        }

    def kill(
        self, variant: str, tokens: int, gap_ppl: float, stage: str = RANKING, baseline: str | None = None
    ) -> None:
        """The decision and the event; the trial itself is written by `trial(status="killed")`."""
        baseline = baseline or self.config.baseline_name
        text = f"{variant} killed at {tokens / 1e6:.2f}M tokens: {gap_ppl:.1f} above {baseline} for 1.00M tokens"
        seen = {"dev_ppl": 300.0 + gap_ppl, "baseline": baseline, "baseline_dev_ppl": 300.0}
        rule = {"for_tokens": 1_000_000, "margin_ppl": 0.5, "window_tokens": 1_000_000}
        about = {"trial": variant, "variant": variant, "tokens": tokens, "gap_ppl": gap_ppl, "text": text}
        self.decision("kill", stage, **about, **seen, **rule)
        append_jsonl(self.folder.events, {"event": "trial_killed", "time": self.clock, "text": text})

    def promote(self, ranking_scores: dict[str, float]) -> None:
        promotion = promote(ranking_scores, self.config.baseline_name, self.config.finalists)
        rates = dict.fromkeys(ranking_scores, 1e-3)
        self.decision("promote", RANKING, scores=ranking_scores, learning_rates=rates, **asdict(promotion))

    def decide(self, failed_trials: Iterable[str] = ()) -> None:
        verdict = decide(self.scores, self.config.baseline_name, self.config.finalists)
        self.decision("winner", FINALISTS, failed_trials=list(failed_trials), **asdict(verdict))

    def decision(self, kind: str, stage: str, **fields: Any) -> None:
        append_jsonl(self.folder.decisions, {"decision": kind, "time": self.clock, "stage": stage, **fields})

    def bill(self, row: Callable[..., dict[str, Any]], **fields: Any) -> None:
        append_jsonl(self.folder.events, row(time=self.clock, session="s1", **fields))

    def close(self, fixed_usd_per_hour: float = 0.5) -> None:
        self.bill(ledger.session_end)
        summary = summarize(
            read_jsonl(self.folder.events), budget_usd=50.0, now=self.clock, fixed_usd_per_hour=fixed_usd_per_hour
        )
        write_json(self.folder.cost_summary, summary)


def make_sweep(root: Path, experiments: list[dict[str, Any]] | None, name: str = "embed", **sections: Any) -> Sweep:
    config = check_sweep({"name": name, "experiments": experiments, **sections})
    return Sweep(ResultsFolder(root / "results" / name), config)


@pytest.fixture
def new_sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """Makes an empty results folder for the experiments given, as in a sweep file."""
    return partial(make_sweep, tmp_path)


SHARES = [{"name": f"emb{share}", "embedding_ratio": share / 100} for share in (35, 25, 45, 15)]


@pytest.fixture
def shares() -> list[dict[str, Any]]:
    """Four experiments that differ in their embedding share; the first is the baseline."""
    return SHARES


@pytest.fixture(scope="session")
def embed_sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A finished sweep of four shares: emb45 killed, emb15 diverged, emb25 and the baseline in the final.

    Shared by all tests, which only read it.
    """
    sweep = make_sweep(tmp_path_factory.mktemp("embed"), SHARES)
    sweep.begin()
    sweep.trial(RANKING, "emb35", final_ppl=312.0)
    sweep.trial(RANKING, "emb25", final_ppl=301.5)
    sweep.kill("emb45", 1_750_000, 19.3)
    sweep.trial(RANKING, "emb45", final_ppl=352.0, status="killed", until_tokens=1_750_000)
    sweep.trial(RANKING, "emb15", final_ppl=330.0, status="diverged", until_tokens=500_000)
    sweep.promote({"emb35": 312.0, "emb25": 301.5})
    for seed, (base, challenger) in enumerate([(81.2, 76.6), (82.1, 77.1), (81.8, 77.3)]):
        sweep.trial(FINALISTS, "emb35", final_ppl=base, seed=seed)
        sweep.trial(FINALISTS, "emb25", final_ppl=challenger, seed=seed, latency_ms=13.0)
    sweep.decide()
    sweep.close()
    return sweep


@pytest.fixture(scope="session")
def embed_report(embed_sweep: Sweep) -> ResultsFolder:
    """The finished sweep with its report built."""
    build_report(embed_sweep.folder)
    return embed_sweep.folder
