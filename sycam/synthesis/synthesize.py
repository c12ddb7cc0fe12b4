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
from sycam.cams import Cam
from sycam.errors import OracleError, SycamError
from sycam.heatmap import SCALE_FREE
from sycam.images import ImageSet, ImageSource, load_images, split
from sycam.metrics.registry import Metric
from sycam.network import Network, load_network
from sycam.oracle import Failures, MetricOracle, TerminalCache
from sycam.run.folder import RunFolder
from sycam.run.journal import Journal
from sycam.run.manifest import manifest
from sycam.run.result import Result, Row
from sycam.run.verdict import verdict
from sygus import ClassLearner, Equivalence, Proportional, Solver
from sygus.automaton import Automaton
from sygus.constraints import ConstraintOracle, still_assumed
from sygus.errors import nearest

from .budget import Budget
from .goals import Cost, Goals, find_goals
from .loop import Incumbent, Search, Tried, search
from .observe import Observer, Progress
from .problem import CamProblem, read_problem
from .ranking import Ranking
from .same_heatmap import SameHeatmap
from .settings import Settings


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
    clock = _Clock(observer or Observer())
    path = cam_names.find_grammar(grammar)
    problem = read_problem(path)
    goals = find_goals(problem.problem, metric, settings.cost, timeout=settings.oracle_timeout)
    chosen, ordered = goals.metric, goals.grammar(problem.problem)
    if goals.note:
        clock.observer.warn(goals.note)
    budget = Budget.parse(settings.budget)
    if out is not None:
        RunFolder.check(Path(out))
    with clock.phase("network"):
        network = _network(model, options)
    for note in network.notes:
        clock.observer.warn(note)
    load = {"model": model, **_plain(options)} if isinstance(model, str) and "reshape" not in options else None
    with clock.phase("images"):
        pool = _images(images, model, network, limit, settings.seed)
        for wanted in goals.metrics:
            pool = _usable(pool, wanted, clock.observer)
        check_labels(pool, network, settings.classes)
        parts = _split(pool, settings)
    with clock.phase("terminals"):
        caches = _caches(parts, problem, network, settings, clock.observer)
        context, warnings = problem.verified(caches)
        for warning in warnings:
            clock.observer.warn(warning)
        warnings = [*network.notes, *warnings]
    oracles = [MetricOracle(cache, chosen, settings.batch) for cache in caches]
    rankings = [_ranking(goals, oracle) for oracle in oracles]
    if rankings[0].cost_first and settings.learner != "bottom-up":
        raise SycamError(f"the first goal is a cost, and the learner {settings.learner!r} is not in order of cost: use bottom-up")
    folder = RunFolder.create(Path(out)) if out is not None else None
    failures = Failures(settings.on_error, folder.log_failure if folder else lambda error: None)
    with Journal(folder.journal if folder else None) as journal, Solver() as solver:
        laws = ConstraintOracle(problem.laws, context, solver, settings.seed) if problem.laws else None
        with clock.phase("known CAMs"):
            known = _known_rows(problem, oracles[0], laws, failures)
            for error in failures.found:
                clock.observer.warn(f"a known CAM is left out: {error}")
            start = _best_known(known, rankings[0], problem, Automaton.of(ordered))
        merging, unused = still_assumed(problem.laws, context, solver)
        for warning in unused:
            clock.observer.warn(warning)
        warnings += unused
        classes = Equivalence(
            merging, problem.inputs(), solver, settings.seed, on_merge=journal.merge, on_undecided=journal.undecided
        )
        learner = sygus.learner(settings.learner, ordered, settings.max_size, equivalence=classes, seed=settings.seed)
        heatmaps = _same_heatmap(classes, known, oracles[0], journal)
        with clock.phase("search"):
            budget.started = time.monotonic()

            def watch(state: Search, tried: list[Tried]) -> None:
                journal.candidates(tried)
                clock.observer.progress(_progress(state, learner, classes, oracles[0], budget))

            at_once = 32 if network.device.type == "cpu" else 128
            found = search(
                iter(learner), oracles[0], start, budget, ranking=rankings[0],
                target=settings.target, seed=settings.seed, at_once=at_once, laws=laws, heatmaps=heatmaps,
                failures=failures, on_batch=watch,
            )  # fmt: skip
        if found.incumbent is None and failures.given_up is not None:
            raise failures.given_up
        if found.incumbent is None:
            lawless = f", {found.unlawful} of them unlawful" if laws else ""
            raise SycamError(
                f"no term of {path} gives finite heatmaps within the budget ({found.candidates} tried{lawless}): raise --budget, "
                f"or look at the grammar's {'constraints' if laws else 'divisions'}"
            )
        with clock.phase("held-out images"):
            _mark_derived(known, problem, classes, learner, heatmaps)
            rows, empty, lost = _rows(found.incumbent, problem, known, oracles, heatmaps, failures)
            for warning in lost:
                clock.observer.warn(warning)
            warnings += lost
            reached = _reached(found.incumbent, rows[0], rankings)
            if empty:
                clock.observer.warn(empty)
                warnings.append(empty)
        journal.commit()
    counts = _counts(found, learner, classes, heatmaps, oracles, network, clock) | _law_counts(found, laws)
    result = Result(
        found.incumbent.term, found.incumbent.score, chosen, network, rows, found, counts,
        manifest(path, problem.terminals, warnings, goals, network, pool, parts, settings, load), verdict(rows, chosen),
        reached, warnings,
    )  # fmt: skip
    if settings.dump_smt2 is not None:
        _dump(classes, heatmaps, laws, settings.dump_smt2)
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


def _network(model: str | nn.Module | Network, options: dict[str, Any]) -> Network:
    """The network that `model` and the options name."""
    known = ("weights", "layer", "output", "reshape", "size", "resize", "mean", "std", "device")
    for name in options:
        if name not in known:
            raise SycamError(f"no option {name!r}{nearest(name, [*known, *Settings.__dataclass_fields__])}")
    if not isinstance(model, Network):
        return load_network(model, **options)
    if any(value is not None for value in options.values()):
        raise SycamError(f"{', '.join(options)}: a Network is used as it is; give these to load_network")
    return model


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as a manifest can hold them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items() if value is not None}


def _images(
    images: str | Path | ImageSet | ImageSource | None, model: Any, network: Network, limit: int | None, seed: int
) -> ImageSet:
    if isinstance(images, ImageSet):
        if limit is None or limit >= len(images):
            return images
        draw = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:limit]
        return images.select(draw.sort().values)
    if isinstance(images, ImageSource):
        return images.load(network.preprocessing, limit, seed)
    if images is not None and not isinstance(images, (str, Path)):
        raise SycamError(f"images are a path or an ImageSet, not {type(images).__name__}: see load_images, or ImageSource")
    if images is None:
        if model != "embedded":
            raise SycamError(
                "no images: the embedded ones go with the embedded model only; name a folder or a CSV (--images, --dataset)"
            )
        from sycam.embedded import images_csv

        images = images_csv()
    return load_images(images, network.preprocessing, limit=limit, seed=seed)


def _usable(images: ImageSet, metric: Metric, observer: Observer) -> ImageSet:
    """The images that the metric can be asked about: for a metric that needs masks, those that have one."""
    if not metric.needs_masks or bool(images.has_mask.all()):
        return images
    kept = images.has_mask.nonzero()[:, 0]
    if not len(kept):
        raise SycamError(f"metric {metric.name!r} needs masks or boxes, and no image has any: give them with --masks or --boxes")
    observer.warn(f"{len(images) - len(kept)} of {len(images)} images have no mask and are left out of {metric.name}")
    return images.select(kept)


def check_labels(images: ImageSet, network: Network, classes: str) -> None:
    """The classes to explain must be known, and labels must be classes of the network.

    Raises:
        SycamError: naming the image.
    """
    wrong = images.labels >= network.n_classes
    if classes == "labelled":
        wrong |= images.labels < 0
    if bool(wrong.any()) and classes == "labelled":
        place = int(wrong.nonzero()[0, 0])
        raise SycamError(
            f"{images.names[place]} has the label {int(images.labels[place])}, not one of the {network.n_classes} classes of "
            f"{network.name}: correct it, or explain the predicted class"
        )


def _split(images: ImageSet, settings: Settings) -> list[ImageSet]:
    """Search and held-out images; one part where nothing is held out."""
    if settings.held_out == 0:
        return [images]
    searched, held_out = split(images.labels, 1 - settings.held_out, settings.seed)
    return [images.select(searched), images.select(held_out)]


def _caches(
    parts: list[ImageSet], problem: CamProblem, network: Network, settings: Settings, observer: Observer
) -> list[TerminalCache]:
    total, before, caches = sum(map(len, parts)), 0, []
    for part in parts:
        labels = part.labels if settings.classes == "labelled" else None

        def step(done: int, before: int = before) -> None:
            observer.step(before + done, total)

        caches.append(TerminalCache(network, part, problem.terminals, labels, on_batch=step, settings=settings.terminal_settings))
        before += len(part)
    return caches


@dataclass
class _Known:
    cam: Cam
    values: Tensor
    derived: bool
    lawful: bool = True


def _known_rows(problem: CamProblem, oracle: MetricOracle, laws: ConstraintOracle | None, failures: Failures) -> list[_Known]:
    """Every known CAM over the grammar's terminals, scored on the search images. One that breaks a law is not derived, and one on
    which the oracle fails is left out."""
    available = {"A", *problem.terminals}
    fitting = [cam for cam in cam_names.known_cams().values() if set(cam.terminals) <= available]
    if not fitting:
        return []
    places = torch.arange(len(oracle.cache))
    maps, finite = oracle.maps([cam.term for cam in fitting])
    values, failed = failures.attempt(
        lambda rows, images: oracle.score(maps[rows][:, images], places[images]), len(maps), len(places)
    )
    if failures.given_up is not None:
        raise failures.given_up
    drawn = [i for i in range(len(fitting)) if bool(finite[i].all()) and i not in failed]
    rows = [_Known(fitting[i], values[i], problem.derives(fitting[i])) for i in drawn]
    for row in rows:
        row.lawful = laws is None or _obeys(row.cam, problem, laws)
        row.derived = row.derived and row.lawful
    return rows


def _obeys(cam: Cam, problem: CamProblem, laws: ConstraintOracle) -> bool:
    """Whether the laws are proved of a known CAM; True where it is no function of these arguments, of which they say nothing."""
    form, arguments = problem.form(cam), {v.name for v in problem.target.variables}
    if form is None or not arguments.issuperset(cam_names.terminals_of(form)):
        return True
    return laws.verdict(form).status == "lawful"


def _ranking(goals: Goals, oracle: MetricOracle) -> Ranking:
    """The goals with what measures them on the images of `oracle`; all count their passes together."""
    others = [MetricOracle(oracle.cache, metric, oracle.batch) for metric in goals.metrics[1:]]
    for other in others:
        other.spent = oracle.spent
    return Ranking(goals.order, [oracle, *others])


def _best_known(known: list[_Known], ranking: Ranking, problem: CamProblem, costs: Automaton) -> Incumbent | None:
    """λ starts as the best known CAM that the grammar derives."""
    best: Incumbent | None = None
    for row in known:
        term = problem.form(row.cam)
        cost = costs.cost(term) if row.derived and term is not None else None
        if term is None or cost is None:
            continue
        score, maps = float(row.values.mean()), ranking.oracles[0].maps([term])[0]
        outcome = ranking.compare(cost, score, maps, best.marks if best else None)
        if outcome.wins:
            best = Incumbent(term, cost, row.values, score, 0, 0.0, row.cam.name, outcome.marks)
    return best


def _reached(best: Incumbent, answer: Row, rankings: list[Ranking]) -> list[dict[str, Any]]:
    """What the answer reaches of each goal, in their order, on search and held-out images."""

    def value(goal: Metric, ranking: Ranking, known: Tensor | None) -> float:
        oracle = ranking.oracle(goal)
        if known is not None and oracle is ranking.oracles[0]:
            return float(known.mean())
        return float(oracle.score(oracle.maps([best.term])[0], torch.arange(len(oracle.cache))).mean())

    lost = len(rankings) > 1 and answer.held_out is None  # the oracle failed there
    found = []
    for goal in rankings[0].goals:
        row: dict[str, Any] = {"name": goal.name, "direction": goal.direction, "kind": "metric"}
        if isinstance(goal, Cost):
            row |= {"kind": "cost", "search": best.cost, "held_out": None}
        else:
            row["search"] = value(goal, rankings[0], answer.search)
            row["held_out"] = value(goal, rankings[1], answer.held_out) if len(rankings) > 1 and not lost else None
        found.append(row)
    return found


def _same_heatmap(classes: Equivalence, known: list[_Known], oracle: MetricOracle, journal: Journal) -> SameHeatmap | None:
    """The relation of proved heatmaps, where heatmaps are made so that proportional contributions draw the same."""
    if oracle.norm not in SCALE_FREE:
        return None
    relation = "same heatmap"
    return SameHeatmap(
        classes, [k.cam for k in known], on_proof=partial(journal.merge, relation=relation),
        on_undecided=partial(journal.undecided, relation=relation),
    )  # fmt: skip


def _mark_derived(
    known: list[_Known], problem: CamProblem, classes: Equivalence, learner: ClassLearner, heatmaps: SameHeatmap | None
) -> None:
    """A known CAM is derived too, though not to the letter, where a candidate is proved to have its heatmap; or where the
    enumerator met its class, if it obeys the laws."""
    inputs = set(classes.inputs)
    for row in known:
        row.derived = row.derived or (heatmaps is not None and heatmaps.met(row.cam))
        form = problem.form(row.cam)
        if row.derived or form is None or not row.lawful:
            continue
        term = sygus.expand(form)
        if {t.symbol for t in sygus.terms.subterms(term) if t.is_variable} <= inputs:
            row.derived = learner.reached(classes.representatives([term])[0])


def _rows(
    best: Incumbent,
    problem: CamProblem,
    known: list[_Known],
    oracles: list[MetricOracle],
    heatmaps: SameHeatmap | None,
    failures: Failures,
) -> tuple[list[Row], str, list[str]]:
    """The final table: the answer, then the known CAMs, on search and held-out images; a warning about an answer that
    draws nothing; and warnings about failures of the oracle."""
    answer = Cam(problem.target.name, best.term, "synthesised")
    if best.name:
        answer = Cam(best.name, best.term, "known.sy")
    listed = [_Known(answer, best.values, True), *(k for k in known if k.cam.name != best.name)]
    held_out: Tensor | None = None
    lost: list[str] = []
    maps, finite = oracles[-1].maps([k.cam.term for k in listed])
    if len(oracles) > 1:
        maps, finite, held_out, lost = _held_out(listed, maps, finite, oracles[1], failures)
    twins = heatmaps.known(best.term) if heatmaps else []
    rows = [
        Row(
            k.cam, "known" if i else "answer", k.derived, k.values, held_out[i] if held_out is not None else None,
            same_heatmap=i > 0 and k.cam.name in twins, lawful=k.lawful,
        )
        for i, k in enumerate(listed)
    ]  # fmt: skip
    part, broken = ("held-out" if len(oracles) > 1 else "search"), int((~finite[0]).sum())
    empty = int((maps[0].flatten(1).amax(1) == 0).sum())
    if broken:
        return rows, f"the answer is NaN or infinite on {broken} of {len(finite[0])} {part} images, and draws nothing there", lost
    if empty:
        return (
            rows,
            f"the answer's heatmap is empty on {empty} of {len(finite[0])} {part} images: look at what the metric rewards",
            lost,
        )
    return rows, "", lost


def _held_out(
    listed: list[_Known], maps: Tensor, finite: Tensor, oracle: MetricOracle, failures: Failures
) -> tuple[Tensor, Tensor, Tensor | None, list[str]]:
    """Scores of the answer, which is the first, and of known CAMs on held-out images. Those on which the oracle fails leave
    `listed`; where it fails on the answer, or is asked no more, there are no scores of any."""
    places = torch.arange(len(oracle.cache))
    values, failed = failures.attempt(
        lambda rows, images: oracle.score(maps[rows][:, images], places[images]), len(maps), len(places)
    )
    if 0 in failed or failures.given_up is not None:
        return maps, finite, None, [f"there are no scores on held-out images: {failed.get(0) or failures.given_up}"]
    lost = [f"{listed[i].cam.name} is left out of the table: {error}" for i, error in sorted(failed.items())]
    kept = [i for i in range(len(listed)) if i not in failed]
    listed[:] = [listed[i] for i in kept]
    return maps[kept], finite[kept], values[kept], lost


def _progress(state: Search, learner: ClassLearner, classes: Equivalence, oracle: MetricOracle, budget: Budget) -> Progress:
    share = budget.share(state.weighed, oracle.spent.passes)
    best = state.incumbent
    return Progress(
        learner.built, classes.counts.classes, learner.cost, classes.counts.undecided, state.candidates, oracle.spent.passes,
        (best.name or str(best.term)) if best else "", best.score if best else None,
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
        "image_scores_shared": searched.shared,
        "masked_passes": searched.passes,
        "masked_passes_held_out": oracles[1].spent.passes if len(oracles) > 1 else 0,
        "network_passes": {"full": network.passes.full, "tail": network.passes.tail, "backward": network.passes.backward},
        "largest_cost": learner.cost,
        "seconds": clock.seconds,
    }


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


def _dump(classes: Equivalence, heatmaps: SameHeatmap | None, laws: ConstraintOracle | None, folder: Path) -> None:
    """Every undecided pair, and every law that was neither proved nor refuted of a candidate, as one `.smt2` file."""
    from sygus.solver.smtlib import write_smt2

    try:
        folder.mkdir(parents=True, exist_ok=True)
        relations: list[tuple[str, str, Equivalence | Proportional]] = [("undecided", "Is {}\nequal to {} ?", classes)]
        if heatmaps:
            relations.append(("heatmap", "Has {}\nthe heatmap of {} ?", heatmaps.classes))
        for name, question, relation in relations:
            for number, pair in enumerate(relation.undecided, start=1):
                comment = f"{question.format(pair.left, pair.right)}  unsat: yes.  Left undecided: {pair.reason}"
                write_smt2(relation.claim(pair.left, pair.right), folder / f"{name}-{number:04}.smt2", comment)
        for number, open_law in enumerate(laws.unproved if laws else [], start=1):
            place, term = open_law.law.place, open_law.candidate
            comment = f"Does {term}\nobey the constraint at {place} ?  unsat: yes.  Left undecided: {open_law.reason}"
            write_smt2(open_law.claim, folder / f"constraint-{number:04}.smt2", comment)
    except OSError as error:
        raise SycamError(f"cannot write the undecided queries to {folder}: {error.strerror}") from None
