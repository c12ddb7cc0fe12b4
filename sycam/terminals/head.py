"""Terminals that ask only the part of the network after the layer: the linear head's weights, and ablated channels."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.network.head import linear_head
from sycam.terminals.registry import register_terminal
from sycam.terminals.view import View


@register_terminal("fc", sort="Real", level="channel", source="CAM: Zhou et al., CVPR 2016")
def head_weight(view: View) -> Tensor:
    """Weight of the class in the linear layer after global pooling; an error unless that head is verified."""
    head = linear_head(view.network)
    if head is None:
        raise SycamError(
            f"terminal fc: no global average pooling with one linear layer follows layer {view.network.layer!r} of "
            f"{view.network.name} (verified on random activations): leave fc out of the grammar, or use G, which equals "
            "fc/Z where there is such a head"
        )
    return head.weight[view.classes]


@register_terminal(
    "drop",
    sort="Real",
    level="channel",
    passes="K of the tail only; 0 on a GAP + linear head",
    source="Ablation-CAM: Desai & Ramaswamy, WACV 2020",
)
def logit_drop(view: View) -> Tensor:
    """Logit of the class minus the logit with all of the channel's activations set to 0."""
    head = linear_head(view.network)
    if head is not None:
        return head.weight[view.classes] * view.A.mean((2, 3))
    return ablated(view)


@torch.no_grad()
def ablated(view: View) -> Tensor:
    """y − y_k by running the tail with channel k set to 0, [N, K]; slow where a closed form exists.

    Dead channels, whose map is zero everywhere, are not run: setting them to 0 changes nothing.

    Source: Desai & Ramaswamy, "Ablation-CAM", WACV 2020.
    """
    A, network = view.A, view.network
    drop = A.new_zeros(A.shape[:2])
    image, channel = A.flatten(2).any(-1).nonzero(as_tuple=True)  # [jobs] each
    for start in range(0, len(image), view.chunk):
        of, k = image[start : start + view.chunk], channel[start : start + view.chunk]
        without = A[of]  # a copy, [chunk, K, h, w]
        without[torch.arange(len(of), device=of.device), k] = 0
        logits = network.tail(without, view.images[of] if network.needs_images else None)
        drop[of, k] = view["y"][of, 0] - logits.gather(1, view.classes[of, None])[:, 0]
    return drop
