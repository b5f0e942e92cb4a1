"""Processes of their own to measure in.

Always holds: they import this program from where this process has it, however that was found.
"""

from __future__ import annotations

import os
import sys


def child_command(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def child_environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
