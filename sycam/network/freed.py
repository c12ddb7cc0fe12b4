"""Freed memory stays with the process, so that the next layer, or the next batch, need not ask the system for it again.

glibc gives the top of its heap back as soon as a batch frees it, and every page that is asked for again is a page fault: of the
embedded network at batch 64 these were more than half of the CPU time.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 1 << 30
LARGEST = 32 << 20  # what glibc takes at most; larger allocations come from the system and go back to it


@cache
def keep_freed_memory() -> bool:
    """At most 1 GiB of freed memory at the top of the heap is kept; whether the C library can be told so.

    It is left as it is where the user has set MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_, and where it is not glibc.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(MMAP_THRESHOLD, LARGEST))
