"""Heatmap maths that everything shares: min-max, upsampling, and `post`, which makes a heatmap of combined maps.

All functions are batched, differentiable, keep dtype and device, and never change their input. A value that is not
finite stays not finite in the result, so that a broken term is seen and not drawn.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sycam.errors import SycamError

NORMS = ("minmax", "max", "sigmoid")
SCALE_FREE = frozenset({"minmax", "max"})
"""The norms under which a map and a positive multiple of it give one heatmap; a sigmoid looks at each pixel's own value."""


def minmax(x: Tensor) -> Tensor:
    """Scale each map to [0, 1] over its last two dimensions; a constant map becomes all zeros, never NaN.

    Args:
        x: maps, [..., h, w], floating point.

    Returns:
        (x - min) / (max - min) for each map, [..., h, w].

    >>> minmax(torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[7.0, 7.0], [7.0, 7.0]]])).tolist()
    [[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]
    """
    low, high = torch.aminmax(x.flatten(-2), dim=-1)  # [...] each
    low = low[..., None, None]
    span = high[..., None, None] - low
    # Dividing by 1 where the map is constant keeps the gradient finite too, which a `where` on the quotient would not.
    return (x - low) / torch.where(span == 0, torch.ones_like(span), span)


def upsample(maps: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Bilinear upsampling with align_corners False, as CAM papers do it.

    A constant map comes back constant up to rounding only, so `minmax(upsample(x))` can turn it into noise: use `post`.

    Args:
        maps: [N, h, w] or [N, K, h, w].
        size: side of the square result, or (height, width).

    Returns:
        [N, H, W] or [N, K, H, W].

    >>> upsample(torch.tensor([[[0.0, 4.0]]]), (1, 4)).tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    target = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if maps.ndim == 4:
        return F.interpolate(maps, size=target, mode="bilinear", align_corners=False)
    if maps.ndim == 3:
        return F.interpolate(maps[:, None], size=target, mode="bilinear", align_corners=False)[:, 0]
    raise SycamError(f"upsample takes maps [N, h, w] or [N, K, h, w], not a tensor of shape {list(maps.shape)}")


def post(combined: Tensor, size: int | tuple[int, int], *, relu: bool = True, norm: str = "minmax") -> Tensor:
    """The heatmap of a combination of maps: n(up(ReLU(L))), in [0, 1].

    Args:
        combined: L = Σ_k w_k A_k or Σ_k M_k for each image, [N, h, w].
        size: side of the images, or their (height, width).
        relu: drop negative evidence first, as all but a few published CAMs do.
        norm: `minmax`; `max`, which divides by the maximum (a map without a positive value becomes all zeros, and
            negative values, which only `relu=False` leaves, become 0); or `sigmoid`, which looks at each pixel alone.

    Returns:
        [N, H, W].

    Raises:
        SycamError: an unknown `norm`.

    >>> post(torch.tensor([[[-1.0, 2.0], [0.0, 4.0]]]), 2).tolist()
    [[[0.0, 0.5], [0.0, 1.0]]]
    >>> post(torch.tensor([[[1.0, 2.0], [1.0, 4.0]]]), 2, norm="max").tolist()
    [[[0.25, 0.5], [0.25, 1.0]]]
    """
    if norm not in NORMS:
        raise SycamError(f"no heatmap normalisation {norm!r}; there are {', '.join(NORMS)}")
    kept = combined.relu() if relu else combined
    maps = upsample(kept, size)
    if norm == "minmax":
        # Interpolating a constant leaves rounding noise, which min-max would stretch over [0, 1]: ask the small map.
        low, high = torch.aminmax(kept.flatten(-2), dim=-1)
        return torch.where((low == high)[..., None, None], torch.zeros_like(maps), minmax(maps))
    if norm == "sigmoid":
        return maps.sigmoid()
    top = maps.flatten(-2).amax(-1)[..., None, None]
    # NaN fails `top <= 0`, so a map that is not finite is divided by NaN and stays visible.
    return torch.where(top <= 0, torch.zeros_like(maps), maps.relu() / torch.where(top <= 0, torch.ones_like(top), top))
