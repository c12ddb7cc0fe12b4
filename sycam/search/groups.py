"""Whose best candidate is sought: all images together, and by class each image class beside them; and the witness images of each,
counterexamples of the metric, on which candidates are scored first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sygus import Term

LIMIT = 16


class Witnesses:
    """Which images to score first: those that beat most candidates so far, then the others in a seeded order.

    Args:
        images: how many there are.
        seed: of the order of the others.
        limit: how many witnesses are kept.

    >>> witnesses = Witnesses(4, seed=0)
    >>> witnesses.add(2)
    >>> int(witnesses.order()[0]), len(witnesses), sorted(witnesses.order().tolist())
    (2, 1, [0, 1, 2, 3])
    """

    def __init__(self, images: int, seed: int = 0, limit: int = LIMIT) -> None:
        self.limit, self.images = limit, images
        self._beat = torch.zeros(images, dtype=torch.int64)
        self._shuffled = torch.randperm(images, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return min(self.limit, int((self._beat > 0).sum()))

    def add(self, image: int) -> None:
        """A candidate was beaten, and this image showed it most."""
        self._beat[image] += 1

    def chosen(self) -> Tensor:
        """The witnesses, those that beat most candidates first: [at most `limit`]."""
        ranked = self._beat[self._shuffled].sort(descending=True, stable=True).indices
        return self._shuffled[ranked[: len(self)]]

    def others(self, first: Tensor) -> Tensor:
        """All images but `first`, in the seeded order."""
        return self._shuffled[~torch.isin(self._shuffled, first)]

    def order(self) -> Tensor:
        """All images, the witnesses first: [N]."""
        first = self.chosen()
        return torch.cat([first, self.others(first)])


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


def union(several: Sequence[Witnesses]) -> Tensor:
    """The witnesses of several groups of the same images, each image once, those of the first group first."""
    chosen = torch.cat([one.chosen() for one in several]).tolist()
    return torch.tensor(list(dict.fromkeys(chosen)), dtype=torch.int64)


def doubling(first: Tensor, others: Tensor) -> list[Tensor]:
    """`first` where there are any, then the others in batches that double, the first of eight images or as many as `first`."""
    stages, start, size = ([first] if len(first) else []), 0, max(8, len(first))
    while start < len(others):
        size = size * 2 if stages else size
        stages.append(others[start : start + size])
        start += size
    return stages
