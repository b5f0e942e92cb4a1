"""What docs/security.md promises of a laptop: what listens, what is written, what is read how, where names lead."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray  # noqa: F401 brings psutil along
import yaml

import psutil  # isort: skip

from paramalloc import sweep_file
from paramalloc.errors import UserError
from paramalloc.sweep_file import check_sweep

REPOSITORY = Path(__file__).parents[1]
SOURCES = [REPOSITORY / "tune_main.py"]
SOURCES += [path for room in ("paramalloc", "cost", "cluster") for path in sorted((REPOSITORY / room).rglob("*.py"))]
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED00",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+0123456789",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "HF_TOKEN": "hf_plantedplantedplanted",
}
MARK = "PARAMALLOC_TEST_SESSION"
LOOK_SECONDS = 1.0


def calls(name: str) -> Iterator[tuple[Path, ast.Call]]:
    """Calls such as `torch.load(...)` in all of the program."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                yield path, node


def arguments(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_checkpoints_are_read_as_weights_and_never_as_code() -> None:
    found = list(calls("torch.load"))
    assert found
    assert [path for path, call in found if arguments(call).get("weights_only") != "True"] == []


def test_yaml_is_read_by_safe_loaders_alone() -> None:
    assert issubclass(sweep_file._Loader, yaml.SafeLoader)
    loads = [(path.name, arguments(call)) for path, call in calls("yaml.load")]
    assert loads == [("sweep_file.py", {"Loader": "_Loader"})]
    for unsafe in ("yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "yaml.full_load_all"):
        assert list(calls(unsafe)) == []


def test_nothing_is_unpickled_but_what_this_very_session_made() -> None:
    """An error that Tune wrote to the driver's scratch folder, and what probes in processes get from their parent."""
    found = [path.name for name in ("pickle.load", "pickle.loads", "joblib.load") for path, _ in calls(name)]
    assert sorted(found) == ["memory.py", "together.py", "tune_loop.py"]


@pytest.mark.parametrize(
    "name", ["..", ".", "../up", "a/b", "/etc", "a\\b", "a\n", "a\0b", "", " ", "~", "-rf", "x" * 65]
)
def test_a_name_that_could_lead_out_of_the_results_folder_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="name"):
        check_sweep({"name": name, "experiments": [{"name": "base"}]})
    with pytest.raises(UserError, match=r"experiments\[0\].name"):
        check_sweep({"name": "mine", "experiments": [{"name": name}]})


@dataclass(frozen=True)
class Session:
    """One local sweep with secrets in its environment: where it listened, what it said and wrote."""

    listened: set[str]
    said: str
    written: dict[str, str]
    token: str


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    home = Path(tempfile.mkdtemp(prefix="pm"))  # short: Ray's sockets lie inside
    (home / "ray").mkdir()
    try:
        yield _run_sweep(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run_sweep(home: Path) -> Session:
    (home / "tiny.yaml").write_text(_SWEEP)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(home)} | SECRETS
    environment |= {"RAY_TMPDIR": str(home), "OMP_NUM_THREADS": "1", MARK: str(home)}
    command = [sys.executable, str(REPOSITORY / "tune_main.py"), "tiny.yaml", "-v"]
    listened: set[str] = set()
    with (home / "said.log").open("w") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                listened |= _listening(str(home))
                threading.Event().wait(LOOK_SECONDS)
        finally:
            process.kill()  # where the test was interrupted; Ray's own processes follow
    said = (home / "said.log").read_text()
    assert process.returncode == 0, said
    files = [*(home / "results").rglob("*"), *(home / "ray").glob("session_2*/logs/**/*")]
    written = {str(path.relative_to(home)): path.read_bytes().decode("latin-1") for path in files if path.is_file()}
    return Session(listened, said, written, (home / ".ray" / "auth_token").read_text())


_SWEEP = """
data: {corpus: synthetic, synthetic_bytes: 200_000}
model: {total_params: 100_000, vocab_size: 600, context_length: 32}
experiments: [{name: base}, {name: wide, glu_expansion: 4.0}]
training: {tokens: 4_000, batch_size: 4}
ranking: {tokens: 4_000, eval_interval_tokens: 2_000, kill_rule: {enabled: false}}
finalists: {count: 1, seeds: [0], eval_interval_tokens: 4_000}
evaluation: {latency_runs: 3}
sanity: {enabled: false}
"""


def _listening(mark: str) -> set[str]:
    """The addresses at which the session's processes wait for others."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                sockets = process.net_connections("inet")
                found |= {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
        except psutil.Error:  # gone meanwhile, or another user's
            continue
    return found


@pytest.mark.long
def test_a_sweep_on_this_machine_listens_on_loopback_alone(session: Session) -> None:
    assert session.listened
    assert {address.removeprefix("::ffff:") for address in session.listened} <= {"127.0.0.1", "::1"}


@pytest.mark.long
def test_no_secret_of_the_environment_is_shown_or_written(session: Session) -> None:
    assert {"results/tiny/REPORT.md", "results/tiny/events.jsonl"} <= session.written.keys()
    assert any("/logs/" in name for name in session.written)  # Ray's, with -v
    secrets = [*SECRETS.values(), session.token]
    everything = session.written | {"what was shown": session.said}
    assert [name for name, text in everything.items() if any(secret in text for secret in secrets)] == []
