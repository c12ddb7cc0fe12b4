"""Group-CAM: groups of gradient-weighted channels as masks over a blurred image."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.baselines.registry import register_baseline
from sycam.heatmap import minmax, upsample
from sycam.network.batching import images_at_once
from sycam.terminals.view import View

GROUPS = 32
QUANTILE = 0.7
RADIUS, SIGMA = 25, 50.0  # of the blur: 51×51 pixels


@register_baseline(
    "Group-CAM",
    passes="1 forward, 1 backward, 32 + 1 forward",
    reference="Zhang et al., Group-CAM, arXiv 2103.13859 (2021), with the authors' 32 groups, quantile 0.7 and blur",
)
@torch.no_grad()
def group_cam(view: View) -> Tensor:
    """Σ over 32 groups of channels of (p of the image blurred where the group's mask is low − p of the blurred image)·mask.

    A group's mask is the rectified sum of its gap(G)·A, zero up to its 70% quantile, upsampled and scaled to [0, 1]. The sum is
    made of masks at image size, and rectified there. In an image too small for a blur of 51×51 pixels the kernel is the largest
    that reflects at the border.
    """
    from torchvision.transforms.functional import gaussian_blur  # takes a second to load, which no other CAM needs

    images, network, A = view.images, view.network, view.A
    height, width = images.shape[-2:]
    weighted = view["G"].mean((2, 3), keepdim=True) * A
    masks = torch.stack([part.sum(1) for part in weighted.chunk(GROUPS, 1)], 1).relu()  # [N, M, h, w]
    threshold = masks.flatten(2).quantile(QUANTILE, 2)[:, :, None, None]
    masks = torch.where(masks > threshold, masks, 0)
    radius = [min(RADIUS, side - 1) for side in (width, height)]
    blurred = gaussian_blur(images, [2 * r + 1 for r in radius], [SIGMA, SIGMA])
    plain = view.of_class(network.logits(blurred).softmax(1))[:, 0]  # [N]
    varying = masks.flatten(2).amax(2) > masks.flatten(2).amin(2)
    image, group = varying.nonzero(as_tuple=True)  # [jobs] each
    total = images.new_zeros(len(images), height, width)
    chunk = min(view.chunk, images_at_once(network.device, height, width))
    for start in range(0, len(image), chunk):
        of, m = image[start : start + chunk], group[start : start + chunk]
        mask = minmax(upsample(masks[of, m], (height, width)))  # [chunk, H, W]
        mixed = images[of] * mask[:, None] + blurred[of] * (1 - mask[:, None])
        gained = network.logits(mixed).softmax(1).gather(1, view.classes[of, None])[:, 0] - plain[of]
        total.index_add_(0, of, gained[:, None, None] * mask)
    return total
