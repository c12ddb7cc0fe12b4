"""Metrics that compare the heatmap with where the object is, U (union of the boxes, or the mask), and the box metrics of
Opti-CAM's appendix B: the box of the heatmap's largest blob against the boxes of the objects.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sycam.metrics.components import largest_boxes, overlap
from sycam.metrics.metric import Part, register_metric
from sycam.metrics.query import Query

OPTICAM = "Opti-CAM, appendix B: Zhang et al., CVIU 2024"
LEVELS = tuple(level / 20 for level in range(20))
"""η, at which heatmaps are binarised: 0, 0.05, ... 0.95."""
OVERLAPS = (0.3, 0.5, 0.7)
"""δ, the intersection over union that a box must reach: Choe et al., CVPR 2020."""
LEAST_AREA = 0.05


def correlation(first: Tensor, second: Tensor, undefined: float = 0.0) -> Tensor:
    """Pearson's correlation over pixels of maps [N, H, W] with others of the same shape, [N] in [-1, 1].

    Args:
        first, second: maps of any dtype; sums are float64, so that a constant map is seen to be one.
        undefined: the answer where either map is constant.

    >>> correlation(torch.tensor([[[0.0, 1.0, 2.0]]]), torch.tensor([[[5.0, 3.0, 1.0]]]))
    tensor([-1.])
    """
    a, b = first.flatten(1).double(), second.flatten(1).double()
    constant = (a.amax(1) == a.amin(1)) | (b.amax(1) == b.amin(1)) if a.shape[1] else a.new_ones(len(a)).bool()
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    below = (a.square().sum(1) * b.square().sum(1)).sqrt()
    found = (a * b).sum(1) / torch.where(constant | (below == 0), 1, below)
    found = torch.where(constant | (below == 0), undefined, found.clamp(-1, 1))
    return found.to(torch.promote_types(first.dtype, torch.float32) if first.is_floating_point() else torch.float32)


def binarised(heatmaps: Tensor, level: float | None = None) -> Tensor:
    """Where each heatmap [N, H, W] exceeds `level`, its own mean where None: boolean. A constant heatmap exceeds its mean
    nowhere."""
    if level is not None:
        return heatmaps > level
    # In float64 the mean of a constant float32 map is that constant, to the bit; in float32 it may fall below it.
    return heatmaps > heatmaps.mean((-2, -1), keepdim=True, dtype=torch.float64)


@register_metric(
    "iou",
    direction="high",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    level=True,
    source="binarised at the mean, as in Opti-CAM",
)
def iou(query: Query, level: float | None = None) -> Tensor:
    """Intersection over union of the heatmap above its mean, S > mean(S), with U. A constant heatmap has none above: 0.

    >>> from sycam.metrics.query import probe
    >>> iou(probe(heatmaps=[[[1.0, 0.8], [0.0, 0.0]]], masks=[[[True, False], [True, False]]]))
    tensor([0.3333])
    """
    hot, truth = binarised(query.heatmaps, level), query.masks
    both = (hot & truth).sum((-2, -1))
    either = (hot | truth).sum((-2, -1))
    return both / either.clamp(min=1)


@register_metric(
    "f1",
    direction="high",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    level=True,
    source="Dice 1945; binarised at the mean",
)
def f1(query: Query, level: float | None = None) -> Tensor:
    """F1 (Dice) of the heatmap above its mean and U: twice their intersection over the sum of their areas; 0 where both are
    empty.

    >>> from sycam.metrics.query import probe
    >>> f1(probe(heatmaps=[[[1.0, 0.8], [0.0, 0.0]]], masks=[[[True, False], [True, False]]]))
    tensor([0.5000])
    """
    hot, truth = binarised(query.heatmaps, level), query.masks
    both = (hot & truth).sum((-2, -1))
    return 2 * both / (hot.sum((-2, -1)) + truth.sum((-2, -1))).clamp(min=1)


@register_metric(
    "mae",
    direction="low",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    source="mean absolute error, as in salient object detection: Perazzi et al. 2012",
)
def mae(query: Query) -> Tensor:
    """Mean over pixels of |S − U|, U being 1 on the object and 0 elsewhere.

    >>> from sycam.metrics.query import probe
    >>> mae(probe(heatmaps=[[[1.0, 0.5], [0.0, 0.0]]], masks=[[[True, True], [False, False]]]))
    tensor([0.1250])
    """
    return (query.heatmaps - query.masks.to(query.heatmaps.dtype)).abs().mean((-2, -1))


@register_metric(
    "pearson",
    direction="high",
    bounds=(-1.0, 1.0),
    passes=0,
    needs_masks=True,
    source="CC of saliency benchmarks: Bylinskii et al. 2019",
)
def pearson(query: Query) -> Tensor:
    """Pearson's correlation over pixels of S and U. It is undefined, and counts 0, where either is constant.

    >>> from sycam.metrics.query import probe
    >>> S = [[[1.0, 1.0], [0.0, 0.0]]] * 2
    >>> pearson(probe(S, masks=[[[True, True], [False, False]], [[True, True], [True, True]]]))
    tensor([1., 0.])
    """
    return correlation(query.heatmaps, query.masks)


@register_metric(
    "pointing",
    direction="high",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    source="Zhang et al. 2018, no tolerance",
)
def pointing(query: Query) -> Tensor:
    """Pointing game: whether the hottest pixel lies in U; of several, the first in row-major order.

    A constant (or empty) heatmap points at its first pixel, the top left corner: a hit where the object covers that.

    >>> from sycam.metrics.query import probe
    >>> masks = [[[False, True], [False, False]]]
    >>> pointing(probe(heatmaps=[[[0.2, 1.0], [1.0, 0.0]]], masks=masks))
    tensor([1.])
    >>> pointing(probe(heatmaps=[[[0.0, 0.0], [0.0, 0.0]]], masks=masks))
    tensor([0.])
    """
    flat = query.heatmaps.flatten(1)
    hottest = flat.argmax(1, keepdim=True)  # torch promises the first of several maxima
    return query.masks.flatten(1).gather(1, hottest).squeeze(1).to(flat.dtype)


@register_metric(
    "energy-pointing",
    direction="high",
    bounds=(0.0, 1.0),
    passes=0,
    needs_masks=True,
    source="Score-CAM (Wang et al. 2020)",
)
def energy_pointing(query: Query) -> Tensor:
    """Share of the heatmap's sum that lies in U, Σ_U S / Σ S; an empty heatmap has 0.

    The code published with Score-CAM swaps x and y of the boxes; this follows the paper.

    >>> from sycam.metrics.query import probe
    >>> energy_pointing(probe(heatmaps=[[[1.0, 0.5], [0.5, 0.0]]], masks=[[[True, True], [False, False]]]))
    tensor([0.7500])
    """
    heat = query.heatmaps
    inside = (heat * query.masks).sum((-2, -1))
    total = heat.sum((-2, -1))
    return torch.where(total > 0, inside / torch.where(total > 0, total, 1), 0)


def box(query: Query) -> Tensor:
    """B_p: the box of the largest 8-connected component of the heatmap above its mean, [N, 4]; empty for a constant heatmap."""
    return largest_boxes(binarised(query.heatmaps))


def best_overlap(query: Query, boxes: Tensor) -> Tensor:
    """Largest intersection over union of boxes [N, 4] with a box of the job's image, [N]."""
    return overlap(boxes[:, None], query.boxes).amax(1)


@register_metric("le", direction="low", bounds=(0.0, 1.0), passes=0, needs_masks=True, source=OPTICAM)
def localisation_error(query: Query) -> Tensor:
    """Localisation error: 1 less the largest intersection over union of B_p with an object's box.

    B_p is the box of the largest connected part of the heatmap above its mean; a constant heatmap has none, and the error 1.
    Where images come with masks instead of boxes, the objects' boxes are those around the masks' connected parts.

    >>> from sycam.metrics.query import probe
    >>> S = [[[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.4]]]
    >>> localisation_error(probe(S, masks=[[[True, False, False, True], [False, False, False, False]]]))
    tensor([0.5000])
    """
    return 1 - best_overlap(query, box(query))


@register_metric("om", direction="low", bounds=(0.0, 1.0), passes=0, needs_masks=True, source=OPTICAM)
def official_metric(query: Query) -> Tensor:
    """Official metric of ILSVRC localisation: as the localisation error, and 1 where the network's class is not the label.

    An image without a label counts as rightly classified.

    >>> from sycam.metrics.query import probe
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
    source=OPTICAM + "; MaxBoxAccV2: Choe et al., CVPR 2020",
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

    >>> from sycam.metrics.query import probe
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
