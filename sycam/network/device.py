"""What a device is told: in which precision masked images are classified (float32, and on request TF32 or bfloat16, which round),
and that freed memory stays with the process.

Terminals, plain probabilities and everything else stay in float32, so that only the metric's own passes are rounded.

glibc gives the top of its heap back as soon as a batch frees it, and every page that is asked for again is a page fault: of the
embedded network at batch 64 these were more than half of the CPU time.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import torch

from sycam.errors import SycamError

PRECISIONS = ("float32", "tf32", "bf16")


def check_precision(precision: str, device: torch.device) -> str:
    """The precision, where it is one and the device has it.

    Raises:
        SycamError: it is none, or tf32 without a GPU.

    >>> check_precision("bf16", torch.device("cpu"))
    'bf16'
    """
    if precision not in PRECISIONS:
        raise SycamError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if precision == "tf32" and device.type != "cuda":
        raise SycamError(f"precision tf32 is a GPU's, and the device is {device}: take float32 or bf16")
    return precision


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Convolutions and matrix products in that precision; on a GPU TF32, which torch allows convolutions, on request only."""
    with ExitStack() as stack:
        if device.type == "cuda":
            allowed = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            stack.callback(_allow_tf32, *allowed)
        if precision == "bf16":
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        yield


def _allow_tf32(convolutions: bool, products: bool) -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


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
