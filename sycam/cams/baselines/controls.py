"""Controls: heatmaps that explain nothing. A metric that rewards one of them rewards something else than explanation."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.cams.baseline import register_baseline
from sycam.terminals.terminal import View, generator, image_keys

SPREAD = 0.25
"""Standard deviation of the centre Gaussian, as a share of the image's height and width."""


@register_baseline(
    "Fake-CAM",
    kind="control",
    passes="none",
    reference="Poppi et al., Revisiting the evaluation of class activation mapping for explainability, CVPR-W 2021",
)
def fake_cam(view: View) -> Tensor:
    """Ones at every pixel of the image but the top left one, which is zero."""
    maps = view.images.new_ones(len(view), *view.images.shape[-2:])
    maps[:, 0, 0] = 0
    return maps


@register_baseline(
    "Random-CAM",
    kind="control",
    passes="1 forward",
    reference="pytorch-grad-cam's RandomCAM: weights uniform in [−1, 1)",
)
def random_cam(view: View) -> Tensor:
    """Each channel's map with a weight drawn uniformly from [−1, 1).

    The draw is seeded by the settings' seed and the pixels of the image, so that an image has the same map in every batch, order
    and run.
    """
    K = view.A.shape[1]
    uniform = [torch.rand(K, generator=generator(key, "Random-CAM"), dtype=torch.float64) for key in image_keys(view)]
    weights = 2 * torch.stack(uniform) - 1  # [N, K]
    return torch.einsum("nk,nkhw->nhw", weights.to(view.A), view.A)


@register_baseline(
    "Centre-Gaussian",
    kind="control",
    passes="none",
    reference="The centre bias of photographs: Tatler, The central fixation bias, Journal of Vision 2007",
)
def centre_gaussian(view: View) -> Tensor:
    """A Gaussian at the centre of the image, of a standard deviation of a quarter of its height and width."""
    height, width = view.images.shape[-2:]
    # Pixel centres, in image sides from the middle.
    y = (torch.arange(height, dtype=torch.float64) + 0.5) / height - 0.5
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5
    squared = y[:, None] ** 2 + x[None, :] ** 2
    return torch.exp(-squared / (2 * SPREAD**2)).to(view.images).expand(len(view), height, width)
