"""Infidelity (Yeh et al., NeurIPS 2019), computed by captum."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.metrics.query import Query
from sycam.metrics.registry import register_metric

SAMPLES = 16
SIDE = 4
"""Squares have a side between a quarter and a half of the image's."""


@register_metric(
    "infidelity",
    direction="low",
    bounds=(0.0, 1.0),
    passes=2 * SAMPLES,
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
            query.ask, perturb, images, heatmaps, target=query.classes[jobs], n_perturb_samples=SAMPLES,
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
