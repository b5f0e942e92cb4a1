"""Writing beside training: one job at a time in a thread, whose errors come back to the thread that asked for it.

Always holds: at most one job runs; what a job raises is raised by the next `start` or `wait`, at the latest at the
end of the `with` block, or noted on the exception that ends the block; no thread outlives the block.

    with BackgroundWriter() as writer:
        writer.start(write)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from types import TracebackType


class BackgroundWriter:
    """A second job waits for the first, so that memory holds one copy of the state and no disk is ever behind."""

    def __init__(self) -> None:
        self._thread = futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._running: futures.Future[None] | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Run `job` in the thread, after the one before. Errors: whatever that one raised; `job` is then not run."""
        self.wait()
        self._running = self._thread.submit(job)

    def wait(self) -> None:
        """Return when nothing is running. Errors: whatever the job raised, once."""
        if self._running is None:
            return
        futures.wait([self._running])  # an interrupt may end this; the job is then still known to `__exit__`
        ended, self._running = self._running, None
        ended.result()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        problem = self._running.exception() if self._running else None
        self._running = None
        if problem and error:
            error.add_note(f"Besides, writing a checkpoint failed: {problem!r}")
        elif problem:
            raise problem
