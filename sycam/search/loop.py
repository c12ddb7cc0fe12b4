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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sycam.interrupt import Interrupt
from sycam.scoring import Failures, Scorer
from sygus import Candidate, Learner
from sygus.constraints import ConstraintOracle

from .budget import Budget
from .candidates import Queue, Queued, SameHeatmap, Screen, Similar
from .goals import Drawn, Outcome, Ranking
from .groups import Group, Incumbent, all_images
from .state import Search, Tried
from .stopping import Exact, Scored, StoppingRule, score_in_stages

Watch = Callable[[Search, list[Tried]], None]
"""Told of each batch: the state of the loop, and what became of the candidates."""


@dataclass(frozen=True)
class Policy:
    """How candidates are taken, and when they are rejected.

    Attributes:
        start: the best known CAM that the grammar derives, already scored; None where there is none.
        groups: further groups of images whose best is sought as well, such as image classes, each with where it starts.
        rule: when a candidate is rejected.
        laws: what a candidate must be proved to obey; None where the file states no law.
        heatmaps: which candidates are proved to draw the heatmap of an earlier one; None to ask the images only.
        similar: what puts lookalikes last; None to put none.
        failures: how failures of the oracle are taken; None raises the first.
        seed: of the order of the images. at_once: candidates that are scored together.
    """

    start: Incumbent | None = None
    groups: Sequence[Group] = ()
    rule: StoppingRule = field(default_factory=Exact)
    laws: ConstraintOracle | None = None
    heatmaps: SameHeatmap | None = None
    similar: Similar | None = None
    failures: Failures | None = None
    seed: int = 0
    at_once: int = 32


def search(learner: Learner, goals: Ranking, policy: Policy, budget: Budget, watch: Watch = lambda state, tried: None) -> Search:
    """Finds the candidate that ranks best on the images of the goals' scorers.

    Args:
        learner: terms with their cost, each a new class; told what became of each.
        goals: in order, with what measures them.
        policy: how candidates are taken, and when they are rejected.
        budget: when to stop.
        watch: told after each batch.
    """
    scorer, rule = goals.scorer, policy.rule
    state = Search([all_images(len(scorer), policy.seed, policy.start), *policy.groups])
    scorer.agree = rule.agree
    queue = Queue(
        _affordable(learner, goals, state), policy.laws, policy.at_once, budget.candidates, policy.similar, scorer, policy.seed
    )
    screen = Screen(scorer, policy.heatmaps, images=not goals.redraws)
    asked = scorer.spent.asked
    try:
        with Interrupt() as interrupt:
            while (reason := _ended(state, scorer, budget, policy.failures)) is None:
                interrupt.check()
                batch, unlawful = queue.take()
                if not batch and not unlawful and queue.empty:
                    reason = f"every term {'that can win' if goals.cost_first else 'of the bounded grammar'} was tried"
                    break
                fresh, maps, tried = screen(batch)
                tried += _scored(fresh, maps, goals, policy, state, budget)
                state.waiting, state.similar, state.asked = len(queue.waiting), queue.similar, scorer.spent.asked - asked
                _tell(state, [*tried, *unlawful], goals, learner, watch)
    except KeyboardInterrupt:
        reason = "interrupted"
    state.stopped_by = reason
    if left := queue.left():
        _tell(state, left, goals, learner, watch)
    return state


def _affordable(learner: Learner, goals: Ranking, state: Search) -> Iterator[Candidate]:
    """What the learner gives; where the cost is the first goal only as long as a candidate can win, since no later one costs
    less."""
    if not goals.cost_first:
        return iter(learner)
    return itertools.takewhile(lambda one: any(group.affords(one.cost) for group in state.groups), learner)


def _ended(state: Search, scorer: Scorer, budget: Budget, failures: Failures | None) -> str | None:
    """Why the search ends here, or None while it may go on."""
    if failures is not None and failures.given_up is not None:
        return "an error of the oracle"
    reason, target = budget.spent(state.weighed, scorer.spent.passes), budget.target
    if reason is None and target is not None:
        score = state.score(scorer.metric)
        reason = f"target {target:g} reached" if score is not None and not scorer.metric.better(target, score) else None
    return reason


def _scored(fresh: list[Queued], maps: Tensor, goals: Ranking, policy: Policy, state: Search, budget: Budget) -> list[Tried]:
    """What becomes of candidates with maps [C, N, h, w], once they are scored."""
    if not fresh:
        return []
    thresholds = [goals.threshold(group.marks, [one.candidate.cost for one in fresh]) for group in state.groups]
    plan = policy.rule.plan(goals.scorer.metric, state.groups, thresholds, len(fresh))
    results = score_in_stages(goals.scorer, maps, plan, [one.candidate.term for one in fresh], policy.failures)
    return [
        _compared(one, result, Drawn(*one.candidate, None, maps[place : place + 1]), goals, policy.failures, state, budget)
        for place, (one, result) in enumerate(zip(fresh, results, strict=True))
    ]


def _compared(
    one: Queued, result: Scored, drawn: Drawn, goals: Ranking, failures: Failures | None, state: Search, budget: Budget
) -> Tried:
    """What becomes of a candidate that was scored: a new incumbent, rejected, or one on which an oracle failed. Where a group of
    images rejects it, the image that showed it most joins the group's witnesses."""
    candidate, error, outcomes = one.candidate, result.error, list[Outcome]()
    if not result.failed:
        for group, total in zip(state.groups, result.totals, strict=True):
            found, error = goals.attempt(failures, drawn._replace(score=total), group.marks, group.places)
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
            group.accept(Incumbent(candidate.term, candidate.cost, known, total, one.number, budget.elapsed, marks=marks))
            accepted.append("all images" if group.image_class is None else f"image class {group.image_class}")
        elif best is not None:
            _witness(goals.scorer, result.values, group, best)
    status = "accepted" if accepted else "rejected"
    reason = f"best so far on {', '.join(accepted)}" if accepted and len(state.groups) > 1 else ""
    return Tried(
        one.number, candidate.term, candidate.cost, status, score=result.total, bound=result.bound, seen=result.seen,
        reason=reason, goals=outcomes[0].values,
    )  # fmt: skip


def _witness(scorer: Scorer, values: Tensor, group: Group, incumbent: Incumbent) -> None:
    """Notes the image of the group on which a beaten candidate loses most; of a metric that is no mean over images, no image
    alone shows a loss."""
    if not scorer.metric.is_mean:
        return
    loss = incumbent.values - values if scorer.metric.direction == "high" else values - incumbent.values
    loss = loss[group.places].nan_to_num(nan=-torch.inf)
    if bool((loss > -torch.inf).any()):
        group.witnesses.add(int(group.places[loss.argmax()]))


def _tell(state: Search, tried: list[Tried], goals: Ranking, learner: Learner, watch: Watch) -> None:
    """The state, the learner and whoever watches get to know what became of a batch."""
    state.count(tried, len(goals.scorer), len(goals.scorers))
    ordered = sorted(tried, key=lambda t: t.number)
    learner.learn(ordered)
    watch(state, ordered)
