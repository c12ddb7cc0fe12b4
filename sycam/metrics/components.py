"""Connected components of many masks at once, and boxes: what box metrics need."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TOUCHING = np.zeros((3, 3, 3), bool)
"""Which voxels of a stack of masks are neighbours: the eight around a pixel, none of another mask."""
TOUCHING[1] = True


def connected_parts(masks: Tensor) -> list[tuple[int, int, tuple[int, int, int, int]]]:
    """The 8-connected components of each mask, mask by mask, each in the order of its first pixel in row-major order.

    Args:
        masks: [N, H, W] boolean. They go to the CPU, where scipy labels them.

    Returns:
        For each component the place of its mask, its pixels, and its box (x0, y0, x1, y1), x1 and y1 exclusive.

    >>> connected_parts(torch.tensor([[[True, False, True], [False, False, True]]]))
    [(0, 1, (0, 0, 1, 1)), (0, 2, (2, 0, 3, 2))]
    """
    from scipy import ndimage  # loads for half a second, and one metric needs it

    labels, _ = ndimage.label(masks.cpu().numpy(), TOUCHING)
    sizes = np.bincount(labels.ravel()).tolist()
    return [
        (mask.start, sizes[label], (columns.start, rows.start, columns.stop, rows.stop))
        for label, (mask, rows, columns) in enumerate(ndimage.find_objects(labels), 1)
    ]


def largest_boxes(masks: Tensor) -> Tensor:
    """The box of each mask's largest component; of several of one size, that whose first pixel comes first.

    Args:
        masks: [N, H, W] boolean.

    Returns:
        [N, 4] float32 (x0, y0, x1, y1), x1 and y1 exclusive; all zeros where the mask is empty.

    >>> largest_boxes(torch.tensor([[[True, False, True], [False, False, True]], [[False] * 3] * 2]))
    tensor([[2., 0., 3., 2.],
            [0., 0., 0., 0.]])
    """
    boxes, sizes = [(0, 0, 0, 0)] * len(masks), [0] * len(masks)
    for mask, size, box in connected_parts(masks):
        if size > sizes[mask]:
            boxes[mask], sizes[mask] = box, size
    return torch.tensor(boxes, dtype=torch.float32, device=masks.device).view(-1, 4)


def boxes_of_parts(masks: Tensor) -> Tensor:
    """The boxes around the components of each mask [B, H, W]: [B, M, 4] float32, M of the mask that has most, at least 1; the
    rows of the others are all zeros beyond their own."""
    found: list[list[tuple[int, int, int, int]]] = [[] for _ in masks]
    for mask, _, box in connected_parts(masks):
        found[mask].append(box)
    most = max([1, *map(len, found)])
    padded = [torch.tensor(boxes, dtype=torch.float32).view(-1, 4) for boxes in found]
    stacked = [F.pad(boxes, (0, 0, 0, most - len(boxes))) for boxes in padded]
    return (torch.stack(stacked) if stacked else torch.zeros(0, 1, 4)).to(masks.device)


def overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast, [..., 4] each: [...]; 0 where either is empty.

    >>> overlap(torch.tensor([0.0, 0, 2, 2]), torch.tensor([[1.0, 0, 3, 2], [0, 0, 0, 0]]))
    tensor([0.3333, 0.0000])
    """
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)

    def area(of: Tensor) -> Tensor:
        return (of[..., 2:] - of[..., :2]).prod(-1)

    either = area(boxes) + area(others) - both
    return both / torch.where(either > 0, either, 1)
