"""The counterexample-guided loop. Start reading here.

A learner hands over terms, cheapest first, each a new class of proved-equal terms; the constraint oracle keeps those that are
proved to obey the file's laws; the metric oracle scores these in stages, first on the witness images on which earlier candidates
lost most; a candidate that cannot beat the incumbent any more, or under `racing` is unlikely to, is dropped, and the image that
showed it becomes a witness; one that beats it is the new incumbent, and its score the new λ. Further goals decide where scores
tie, and then the learner's order.

By class, each image class is a group of images with an incumbent, witnesses and a λ of its own, beside the group of all images; a
candidate is scored once for all groups, and dropped when none can accept it any more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from sycam.oracle import Failures, MetricOracle
from sygus import Candidate
from sygus.constraints import ConstraintOracle

from .budget import Budget
from .groups import Group, Incumbent, all_images
from .interrupt import Interrupt
from .queue import Preview, Queue, Queued
from .ranking import Outcome, Ranking
from .same_heatmap import SameHeatmap
from .screening import Screen
from .state import Search, Tried
from .stopping import Exact, Plan, Scored, StoppingRule, projected, score_in_stages

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
    groups: Sequence[Group] = (),
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
        groups: further groups of images whose best is sought as well, such as image classes, each with where it starts.
        on_batch: told after each batch.
    """
    state, rule = Search([all_images(len(oracle.cache), seed, start), *groups]), rule or Exact()
    oracle.agree = rule.agree
    ranking = ranking or Ranking([oracle.metric], [oracle])
    if ranking.cost_first:  # no later term costs less
        learner = itertools.takewhile(lambda one: any(group.affords(one.cost) for group in state.groups), learner)
    queue = Queue(learner, laws, at_once, budget.candidates, preview)
    screen = Screen(oracle, heatmaps, images=not ranking.redraws)
    asked = oracle.spent.asked
    try:
        with Interrupt() as interrupt:
            while (reason := _ended(state, oracle, budget, target, failures)) is None:
                interrupt.check()
                batch, unlawful = queue.take()
                if not batch and not unlawful and queue.empty:
                    reason = f"every term {'that can win' if ranking.cost_first else 'of the bounded grammar'} was tried"
                    break
                fresh, maps, tried = screen(batch)
                best = state.incumbent
                thresholds = [ranking.threshold(group.marks, [one.candidate.cost for one in fresh]) for group in state.groups]
                plan = rule.plan(oracle.metric, state.groups, thresholds, len(fresh))
                terms = [one.candidate.term for one in fresh]
                scored = score_in_stages(oracle, maps, plan, terms, failures) if fresh else []
                for place, (one, result) in enumerate(zip(fresh, scored, strict=True)):
                    tried.append(_compared(one, result, maps[place : place + 1], ranking, failures, state, budget.elapsed))
                state.relatives += _agreeing(fresh, scored, best, plan)
                state.waiting, state.similar, state.asked = len(queue.waiting), queue.similar, oracle.spent.asked - asked
                _tell(state, [*tried, *unlawful], ranking, on_batch)
    except KeyboardInterrupt:
        reason = "interrupted"
    state.stopped_by = reason
    if left := queue.left():
        _tell(state, left, ranking, on_batch)
    return state


def _ended(state: Search, oracle: MetricOracle, budget: Budget, target: float | None, failures: Failures | None) -> str | None:
    """Why the search ends here, or None while it may go on."""
    if failures is not None and failures.given_up is not None:
        return "an error of the oracle"
    reason = budget.spent(state.weighed, oracle.spent.passes)
    if reason is None and target is not None:
        score = state.score(oracle.metric)
        reason = f"target {target:g} reached" if score is not None and not oracle.metric.better(target, score) else None
    return reason


def _compared(
    one: Queued, result: Scored, maps: Tensor, ranking: Ranking, failures: Failures | None, state: Search, seconds: float
) -> Tried:
    """What becomes of a candidate that was scored: a new incumbent, rejected, or one on which an oracle failed. Where a group of
    images rejects it, the image that showed it most joins the group's witnesses."""
    candidate, error, outcomes = one.candidate, result.error, list[Outcome]()
    if not result.failed:
        for group, total in zip(state.groups, result.totals, strict=True):
            found, error = ranking.attempt(failures, candidate.cost, total, maps, group.marks, candidate.term, group.places)
            if found is None:
                break
            outcomes.append(found)
    if len(outcomes) < len(state.groups):
        status, reason = ("unfinished", "the run stopped") if error is None else ("oracle-error", str(error))
        return Tried(one.number, candidate.term, candidate.cost, status, seen=result.seen, reason=reason)
    accepted = []
    for group, outcome, total in zip(state.groups, outcomes, result.totals, strict=True):
        best = group.incumbent
        if total is not None and (outcome.wins or (outcome.ties and best is not None and one.number < best.candidate)):
            known, marks = result.values, outcome.marks
            group.accept(Incumbent(candidate.term, candidate.cost, known, total, one.number, seconds, marks=marks))
            accepted.append("all images" if group.image_class is None else f"image class {group.image_class}")
        elif best is not None:
            _witness(ranking.oracles[0], result.values, group, best)
    status = "accepted" if accepted else "rejected"
    reason = f"best so far on {', '.join(accepted)}" if accepted and len(state.groups) > 1 else ""
    return Tried(
        one.number, candidate.term, candidate.cost, status, result.total, result.bound, result.seen, reason, outcomes[0].values
    )


def _witness(oracle: MetricOracle, values: Tensor, group: Group, incumbent: Incumbent) -> None:
    """Notes the image of the group on which a beaten candidate loses most; of a metric that is no mean over images, no image
    alone shows a loss."""
    if not oracle.metric.is_mean:
        return
    loss = incumbent.values - values if oracle.metric.direction == "high" else values - incumbent.values
    loss = loss[group.places].nan_to_num(nan=-torch.inf)
    if bool((loss > -torch.inf).any()):
        group.witnesses.add(int(group.places[loss.argmax()]))


def _agreeing(fresh: list[Queued], scored: list[Scored], best: Incumbent | None, plan: Plan) -> list[tuple[float, float]]:
    """What the relative said of candidates, and what the metric says of them as far as that is known."""
    both = zip(fresh, scored, strict=True)
    pairs = [(one.relative, result) for one, result in both if not math.isnan(one.relative) and not result.failed]
    known, order = best.values if best else None, torch.cat([*plan.stages])

    def at_random(result: Scored) -> Tensor:
        """Its values but for those asked because of single image classes."""
        values = result.values.clone()
        values[order[result.first :]] = torch.nan
        return values

    found = [(relative, projected(at_random(result), known, plan.witnesses)) for relative, result in pairs]
    return [(relative, score) for relative, score in found if score is not None]


def _tell(state: Search, tried: list[Tried], ranking: Ranking, on_batch: Callable[[Search, list[Tried]], None]) -> None:
    state.count(tried, len(ranking.oracles[0].cache), len(ranking.oracles))
    on_batch(state, sorted(tried, key=lambda t: t.number))
