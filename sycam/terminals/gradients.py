"""Terminals of one forward and at most one backward pass: activations, gradients, logit, probability, sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.network.head import linear_head
from sycam.terminals.registry import register_terminal
from sycam.terminals.view import View


@register_terminal("A", passes="1 forward, shared by all", source="Zhou et al., CVPR 2016")
def activations(view: View) -> Tensor:
    """Activations of the target layer."""
    return view.A


@register_terminal("G", passes="1 backward; 0 on a GAP + linear head", source="Selvaraju et al., ICCV 2017")
def gradient(view: View) -> Tensor:
    """Gradient of the logit of the class with respect to the activations."""
    head = linear_head(view.network)
    if head is None:
        return view.network.gradient(view.A, view.images, view.classes)
    return _constant_over_pixels(head.weight[view.classes], view.A)


@register_terminal("GP", passes="1 backward; 0 on a GAP + linear head", source="Selvaraju et al., ICCV 2017")
def gradient_of_probability(view: View) -> Tensor:
    """Gradient of the softmax probability of the class with respect to the activations."""
    head = linear_head(view.network)
    if head is None:
        return view.network.gradient(view.A, view.images, view.classes, of="probability")
    # dp_c = p_c (dy_c - Σ_j p_j dy_j)
    expected = view.probabilities @ head.weight  # [N, K]
    return _constant_over_pixels(view["p"] * (head.weight[view.classes] - expected), view.A)


@register_terminal("y", sort="Real", level="scalar", source="the network")
def logit(view: View) -> Tensor:
    """Logit of the class."""
    return view.of_class(view.logits)


@register_terminal("p", sort="Real", level="scalar", source="the network")
def probability(view: View) -> Tensor:
    """Softmax probability of the class."""
    return view.of_class(view.probabilities)


@register_terminal("c", sort="Int", level="scalar", source="the network, or the label")
def image_class(view: View) -> Tensor:
    """The image class, counted from 0."""
    return view.classes[:, None]


@register_terminal("K", sort="Real", level="scalar", source="the layer")
def channel_count(view: View) -> Tensor:
    """Number of channels of the target layer."""
    return view.A.new_full((len(view), 1), view.A.shape[1])


@register_terminal("Z", sort="Real", level="scalar", source="the layer")
def pixel_count(view: View) -> Tensor:
    """Number of pixels of a map of the target layer, h·w."""
    return view.A.new_full((len(view), 1), view.A.shape[2] * view.A.shape[3])


def _constant_over_pixels(weights: Tensor, A: Tensor) -> Tensor:
    """weights / Z at every pixel, bit for bit the same: [N, K] to [N, K, h, w]."""
    share = weights / (A.shape[2] * A.shape[3])
    return torch.empty_like(A).copy_(share[:, :, None, None].expand_as(A))
