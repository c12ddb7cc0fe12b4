"""ReciproCAM: the class's probability where one pixel of the layer is left."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.baselines.registry import register_baseline
from sycam.heatmap import minmax
from sycam.terminals.view import View

KERNEL = ((1 / 16, 1 / 8, 1 / 16), (1 / 8, 1 / 4, 1 / 8), (1 / 16, 1 / 8, 1 / 16))


@register_baseline(
    "ReciproCAM",
    passes="1 forward, Z of the tail only",
    reference="Byun & Lee, ReciproCAM, CVPR-W 2024 (arXiv 2209.14074), with its 3×3 Gaussian",
)
@torch.no_grad()
def recipro_cam(view: View) -> Tensor:
    """Probability of the class where each pixel's activations alone are left, spread over its neighbours by a 3×3 Gaussian.

    No ReLU: the probabilities are scaled to [0, 1] at the layer's size, as the paper does, before upsampling.
    """
    A, network = view.A, view.network
    height, width = A.shape[2:]
    spread = _spread(height, width).to(A)  # [Z, h, w]
    pixels = A.flatten(2)
    found = A.new_zeros(len(A) * height * width)
    for jobs in torch.arange(len(found), device=A.device).split(view.chunk):
        of, at = jobs // (height * width), jobs % (height * width)
        left = pixels[of, :, at][:, :, None, None] * spread[at][:, None]  # [chunk, K, h, w]
        logits = network.tail(left, view.images[of] if network.needs_images else None)
        found[jobs] = logits.softmax(1).gather(1, view.classes[of, None])[:, 0]
    return minmax(found.view(len(A), height, width))


def _spread(height: int, width: int) -> Tensor:
    """For each pixel the map that its activations are multiplied by, cut off at the border: [Z, h, w]."""
    points = torch.eye(height * width).view(-1, 1, height, width)
    return torch.nn.functional.conv2d(points, torch.tensor(KERNEL)[None, None], padding=1)[:, 0]
