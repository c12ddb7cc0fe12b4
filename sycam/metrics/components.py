"""Connected components of many masks at once, on the device, and boxes: what box metrics need."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def components(masks: Tensor) -> Tensor:
    """Labels of the 8-connected components of each mask.

    Every pixel takes the smallest index among its neighbours, and then that of the pixel of this index: distances double, so that
    a few dozen rounds suffice whatever the shape.

    Args:
        masks: [N, H, W] boolean.

    Returns:
        [N, H, W] int64: on a component the row-major index of its first pixel, and H·W elsewhere.

    >>> components(torch.tensor([[[True, False, True], [False, False, True]]]))
    tensor([[[0, 6, 2],
             [6, 6, 2]]])
    """
    height, width = masks.shape[1:]
    none = height * width
    index = torch.arange(none, device=masks.device).view(1, height, width)
    # Pooling wants floating point; float64 holds indices of any image exactly.
    labels = torch.where(masks, index, none).double()
    while True:
        near = -F.max_pool2d(-F.pad(labels[:, None], (1, 1, 1, 1), value=none), 3, 1)[:, 0]
        found = torch.where(masks, near, float(none))
        padded = F.pad(found.flatten(1), (0, 1), value=none)
        found = padded.gather(1, found.flatten(1).long()).view_as(found)
        found = torch.minimum(found, labels)
        if torch.equal(found, labels):  # one transfer a round
            return labels.long()
        labels = found


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
    count, height, width = masks.shape
    labels = components(masks).flatten(1)
    sizes = torch.zeros(count, height * width + 1, dtype=torch.int64, device=masks.device)
    sizes.scatter_add_(1, labels, torch.ones_like(labels))
    largest = sizes[:, :-1].argmax(1, keepdim=True)  # torch promises the first of several maxima
    return tight_boxes((labels == largest).view_as(masks))


def tight_boxes(masks: Tensor) -> Tensor:
    """The box around all of each mask [N, H, W], [N, 4] float32; all zeros where it is empty."""
    rows, columns = masks.any(2), masks.any(1)

    def ends(inside: Tensor) -> tuple[Tensor, Tensor]:
        first = inside.int().argmax(1)
        return first, torch.where(inside.any(1), inside.shape[1] - inside.flip(1).int().argmax(1), 0)

    (top, bottom), (left, right) = ends(rows), ends(columns)
    return torch.stack([left, top, right, bottom], 1).float()


def boxes_of_parts(masks: Tensor) -> Tensor:
    """The boxes around the components of each mask [B, H, W]: [B, M, 4] float32, M of the mask that has most, at least 1; the
    rows of the others are all zeros beyond their own."""
    labels = components(masks)
    found = []
    for row, mask in enumerate(masks):
        firsts = labels[row][mask].unique()
        found.append(tight_boxes(labels[row] == firsts[:, None, None]))
    most = max([1, *(len(boxes) for boxes in found)])
    return (
        torch.stack([F.pad(boxes, (0, 0, 0, most - len(boxes))) for boxes in found])
        if found
        else masks.new_zeros(0, 1, 4).float()
    )


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
