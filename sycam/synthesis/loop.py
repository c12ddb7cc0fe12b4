"""The counterexample-guided loop. Start reading here.

A learner hands over terms, cheapest first, each a new class of proved-equal terms; the constraint oracle keeps those that are
proved to obey the file's laws; the metric oracle scores these in stages, first on the witness images on which earlier candidates
lost most; a candidate that cannot beat the incumbent any more, or under `racing` is unlikely to, is dropped, and the image that
showed it becomes a witness; one that beats it is the new incumbent, and its score the new λ. Further goals decide where scores
tie, and then the learner's order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sycam.oracle import Failures, MetricOracle
from sygus import Candidate
from sygus.constraints import ConstraintOracle

from .budget import Budget
from .queue import Preview, Queue, Queued
from .ranking import Outcome, Ranking
from .same_heatmap import SameHeatmap
from .screening import Screen
from .state import Incumbent, Search, Tried
from .stopping import Exact, Plan, Scored, StoppingRule, projected, score_in_stages
from .witnesses import Witnesses

__all__ = ["Incumbent", "Search", "Tried", "search"]


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
    rule: StoppingRule | None = None,
    preview: Preview | None = None,
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
        rule: when a candidate is rejected; None for `exact`.
        preview: what changes the order of candidates; None for the learner's.
        laws: what a candidate must be proved to obey; None where the file states no law.
        heatmaps: which candidates are proved to draw the heatmap of an earlier one; None to ask the images only.
        failures: how failures of the oracle are taken; None raises the first.
        on_batch: told after each batch.
    """
    state, rule = Search(start, [start] if start else []), rule or Exact()
    oracle.agree = rule.agree
    ranking = ranking or Ranking([oracle.metric], [oracle])
    if ranking.cost_first:  # no later term costs less
        learner = itertools.takewhile(lambda c: state.incumbent is None or c.cost <= state.incumbent.cost, learner)
    queue = Queue(learner, laws, at_once, budget.candidates, preview)
    screen = Screen(oracle, heatmaps, images=not ranking.redraws)
    witnesses = Witnesses(len(oracle.cache), seed)
    asked = oracle.spent.asked
    try:
        while (reason := _ended(state, oracle, budget, target, failures)) is None:
            batch, unlawful = queue.take()
            if not batch and not unlawful and queue.empty:
                reason = f"every term {'that can win' if ranking.cost_first else 'of the bounded grammar'} was tried"
                break
            fresh, maps, tried = screen(batch)
            best = state.incumbent
            threshold = ranking.threshold(best.marks if best else None, [one.candidate.cost for one in fresh])
            plan = rule.plan(oracle.metric, witnesses, best.values if best else None, threshold, len(fresh))
            terms = [one.candidate.term for one in fresh]
            scored = score_in_stages(oracle, maps, plan, threshold, terms, failures) if fresh else []
            for place, (one, result) in enumerate(zip(fresh, scored, strict=True)):
                incumbent = state.incumbent
                tried.append(_compared(one, result, maps[place : place + 1], ranking, failures, state, budget.elapsed))
                if tried[-1].status == "rejected" and incumbent is not None and oracle.metric.is_mean:
                    witnesses.add(_most_telling(oracle, result, incumbent))  # of no mean, no image alone shows a loss
            state.relatives += _agreeing(fresh, scored, best, plan)
            state.waiting, state.similar, state.asked = len(queue.waiting), queue.similar, oracle.spent.asked - asked
            _tell(state, [*tried, *unlawful], oracle, on_batch)
    except KeyboardInterrupt:
        reason = "interrupted"
    state.stopped_by = reason
    if left := queue.left():
        _tell(state, left, oracle, on_batch)
    return state


def _ended(state: Search, oracle: MetricOracle, budget: Budget, target: float | None, failures: Failures | None) -> str | None:
    """Why the search ends here, or None while it may go on."""
    if failures is not None and failures.given_up is not None:
        return "an error of the oracle"
    reason = budget.spent(state.weighed, oracle.spent.passes)
    if reason is None and target is not None and state.incumbent and not oracle.metric.better(target, state.incumbent.score):
        reason = f"target {target:g} reached"
    return reason


def _compared(
    one: Queued, result: Scored, maps: Tensor, ranking: Ranking, failures: Failures | None, state: Search, seconds: float
) -> Tried:
    """What becomes of a candidate that was scored: it is the new incumbent, or rejected, or an oracle failed on it."""
    candidate, best, error = one.candidate, state.incumbent, result.error
    outcome: Outcome | None = None
    if not result.failed:
        marks = best.marks if best else None
        outcome, error = ranking.attempt(failures, candidate.cost, result.total, maps, marks, candidate.term)
    if outcome is None:
        status, reason = ("unfinished", "the run stopped") if error is None else ("oracle-error", str(error))
        return Tried(one.number, candidate.term, candidate.cost, status, seen=result.seen, reason=reason)
    wins = outcome.wins or (outcome.ties and best is not None and one.number < best.candidate)
    if wins and result.total is not None:
        values, score = result.values, result.total
        state.accept(Incumbent(candidate.term, candidate.cost, values, score, one.number, seconds, marks=outcome.marks))
    status, goals = "accepted" if wins else "rejected", outcome.values
    return Tried(one.number, candidate.term, candidate.cost, status, result.total, result.bound, result.seen, goals=goals)


def _most_telling(oracle: MetricOracle, result: Scored, incumbent: Incumbent) -> int:
    """The image on which a beaten candidate loses most to the incumbent."""
    loss = incumbent.values - result.values if oracle.metric.direction == "high" else result.values - incumbent.values
    return int(loss.nan_to_num(nan=-torch.inf).argmax())


def _agreeing(fresh: list[Queued], scored: list[Scored], best: Incumbent | None, plan: Plan) -> list[tuple[float, float]]:
    """What the relative said of candidates, and what the metric says of them as far as that is known."""
    both = zip(fresh, scored, strict=True)
    pairs = [(one.relative, result) for one, result in both if not math.isnan(one.relative) and not result.failed]
    known = best.values if best else None
    found = [(relative, projected(result.values, known, plan.witnesses)) for relative, result in pairs]
    return [(relative, score) for relative, score in found if score is not None]


def _tell(state: Search, tried: list[Tried], oracle: MetricOracle, on_batch: Callable[[Search, list[Tried]], None]) -> None:
    state.count(tried, len(oracle.cache))
    on_batch(state, sorted(tried, key=lambda t: t.number))
