"""Imports run one way: a room of the program knows the rooms beneath it, never one above."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import paramalloc

PROGRAM = Path(paramalloc.__file__).parent
FLOORS = (
    ("data", "telemetry", "statistics"),
    ("training",),
    ("evaluation", "storage"),
    ("sweep", "report", "export"),
    ("commands",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported_names(path: Path) -> list[str]:
    """Modules that a module imports anywhere in it, also within functions."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return names + [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]


def imported_rooms(path: Path) -> set[str]:
    parts = [name.split(".") for name in imported_names(path)]
    return {name[1] for name in parts if name[0] == "paramalloc" and len(name) > 1 and name[1] in FLOOR}


@pytest.mark.parametrize("room", FLOOR)
def test_a_room_imports_nothing_from_the_floors_above(room: str) -> None:
    above = {
        f"{path.relative_to(PROGRAM)} imports {other}"
        for path in (PROGRAM / room).rglob("*.py")
        for other in imported_rooms(path)
        if FLOOR[other] > FLOOR[room]
    }
    assert not above


def test_nothing_that_is_shipped_imports_a_benchmark() -> None:
    root = PROGRAM.parent
    shipped = [path for room in ("paramalloc", "cost", "cluster") for path in (root / room).rglob("*.py")]
    importing = {
        str(path.relative_to(root))
        for path in [*shipped, root / "tune_main.py"]
        if any(name.split(".")[0] == "benchmarks" for name in imported_names(path))
    }
    assert not importing


def test_ray_is_known_to_thin_adapters_alone() -> None:
    knowing = {
        str(path.relative_to(PROGRAM))
        for path in PROGRAM.rglob("*.py")
        if any(name.split(".")[0] == "ray" for name in imported_names(path))
    }
    assert knowing == {
        "sweep/gauges.py",
        "sweep/machines/jobs.py",
        "sweep/machines/nodes.py",
        "sweep/machines/ray_session.py",
        "sweep/machines/tune_loop.py",
        "sweep/machines/workers.py",
        "sweep/runbook/optuna_search.py",
        "sweep/trials/recall.py",
        "sweep/trials/trial.py",
    }
