"""The order in which candidates are scored: the learner's own, or within a window the likely ones first, lookalikes last."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from sycam.oracle import MetricOracle
from sycam.oracle.relative import Relative
from sygus import Candidate
from sygus.constraints import ConstraintOracle

from .similar import Similar
from .state import Tried

IMAGES = 32
"""On so many the relative and the sketches look."""


class Queued(NamedTuple):
    """A candidate that obeys the laws, with its number in the learner's order, and what its relative scores."""

    number: int
    candidate: Candidate
    relative: float = float("nan")


@dataclass
class Preview:
    """What is known of candidates before they are scored, from their heatmaps on a few images.

    Args:
        oracle: which draws them.
        seed: of the choice of images.
        relative: what orders a window; None for the learner's order.
        similar: what puts lookalikes last; None to put none.
        look_ahead: candidates in a window.
    """

    oracle: MetricOracle
    seed: int = 0
    relative: Relative | None = None
    similar: Similar | None = None
    look_ahead: int = 256
    places: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.places = preview_images(len(self.oracle.cache), self.seed)


def preview_images(images: int, seed: int) -> Tensor:
    """The images that previews look at: at most 32 of so many."""
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed))[:IMAGES].sort().values


class Queue:
    """Hands over what a learner gives, batch by batch.

    Without a preview a batch is what the learner gives next. With one, a window of candidates is fetched first: its relative
    orders it, and those that look like a candidate scored earlier wait until the learner has no more. So a window changes when a
    candidate is scored, never whether it is: which candidates are fetched under a limit does not depend on the preview, but for
    the similar ones, that count a hundredth while they wait, as unlawful ones do.

    Args:
        learner: terms with their cost.
        laws: what a candidate must be proved to obey; None where the file states no law.
        at_once: candidates in a batch.
        limit: how many may be fetched; None for all.
        preview: see above.

    Attributes:
        waiting: lookalikes that were not scored yet, each with the number of the candidate that it looks like.
        similar: lookalikes met so far.
    """

    def __init__(
        self,
        learner: Iterator[Candidate],
        laws: ConstraintOracle | None,
        at_once: int,
        limit: int | None,
        preview: Preview | None,
    ) -> None:
        self._learner, self._laws, self._at_once, self._limit, self._preview = learner, laws, at_once, limit, preview
        self.waiting: deque[tuple[Queued, int]] = deque()
        self.similar = 0
        self._window: deque[tuple[Queued, Tensor | None]] = deque()
        self._fetched = self._unlawful = 0
        self._exhausted = False

    @property
    def empty(self) -> bool:
        """Whether the learner has no more and all was handed over."""
        return self._exhausted and not self._window and not self.waiting

    def take(self) -> tuple[list[Queued], list[Tried]]:
        """The next batch, and those that were found not to obey the laws. The batch may be empty while `empty` is false."""
        unlawful: list[Tried] = []
        if not self._window:
            self._window.extend(self._previewed(self._fetch(unlawful)) or self._released())
        batch: list[Queued] = []
        while self._window and len(batch) < self._at_once:
            one, sketch = self._window.popleft()
            like = None if sketch is None else self._looks_like(one, sketch)
            if like is None:
                batch.append(one)
            else:
                self.waiting.append((one, like))
                self.similar += 1
        return batch, unlawful

    def left(self) -> list[Tried]:
        """The lookalikes that still wait, as a run that ends says of them."""
        return [
            Tried(number, candidate.term, candidate.cost, "similar", reason=f"heatmaps like those of candidate {like}")
            for (number, candidate, _), like in self.waiting
        ]

    def _looks_like(self, one: Queued, sketch: Tensor) -> int | None:
        """The number of the candidate that this one looks like; else it is noted as one that is scored."""
        assert self._preview is not None and self._preview.similar is not None
        (like,) = self._preview.similar.nearest(sketch[None])
        if like is None:
            self._preview.similar.add([one.number], sketch[None])
        return like

    @property
    def _room(self) -> int | None:
        """How many more may be fetched or released."""
        light = self._unlawful + len(self.waiting)
        return None if self._limit is None else max(0, self._limit - (self._fetched - light + light // 100))

    def _fetch(self, unlawful: list[Tried]) -> list[Queued]:
        """The next window, in the learner's order."""
        found: list[Queued] = []
        enough = self._preview.look_ahead if self._preview else 1
        seen = 0
        while not self._exhausted and seen < enough and self._room != 0:
            lawful, broken = self._obeying(self._at_once if self._room is None else min(self._at_once, self._room))
            self._exhausted = not lawful and not broken
            found += lawful
            unlawful += broken
            seen += len(lawful) + len(broken)
        return found

    def _released(self) -> list[tuple[Queued, Tensor | None]]:
        """Once the learner has no more, a window of those that wait."""
        found: list[Queued] = []
        enough = self._preview.look_ahead if self._preview else 1
        while self._exhausted and self.waiting and self._room != 0 and len(found) < enough:
            found.append(self.waiting.popleft()[0])
        return [(one, None) for one, _ in self._previewed(found)]

    def _previewed(self, found: list[Queued]) -> list[tuple[Queued, Tensor | None]]:
        """A window in the order in which it is scored, with the sketches that tell lookalikes."""
        preview = self._preview
        if preview is None or not found:
            return [(one, None) for one in found]
        maps, finite = preview.oracle.maps([one.candidate.term for one in found], preview.places)
        drawn = finite.all(1).tolist()
        if preview.relative is not None:
            found = [one._replace(relative=score) for one, score in zip(found, preview.relative(maps).tolist(), strict=True)]
        sketches = preview.similar.sketch(maps).cpu() if preview.similar is not None else None
        window = [(one, sketches[i] if sketches is not None and drawn[i] else None) for i, one in enumerate(found)]
        if preview.relative is not None:
            sign = -1 if preview.relative.metric.direction == "high" else 1
            # Stable, and rounded: what draws equal heatmaps keeps its order.
            window.sort(key=lambda pair: round(sign * pair[0].relative, 6))
        return window

    def _obeying(self, count: int) -> tuple[list[Queued], list[Tried]]:
        """The next `count` candidates that obey the laws, and those between them that are not known to, of which there are at
        most ten times as many."""
        lawful: list[Queued] = []
        unlawful: list[Tried] = []
        while len(lawful) < count and len(unlawful) < 10 * count and (candidate := next(self._learner, None)) is not None:
            self._fetched += 1
            verdict = self._laws.verdict(candidate.term) if self._laws else None
            if verdict is None or verdict.status == "lawful":
                lawful.append(Queued(self._fetched, candidate))
            else:
                status = "unlawful" if verdict.status == "broken" else "law-undecided"
                unlawful.append(Tried(self._fetched, candidate.term, candidate.cost, status, reason=verdict.reason))
        self._unlawful += len(unlawful)
        return lawful, unlawful
