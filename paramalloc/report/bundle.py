"""bundle.zip: everything it takes to check a sweep's numbers and to make them again, in one file.

Always holds: the same files give the same bytes; no credential goes in, nor weights, logs or event files of
TensorBoard; a tokenizer goes in unchanged, as its hash is part of the result. Layout, in a folder named as the sweep:

    BUNDLE.md bundle.json reproduce.sh compare_numbers.py requirements.txt
    and, as in the results folder: sweep.yaml, plan, manifest, tokenizers, environment, code.diff, decisions, events,
    bill, CSV, reports, sanity/*.json, <stage>/<trial>/ config.yaml metrics.json history.jsonl
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Iterator
from importlib.resources import files
from pathlib import Path

from paramalloc.files import read_json
from paramalloc.formats import listed
from paramalloc.redaction import redact
from paramalloc.report.load import Json, SweepResults
from paramalloc.results import MEASURED_FIELDS, VERSION_FIELDS, ResultsFolder

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first instant that a zip file knows
_ASSETS = files("paramalloc.report") / "assets"


def make_bundle(results: SweepResults, folder: ResultsFolder, secrets: Collection[str] = ()) -> bytes:
    """The zip file.

    Args:
        results: what is in `folder`.
        folder: its CSV and Markdown pages have been written already.
        secrets: strings that must not stand anywhere, such as the values of this process's credential variables.
    """
    members = {str(path.relative_to(folder.root)): path.read_bytes() for path in _kept(results, folder)}
    environment = read_json(folder.environment) if folder.environment.exists() else {}
    shas = list(dict.fromkeys(str(t.metrics["git_sha"] or "unknown") for t in results.trials if t.metrics))
    commit = shas[-1] if shas else "unknown"
    members["requirements.txt"] = "".join(f"{line}\n" for line in environment.get("packages", [])).encode()
    members["reproduce.sh"] = _asset("reproduce.sh").replace("@GIT_SHA@", commit).encode()
    members["compare_numbers.py"] = _asset("compare_numbers.py").encode()
    members["BUNDLE.md"] = _readme(results, environment, shas).encode()
    tokenizers = {path.name for path in _tokenizers(results, folder)}
    clean = {name: data if name in tokenizers else _clean(data, secrets) for name, data in members.items()}
    clean["bundle.json"] = (json.dumps(_facts(results, shas, clean), indent=2) + "\n").encode()
    return _zipped(results.config.name, clean)


def _kept(results: SweepResults, folder: ResultsFolder) -> Iterator[Path]:
    """Files of the results folder, those that exist."""
    pages = (folder.summary_csv, folder.report, folder.results_page, folder.model_card)
    facts = (folder.sweep, folder.plan, folder.manifest, folder.environment, folder.code_diff)
    diaries = (folder.decisions, folder.events, folder.cost_summary)
    checks = (check(variant) for check in (folder.overfit, folder.lr_find) for variant in _names(results))
    trials = (
        path
        for trial in results.trials
        for files in [folder.trial(trial.stage, trial.name)]
        for path in (files.config, files.metrics, files.history)
    )
    for path in (*facts, *diaries, *pages, *_tokenizers(results, folder), *checks, *trials):
        if path.exists():
            yield path


def _names(results: SweepResults) -> list[str]:
    return [variant["name"] for variant in results.plan["variants"]]


def _tokenizers(results: SweepResults, folder: ResultsFolder) -> list[Path]:
    return [folder.tokenizer(size) for size in sorted({item["vocab_size"] for item in results.plan["variants"]})]


def _clean(data: bytes, secrets: Collection[str]) -> bytes:
    return redact(data.decode(errors="replace"), secrets).encode()


def _facts(results: SweepResults, shas: list[str], members: dict[str, bytes]) -> Json:
    """bundle.json: what identifies the run, which trials there are, and the SHA-256 of every other file."""
    ended = [trial for trial in results.trials if trial.metrics]
    return {
        "sweep": results.config.name,
        "git_sha": shas,
        "tokenizer_sha256": {str(t.metrics["vocab_size"]): t.metrics["tokenizer_hash"] for t in ended},
        "seeds": {f"{trial.stage}/{trial.name}": trial.metrics["seed"] for trial in ended},
        "trials": [f"{trial.stage}/{trial.name}" for trial in ended],
        "measured_fields": sorted(MEASURED_FIELDS),
        "version_fields": sorted(VERSION_FIELDS),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(members.items())},
    }


def _readme(results: SweepResults, environment: Json, shas: list[str]) -> str:
    untracked = environment.get("untracked", [])
    beyond = f" Files that git did not know are not in it: {listed(untracked)}." if untracked else ""
    machine = "the machine is in environment.json" if environment else "the machine was not recorded"
    return (
        f"# {results.config.name}: what it takes to reproduce it\n\n"
        f"- Code: commit {listed(shas) or 'unknown'}, with `code.diff` applied (`git apply`) where it is not empty."
        f"{beyond}\n"
        f"- Environment: `requirements.txt`; {machine}. Other versions, processors or thread counts may give other "
        "last digits.\n"
        f"- Text: {results.config.data.corpus}, described with hashes in DATASET_MANIFEST.json; the text itself is "
        "not in here. A path in sweep.yaml is one of the machine it ran on.\n"
        "- Seeds, tokenizer hashes and the SHA-256 of every file: `bundle.json`.\n\n"
        "`./reproduce.sh CODE` runs the sweep again with the program in the folder CODE and compares all numbers but "
        "those that measure the machine.\n"
    )


def _zipped(top: str, members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in sorted(members.items()):
            entry = zipfile.ZipInfo(f"{top}/{name}", _EPOCH)
            entry.create_system = 3  # Unix, whatever it is made on
            entry.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return buffer.getvalue()


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
