"""DeepLIFT's rescale rule as a gradient: the multipliers against a reference, by one backward pass of a modular tail.

captum's DeepLift runs inputs and as many references side by side, forward and back: four passes where two do, since all
images share one reference. Its rule for max pooling loses contributions where windows share a pixel, and takes some slopes from
the batch's first image.

Source: Shrikumar, Greenside & Kundaje, "Learning important features through propagating activation differences", ICML 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sycam.terminals.parts import HOOKABLE, MaxPool

SAME = 1e-10
"""Inputs nearer to the reference than this take the plain slope, as in captum."""


@contextmanager
def rescaling(tail: nn.Module, reference: Tensor) -> Iterator[None]:
    """Inside the block the tail computes the same, and its gradient is DeepLIFT's multiplier against the reference, [1, ...].

    Activations take the slope (y − y0)/(x − x0) of the whole way from the reference, max poolings the share of each pixel in what
    its window gained; all else is linear or takes its plain gradient. Modules that run more than once, or never, do so too.

    >>> net = nn.Sequential(nn.ReLU())
    >>> x = torch.tensor([[3.0, -1.0]], requires_grad=True)
    >>> with rescaling(net, torch.tensor([[-1.0, -2.0]])):
    ...     torch.autograd.grad(net(x).sum(), x)[0].tolist()
    [[0.75, 0.0]]
    """
    seen: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
    handles = []

    def note(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.setdefault(part, []).append((inputs[0], output))

    def replace(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x0, y0 = seen[part][0]
        if isinstance(part, MaxPool):
            return _RescaledPool.apply(inputs[0], x0, part)
        return _rescaled(inputs[0], output, x0, y0)

    try:
        handles = [part.register_forward_hook(note) for part in tail.modules() if isinstance(part, (*HOOKABLE, MaxPool))]
        with torch.no_grad():
            tail(reference)
        while handles:
            handles.pop().remove()
        handles = [part.register_forward_hook(replace) for part, calls in seen.items() if len(calls) == 1]
        yield
    finally:
        for handle in handles:
            handle.remove()


def _rescaled(x: Tensor, y: Tensor, x0: Tensor, y0: Tensor) -> Tensor:
    """y, whose slope in x is that from the reference."""
    change = x.detach() - x0
    same = change.abs() < SAME
    slope = (y.detach() - y0) / torch.where(same, 1, change)
    return torch.where(same, y, y.detach() + slope * (x - x.detach()))


class _RescaledPool(torch.autograd.Function):
    """Max pooling whose gradient is DeepLIFT's multiplier."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, reference: Tensor, part: MaxPool) -> Tensor:
        y, places = part.pool(x)
        ctx.save_for_backward(x, y, places, reference, *part.pool(reference))
        return y

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        """What a window gains over the reference belongs to its largest pixel, what it loses to the reference's largest."""
        x, y, place, x0, y0, place0 = (tensor.flatten(2) for tensor in ctx.saved_tensors)
        slope, top = slopes[0].flatten(2), torch.maximum(y, y0)
        contributions = torch.zeros_like(x).scatter_add_(2, place, slope * (top - y0))
        contributions.scatter_add_(2, place0.expand_as(place), slope * (y - top))
        change = x - x0
        return torch.where(change == 0, 0, contributions / change).view(ctx.saved_tensors[0].shape), None, None
