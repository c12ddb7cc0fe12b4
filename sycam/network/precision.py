"""In which precision masked images are classified: float32, and on request TF32 or bfloat16, which round.

Terminals, plain probabilities and everything else stay in float32, so that only the metric's own passes are rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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
