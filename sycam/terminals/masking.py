"""Terminals that mask the image with each channel's own map and ask the whole network."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.heatmap import minmax, upsample
from sycam.network.batching import images_at_once
from sycam.terminals.registry import register_terminal
from sycam.terminals.view import View


@register_terminal(
    "score",
    sort="Real",
    level="channel",
    passes="K forward, less the constant channels",
    source="Score-CAM: Wang et al., CVPR Workshops 2020",
)
def mask_score(view: View) -> Tensor:
    """Probability of the class on the image masked by the channel's map, upsampled and scaled to [0, 1].

    Masked pixels take the mean colour. A constant map masks everything.
    """
    return masked_logits(view)[1]


@register_terminal(
    "score_logit",
    sort="Real",
    level="channel",
    passes="K forward, less the constant channels; shared with score",
    source="Score-CAM: Wang et al., CVPR Workshops 2020, equation 6",
)
def mask_score_logit(view: View) -> Tensor:
    """Logit of the class on the image masked by the channel's map, upsampled and scaled to [0, 1]."""
    return masked_logits(view)[0]


@torch.no_grad()
def masked_logits(view: View) -> tuple[Tensor, Tensor]:
    """Logit and probability of the class under each channel's mask, [N, K] each; computed once for a view.

    Jobs (image, channel) are one stream over the batch, so that chunks stay full, and a mask is built from its h x w
    map inside its chunk: never N·K masks at once. All constant maps give one mask, all zeros, and one image, of the
    mean colour all over: it is run once for the view.
    """
    if "masked logits" in view.extra:
        logit, probability = view.extra["masked logits"]
        return logit, probability
    A, images, network = view.A, view.images, view.network
    low, high = torch.aminmax(A.flatten(2), dim=-1)  # [N, K] each
    varying = low != high
    image, channel = varying.nonzero(as_tuple=True)  # [jobs] each
    logit, probability = A.new_zeros(A.shape[:2]), A.new_zeros(A.shape[:2])
    if len(image) < varying.numel():
        blank = network.logits(torch.zeros_like(images[:1]))  # [1, C]
        logit += blank[0, view.classes, None]
        probability += blank.softmax(1)[0, view.classes, None]
    chunk = min(view.chunk, images_at_once(network.device, *images.shape[-2:]))
    for start in range(0, len(image), chunk):
        of, k = image[start : start + chunk], channel[start : start + chunk]
        masks = minmax(upsample(A[of, k], (images.shape[2], images.shape[3])))  # [chunk, H, W]
        logits = network.logits(images[of] * masks[:, None])
        logit[of, k] = logits.gather(1, view.classes[of, None])[:, 0]
        probability[of, k] = logits.softmax(1).gather(1, view.classes[of, None])[:, 0]
    view.extra["masked logits"] = (logit, probability)
    return logit, probability
