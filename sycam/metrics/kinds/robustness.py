"""Whether the CAM stays what it is under noise too small to matter, and along with the image when that is moved; and infidelity,
whether it tells what the network does when the image is changed (both measures of Yeh et al., NeurIPS 2019).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.metrics.kinds.ground_truth import correlation
from sycam.metrics.metric import register_metric
from sycam.metrics.query import Query

RADIUS = 0.02
SAMPLES = 10
"""Captum's defaults."""
SHIFT = 8
"""Images are shifted by an eighth of their side."""

Move = Callable[[Tensor], Tensor]


@register_metric(
    "max-sensitivity",
    direction="low",
    bounds=(0.0, torch.inf),
    passes=SAMPLES,
    redraws=True,
    percent=False,
    source="Yeh et al., NeurIPS 2019, definition 3; noise and samples of captum's sensitivity_max",
)
def max_sensitivity(query: Query) -> Tensor:
    """The largest ‖CAM(x + ε) − CAM(x)‖ / ‖CAM(x)‖ over 10 draws of ε, uniform in [−0.02, 0.02] for each value of the normalised
    image; Frobenius norms, the same class.

    The draws are the same for every image and CAM. Where CAM(x) is empty the norm is divided by 1, as captum does.

    >>> from sycam.metrics.query import probe
    >>> max_sensitivity(probe([[[3.0, 4.0]]], redraw=lambda images, jobs: torch.tensor([[[3.0, 1.0]]])))
    tensor([0.6000])
    """
    largest = query.heatmaps.new_zeros(len(query))
    size = query.heatmaps.flatten(1).norm(dim=1)
    size = torch.where(size > 0, size, 1)
    for sample in range(SAMPLES):

        def edit(images: Tensor, heatmaps: Tensor, sample: int = sample) -> Tensor:
            return images.add_(noise(sample, images))

        apart = (query.redrawn(edit)[0] - query.heatmaps).flatten(1).norm(dim=1)
        largest = torch.maximum(largest, apart / size)
    return largest


def noise(sample: int, images: Tensor) -> Tensor:
    """The noise of one draw, [3, H, W] uniform in [−RADIUS, RADIUS], drawn on the CPU in float32 whatever the images are."""
    draw = torch.rand(images.shape[1:], generator=torch.Generator().manual_seed(sample))
    return (RADIUS * (2 * draw - 1)).to(images)


def moves(height: int, width: int) -> list[tuple[Move, tuple[slice, slice]]]:
    """Flips and shifts of [..., H, W], each with the part of the result that the image still covers; what enters is 0."""
    down, right = height // SHIFT, width // SHIFT

    def shift_right(x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x[..., :right]), x[..., : width - right]], -1)

    def shift_down(x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x[..., :down, :]), x[..., : height - down, :]], -2)

    everything = slice(None)
    return [
        (lambda x: x.flip(-1), (everything, everything)),
        (lambda x: x.flip(-2), (everything, everything)),
        (shift_right, (everything, slice(right, None))),
        (shift_down, (slice(down, None), everything)),
    ]


@register_metric(
    "equivariance",
    direction="high",
    bounds=(-1.0, 1.0),
    passes=4,
    redraws=True,
    source="Wang et al., Self-supervised equivariant attention, CVPR 2020, as a measure",
)
def equivariance(query: Query) -> Tensor:
    """Mean Pearson correlation of T(CAM(x)) and CAM(T(x)), the same class, over four T: both flips, and shifts to the right and
    down by an eighth of the side.

    What a shift brings in has the mean colour, and the correlation is over the pixels that the image still covers. It is
    undefined, and counts 0, where either heatmap is constant there.
    """
    found = []
    for move, (rows, columns) in moves(*query.heatmaps.shape[-2:]):
        drawn = query.redrawn(lambda images, _, move=move: move(images))[0]  # type: ignore[misc]
        found.append(correlation(move(query.heatmaps)[:, rows, columns], drawn[:, rows, columns]))
    return torch.stack(found).mean(0)


SQUARES = 16
SIDE = 4
"""Squares have a side between a quarter and a half of the image's."""


@register_metric(
    "infidelity",
    direction="low",
    bounds=(0.0, 1.0),
    passes=2 * SQUARES,
    source="Yeh et al., NeurIPS 2019, definition 2.1 with square removal and the optimal scale; through captum",
)
def infidelity(query: Query) -> Tensor:
    """Mean of (β·Iᵀ S − (p(x) − p(x − I)))² over 16 perturbations I that take a square to the mean colour; β, which makes it
    independent of the heatmap's scale, is the best one for the image.

    I is the normalised image inside the square and 0 elsewhere, S the heatmap in each colour. The squares are the same for every
    image and CAM; their sides lie between a quarter and a half of the image's. An empty heatmap has the mean of (p(x) − p(x −
    I))².

    Raises:
        SycamError: captum is not installed.
    """
    try:
        from captum.metrics import infidelity as captums
    except ImportError:
        raise SycamError("metric 'infidelity' is computed by captum: pip install 'sycam[attribution]'") from None
    everyone = torch.arange(len(query), device=query.image_index.device)
    found = [query.p[:0]]
    for jobs in everyone.split(query.batch):
        images = query.images_of(jobs)
        drawn = 0

        def perturb(repeated: Tensor, count: int = len(jobs)) -> tuple[Tensor, Tensor]:
            nonlocal drawn
            samples = len(repeated) // count  # of each image, beside one another
            inside = torch.stack([square(drawn + i, repeated) for i in range(samples)]).repeat(count, 1, 1, 1)
            drawn += samples
            taken = repeated * inside
            return taken, repeated - taken

        heatmaps = query.heatmaps[jobs, None].to(images).expand_as(images)
        values = captums(
            query.ask, perturb, images, heatmaps, target=query.classes[jobs], n_perturb_samples=SQUARES,
            max_examples_per_batch=max(query.batch, len(jobs)), normalize=True,
        )  # fmt: skip
        found.append(values.to(query.p))
    # The expanded square may round below 0.
    return torch.cat(found).clamp(min=0)


def square(sample: int, images: Tensor) -> Tensor:
    """The square of one draw, [1, H, W], 1 inside."""
    height, width = images.shape[-2:]
    a, b, c = torch.rand(3, generator=torch.Generator().manual_seed(sample), dtype=torch.float64).tolist()
    inside = images.new_zeros(1, height, width)
    tall, wide = (max(1, round(side * (1 + a) / SIDE)) for side in (height, width))
    top, left = round(b * (height - tall)), round(c * (width - wide))
    inside[:, top : top + tall, left : left + wide] = 1
    return inside
