"""The counterexample-guided loop. Start reading here.

A learner hands over terms, cheapest first, each a new class of proved-equal terms; the constraint oracle keeps those that are
proved to obey the file's laws; the metric oracle scores these in stages, first on the witness images on which earlier candidates
lost most; a candidate that cannot beat the incumbent any more is dropped, and the image that showed it becomes a witness; one
that beats it is the new incumbent, and its score the new λ. Further goals decide where scores tie.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sycam.errors import OracleError
from sycam.oracle import Failures, MetricOracle
from sygus import Candidate, Term
from sygus.constraints import ConstraintOracle

from .budget import Budget
from .ranking import Outcome, Ranking
from .same_heatmap import SameHeatmap
from .stopping import Scored, score_exactly
from .witnesses import Witnesses


@dataclass(frozen=True)
class Incumbent:
    """The best accepted candidate so far: its term, its cost, its score on each image (of a metric with parts, these) and over
    all of them, λ, and of each goal the value that the next must beat."""

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


@dataclass(frozen=True)
class Tried:
    """One candidate, what became of it, and its values of the goals that had to be known.

    It is "accepted", "rejected", "invalid", "same-heatmap" (as an earlier one, proved), "same-on-images" (as an earlier one on
    the images of the search, bit for bit), or was never scored: "unlawful" (it breaks a law of the file) or "law-undecided" (it
    is neither proved to obey one nor refuted). "oracle-error" is one about which an oracle gave no number; "unfinished" one
    of the batch in which the run stopped for such an error.
    """

    number: int
    term: Term
    cost: int
    status: str
    score: float | None = None
    bound: float | None = None
    seen: int = 0
    reason: str = ""
    goals: tuple[float, ...] = ()


@dataclass
class Search:
    """The state of a loop, for whoever watches it."""

    incumbent: Incumbent | None = None
    history: list[Incumbent] = field(default_factory=list)
    candidates: int = 0
    rejected_early: int = 0
    same_heatmap: int = 0
    same_on_images: int = 0
    invalid: int = 0
    unlawful: int = 0
    law_undecided: int = 0
    oracle_errors: int = 0
    stopped_by: str = ""

    @property
    def weighed(self) -> int:
        """Candidates as a budget counts them: one that is unlawful costs no pass, and counts a hundredth."""
        return self.candidates - self.unlawful + self.unlawful // 100


def search(
    learner: Iterator[Candidate],
    oracle: MetricOracle,
    start: Incumbent | None,
    budget: Budget,
    *,
    ranking: Ranking | None = None,
    target: float | None = None,
    seed: int = 0,
    at_once: int = 32,
    laws: ConstraintOracle | None = None,
    heatmaps: SameHeatmap | None = None,
    failures: Failures | None = None,
    on_batch: Callable[[Search, list[Tried]], None] = lambda state, tried: None,
) -> Search:
    """Finds the candidate that scores best on the oracle's images.

    Args:
        learner: terms with their cost, each a new class.
        oracle: the metric on the search images.
        start: the best known CAM that the grammar derives, already scored; None where there is none.
        budget: when to stop.
        ranking: all goals; None where the oracle's metric is the only one.
        target: a score that is good enough to stop.
        seed: of the order of the images.
        at_once: candidates that are scored together.
        laws: what a candidate must be proved to obey; None where the file states no law.
        heatmaps: which candidates are proved to draw the heatmap of an earlier one; None to ask the images only.
        failures: how failures of the oracle are taken; None raises the first.
        on_batch: told after each batch.
    """
    metric, state = oracle.metric, Search(start, [start] if start else [])
    ranking = ranking or Ranking([metric], [oracle])
    if ranking.cost_first:  # no later term costs less
        learner = itertools.takewhile(lambda c: state.incumbent is None or c.cost <= state.incumbent.cost, learner)
    witnesses = Witnesses(len(oracle.cache), seed)
    seen_maps: dict[bytes, int] = {}
    try:
        while True:
            reason = budget.spent(state.weighed, oracle.spent.passes)
            if failures is not None and failures.given_up is not None:
                reason = "an error of the oracle"
            if reason is None and target is not None and state.incumbent and not metric.better(target, state.incumbent.score):
                reason = f"target {target:g} reached"
            if reason is not None:
                break
            left = at_once if budget.candidates is None else min(at_once, budget.candidates - state.weighed)
            lawful, unlawful = _batch(learner, laws, state.candidates + 1, left)
            if not lawful and not unlawful:
                reason = f"every term {'that can win' if ranking.cost_first else 'of the bounded grammar'} was tried"
                break
            state.candidates += len(lawful) + len(unlawful)
            fresh, maps, tried = _screen(lawful, oracle, None if ranking.redraws else seen_maps, heatmaps)
            marks = state.incumbent.marks if state.incumbent else None
            threshold = ranking.threshold(marks, [candidate.cost for _, candidate in fresh])
            terms = [candidate.term for _, candidate in fresh]
            scored = score_exactly(oracle, maps, witnesses.stages(), threshold, terms, failures) if fresh else []
            for place, ((number, candidate), result) in enumerate(zip(fresh, scored, strict=True)):
                incumbent, marks = state.incumbent, state.incumbent.marks if state.incumbent else None
                outcome, error = None, result.error
                if not result.failed:
                    outcome, error = ranking.attempt(
                        failures, candidate.cost, result.total, maps[place : place + 1], marks, candidate.term
                    )
                if outcome is None:
                    tried.append(_failed(number, candidate, result, error))
                    continue
                if outcome.wins and result.total is not None:
                    state.incumbent = Incumbent(
                        candidate.term, candidate.cost, result.values, result.total, number, budget.elapsed, marks=outcome.marks
                    )
                    state.history.append(state.incumbent)
                elif incumbent is not None and metric.is_mean:  # of a metric that is no mean, no image alone shows a loss
                    witnesses.add(_most_telling(oracle, result, incumbent))
                tried.append(_record(number, candidate, result, outcome))
            state.rejected_early += sum(result.total is None and not result.failed for result in scored)
            state.oracle_errors += sum(t.status == "oracle-error" for t in tried)
            state.same_heatmap += sum(t.status == "same-heatmap" for t in tried)
            state.same_on_images += sum(t.status == "same-on-images" for t in tried)
            state.invalid += sum(t.status == "invalid" for t in tried)
            state.unlawful += len(unlawful)
            state.law_undecided += sum(t.status == "law-undecided" for t in unlawful)
            on_batch(state, sorted([*tried, *unlawful], key=lambda t: t.number))
    except KeyboardInterrupt:
        reason = "interrupted"
    state.stopped_by = reason
    return state


def _failed(number: int, candidate: Candidate, result: Scored, error: OracleError | None) -> Tried:
    status, reason = ("unfinished", "the run stopped") if error is None else ("oracle-error", str(error))
    return Tried(number, candidate.term, candidate.cost, status, seen=result.seen, reason=reason)


def _batch(
    learner: Iterator[Candidate], laws: ConstraintOracle | None, first: int, count: int
) -> tuple[list[tuple[int, Candidate]], list[Tried]]:
    """The next `count` candidates that obey the laws, numbered from `first`, and those between them that are not known to, of
    which there are at most ten times as many."""
    lawful: list[tuple[int, Candidate]] = []
    unlawful: list[Tried] = []
    while len(lawful) < count and len(unlawful) < 10 * count and (candidate := next(learner, None)) is not None:
        number = first + len(lawful) + len(unlawful)
        verdict = laws.verdict(candidate.term) if laws else None
        if verdict is None or verdict.status == "lawful":
            lawful.append((number, candidate))
        else:
            status = "unlawful" if verdict.status == "broken" else "law-undecided"
            unlawful.append(Tried(number, candidate.term, candidate.cost, status, reason=verdict.reason))
    return lawful, unlawful


def _screen(
    numbered: list[tuple[int, Candidate]], oracle: MetricOracle, seen: dict[bytes, int] | None, heatmaps: SameHeatmap | None
) -> tuple[list[tuple[int, Candidate]], Tensor, list[Tried]]:
    """Candidates that need scoring with their maps [C, N, h, w]; tried already are those that are not finite, and those with the
    heatmap of an earlier candidate that was finite: proved, or their maps on all images are its maps, bit for bit (where `seen`
    is given: it is no reason if the metric draws candidates on other images)."""
    numbered, tried = _not_drawn_yet(numbered, heatmaps)
    if not numbered:
        return [], torch.empty(0), tried
    maps, finite = oracle.maps([candidate.term for _, candidate in numbered])
    keys = oracle.signatures(maps)
    kept = []
    for index, (number, candidate) in enumerate(numbered):
        if not bool(finite[index].all()):
            image = oracle.cache.images.names[int((~finite[index]).nonzero()[0, 0])]
            reason = f"NaN or infinite on {image}"
            tried.append(Tried(number, candidate.term, candidate.cost, "invalid", reason=reason))
        elif heatmaps and (earlier := heatmaps.earlier(candidate.term)) is not None:
            tried.append(_same_heatmap(number, candidate, earlier))
        else:
            if heatmaps:
                heatmaps.stands(candidate.term, number)
            if seen is None:
                kept.append(index)
            elif keys[index] in seen:
                reason = f"heatmaps of candidate {seen[keys[index]]} on these images"
                tried.append(Tried(number, candidate.term, candidate.cost, "same-on-images", reason=reason))
            else:
                seen[keys[index]] = number
                kept.append(index)
    return [numbered[i] for i in kept], maps[torch.tensor(kept, dtype=torch.int64, device=maps.device)], tried


def _not_drawn_yet(
    numbered: list[tuple[int, Candidate]], heatmaps: SameHeatmap | None
) -> tuple[list[tuple[int, Candidate]], list[Tried]]:
    """Candidates without those that are proved to draw the heatmap of one of an earlier batch."""
    if heatmaps is None:
        return numbered, []
    heatmaps.classify([candidate.term for _, candidate in numbered])
    earlier = [(pair, heatmaps.earlier(pair[1].term)) for pair in numbered]
    drawn = [_same_heatmap(*pair, first) for pair, first in earlier if first is not None]
    return [pair for pair, first in earlier if first is None], drawn


def _same_heatmap(number: int, candidate: Candidate, earlier: int) -> Tried:
    return Tried(number, candidate.term, candidate.cost, "same-heatmap", reason=f"heatmap of candidate {earlier}, proved")


def _most_telling(oracle: MetricOracle, result: Scored, incumbent: Incumbent) -> int:
    """The image on which a beaten candidate loses most to the incumbent."""
    loss = incumbent.values - result.values if oracle.metric.direction == "high" else result.values - incumbent.values
    return int(loss.nan_to_num(nan=-torch.inf).argmax())


def _record(number: int, candidate: Candidate, result: Scored, outcome: Outcome) -> Tried:
    status = "accepted" if outcome.wins else "rejected"
    return Tried(number, candidate.term, candidate.cost, status, result.total, result.bound, result.seen, goals=outcome.values)
