"""The main job: a grammar file goes in, the best CAM of that grammar comes out, with the evidence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sygus
from sycam import cams as cam_names
from sycam.errors import OracleError, SycamError
from sycam.heatmap import SCALE_FREE
from sycam.images import ImageSet, ImageSource
from sycam.metrics.protocol import Protocol
from sycam.metrics.registry import Metric
from sycam.network import Network
from sycam.network.batching import batch_by_trying
from sycam.oracle import Failures, MetricOracle, TerminalCache
from sycam.run.folder import RunFolder
from sycam.run.journal import Journal
from sycam.run.manifest import manifest
from sycam.run.result import Result, Row
from sycam.run.verdict import verdict
from sycam.store import Stored, TerminalStore
from sycam.workers import Pool, RemoteCache, oracle_on
from sygus import ClassLearner, Equivalence, Solver
from sygus.automaton import Automaton
from sygus.constraints import ConstraintOracle, still_assumed
from sygus.errors import nearest

from .asking import Asking
from .budget import Budget
from .by_class import check_by_class, class_groups, decomposed, described
from .goals import Cost, Goals, find_goals
from .images import check_labels, chosen_images, parts_of, usable
from .known import Known, best_known, known_rows, mark_derived, table_rows
from .loop import Incumbent, Search, Tried, search
from .observe import Observer, Progress
from .problem import CamProblem, read_problem
from .protocols import under_protocol
from .ranking import Ranking
from .same_heatmap import SameHeatmap
from .settings import Settings
from .undecided import dump_undecided


@dataclass
class _Clock:
    observer: Observer
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.observer.phase(name)
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - start, 3)


def synthesize(
    grammar: str | Path,
    metric: str | Metric | None = None,
    model: str | nn.Module | Network = "embedded",
    images: str | Path | ImageSet | ImageSource | None = None,
    *,
    settings: Settings | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    observer: Observer | None = None,
    store: TerminalStore | None = None,
    **options: Any,
) -> Result:
    """Finds the expression of `grammar` whose heatmaps score best.

    Args:
        grammar: a `.sy` file, or the name of a grammar that comes with sycam ("gradient", "perturbation", "pixelwise").
        metric: a name of `sycam list metrics`, `file.py:Name` of your own, or a `Metric`. None for the file's objective, and
            for average-gain where it states none.
        model: see `load_network`; a `Network` is used as it is.
        images: see `load_images`; an `ImageSource` for data sets and ground truth from elsewhere; None for the embedded ones,
            which go with the embedded model.
        settings: budget, split, seed; or give its fields as keywords here (`budget="60s"`).
        limit: at most so many images, drawn at random.
        out: the run's folder, which must not hold a run yet; None writes nothing.
        observer: told of progress.
        store: where terminals are looked up before they are computed, and kept; None for nowhere.
        options: fields of `Settings`, and `weights`, `layer`, `output`, `reshape`, `size`, `resize`, `mean`,
            `std`, `device` for `load_network`.

    Returns:
        The answer, the table, the counts and the manifest.

    Raises:
        SycamError, SygusError: bad input, with place and remedy.

    >>> result = synthesize("gradient", budget=20, limit=12)
    >>> result.metric.name, len(result.rows) > 3, result.cam(torch.zeros(1, 3, 64, 64)).shape
    ('average-gain', True, torch.Size([1, 64, 64]))
    """
    given = {k: options.pop(k) for k in list(options) if k in Settings.__dataclass_fields__}
    settings = replace(settings or Settings(), **given).checked()
    protocol = settings.the_protocol
    settings = replace(settings, classes=protocol.classes)
    clock = _Clock(observer or Observer())
    path = cam_names.find_grammar(grammar)
    problem = read_problem(path)
    goals = find_goals(problem.problem, metric, settings.cost, timeout=settings.oracle_timeout)
    if settings.by_class:
        check_by_class(goals)
    chosen, ordered = goals.metric, goals.grammar(problem.problem)
    if goals.note:
        clock.observer.warn(goals.note)
    budget = Budget.parse(settings.budget)
    if out is not None:
        RunFolder.check(Path(out))
    with clock.phase("network"):
        network = _network(model, options, protocol)
    for note in network.notes:
        clock.observer.warn(note)
    load = None
    if isinstance(model, str) and "reshape" not in options:
        load = {"model": model, **_plain({**protocol.preprocessing, **options, "layer": options.get("layer") or network.layer})}
    with clock.phase("images"):
        pool = chosen_images(images, model, network, limit, settings.seed)
        for wanted in goals.metrics:
            pool = usable(pool, wanted, clock.observer)
        check_labels(pool, network, protocol.classes)
        parts = parts_of(pool, settings)
    with settings.crew.pool(network, protocol, clock.observer.warn) as workers:
        with clock.phase("terminals"):
            caches = _caches(parts, problem, network, settings, clock.observer, store, workers)
            context, warnings = problem.verified(caches)
            for warning in warnings:
                clock.observer.warn(warning)
            warnings = [*network.notes, *warnings]
        groups = class_groups(caches[0].classes, settings.min_images, settings.seed) if settings.by_class else []
        batch = settings.batch or batch_by_trying(network, parts[0].pixels.shape[-2:], budget.most_passes(len(parts[0])))
        oracles = [oracle_on(cache, chosen, batch, protocol) for cache in caches]
        rankings = [_ranking(goals, oracle) for oracle in oracles]
        if rankings[0].cost_first and settings.learner != "bottom-up":
            raise SycamError(
                f"the first goal is a cost, and the learner {settings.learner!r} is not in order of cost: use bottom-up"
            )
        folder = RunFolder.create(Path(out)) if out is not None else None
        failures = Failures(settings.on_error, folder.log_failure if folder else lambda error: None)
        with Journal(folder.journal if folder else None) as journal, Solver() as solver:
            laws = ConstraintOracle(problem.laws, context, solver, settings.seed) if problem.laws else None
            with clock.phase("known CAMs"):
                known = known_rows(problem, oracles[0], laws, failures)
                costs = Automaton.of(ordered)
                start = best_known(known, rankings[0], problem, costs, failures)
                for group in groups:
                    group.start(best_known(known, rankings[0], problem, costs, failures, group.places))
                if failures.found and failures.given_up is None:
                    clock.observer.warn(f"{len(failures.found)} known CAMs are left out, the first since {failures.found[0]}")
            merging, unused = still_assumed(problem.laws, context, solver)
            for warning in unused:
                clock.observer.warn(warning)
            warnings += unused
            classes = Equivalence(
                merging, problem.inputs(), solver, settings.seed, on_merge=journal.merge, on_undecided=journal.undecided
            )
            learner = sygus.learner(settings.learner, ordered, settings.max_size, equivalence=classes, seed=settings.seed)
            heatmaps = _same_heatmap(classes, known, oracles[0], journal)
            asking = Asking.of(settings, oracles[0])
            for note in asking.notes:
                clock.observer.warn(note)
            warnings += asking.notes
            with clock.phase("search"):
                budget.started = time.monotonic()

                def watch(state: Search, tried: list[Tried]) -> None:
                    journal.candidates(tried)
                    clock.observer.progress(_progress(state, learner, classes, oracles[0], budget))

                at_once = 32 if network.device.type == "cpu" else 128
                found = search(
                    iter(learner), oracles[0], start, budget, ranking=rankings[0],
                    target=settings.target, seed=settings.seed, at_once=at_once, rule=asking.rule,
                    preview=asking.preview, laws=laws, heatmaps=heatmaps, failures=failures, groups=groups, on_batch=watch,
                )  # fmt: skip
            if found.incumbent is None and failures.given_up is not None:
                raise failures.given_up
            if found.incumbent is None:
                lawless = f", {found.unlawful} of them unlawful" if laws else ""
                raise SycamError(
                    f"no term of {path} gives finite heatmaps within the budget ({found.candidates} tried{lawless}): raise "
                    f"--budget, or look at the grammar's {'constraints' if laws else 'divisions'}"
                )
            with clock.phase("held-out images"):
                mark_derived(known, problem, classes, learner, heatmaps)
                best, own = decomposed(found, chosen, len(goals.order))
                single = found.incumbent if own else None
                rows, notes = table_rows(best, problem, known, oracles, heatmaps, failures, single)
                reached = _reached(best, rows[0], rankings, failures)
                for warning in notes:
                    clock.observer.warn(warning)
                warnings += notes
            journal.commit()
    counts = _counts(found, learner, classes, heatmaps, oracles, network, clock) | _law_counts(found, laws)
    result = Result(
        best.term, best.score, chosen, network, rows, found, counts,
        manifest(path, problem.terminals, warnings, goals, network, pool, parts, settings, load)
        | asking.describe() | {"cache": sum((cache.stored for cache in caches), Stored()).describe()}
        | {"workers": None if workers is None else workers.describe()},
        verdict(rows, chosen, settings.by_class),
        reached, warnings,
    )  # fmt: skip
    if settings.by_class:
        explained = [cache.classes.cpu() for cache in caches]
        result.by_class = described(found, own, rows, explained, network.class_names, settings.min_images)
    if settings.dump_smt2 is not None:
        dump_undecided(classes, heatmaps, laws, settings.dump_smt2)
    if folder is not None:
        with clock.phase("writing"):
            shown = 0 if result.answer.held_out is None else -1
            folder.write(result, caches[shown], oracles[shown])
    if failures.given_up is not None:
        raise _stopped(failures.given_up, result)
    if failures.found:
        log = f"; their tracebacks are in {folder.failures}" if folder else ""
        clock.observer.warn(f"the oracle failed on {len(failures.found)} candidates, which are left out{log}")
    return result


def _stopped(error: OracleError, result: Result) -> OracleError:
    """The error that stopped a run, with what the run had found."""
    kept = f"the best of {result.search.candidates} candidates so far and the journal are in {result.folder}"
    stopped = OracleError(
        f"{error}\n{kept}" if result.folder else str(error), images=error.images, details=error.details, timed_out=error.timed_out
    )
    stopped.result = result
    return stopped


def _network(model: str | nn.Module | Network, options: dict[str, Any], protocol: Protocol) -> Network:
    """The network that `model`, the options and, where they say nothing, the protocol name."""
    known = ("weights", "layer", "output", "reshape", "size", "resize", "mean", "std", "device", "precision")
    for name in options:
        if name not in known:
            raise SycamError(f"no option {name!r}{nearest(name, [*known, *Settings.__dataclass_fields__])}")
    if not isinstance(model, Network):
        return under_protocol(protocol, model, options)
    if any(value is not None for value in options.values()):
        raise SycamError(f"{', '.join(options)}: a Network is used as it is; give these to load_network")
    return model


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as a manifest can hold them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items() if value is not None}


def _caches(
    parts: list[ImageSet],
    problem: CamProblem,
    network: Network,
    settings: Settings,
    observer: Observer,
    store: TerminalStore | None,
    workers: Pool | None,
) -> list[TerminalCache]:
    terminals = [*problem.terminals, *(["c"] if settings.by_class else [])]
    chosen = settings.terminal_settings
    total, before, caches = sum(map(len, parts)), 0, []
    for part in parts:
        labels = part.labels if settings.classes == "labelled" else None

        def step(done: int, before: int = before) -> None:
            observer.step(before + done, total)

        if workers is None:
            caches.append(TerminalCache(network, part, terminals, labels, on_batch=step, settings=chosen, store=store))
        else:
            caches.append(RemoteCache(workers, network, part, terminals, labels, on_batch=step, settings=chosen, store=store))
        before += len(part)
    return caches


def _ranking(goals: Goals, oracle: MetricOracle) -> Ranking:
    """The goals with what measures them on the images of `oracle`; all count their passes together."""
    return Ranking(goals.order, [oracle, *(oracle.of(metric) for metric in goals.metrics[1:])])


def _reached(best: Incumbent, answer: Row, rankings: list[Ranking], failures: Failures) -> list[dict[str, Any]]:
    """What the answer reaches of each goal, in their order, on search and held-out images; None where an oracle has no answer."""

    def value(goal: Metric, ranking: Ranking, known: Tensor | None) -> float | None:
        oracle = ranking.oracle(goal)
        if oracle is ranking.oracles[0]:
            return None if known is None else float(goal.aggregate(known))
        maps, places = oracle.maps([best.term])[0], torch.arange(len(oracle.cache))
        values, _ = failures.once(lambda: oracle.score(maps, places, [best.term]))
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


def _same_heatmap(classes: Equivalence, known: list[Known], oracle: MetricOracle, journal: Journal) -> SameHeatmap | None:
    """The relation of proved heatmaps, where heatmaps are made so that proportional contributions draw the same."""
    if oracle.norm not in SCALE_FREE:
        return None
    relation = "same heatmap"
    return SameHeatmap(
        classes, [k.cam for k in known], on_proof=partial(journal.merge, relation=relation),
        on_undecided=partial(journal.undecided, relation=relation),
    )  # fmt: skip


def _progress(state: Search, learner: ClassLearner, classes: Equivalence, oracle: MetricOracle, budget: Budget) -> Progress:
    share = budget.share(state.weighed, oracle.spent.passes)
    best = state.incumbent
    own = len({str(group.incumbent.term) for group in state.groups[1:] if group.incumbent} - {str(best.term) if best else ""})
    shown = (best.name or str(best.term)) + (f" and {own} of image classes" if own else "") if best else ""
    return Progress(
        learner.built, classes.counts.classes, learner.cost, classes.counts.undecided, state.candidates, oracle.spent.passes,
        shown, state.score(oracle.metric),
        state.candidates / max(budget.elapsed, 1e-9), budget.elapsed * (1 / share - 1) if share else None, share, state.unlawful,
    )  # fmt: skip


def _counts(
    found: Search, learner: ClassLearner, classes: Equivalence, heatmaps: SameHeatmap | None, oracles: list[MetricOracle],
    network: Network, clock: _Clock,
) -> dict[str, Any]:  # fmt: skip
    searched, counted = oracles[0].spent, classes.counts
    return {
        "terms": learner.built,
        "classes": counted.classes,
        "merges": counted.merges,
        "refuted": counted.refuted,
        "undecided": counted.undecided,
        "undecided_heatmaps": heatmaps.classes.counts.undecided if heatmaps else 0,
        "candidates": found.candidates,
        "rejected_early": found.rejected_early,
        "same_heatmap": found.same_heatmap,
        "same_on_images": found.same_on_images,
        "invalid": found.invalid,
        "oracle_errors": found.oracle_errors,
        "images_searched": len(oracles[0].cache),
        "images_held_out": len(oracles[1].cache) if len(oracles) > 1 else 0,
        "image_scores": searched.asked,
        "image_scores_of_search": found.asked,
        "image_scores_possible": found.possible,
        "image_scores_shared": searched.shared,
        "masked_passes": searched.passes,
        "batch": oracles[0].batch,
        "masked_passes_held_out": oracles[1].spent.passes if len(oracles) > 1 else 0,
        "network_passes": {"full": network.passes.full, "tail": network.passes.tail, "backward": network.passes.backward},
        "largest_cost": learner.cost,
        "seconds": clock.seconds,
    } | _order_counts(found)


def _order_counts(found: Search) -> dict[str, Any]:
    """What the order of candidates came to, where it was not the learner's."""
    counts: dict[str, Any] = {"similar": found.similar} if found.similar else {}
    return counts | ({"relative_agreement": found.agreement} if found.relatives else {})


def _law_counts(found: Search, laws: ConstraintOracle | None) -> dict[str, int]:
    """What the constraint oracle did, where the file states laws."""
    if laws is None:
        return {}
    return {
        "unlawful": found.unlawful,
        "laws_undecided": found.law_undecided,
        "law_claims": laws.counts.claims,
        "law_counterexamples": len(laws.counterexamples),
    }
