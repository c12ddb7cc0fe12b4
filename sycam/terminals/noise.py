"""Gradients averaged over noisy images, and along the path from the zero image.

The zero image is the normalised one, the mean colour, which is also what masked pixels become. On a GAP + linear head the
gradient is the same for every image, and so each average is the gradient, its square or its cube: no pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.network.batching import images_at_once
from sycam.network.heads import linear_head
from sycam.terminals.terminal import View, image_keys, normal, register_terminal

SMOOTH = "Smooth Grad-CAM++: Omeiza et al., 2019, arXiv 1908.01224; noise: SmoothGrad, Smilkov et al., 2017"
NOISE = ("seed", "noise_samples", "noise_level")
PASSES = "n forward and backward, shared by the three; 0 on a GAP + linear head"


@register_terminal("G_noise", settings=NOISE, passes=PASSES, source=SMOOTH)
def noisy_gradient(view: View) -> Tensor:
    """Mean of the logit's gradient g over `noise_samples` images with Gaussian noise of `noise_level` times the image's range."""
    return _noisy_moments(view)[0]


@register_terminal("G2_noise", settings=NOISE, passes=PASSES, source=SMOOTH)
def noisy_square(view: View) -> Tensor:
    """Mean of g² over the same noisy images as G_noise."""
    return _noisy_moments(view)[1]


@register_terminal("G3_noise", settings=NOISE, passes=PASSES, source=SMOOTH)
def noisy_cube(view: View) -> Tensor:
    """Mean of g³ over the same noisy images as G_noise."""
    return _noisy_moments(view)[2]


@register_terminal(
    "G_path",
    settings=("path_steps",),
    passes="n forward and backward; 0 on a GAP + linear head",
    source="Integrated Grad-CAM: Sattarzadeh et al., ICASSP 2021; a Riemann sum as in Sundararajan et al., ICML 2017, equation 3",
)
def path_gradient(view: View) -> Tensor:
    """Mean of the logit's gradient over the images i/n · x, i from 1 to n = `path_steps`: the path from the zero image."""
    if linear_head(view.network) is not None:
        return view["G"]
    steps = view.settings.path_steps
    total = view["G"].clone()  # the path ends at the image itself
    for i in range(1, steps):
        total += _gradient(view, view.images * (i / steps))
    return total / steps


def _noisy_moments(view: View) -> tuple[Tensor, ...]:
    """Means of g, g² and g³ over the noisy images, [N, K, h, w] each; computed once for a view."""
    if "noisy gradients" not in view.extra:
        view.extra["noisy gradients"] = _moments(view)
    return view.extra["noisy gradients"]


def _moments(view: View) -> tuple[Tensor, ...]:
    if linear_head(view.network) is not None:
        G = view["G"]
        return G, G * G, G * G * G
    images, count = view.images, view.settings.noise_samples
    low, high = torch.aminmax(images.flatten(1), dim=1)  # [N] each
    scale = (view.settings.noise_level * (high - low))[:, None, None, None]
    shape = tuple(images.shape[1:])
    sums = [torch.zeros_like(view.A) for _ in range(3)]
    for i in range(count):
        noise = torch.stack([normal(shape, key, "noisy image", i) for key in image_keys(view)])
        g = _gradient(view, images + scale * noise.to(images))
        for power, total in enumerate(sums):
            total += g ** (power + 1)
    return tuple(total / count for total in sums)


def _gradient(view: View, images: Tensor) -> Tensor:
    """Gradient of each image's logit at other images, [N, K, h, w], in batches that suit the device."""
    network = view.network
    size = min(view.chunk, images_at_once(network.device, *images.shape[-2:]))
    parts = []
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        A, _ = network.activations(images[part])
        parts.append(network.gradient(A, images[part], view.classes[part]))
    return torch.cat(parts)
