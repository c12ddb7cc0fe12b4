"""The counterexample-guided loop. Start reading here.

A learner hands over terms, cheapest first, each a new class of proved-equal terms; the metric oracle scores them in stages,
first on the witness images on which earlier candidates lost most; a candidate that cannot beat the incumbent any more is
dropped, and the image that showed it becomes a witness; one that beats it is the new incumbent, and its score the new λ.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sycam.oracle import MetricOracle
from sygus import Candidate, Term

from .budget import Budget
from .stopping import SLACK, Scored, score_exactly
from .witnesses import Witnesses


@dataclass(frozen=True)
class Incumbent:
    """The best accepted candidate so far: its term, its cost, its score on each image and their mean, λ."""

    term: Term
    cost: int
    values: Tensor
    score: float
    candidate: int
    seconds: float
    name: str = ""


@dataclass(frozen=True)
class Tried:
    """One candidate and what became of it: "accepted", "rejected", "same" as an earlier one on these images, or "invalid"."""

    number: int
    term: Term
    cost: int
    status: str
    score: float | None = None
    bound: float | None = None
    seen: int = 0
    reason: str = ""


@dataclass
class Search:
    """The state of a loop, for whoever watches it."""

    incumbent: Incumbent | None = None
    history: list[Incumbent] = field(default_factory=list)
    candidates: int = 0
    rejected_early: int = 0
    same: int = 0
    invalid: int = 0
    stopped_by: str = ""


def search(
    learner: Iterator[Candidate],
    oracle: MetricOracle,
    start: Incumbent | None,
    budget: Budget,
    *,
    target: float | None = None,
    seed: int = 0,
    at_once: int = 32,
    on_batch: Callable[[Search, list[Tried]], None] = lambda state, tried: None,
) -> Search:
    """Finds the candidate that scores best on the oracle's images.

    Args:
        learner: terms with their cost, each a new class.
        oracle: the metric on the search images.
        start: the best known CAM that the grammar derives, already scored; None where there is none.
        budget: when to stop.
        target: a score that is good enough to stop.
        seed: of the order of the images.
        at_once: candidates that are scored together.
        on_batch: told after each batch.
    """
    metric, state = oracle.metric, Search(start, [start] if start else [])
    witnesses = Witnesses(len(oracle.cache), seed)
    seen_maps: dict[bytes, int] = {}
    try:
        while True:
            reason = budget.spent(state.candidates, oracle.spent.passes)
            if reason is None and target is not None and state.incumbent and not metric.better(target, state.incumbent.score):
                reason = f"target {target:g} reached"
            if reason is not None:
                break
            left = at_once if budget.candidates is None else min(at_once, budget.candidates - state.candidates)
            batch = list(itertools.islice(learner, left))
            if not batch:
                reason = "every term of the bounded grammar was tried"
                break
            numbered = [(state.candidates + i, candidate) for i, candidate in enumerate(batch, start=1)]
            state.candidates += len(batch)
            fresh, maps, tried = _screen(numbered, oracle, seen_maps)
            threshold = state.incumbent.score if state.incumbent else None
            scored = score_exactly(oracle, maps, witnesses.stages(), threshold)
            for (number, candidate), result in zip(fresh, scored, strict=True):
                incumbent = state.incumbent
                if result.total is not None and (incumbent is None or _beats(oracle, result.total, incumbent.score)):
                    state.incumbent = Incumbent(
                        candidate.term, candidate.cost, result.values, result.total, number, budget.elapsed
                    )
                    state.history.append(state.incumbent)
                elif incumbent is not None:
                    witnesses.add(_most_telling(oracle, result, incumbent))
                accepted = state.incumbent is not incumbent
                tried.append(_record(number, candidate, result, "accepted" if accepted else "rejected"))
            state.rejected_early += sum(result.total is None for result in scored)
            state.same += sum(t.status == "same" for t in tried)
            state.invalid += sum(t.status == "invalid" for t in tried)
            on_batch(state, sorted(tried, key=lambda t: t.number))
    except KeyboardInterrupt:
        reason = "interrupted"
    state.stopped_by = reason
    return state


def _screen(
    numbered: list[tuple[int, Candidate]], oracle: MetricOracle, seen: dict[bytes, int]
) -> tuple[list[tuple[int, Candidate]], Tensor, list[Tried]]:
    """Candidates that need scoring with their maps [C, N, h, w]; those that are not finite, or whose maps on all images are
    those of an earlier candidate, bit for bit, are tried already."""
    maps, finite = oracle.maps([candidate.term for _, candidate in numbered])
    keys = oracle.signatures(maps)
    kept, tried = [], []
    for index, (number, candidate) in enumerate(numbered):
        if not bool(finite[index].all()):
            image = oracle.cache.images.names[int((~finite[index]).nonzero()[0, 0])]
            reason = f"NaN or infinite on {image}"
            tried.append(Tried(number, candidate.term, candidate.cost, "invalid", reason=reason))
        elif keys[index] in seen:
            reason = f"heatmaps of candidate {seen[keys[index]]}"
            tried.append(Tried(number, candidate.term, candidate.cost, "same", reason=reason))
        else:
            seen[keys[index]] = number
            kept.append(index)
    return [numbered[i] for i in kept], maps[torch.tensor(kept, dtype=torch.int64, device=maps.device)], tried


def _beats(oracle: MetricOracle, score: float, threshold: float) -> bool:
    return bool(oracle.metric.better(score, threshold)) and abs(score - threshold) > SLACK


def _most_telling(oracle: MetricOracle, result: Scored, incumbent: Incumbent) -> int:
    """The image on which a beaten candidate loses most to the incumbent."""
    loss = incumbent.values - result.values if oracle.metric.direction == "high" else result.values - incumbent.values
    return int(loss.nan_to_num(nan=-torch.inf).argmax())


def _record(number: int, candidate: Candidate, result: Scored, status: str) -> Tried:
    return Tried(number, candidate.term, candidate.cost, status, result.total, result.bound, result.seen)
