"""Candidates on their way to be scored: taken from the learner, kept if they obey the laws, put last if they look like one that
was scored, and dropped if they draw a heatmap that was drawn before.

Two candidates are proved to draw one heatmap where their contributions are proportional, with one positive factor for all
channels and pixels, which ReLU and min-max take out again. The relation holds between whole candidates only: inside a term
nothing is replaced by it, and the learner builds on with all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sycam.cams import Cam, contribution
from sycam.scoring import Scorer, signatures
from sygus import Candidate, Equivalence, Merge, Proportional, Term, Undecided
from sygus.constraints import ConstraintOracle

from .state import Tried

IMAGES = 32
"""On so many sketches look."""
SIDE = 4
CAPACITY = 4096


class Queued(NamedTuple):
    """A candidate that obeys the laws, with its number in the learner's order."""

    number: int
    candidate: Candidate


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


class Queue:
    """Hands over what a learner gives, batch by batch.

    Candidates that look like one scored earlier wait until the learner has no more. So the order changes, never which candidates
    are fetched under a limit, but for the similar ones, that count a hundredth while they wait, as unlawful ones do.

    Args:
        learner: terms with their cost.
        laws: what a candidate must be proved to obey; None where the file states no law.
        at_once: candidates in a batch.
        limit: how many may be fetched; None for all.
        similar: what tells lookalikes; None to put none last.
        scorer: which draws candidates for it; seed: of the images that it looks at.

    Attributes:
        waiting: lookalikes that were not scored yet, each with the number of the candidate that it looks like.
        similar: lookalikes met so far.
    """

    def __init__(
        self, learner: Iterator[Candidate], laws: ConstraintOracle | None, at_once: int, limit: int | None,
        similar: Similar | None, scorer: Scorer, seed: int,
    ) -> None:  # fmt: skip
        self._learner, self._laws, self._at_once, self._limit = learner, laws, at_once, limit
        self._like, self._scorer = similar, scorer
        self._places = torch.randperm(len(scorer), generator=torch.Generator().manual_seed(seed))[:IMAGES].sort().values
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
            self._window.extend(self._sketched(self._fetch(unlawful)) or self._released())
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
            for (number, candidate), like in self.waiting
        ]

    def _looks_like(self, one: Queued, sketch: Tensor) -> int | None:
        """The number of the candidate that this one looks like; else it is noted as one that is scored."""
        assert self._like is not None
        (like,) = self._like.nearest(sketch[None])
        if like is None:
            self._like.add([one.number], sketch[None])
        return like

    @property
    def _room(self) -> int | None:
        """How many more may be fetched or released."""
        light = self._unlawful + len(self.waiting)
        return None if self._limit is None else max(0, self._limit - (self._fetched - light + light // 100))

    def _fetch(self, unlawful: list[Tried]) -> list[Queued]:
        """The next candidates, in the learner's order."""
        room = self._room
        if self._exhausted or room == 0:
            return []
        lawful, broken = self._obeying(self._at_once if room is None else min(self._at_once, room))
        self._exhausted = not lawful and not broken
        unlawful += broken
        return lawful

    def _released(self) -> list[tuple[Queued, Tensor | None]]:
        """Once the learner has no more, the first that waits."""
        if not self._exhausted or not self.waiting or self._room == 0:
            return []
        return [(self.waiting.popleft()[0], None)]

    def _sketched(self, found: list[Queued]) -> list[tuple[Queued, Tensor | None]]:
        """Candidates with the sketches that tell lookalikes."""
        if self._like is None or not found:
            return [(one, None) for one in found]
        maps, finite = self._scorer.maps([one.candidate.term for one in found], self._places)
        sketches, drawn = self._like.sketch(maps).cpu(), finite.all(1).tolist()
        return [(one, sketches[i] if drawn[i] else None) for i, one in enumerate(found)]

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


class SameHeatmap:
    """The classes of candidates, and of known CAMs, that are proved to draw one heatmap on every image.

    Args:
        equivalence: context, points and solver of the run; its inputs must hold A.
        known: CAMs to recognise among the candidates, over the terminals of the run.
        on_proof, on_undecided: told of each pair, for the journal.

    Attributes:
        classes: the relation, with its counts and undecided pairs.

    >>> from sycam.cams import cam_from_text, find_cam
    >>> from sycam.job.job import GrammarFile
    >>> from sycam.run.problem import read_problem
    >>> from sygus import Solver
    >>> problem = read_problem(GrammarFile.read("gradient"))
    >>> with Solver() as solver:
    ...     same = SameHeatmap(Equivalence(problem.context(), problem.inputs(), solver), [find_cam("gradcam")])
    ...     twice, other = (cam_from_text(text).term for text in ("(* 2.0 (gap G))", "(gap A)"))
    ...     same.classify([twice, other])
    ...     same.known(twice), same.known(other), same.earlier(twice)
    (['Grad-CAM'], [], None)
    >>> same.stands(twice, 7)
    >>> same.earlier(cam_from_text("(gap G)").term)
    7
    """

    def __init__(
        self,
        equivalence: Equivalence,
        known: Iterable[Cam] = (),
        on_proof: Callable[[Merge], None] | None = None,
        on_undecided: Callable[[Undecided], None] | None = None,
    ) -> None:
        self.classes = Proportional(equivalence, contribution, on_proof, on_undecided)
        self._numbers: dict[Term, int] = {}
        cams = list(known)
        found = self.classes.representatives([cam.term for cam in cams])
        self._known = {cam.name: representative for cam, representative in zip(cams, found, strict=True)}

    def classify(self, candidates: Sequence[Term]) -> None:
        """Finds the classes of candidates, all at once; to be asked about them is cheap afterwards."""
        self.classes.representatives(candidates)

    def earlier(self, candidate: Term) -> int | None:
        """The number of the candidate that stands for the heatmap of this one, or None where none does yet."""
        return self._numbers.get(self._class(candidate))

    def stands(self, candidate: Term, number: int) -> None:
        """This candidate was drawn: it stands for all that have its heatmap."""
        self._numbers[self._class(candidate)] = number

    def known(self, candidate: Term) -> list[str]:
        """The known CAMs that are proved to have the heatmap of a term."""
        own = self._class(candidate)
        return [name for name, representative in self._known.items() if representative is own]

    def met(self, cam: Cam) -> bool:
        """Whether a candidate was drawn that is proved to have the heatmap of a known CAM."""
        return self._class(cam.term) in self._numbers

    def _class(self, term: Term) -> Term:
        return self.classes.representatives([term])[0]


class Screen:
    """Screens batches, and remembers which heatmaps were drawn.

    A candidate that comes before its like in the learner's order, since the queue changed that order, is scored all the same:
    where scores tie, the first in the learner's order wins.

    Args:
        scorer: whose images decide.
        heatmaps: which candidates are proved to draw the heatmap of an earlier one; None to ask the images only.
        images: whether equal maps on all images, bit for bit, count as equal heatmaps; they do not where a metric draws
            candidates on other images.
    """

    def __init__(self, scorer: Scorer, heatmaps: SameHeatmap | None, images: bool = True) -> None:
        self._scorer, self._heatmaps = scorer, heatmaps
        self._seen: dict[bytes, int] | None = {} if images else None

    def __call__(self, batch: Sequence[Queued]) -> tuple[list[Queued], Tensor, list[Tried]]:
        """Candidates to score, their maps [C, N, h, w], and what became of the others."""
        batch, tried = self._not_drawn_yet(batch)
        if not batch:
            return [], torch.empty(0), tried
        maps, finite = self._scorer.maps([one.candidate.term for one in batch])
        keys = signatures(maps)
        kept = []
        for index, one in enumerate(batch):
            if not bool(finite[index].all()):
                image = self._scorer.images.names[int((~finite[index]).nonzero()[0, 0])]
                tried.append(_unscored(one, "invalid", f"NaN or infinite on {image}"))
            elif (earlier := self._proved(one)) is not None:
                tried.append(_unscored(one, "same-heatmap", f"heatmap of candidate {earlier}, proved"))
            else:
                if self._heatmaps:
                    self._heatmaps.stands(one.candidate.term, one.number)
                earlier = None if self._seen is None else self._seen.get(keys[index])
                if earlier is not None and earlier < one.number:
                    tried.append(_unscored(one, "same-on-images", f"heatmaps of candidate {earlier} on these images"))
                else:
                    kept.append(index)
                    if self._seen is not None:
                        self._seen[keys[index]] = one.number
        return [batch[i] for i in kept], maps[torch.tensor(kept, dtype=torch.int64, device=maps.device)], tried

    def _not_drawn_yet(self, batch: Sequence[Queued]) -> tuple[list[Queued], list[Tried]]:
        """Candidates without those that are proved to draw the heatmap of one of an earlier batch."""
        if self._heatmaps is None:
            return list(batch), []
        self._heatmaps.classify([one.candidate.term for one in batch])
        proved = [(one, self._proved(one)) for one in batch]
        tried = [
            _unscored(one, "same-heatmap", f"heatmap of candidate {earlier}, proved")
            for one, earlier in proved
            if earlier is not None
        ]
        return [one for one, earlier in proved if earlier is None], tried

    def _proved(self, one: Queued) -> int | None:
        """The number of the candidate that stands for the heatmap of this one, where it comes before it."""
        earlier = self._heatmaps.earlier(one.candidate.term) if self._heatmaps else None
        return earlier if earlier is not None and earlier < one.number else None


def _unscored(one: Queued, status: str, reason: str) -> Tried:
    return Tried(one.number, one.candidate.term, one.candidate.cost, status, reason=reason)
