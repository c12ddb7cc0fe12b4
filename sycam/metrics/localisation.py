"""Box metrics of Opti-CAM's appendix B: the box of the heatmap's largest blob against the boxes of the objects."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sycam.metrics.components import largest_boxes, overlap
from sycam.metrics.groundtruth import binarised
from sycam.metrics.query import Query
from sycam.metrics.registry import Part, register_metric

SOURCE = "Opti-CAM, appendix B: Zhang et al., CVIU 2024"
LEVELS = tuple(level / 20 for level in range(20))
"""η, at which heatmaps are binarised: 0, 0.05, ... 0.95."""
OVERLAPS = (0.3, 0.5, 0.7)
"""δ, the intersection over union that a box must reach: Choe et al., CVPR 2020."""
LEAST_AREA = 0.05


def box(query: Query) -> Tensor:
    """B_p: the box of the largest 8-connected component of the heatmap above its mean, [N, 4]; empty for a constant heatmap."""
    return largest_boxes(binarised(query.heatmaps))


def best_overlap(query: Query, boxes: Tensor) -> Tensor:
    """Largest intersection over union of boxes [N, 4] with a box of the job's image, [N]."""
    return overlap(boxes[:, None], query.boxes).amax(1)


@register_metric("le", direction="low", bounds=(0.0, 1.0), passes=0, needs_masks=True, source=SOURCE)
def localisation_error(query: Query) -> Tensor:
    """Localisation error: 1 less the largest intersection over union of B_p with an object's box.

    B_p is the box of the largest connected part of the heatmap above its mean; a constant heatmap has none, and the error 1.
    Where images come with masks instead of boxes, the objects' boxes are those around the masks' connected parts.

    >>> from sycam.metrics.probe import probe
    >>> S = [[[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.4]]]
    >>> localisation_error(probe(S, masks=[[[True, False, False, True], [False, False, False, False]]]))
    tensor([0.5000])
    """
    return 1 - best_overlap(query, box(query))


@register_metric("om", direction="low", bounds=(0.0, 1.0), passes=0, needs_masks=True, source=SOURCE)
def official_metric(query: Query) -> Tensor:
    """Official metric of ILSVRC localisation: as the localisation error, and 1 where the network's class is not the label.

    An image without a label counts as rightly classified.

    >>> from sycam.metrics.probe import probe
    >>> S, U = [[[1.0, 0.0]]] * 2, [[[True, False]]] * 2
    >>> official_metric(probe(S, masks=U, labels=[0, 1]))
    tensor([0., 1.])
    """
    right = query.predicted == query.labels
    return 1 - torch.where(right, best_overlap(query, box(query)), 0)


@register_metric(
    "ba",
    direction="high",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    parts=tuple(Part(f"η={level:g}", "high") for level in LEVELS),
    combine=lambda parts: parts.amax(-1),
    source=SOURCE + "; MaxBoxAccV2: Choe et al., CVPR 2020",
)
def box_accuracy(query: Query) -> Tensor:
    """Box accuracy: the share of images whose box reaches an intersection over union of δ, averaged over δ = 0.3, 0.5, 0.7, at
    the threshold η that is best for all images together.

    The box is that of the largest connected part of S > η, η from 0 to 0.95 in steps of 0.05. As the best η belongs to the set of
    images, this is not a mean over images; its parts are the accuracies at each η.
    """
    found = []
    for level in LEVELS:
        reached = best_overlap(query, largest_boxes(query.heatmaps > level))
        found.append(torch.stack([(reached >= least).to(reached) for least in OVERLAPS]).mean(0))
    return torch.stack(found, 1)


@register_metric(
    "sm",
    direction="low",
    bounds=(math.log(LEAST_AREA), 88.0),
    passes=1,
    percent=False,
    source="Saliency metric: Dabkowski & Gal, NeurIPS 2017; Opti-CAM, appendix B",
)
def saliency_metric(query: Query) -> Tensor:
    """log max(0.05, a) − log p: a is the share of the image that B_p covers, p the probability of the class on its crop alone.

    The crop is taken from the network's input and resized to it, bilinearly. A constant heatmap has no box: its crop is the whole
    image. A probability of 0 counts as the smallest normal float32, so that the logarithm is at least −87.4.

    >>> from sycam.metrics.probe import probe
    >>> saliency_metric(probe([[[0.0, 0.0]]], ask=lambda images: torch.tensor([[0.5, 0.5]]))).exp()
    tensor([2.])
    """
    height, width = query.heatmaps.shape[-2:]
    found = box(query).to(query.p.device)
    whole = torch.tensor([0, 0, width, height], device=found.device, dtype=found.dtype)
    found = torch.where((found[:, 2:] > found[:, :2]).all(1, keepdim=True), found, whole)
    area = (found[:, 2:] - found[:, :2]).prod(1) / (height * width)
    p = query.probability_of_jobs(lambda jobs: crop(query.images_of(jobs), found[jobs]))
    p = p.clamp(min=torch.finfo(torch.float32).tiny)
    return area.clamp(min=LEAST_AREA).log().to(p) - p.log()


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """What lies in each box, bilinearly resized to the image's size.

    Pixels of the result sample the box as `interpolate` with align_corners False would sample the crop: at its border, the
    border's pixel.

    Args:
        images: [b, 3, H, W].
        boxes: [b, 4] (x0, y0, x1, y1) whole pixels, not empty.
    """
    height, width = images.shape[-2:]

    def places(low: Tensor, high: Tensor, count: int, size: int) -> Tensor:
        steps = (torch.arange(count, device=images.device, dtype=images.dtype) + 0.5) / count
        inside = low[:, None] + steps * (high - low)[:, None] - 0.5
        inside = torch.maximum(torch.minimum(inside, high[:, None] - 1), low[:, None])
        return (2 * inside + 1) / size - 1  # as grid_sample counts, from edge to edge

    boxes = boxes.to(images)
    x, y = places(boxes[:, 0], boxes[:, 2], width, width), places(boxes[:, 1], boxes[:, 3], height, height)
    grid = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
