"""Whose best candidate is sought: all images together, and by class each image class beside them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sygus import Term

from .witnesses import LIMIT, Witnesses


@dataclass(frozen=True)
class Incumbent:
    """The best accepted candidate so far of a group of images: its term, its cost, its score on each image (of a metric with
    parts, these; NaN where it was not asked) and over all images of the group, λ, and of each goal the value that the next must
    beat."""

    term: Term
    cost: int
    values: Tensor
    score: float
    candidate: int
    seconds: float
    name: str = ""
    marks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.marks:
            object.__setattr__(self, "marks", (self.score,))


@dataclass
class Group:
    """Images with an incumbent, witnesses and a λ of their own.

    Attributes:
        places: [n], which images.
        witnesses: those of them to score first.
        image_class: of all of them; None for the group of all images.
        incumbent: the best so far; history: every one there was, in order.
    """

    places: Tensor
    witnesses: Witnesses
    image_class: int | None = None
    incumbent: Incumbent | None = None
    history: list[Incumbent] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.incumbent is not None:
            self.history.append(self.incumbent)

    @property
    def marks(self) -> tuple[float, ...] | None:
        """What a candidate must beat; None where any is accepted."""
        return self.incumbent.marks if self.incumbent else None

    def affords(self, cost: int) -> bool:
        """Whether a candidate of this cost costs no more than the best."""
        return self.incumbent is None or cost <= self.incumbent.cost

    def start(self, incumbent: Incumbent | None) -> None:
        """Where the search begins: the best known, if any."""
        if incumbent is not None:
            self.accept(incumbent)

    def accept(self, incumbent: Incumbent) -> None:
        """A new best."""
        self.incumbent = incumbent
        self.history.append(incumbent)


def all_images(images: int, seed: int = 0, start: Incumbent | None = None) -> Group:
    """The group of all of so many images, the only one of a run that is not by class."""
    return Group(torch.arange(images), Witnesses(images, seed), incumbent=start)


def image_classes(classes: Tensor, least: int, seed: int = 0) -> list[Group]:
    """A group for each image class that has enough images.

    Args:
        classes: [N], the class of each image that is explained.
        least: how many images are enough.
        seed: of the order of images.

    >>> [(group.image_class, group.places.tolist()) for group in image_classes(torch.tensor([7, 2, 7, 7, 2, 5]), 2)]
    [(2, [1, 4]), (7, [0, 2, 3])]
    """
    found, counts = classes.cpu().unique(return_counts=True)
    groups = []
    for image_class in found[counts >= least].tolist():
        places = (classes.cpu() == image_class).nonzero()[:, 0]
        # An eighth, at least two: all classes' witnesses together come first, and ought to stay a small share.
        limit = min(LIMIT, max(2, len(places) // 8))
        groups.append(Group(places, Witnesses(len(classes), seed, limit), image_class))
    return groups
