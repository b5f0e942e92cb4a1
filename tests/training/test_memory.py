"""Freed memory that is kept: seen by the page faults of taking it again, in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from paramalloc.training import memory

FAULTS = """
import resource, sys
from paramalloc.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
piece = bytearray(64 * 2**20); del piece
before = faults()
for _ in range(4):
    piece = bytearray(64 * 2**20); del piece
print(faults() - before)
"""


def faults(how: str) -> int:
    child = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(child.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_memory_that_was_freed_is_taken_again_without_page_faults() -> None:
    assert faults("keep") < 100 < faults("leave")


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("no library is to be opened"))
    assert memory.keep_freed_memory() is False
