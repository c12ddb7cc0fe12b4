"""Terminals of one forward and at most two backward passes: activations, gradients, logit, probability, sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.network.heads import linear_head
from sycam.terminals.derivatives import Objective, constant_over_pixels, gradient_and_hessian, gradient_of
from sycam.terminals.terminal import View, register_terminal


@register_terminal("A", settings=(), of_class=False, passes="1 forward, shared by all", source="Zhou et al., CVPR 2016")
def activations(view: View) -> Tensor:
    """Activations of the target layer."""
    return view.A


@register_terminal("G", settings=(), passes="1 backward; 0 on a GAP + linear head", source="Selvaraju et al., ICCV 2017")
def gradient(view: View) -> Tensor:
    """Gradient of the logit of the class with respect to the activations."""
    head = linear_head(view.network)
    if head is None:
        return view.network.gradient(view.A, view.images, view.classes)
    return constant_over_pixels(head.weight[view.classes], view.A)


@register_terminal("GP", settings=(), passes="1 backward; 0 on a GAP + linear head", source="Selvaraju et al., ICCV 2017")
def gradient_of_probability(view: View) -> Tensor:
    """Gradient of the softmax probability of the class with respect to the activations."""
    head = linear_head(view.network)
    if head is None:
        return view.network.gradient(view.A, view.images, view.classes, of="probability")
    # dp_c = p_c (dy_c - Σ_j p_j dy_j)
    expected = view.probabilities @ head.weight  # [N, K]
    return constant_over_pixels(view["p"] * (head.weight[view.classes] - expected), view.A)


@register_terminal("y", settings=(), sort="Real", level="scalar", source="the network")
def logit(view: View) -> Tensor:
    """Logit of the class."""
    return view.of_class(view.logits)


@register_terminal("p", settings=(), sort="Real", level="scalar", source="the network")
def probability(view: View) -> Tensor:
    """Softmax probability of the class."""
    return view.of_class(view.probabilities)


@register_terminal("c", settings=(), sort="Int", level="scalar", source="the network, or the label")
def image_class(view: View) -> Tensor:
    """The image class, counted from 0."""
    return view.classes[:, None]


@register_terminal("K", settings=(), of_class=False, sort="Real", level="scalar", source="the layer")
def channel_count(view: View) -> Tensor:
    """Number of channels of the target layer."""
    return view.A.new_full((len(view), 1), view.A.shape[1])


@register_terminal("Z", settings=(), of_class=False, sort="Real", level="scalar", source="the layer")
def pixel_count(view: View) -> Tensor:
    """Number of pixels of a map of the target layer, h·w."""
    return view.A.new_full((len(view), 1), view.A.shape[2] * view.A.shape[3])


@register_terminal("entropy", settings=(), of_class=False, sort="Real", level="scalar", source="Shannon 1948; in nats")
def softmax_entropy(view: View) -> Tensor:
    """Entropy of the softmax of the logits, in nats: 0 for a certain answer, log C for none."""
    return torch.special.entr(view.probabilities).sum(1, keepdim=True)


@register_terminal("area", settings=(), of_class=False, sort="Real", level="channel", source="the layer")
def active_area(view: View) -> Tensor:
    """Share of the channel's pixels whose activation exceeds the channel's mean, in [0, 1); 0 for a constant map."""
    mean = view.A.mean((2, 3), keepdim=True)
    # The mean of equal numbers may round below them.
    low, high = view.A.amin((2, 3)), view.A.amax((2, 3))
    return torch.where(low == high, 0, (mean < view.A).to(view.A.dtype).mean((2, 3)))


@register_terminal(
    "G_diff",
    settings=("finer_classes", "finer_strength"),
    passes="1 backward; 0 on a GAP + linear head",
    source="Finer-CAM: Zhang et al., CVPR 2025",
)
def gradient_of_difference(view: View) -> Tensor:
    """Gradient of Σ_d p_d (y − γ y_d) / Σ_d p_d over the classes d whose logits are nearest to y: what tells the class from them.

    `finer_classes` and `finer_strength` (γ) say how many and how strongly. The weights p_d are differentiated too, as in the
    authors' code.
    """
    count = min(view.settings.finer_classes, view.logits.shape[1] - 1)
    distance = (view.logits - view["y"]).abs().scatter(1, view.classes[:, None], torch.inf)
    similar = distance.topk(count, largest=False).indices  # [N, count]

    def difference(logits: Tensor) -> Tensor:
        own, others = logits.gather(1, view.classes[:, None]), logits.gather(1, similar)
        # p_d / Σ p_d is the softmax over these classes alone, which cannot divide by a sum that vanished.
        return (others.softmax(1) * (own - view.settings.finer_strength * others)).sum(1)

    return gradient_of(view, difference)


@register_terminal(
    "GR", settings=(), passes="1 backward; 0 on a GAP + linear head", source="ShapleyCAM: Cai, 2025, arXiv 2501.06261"
)
def gradient_of_residual(view: View) -> Tensor:
    """Gradient of y + log p with respect to the activations."""
    known = view.extra.get("y + log p")
    return gradient_of(view, _utility(view)) if known is None else known[0]


@register_terminal(
    "HA", settings=(), passes="2 backward; 0 on a GAP + linear head", source="ShapleyCAM: Cai, 2025, arXiv 2501.06261"
)
def hessian_times_activations(view: View) -> Tensor:
    """Hessian of y + log p with respect to the activations, times A: how that gradient changes along A."""
    view.extra["y + log p"] = gradient_and_hessian(view, _utility(view))
    return view.extra["y + log p"][1]


def _utility(view: View) -> Objective:
    return lambda logits: (logits + logits.log_softmax(1)).gather(1, view.classes[:, None])[:, 0]
