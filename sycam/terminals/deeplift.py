"""The terminals `lift` and `lift_map`: DeepLIFT's contributions from the target layer to the logit.

DeepLIFT's rescale rule as a gradient: the multipliers against a reference, by one backward pass of a modular tail.

captum's DeepLift runs inputs and as many references side by side, forward and back: four passes where two do, since all
images share one reference. Its rule for max pooling loses contributions where windows share a pixel, and takes some slopes from
the batch's first image.

Source: Shrikumar, Greenside & Kundaje, "Learning important features through propagating activation differences", ICML 2017.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sycam.terminals.derivatives import added_by_channels, added_by_pixels
from sycam.terminals.head import logit_of_nothing
from sycam.terminals.modular import modular_tail, uncovered_calls
from sycam.terminals.parts import HOOKABLE, MaxPool
from sycam.terminals.terminal import View, register_terminal

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


SOURCE = "LIFT-CAM: Jung & Oh, ICCV 2021, equation 8; DeepLIFT, rescale rule: Shrikumar et al., ICML 2017"
INCOMPLETE = 1e-2
"""Share of y − y(0) by which contributions may miss it before the user is told."""


@register_terminal(
    "lift",
    settings=(),
    sort="Real",
    level="channel",
    passes="1 head pass, shared with lift_map; 0 on a GAP + linear head",
    source=SOURCE,
)
def lift(view: View) -> Tensor:
    """Sum over the channel's pixels of DeepLIFT's contributions to the logit, by the rescale rule, against maps of zeros."""
    added = added_by_channels(view)
    return view["lift_map"].sum((2, 3)) if added is None else added


@register_terminal("lift_map", settings=(), passes="1 head pass; 0 on a GAP + linear head", source=SOURCE)
def lift_map(view: View) -> Tensor:
    """DeepLIFT's contribution of each pixel of each channel to the logit, by the rescale rule, against maps of zeros.

    They sum to y less the logit of no channel where the tail is linear layers, pointwise activations and max pooling. What
    multiplies activations with each other (attention, squeeze and excitation, layer normalisation) takes its plain gradient;
    the user is warned where the sum then misses.
    """
    added = added_by_pixels(view)
    return contributions(view) if added is None else added


def contributions(view: View) -> Tensor:
    """`lift_map` by one forward and one backward pass of the tail, [N, K, h, w]; slow where a closed form exists.

    Raises:
        Unavailable: the network could not be cut at its layer.
    """
    tail = modular_tail(view.network)
    with torch.inference_mode(False), torch.enable_grad():
        A = view.A.detach().clone().requires_grad_()
        with rescaling(tail, torch.zeros_like(A[:1])):
            y = tail(A).gather(1, view.classes.clone()[:, None])
        (multipliers,) = torch.autograd.grad(y.sum(), A)
        found = (multipliers * A).detach()
    view.network.passes.tail += len(A) + 1
    view.network.passes.backward += len(A)
    gained = view["y"][:, 0] - logit_of_nothing(view)
    missed = (found.sum((1, 2, 3)) - gained).abs() / gained.abs().clamp(min=1e-3 * float(view["y"].abs().max()) + 1e-12)
    if not bool((missed <= INCOMPLETE).all()) and "lift warned" not in view.network.memo:
        view.network.memo["lift warned"] = True
        uncovered = uncovered_calls(view.network).lift
        cause = f"its rules do not cover {', '.join(uncovered)}" if uncovered else "the logit hardly changes, or rounding tells"
        warnings.warn(
            f"lift: DeepLIFT's contributions at {view.network.layer!r} of {view.network.name} miss the logit's change by "
            f"{float(missed.max()):.0%}: {cause}",
            stacklevel=2,
        )
    return found
