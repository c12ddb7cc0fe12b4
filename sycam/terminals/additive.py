"""The closed form of a GAP + linear head: the logit is a bias plus a sum over channels, and what a channel adds needs no pass."""

from __future__ import annotations

from torch import Tensor

from sycam.network.heads import linear_head
from sycam.terminals.derivatives import constant_over_pixels
from sycam.terminals.view import View


def added_by_channels(view: View) -> Tensor | None:
    """w_k · mean(A_k), what each channel adds to the logit, [N, K]; None where no such head is verified.

    Ablation, keeping one channel, DeepLIFT and Shapley values all give this there.
    """
    head = linear_head(view.network)
    return None if head is None else head.weight[view.classes] * view.A.mean((2, 3))


def added_by_pixels(view: View) -> Tensor | None:
    """w_k · A_k / Z, what each pixel of each channel adds to the logit, [N, K, h, w]; None where no such head is verified."""
    head = linear_head(view.network)
    return None if head is None else constant_over_pixels(head.weight[view.classes], view.A) * view.A
