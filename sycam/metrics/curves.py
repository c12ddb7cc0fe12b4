"""Curves: the probability of the class as pixels come or go in the order of the heatmap (Petsiuk et al., RISE, BMVC 2018).

A curve is a number of points and an edit that makes the image of any (job, step). All curves that a query's metrics read are one
stream of (job, curve, step), so that batches stay full; each heatmap is ranked once, and a step is a threshold on ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sycam.metrics.query import Query, Step
from sycam.metrics.registry import register_metric

SOURCE = "RISE: Petsiuk et al., BMVC 2018"
KERNEL, SIGMA = 11, 5.0
"""Of insertion's blur, in pixels."""


@dataclass(frozen=True)
class Curve:
    """Points along which images are edited.

    Attributes:
        points: height and width of the images, to how many points a job has that must be asked.
        edit: query, jobs [b] and steps [b] from 0, to images [b, 3, H, W].
    """

    points: Callable[[int, int], int]
    edit: Step


CURVES: dict[str, Curve] = {}
"""By the name that a metric states in `curves`."""


def register_curve(name: str, points: Callable[[int, int], int]) -> Callable[[Step], Step]:
    """Decorator: the edit of a new curve. The name must be free."""

    def register(edit: Step) -> Step:
        if name in CURVES:
            raise ValueError(f"curve {name!r} is registered already")
        CURVES[name] = Curve(points, edit)
        return edit

    return register


def _steps(height: int, width: int) -> int:
    """Inner points of a curve: as many pixels as the image is wide at a time, so one point less than the image is high. On
    224 x 224 these are the 224 pixels a step of RISE. The end points are shared, see `deletion` and `insertion`."""
    return height - 1


def _first(query: Query, job: Tensor, step: Tensor) -> Tensor:
    """Which pixels the first `step` + 1 steps change, [b, 1, H, W] boolean."""
    width = query.heatmaps.shape[-1]
    return (query.ranks[job] < ((step + 1) * width)[:, None, None])[:, None]


@register_curve("deletion", _steps)
def _delete(query: Query, job: Tensor, step: Tensor) -> Tensor:
    return query.images_of(job).masked_fill_(_first(query, job, step), 0)


@register_curve("insertion", _steps)
def _insert(query: Query, job: Tensor, step: Tensor) -> Tensor:
    images = query.images_of(job)
    return torch.where(_first(query, job, step), images, query.once("blurred", blur)[query.image_index[job]])


@register_metric("deletion", direction="low", bounds=(0.0, 1.0), passes=223, curves=("deletion",), source=SOURCE)
def deletion(query: Query) -> Tensor:
    """Area under the probability as pixels are deleted, hottest first, a row's worth at a time, to the mean colour: trapezoid,
    over the share of pixels.

    Deleted pixels are zero in normalised space under every protocol. Ties go in row-major order, so a constant heatmap deletes
    row by row. The end points are the plain image, and the empty one that all images share. On 224 x 224 it costs 223 passes.

    A network that believes in class 1 as much as the image is bright loses the bright half first:

    >>> images = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).expand(1, 3, 2, 2)
    >>> def ask(x):
    ...     return torch.stack([1 - x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1)
    >>> deletion(Query(images[:, 0], images, torch.tensor([1]), torch.tensor([0.5]), ask))
    tensor([0.1250])
    """
    return _area(query.p, query.curve("deletion"), query.blank)


@register_metric("insertion", direction="high", bounds=(0.0, 1.0), passes=223, curves=("insertion",), source=SOURCE)
def insertion(query: Query) -> Tensor:
    """Area under the probability as pixels are put back into the blurred image, hottest first, a row's worth at a time:
    trapezoid, over the share of pixels.

    The blur is Gaussian, 11 x 11 of σ 5 pixels, reflected at the border. The end points are the blurred image, asked once an
    image, and the plain one.
    """
    return _area(query.once_an_image(blur), query.curve("insertion"), query.p)


def _area(first: Tensor, inner: Tensor, last: Tensor) -> Tensor:
    """Trapezoid over [0, 1] of equally spaced points: [N], [N, points], [N] to [N]."""
    return ((first + last) / 2 + inner.sum(1)) / (inner.shape[1] + 1)


def blur(images: Tensor) -> Tensor:
    """Gaussian blur of images [b, 3, H, W], 11 x 11, σ 5, reflected at the border; a smaller image takes the kernel that fits it.

    >>> round(float(blur(torch.ones(1, 3, 16, 16)).mean()), 5)
    1.0
    """
    height, width = images.shape[-2:]
    for size, down in ((height, True), (width, False)):
        reach = min(KERNEL // 2, size - 1)
        offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        kernel = torch.exp(-offsets.square() / (2 * SIGMA**2))
        kernel = (kernel / kernel.sum()).view((1, 1, -1, 1) if down else (1, 1, 1, -1)).expand(images.shape[1], -1, -1, -1)
        padding = (0, 0, reach, reach) if down else (reach, reach, 0, 0)
        images = F.conv2d(F.pad(images, padding, mode="reflect"), kernel, groups=images.shape[1])
    return images
