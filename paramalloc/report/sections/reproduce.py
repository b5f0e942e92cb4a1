"""The report's last section: code, versions and hashes of every run, and how to repeat the sweep.

Always holds: nothing is told but what the runs' own files say.
"""

from __future__ import annotations

from paramalloc.formats import listed
from paramalloc.report.blocks import bullets
from paramalloc.report.load import SweepResults

_SHORT_HASH = 12


def reproduce_section(results: SweepResults) -> list[str]:
    """Heading, facts and command."""
    documents = [trial.metrics for trial in results.trials if trial.metrics]

    def distinct(field: str) -> str:
        return listed(list(dict.fromkeys(str(doc[field] or "unknown") for doc in documents))) or "unknown"

    hashes = dict.fromkeys(f"{doc['variant']} `{doc['config_hash'][:_SHORT_HASH]}`" for doc in documents)
    tokenizers = dict.fromkeys(f"`{doc['tokenizer_hash'][:_SHORT_HASH]}`" for doc in documents)
    facts = [
        f"code: commit {distinct('git_sha')}; torch {distinct('torch_version')}, Ray {distinct('ray_version')}",
        f"configuration: {listed(list(hashes)) or 'unknown'}; tokenizer: {listed(list(tokenizers)) or 'unknown'} "
        f"(SHA-256, first {_SHORT_HASH} digits)",
        "[bundle.zip](bundle.zip) holds what it takes: configuration, tokenizer, environment, the code's difference "
        "to its commit, every curve and metric, and `reproduce.sh`, which runs the sweep again and compares",
    ]
    name = results.config.name
    command = f"python tune_main.py results/{name}/sweep.yaml --results results/{name}-again"
    return ["## How to reproduce", f"{bullets(facts)}\n\nWith this folder as `results/{name}`:\n\n    {command}"]
