"""Ways for a sweep to end before its verdict, each with its exit code; the same command carries on.

Always holds: the message says why, and what to do next.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_TRIAL_FAILED, EXIT_BUDGET_REACHED = 1, 3


class SweepStoppedError(Exception):
    """The sweep cannot go on: a sanity check failed, or the baseline did not finish."""

    exit_code: ClassVar[int] = EXIT_TRIAL_FAILED


class BudgetReachedError(SweepStoppedError):
    """Going on would cost more than `cost.budget_usd`; what is done is saved."""

    exit_code = EXIT_BUDGET_REACHED
