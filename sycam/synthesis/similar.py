"""Candidates whose heatmaps look like those of one already scored: they wait until the end of a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SIDE = 4
CAPACITY = 4096


class Similar:
    """Sketches of the heatmaps that were scored, and which new ones come close to one.

    A sketch is a candidate's heatmaps on a few images, averaged to at most 4×4 cells; two candidates are as far apart as their
    sketches are, by the mean absolute difference of cells in [0, 1]. Averaging never moves heatmaps apart, so what lies within a
    distance as heatmaps on these images does so as sketches. The last 4,096 scored are kept: 8 MiB for 32 images.

    Args:
        distance: up to which a candidate is similar.
        capacity: how many sketches are kept.

    >>> similar = Similar(0.05)
    >>> flat, tilted = torch.zeros(1, 2, 8, 8), torch.linspace(0, 1, 8).expand(1, 2, 8, 8)
    >>> similar.add([7], similar.sketch(tilted))
    >>> similar.nearest(similar.sketch(torch.cat([flat, 0.97 * tilted])))
    [None, 7]
    """

    def __init__(self, distance: float, capacity: int = CAPACITY) -> None:
        self.distance, self.capacity = distance, capacity
        self._numbers: list[int] = []
        self._sketches: Tensor | None = None  # [capacity, D]
        self._added = 0

    def sketch(self, maps: Tensor) -> Tensor:
        """Sketches [C, D] of low-resolution heatmaps [C, B, h, w] in [0, 1]."""
        side = (min(SIDE, maps.shape[2]), min(SIDE, maps.shape[3]))
        return torch.nn.functional.adaptive_avg_pool2d(maps.float(), side).flatten(1)

    def add(self, numbers: Sequence[int], sketches: Tensor) -> None:
        """These candidates are scored."""
        if self._sketches is None:
            self._sketches = sketches.new_empty(self.capacity, sketches.shape[1])
        for number, sketch in zip(numbers, sketches, strict=True):
            place = self._added % self.capacity
            self._sketches[place] = sketch
            self._numbers[place : place + 1] = [number]
            self._added += 1

    def nearest(self, sketches: Tensor) -> list[int | None]:
        """For each sketch [C, D] the number of the nearest candidate scored, or None where none is within the distance."""
        if self._sketches is None or not self._numbers:
            return [None] * len(sketches)
        apart = torch.cdist(sketches, self._sketches[: len(self._numbers)], p=1) / sketches.shape[1]  # [C, scored]
        least, place = apart.min(1)
        near = (least <= self.distance).tolist()
        return [self._numbers[at] if close else None for at, close in zip(place.tolist(), near, strict=True)]
