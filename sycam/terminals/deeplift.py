"""The terminals `lift` and `lift_map`: DeepLIFT's contributions from the target layer to the logit."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from sycam.terminals.additive import added_by_channels, added_by_pixels
from sycam.terminals.head import logit_of_nothing
from sycam.terminals.modular import modular_tail, uncovered_calls
from sycam.terminals.registry import register_terminal
from sycam.terminals.rescale import rescaling
from sycam.terminals.view import View

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
