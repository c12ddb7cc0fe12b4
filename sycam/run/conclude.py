"""What a search found, on images that it never saw: the table beside known CAMs, the goals reached, the counts, the verdict."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.metrics.metric import Metric
from sycam.scoring import Failures
from sycam.search import Incumbent, Ranking, Search
from sycam.search.goals import Cost
from sycam.store import Stored

from .bench import Bench
from .by_class import decomposed, described
from .known import mark_derived, table_rows
from .result import Result, Row
from .verdict import verdict


def conclude(bench: Bench, found: Search) -> Result:
    """The result of a search.

    Raises:
        SycamError: no candidate could be scored. OracleError: the oracle gave nothing up to its end.
    """
    if found.incumbent is None:
        raise bench.failures.given_up or _nothing(bench, found)
    goals, metric, search = bench.plan.goals, bench.plan.goals.metric, bench.job.search
    with bench.clock.phase("held-out images"):
        mark_derived(bench.known, bench.plan.problem, bench.classes, bench.learner, bench.heatmaps)
        best, own = decomposed(found, metric, len(goals.order))
        single = found.incumbent if own else None
        problem = bench.plan.problem
        rows, notes = table_rows(best, problem, bench.known, bench.scorers, bench.heatmaps, bench.failures, single)
        reached = _reached(best, rows[0], bench.rankings, bench.failures)
        bench.warn(*notes)
    bench.journal.commit()
    result = Result(
        best.term, best.score, metric, bench.network, rows, found,
        counts=_counts(bench, found) | _law_counts(bench, found), manifest=_manifest(bench),
        verdict=verdict(rows, metric, search.by_class), goals=reached, warnings=bench.warnings, job=bench.job,
    )  # fmt: skip
    if search.by_class:
        explained = [scorer.cache.classes.cpu() for scorer in bench.scorers]
        result.by_class = described(found, own, rows, explained, bench.network.class_names, search.enough_images)
    return result


def _nothing(bench: Bench, found: Search) -> SycamError:
    """Why there is no answer at all."""
    lawless = f", {found.unlawful} of them unlawful" if bench.laws else ""
    return SycamError(
        f"no term of {bench.job.grammar.file} gives finite heatmaps within the budget ({found.candidates} tried{lawless}): raise "
        f"`budget`, or look at the grammar's {'constraints' if bench.laws else 'divisions'}"
    )


def _reached(best: Incumbent, answer: Row, rankings: list[Ranking], failures: Failures) -> list[dict[str, Any]]:
    """What the answer reaches of each goal, in their order, on search and held-out images; None where an oracle has no answer."""

    def value(goal: Metric, ranking: Ranking, known: Tensor | None) -> float | None:
        scorer = ranking.scorer_of(goal)
        if scorer is ranking.scorer:
            return None if known is None else float(goal.aggregate(known))
        maps, places = scorer.maps([best.term])[0], torch.arange(len(scorer))
        values, _ = failures.once(lambda: scorer.score(maps, places, [best.term]))
        return None if values is None else float(goal.aggregate(values)[0])

    found = []
    for mark, goal in zip(best.marks, rankings[0].goals, strict=True):
        row: dict[str, Any] = {"name": goal.name, "direction": goal.direction, "kind": "metric"}
        if isinstance(goal, Cost):
            row |= {"kind": "cost", "search": best.cost, "held_out": None}
        else:
            reached = value(goal, rankings[0], answer.search)
            row["search"] = mark if reached is None else reached
            row["held_out"] = value(goal, rankings[1], answer.held_out) if len(rankings) > 1 else None
        found.append(row)
    return found


def _counts(bench: Bench, found: Search) -> dict[str, Any]:
    searched, counted, passes = bench.scorers[0].spent, bench.classes.counts, bench.network.passes
    held_out = bench.scorers[1:]
    return {
        "terms": bench.learner.built,
        "classes": counted.classes,
        "merges": counted.merges,
        "refuted": counted.refuted,
        "undecided": counted.undecided,
        "undecided_heatmaps": bench.heatmaps.classes.counts.undecided if bench.heatmaps else 0,
        "candidates": found.candidates,
        "rejected_early": found.rejected_early,
        "same_heatmap": found.same_heatmap,
        "same_on_images": found.same_on_images,
        "invalid": found.invalid,
        "oracle_errors": found.oracle_errors,
        "images_searched": len(bench.scorers[0]),
        "images_held_out": sum(len(scorer) for scorer in held_out),
        "image_scores": searched.asked,
        "image_scores_of_search": found.asked,
        "image_scores_possible": found.possible,
        "image_scores_shared": searched.shared,
        "masked_passes": searched.passes,
        "batch": bench.scorers[0].batch,
        "masked_passes_held_out": sum(scorer.spent.passes for scorer in held_out),
        "network_passes": {"full": passes.full, "tail": passes.tail, "backward": passes.backward},
        "largest_cost": bench.learner.cost,
        "seconds": bench.clock.seconds,
        **({"similar": found.similar} if found.similar else {}),
    }


def _law_counts(bench: Bench, found: Search) -> dict[str, int]:
    """What the constraint oracle did, where the file states laws."""
    if bench.laws is None:
        return {}
    return {
        "unlawful": found.unlawful,
        "laws_undecided": found.law_undecided,
        "law_claims": bench.laws.counts.claims,
        "law_counterexamples": len(bench.laws.counterexamples),
    }


def _manifest(bench: Bench) -> dict[str, Any]:
    """What a run met, beside its job: what was resolved, measured and loaded, as plain data."""
    goals, network, parts = bench.plan.goals, bench.network, bench.parts
    metric, dtype = goals.metric, str(network.dtype).removeprefix("torch.")
    device = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    if network.device.type == "cuda":
        device = torch.cuda.get_device_name(network.device)
    return {
        "sycam": version("sycam"),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "job": bench.job.plain(),
        "terminals": bench.plan.problem.terminals,
        "assumptions_dropped": list(bench.warnings),
        "metric": {"name": metric.name, "direction": metric.direction, "bounds": list(metric.bounds), "source": metric.source},
        "goals": [f"{goal.name}, {goal.direction}" for goal in goals.order],
        "cost": goals.cost,
        "protocol": bench.plan.protocol.describe(network),
        "network": network.describe(),
        "images": {
            "count": len(bench.images),
            "search": len(parts[0]),
            "held_out": len(parts[1]) if len(parts) > 1 else 0,
            "sha256": bench.images.digest(),
            "search_names": parts[0].names,
        },
        "stopping_rule": bench.policy.rule.name,
        "precision": f"masked passes {network.precision}, terminals {dtype}, terms float64",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "torchvision", "cvc5")}},
        "device": device,
        "cache": sum((scorer.cache.stored for scorer in bench.scorers), Stored()).describe(),
        "workers": None if bench.workers is None else bench.workers.describe(),
    }
