"""Freed memory stays with the process, so that a training step does not fetch its pages from the system anew.

Always holds: results do not change, only where memory comes from; where the C library is not glibc nothing is done,
and the caller is told so. What is freed counts as resident until `malloc_trim`, which the profile calls before it
measures; the memory of one training step is measured in a process that does without this.

A step frees and asks again for hundreds of megabytes, in pieces that glibc by default maps and unmaps one by one:
each page then faults and is zeroed by the kernel. `keep_freed_memory()`, the earlier the more it is worth.
"""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt(3), by their numbers in malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_SETTINGS = (
    (_M_MMAP_MAX, 0),  # large pieces come from the heap, too
    (_M_TRIM_THRESHOLD, 2_000_000_000),  # bytes free at the heap's top before any go back
    (_M_TOP_PAD, 64 * 2**20),  # bytes that the heap grows by beyond what is asked
)


def keep_freed_memory() -> bool:
    """Tell this process' allocator; returns whether it took every setting."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(bool(mallopt(parameter, value)) for parameter, value in _SETTINGS)
