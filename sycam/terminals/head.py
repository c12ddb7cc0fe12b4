"""Terminals that ask only the part of the network after the layer: the linear head's weights, and ablated channels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sycam.errors import Unavailable
from sycam.network.heads import linear_entry, linear_head
from sycam.terminals.derivatives import added_by_channels
from sycam.terminals.terminal import View, register_terminal

IMAGES = 8
"""Whose channels' parts in a linear layer are held at once: of VGG16 8 MB an image."""


@register_terminal("fc", settings=(), sort="Real", level="channel", source="CAM: Zhou et al., CVPR 2016")
def head_weight(view: View) -> Tensor:
    """Weight of the class in the linear layer after global pooling; an error unless that head is verified."""
    head = linear_head(view.network)
    if head is None:
        raise Unavailable(
            f"terminal fc: no global average pooling with one linear layer follows layer {view.network.layer!r} of "
            f"{view.network.name} (verified on random activations): leave fc out of the grammar, or use G, which equals "
            "fc/Z where there is such a head"
        )
    return head.weight[view.classes]


@register_terminal(
    "drop",
    settings=(),
    sort="Real",
    level="channel",
    passes="K of the tail only; 0 on a GAP + linear head",
    source="Ablation-CAM: Desai & Ramaswamy, WACV 2020",
)
def logit_drop(view: View) -> Tensor:
    """Logit of the class minus the logit with all of the channel's activations set to 0."""
    added = added_by_channels(view)
    return ablated(view) if added is None else added


@register_terminal(
    "keep",
    settings=(),
    sort="Real",
    level="channel",
    passes="K of the tail only; 0 on a GAP + linear head",
    source="the other end of Ablation-CAM's and SHAP-CAM's coalitions",
)
def logit_keep(view: View) -> Tensor:
    """Logit of the class with all channels but this one set to 0, minus the logit with all of them at 0."""
    added = added_by_channels(view)
    return kept(view) if added is None else added


def ablated(view: View) -> Tensor:
    """y − y_k by running the tail with channel k set to 0, [N, K]; slow where a closed form exists.

    Dead channels, whose map is zero everywhere, are not run: setting them to 0 changes nothing.

    Source: Desai & Ramaswamy, "Ablation-CAM", WACV 2020.
    """
    drop = view.A.new_zeros(view.A.shape[:2])
    image, channel = view.A.flatten(2).any(-1).nonzero(as_tuple=True)  # [jobs] each

    channels = torch.arange(view.A.shape[1], device=view.A.device)
    drop[image, channel] = view["y"][image, 0] - logit_with(view, image, lambda jobs: channels != channel[jobs, None])
    return drop


def kept(view: View) -> Tensor:
    """The logit with only channel k left, minus that with none, by running the tail, [N, K]; slow where a closed form exists."""
    gain = view.A.new_zeros(view.A.shape[:2])
    image, channel = view.A.flatten(2).any(-1).nonzero(as_tuple=True)

    channels = torch.arange(view.A.shape[1], device=view.A.device)
    logit = logit_with(view, image, lambda jobs: channels == channel[jobs, None])
    gain[image, channel] = logit - logit_of_nothing(view)[image]
    return gain


@torch.no_grad()
def logit_with(view: View, image: Tensor, present: Callable[[slice | Tensor], Tensor]) -> Tensor:
    """The logit of its image's class for each job, [jobs], where only some channels are there and the others are 0.

    Args:
        view: the batch.
        image: of each job, [jobs], in ascending order.
        present: the channels of some of the jobs, given by a slice or their places, bool [chunk, K].
    """
    entry, A = linear_entry(view.network), view.A
    if entry is None:
        return logit_of(view, image, lambda jobs: torch.where(present(jobs)[:, :, None, None], A[image[jobs]], 0))
    logit = A.new_empty(len(image))
    for first in range(0, len(view), IMAGES):
        start, added = entry.parts(A[first : first + IMAGES])
        for n, own in enumerate(added, first):
            for jobs in (image == n).nonzero()[:, 0].split(view.chunk):
                logit[jobs] = entry.logits(start, own, present(jobs))[:, view.classes[n]]
    view.network.passes.tail += len(image)
    return logit


@torch.no_grad()
def logit_of(view: View, image: Tensor, maps: Callable[[slice], Tensor]) -> Tensor:
    """The logit of its image's class for each job, [jobs], from the tail alone, in full chunks.

    Args:
        view: the batch.
        image: of each job, [jobs].
        maps: what the layer returns for a slice of the jobs, [chunk, K, h, w].
    """
    network, logit = view.network, view.A.new_empty(len(image))
    for start in range(0, len(image), view.chunk):
        jobs = slice(start, start + view.chunk)
        logits = network.tail(maps(jobs), view.images[image[jobs]] if network.needs_images else None)
        logit[jobs] = logits.gather(1, view.classes[image[jobs], None])[:, 0]
    return logit


def logit_of_nothing(view: View) -> Tensor:
    """The logit of each image's class with all channels at 0, [N]; once for a network, or for a view if it needs the image."""
    network = view.network
    if not network.needs_images:
        if "logits of nothing" not in network.memo:
            with torch.no_grad():
                network.memo["logits of nothing"] = network.tail(torch.zeros_like(view.A[:1]))[0]
        return network.memo["logits of nothing"][view.classes]
    if "logit of nothing" not in view.extra:  # something may bypass the layer
        images = torch.arange(len(view), device=view.A.device)
        view.extra["logit of nothing"] = (logit_of(view, images, lambda jobs: torch.zeros_like(view.A[jobs])),)
    return view.extra["logit of nothing"][0]
