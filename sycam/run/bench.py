"""What a run needs, prepared from its job: network, images, scorers, goals, the learner and the rules of the search."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import nn

import sygus
from sycam.errors import OracleError, SycamError
from sycam.heatmap import SCALE_FREE
from sycam.images import ImageSet
from sycam.job import Job, Mistakes
from sycam.metrics.metric import Metric
from sycam.metrics.protocol import DEFAULT, Protocol, find_protocol
from sycam.network import Network
from sycam.network.batching import batch_by_trying
from sycam.network.outputs import Reshape
from sycam.scoring import Failures, MetricOracle, Scorer, Wanted, gather
from sycam.search import (
    Budget,
    Exact,
    Goals,
    Policy,
    Racing,
    Ranking,
    SameHeatmap,
    Search,
    Similar,
    StoppingRule,
    Tried,
    find_goals,
    why_not,
)
from sycam.search.goals import Cost
from sycam.store import TerminalStore
from sycam.workers import Pool, RemoteOracle, gather_on, open_pool
from sygus import Equivalence, Learner, Merge, Solver
from sygus.constraints import ConstraintOracle, still_assumed
from sygus.costs import Automaton

from .by_class import check_by_class, class_groups
from .claims import dump_claims
from .folder import RunFolder
from .given import check_labels, images_of, network_of, parts_of, usable
from .journal import Journal
from .known import Known, best_known, known_rows
from .observe import Observer, Progress
from .problem import CamProblem, read_problem
from .result import Result


@dataclass(frozen=True)
class Objects:
    """What a Python program gives as objects, where a job holds a description only; None for what the job says."""

    metric: Metric | None = None
    model: nn.Module | Network | None = None
    images: ImageSet | None = None
    protocol: Protocol | None = None
    reshape: Reshape | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The options that were given as objects."""
        return tuple(name for name in self.__dataclass_fields__ if getattr(self, name) is not None)

    def described(self) -> dict[str, str | None]:
        """What a job says of them, by the names of options."""
        model = self.model.name if isinstance(self.model, Network) else type(self.model).__name__
        words = {"metric": getattr(self.metric, "name", None), "model": model, "protocol": getattr(self.protocol, "name", None)}
        return {name: words.get(name) for name in self.names if name != "reshape"}


NOTHING = Objects()


@dataclass
class Clock:
    """Tells an observer of each phase, and remembers how long it took."""

    observer: Observer
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """The phase lasts as long as the block."""
        self.observer.phase(name)
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - start, 3)


@dataclass(frozen=True)
class Plan:
    """What a job asks for, read and understood before anything is loaded.

    Attributes:
        job, objects: what is asked for.
        problem: the grammar file's. goals: in order. protocol: of the scores.
    """

    job: Job
    objects: Objects
    problem: CamProblem
    goals: Goals
    protocol: Protocol

    @classmethod
    def read(cls, job: Job, objects: Objects = NOTHING, mistakes: Mistakes | None = None) -> Plan:
        """The plan of a job.

        Args:
            job, objects: what is asked for.
            mistakes: those that are known already.

        Raises:
            SycamError, SygusError: all mistakes in what the job names, at once.
        """
        mistakes = mistakes or Mistakes()
        search, scoring = job.search, job.scoring
        protocol, problem, goals, learner = DEFAULT, None, None, sygus.Learner
        with mistakes.of("protocol"):
            protocol = find_protocol(objects.protocol or scoring.protocol).changed(classes=job.data.classes)
        with mistakes.of("learner"):
            learner = sygus.learner_class(search.learner)
        with mistakes.of("grammar"):
            problem = read_problem(job.grammar)
        if problem is not None:
            with mistakes.of("metric"):
                goals = find_goals(problem.problem, objects.metric or job.metric, search.cost, timeout=scoring.oracle_timeout)
                if search.by_class:
                    check_by_class(goals)
                if isinstance(goals.order[0], Cost) and not learner.in_order_of_cost:
                    raise SycamError(
                        f"the first goal is a cost, and the `learner` {search.learner} is not in order of cost: use bottom-up"
                    )
        if job.output.out is not None:
            with mistakes.of("out"):
                RunFolder.check(Path(job.output.out))
        mistakes.tell("the job")
        assert problem is not None
        assert goals is not None
        return cls(job, objects, problem, goals, protocol)


@dataclass
class Bench:
    """Everything that a search and its conclusion need. `prepare` makes one, and ends what it holds.

    Attributes:
        plan: what is asked for. clock: of the phases. folder: of the run, or None. journal: of its candidates.
        network: at its target layer. images: all that are used; parts: those searched on, then those held out.
        scorers, rankings: of each part of the images the first metric, and all goals with what measures them.
        workers: who score, None for this process. failures: of oracles.
        laws, classes, heatmaps: what cvc5 knows of candidates: which obey the file's constraints, which are equal, and which draw
            one heatmap. known: CAMs of the grammar's terminals, scored on the search images.
        learner, policy, budget: of the search. warnings: what the user was told.
    """

    plan: Plan
    clock: Clock
    folder: RunFolder | None
    network: Network
    images: ImageSet
    parts: list[ImageSet]
    workers: Pool | None = None
    warnings: list[str] = field(default_factory=list)
    merges: list[tuple[str, Merge]] = field(default_factory=list)
    rankings: list[Ranking] = field(init=False)
    failures: Failures = field(init=False)
    journal: Journal = field(init=False)
    laws: ConstraintOracle | None = field(init=False)
    known: list[Known] = field(init=False)
    classes: Equivalence = field(init=False)
    heatmaps: SameHeatmap | None = field(init=False)
    learner: Learner = field(init=False)
    policy: Policy = field(init=False)
    budget: Budget = field(init=False)

    @classmethod
    @contextmanager
    def prepare(cls, plan: Plan, observer: Observer, store: TerminalStore | None) -> Iterator[Bench]:
        """The bench of a plan, for as long as the block lasts."""
        job, objects, clock = plan.job, plan.objects, Clock(observer)
        with clock.phase("network"):
            network = network_of(job.network, plan.protocol, objects.model, objects.reshape)
        with clock.phase("images"):
            embedded = objects.model is None and job.network.model == "embedded"
            images = images_of(job.data, network, job.seed, objects.images, embedded)
            for metric in plan.goals.metrics:
                images = usable(images, metric, observer.warn)
            check_labels(images, network, plan.protocol.classes)
        bench = cls(plan, clock, None, network, images, parts_of(images, job.data.held_out, job.seed))
        bench.warn(*([plan.goals.note] if plan.goals.note else []), kept=False)
        bench.warn(*network.notes)
        with ExitStack() as stack:
            bench.workers = stack.enter_context(open_pool(job.scoring, network, plan.protocol, observer.warn))
            with clock.phase("terminals"):
                bench._gather(store)
            if job.output.out is not None:
                bench.folder = RunFolder.create(Path(job.output.out))
                bench.folder.write_job(job)
            log = bench.folder.log_failure if bench.folder else lambda error: None
            bench.failures = Failures(job.scoring.on_error, log)
            bench.journal = stack.enter_context(Journal(bench.folder.journal if bench.folder else None))
            bench._reason(stack.enter_context(Solver()))
            bench.budget = Budget.parse(job.search.budget, job.search.target)  # its clock starts now
            yield bench

    @property
    def job(self) -> Job:
        """What is asked for, as data."""
        return self.plan.job

    @property
    def goals(self) -> Ranking:
        """The goals on the images searched on."""
        return self.rankings[0]

    @property
    def scorers(self) -> list[Scorer]:
        """Of the first metric: on the images searched on, then on those held out."""
        return [ranking.scorer for ranking in self.rankings]

    def warn(self, *messages: str, kept: bool = True) -> None:
        """Told at once, and kept with the result."""
        for message in messages:
            self.clock.observer.warn(message)
        if kept:
            self.warnings += messages

    def _gather(self, store: TerminalStore | None) -> None:
        """Terminals of all images, and what scores candidates on them."""
        job, problem, protocol = self.job, self.plan.problem, self.plan.protocol
        names = [*problem.terminals, *(["c"] if job.search.by_class else [])]
        passes = Budget.parse(job.search.budget).most_passes(len(self.parts[0]))
        scorers: list[Scorer] = []
        total, before, metric = len(self.images), 0, self.plan.goals.metric
        batch = job.scoring.batch
        for part in self.parts:
            labels = part.labels if protocol.classes == "labelled" else None
            wanted, step = Wanted(names, labels, job.terminals), partial(_step, self.clock.observer, before, total)
            if self.workers is None:
                cache = gather(self.network, part, wanted, store=store, on_batch=step)
                batch = batch or batch_by_trying(self.network, part.pixels.shape[-2:], passes)
                scorers.append(MetricOracle(cache, metric, batch, protocol))
            else:
                remote = gather_on(self.workers, self.network, part, wanted, store, step)
                batch = batch or batch_by_trying(self.network, part.pixels.shape[-2:], passes)
                scorers.append(RemoteOracle(remote, metric, batch, protocol))
            before += len(part)
        self.rankings = [Ranking.of(self.plan.goals.order, scorer) for scorer in scorers]

    def _reason(self, solver: Solver) -> None:
        """What is proved of candidates, the known CAMs beside them, and where they come from."""
        problem, search, seed, relation = self.plan.problem, self.job.search, self.job.seed, "same heatmap"
        context, dropped = problem.verified([scorer.cache for scorer in self.scorers])
        self.warn(*dropped)
        self.laws = ConstraintOracle(problem.laws, context, solver, seed) if problem.laws else None
        grammar = self.plan.goals.grammar(problem.problem)
        costs, groups = Automaton.of(grammar), []
        if search.by_class:
            groups = class_groups(self.scorers[0].cache.classes, search.enough_images, seed)
        with self.clock.phase("known CAMs"):
            self.known = known_rows(problem, self.scorers[0], self.laws, self.failures)
            start = best_known(self.known, self.goals, problem, costs, self.failures)
            for group in groups:
                group.start(best_known(self.known, self.goals, problem, costs, self.failures, group.places))
            if self.failures.found and self.failures.given_up is None:
                lost = self.failures.found
                self.warn(f"{len(lost)} known CAMs are left out, the first since {lost[0]}", kept=False)
        merging, unused = still_assumed(problem.laws, context, solver)
        self.warn(*unused)
        self.classes = Equivalence(
            merging, problem.inputs(), solver, seed, on_merge=self._merged, on_undecided=self.journal.undecided
        )
        self.learner = sygus.learner(search.learner, grammar, search.max_size, equivalence=self.classes, seed=seed)
        self.heatmaps = None
        if self.scorers[0].norm in SCALE_FREE:  # then proportional contributions draw the same
            self.heatmaps = SameHeatmap(
                self.classes, [k.cam for k in self.known], on_proof=partial(self._merged, relation=relation),
                on_undecided=partial(self.journal.undecided, relation=relation),
            )  # fmt: skip
        self.policy = Policy(
            start, groups, self._rule(), self.laws, self.heatmaps,
            similar=None if search.similar is None else Similar(search.similar), failures=self.failures, seed=seed,
            at_once=32 if self.network.device.type == "cpu" else 128,
        )  # fmt: skip

    def _rule(self) -> StoppingRule:
        """The stopping rule that the job wants, if the metric allows it."""
        search = self.job.search
        reason = why_not(self.plan.goals.metric) if search.stopping == "racing" else ""
        if reason:
            self.warn(f"{reason}, so no race decides on it: the stopping rule is exact")
        return Racing(search.racing_error, self.job.seed) if search.stopping == "racing" and not reason else Exact()

    def _merged(self, merge: Merge, relation: str = "equal") -> None:
        self.journal.merge(merge, relation)
        if self.job.output.dump_smt2 is not None:
            self.merges.append((relation, merge))

    def watch(self, state: Search, tried: list[Tried]) -> None:
        """Told of each batch by the search: the journal keeps it, and the observer sees how far the run is."""
        self.journal.candidates(tried)
        share = self.budget.share(state.weighed, self.scorers[0].spent.passes)
        self.clock.observer.progress(
            Progress(
                terms=self.learner.built, classes=self.classes.counts.classes, cost=self.learner.cost,
                undecided=self.classes.counts.undecided, candidates=state.candidates, passes=self.scorers[0].spent.passes,
                incumbent=_shown(state), score=state.score(self.plan.goals.metric),
                rate=state.candidates / max(self.budget.elapsed, 1e-9),
                left=self.budget.elapsed * (1 / share - 1) if share else None, share=share, unlawful=state.unlawful,
            )
        )  # fmt: skip

    def write(self, result: Result) -> None:
        """The claims of the run and its folder, where they are wanted."""
        if self.job.output.dump_smt2 is not None:
            dump_claims(Path(self.job.output.dump_smt2), self.merges, self.classes, self.heatmaps, self.laws)
        if self.folder is not None:
            with self.clock.phase("writing"):
                shown = 0 if result.answer.held_out is None else -1
                self.folder.write(result, self.scorers[shown].cache)

    def delivered(self, result: Result) -> Result:
        """The result, once all is written.

        Raises:
            OracleError: that which stopped the run, with the result.
        """
        failures = self.failures
        if failures.given_up is not None:
            raise _stopped(failures.given_up, result)
        if failures.found:
            log = f"; their tracebacks are in {self.folder.failures}" if self.folder else ""
            self.warn(f"the oracle failed on {len(failures.found)} candidates, which are left out{log}", kept=False)
        return result


def _step(observer: Observer, before: int, total: int, done: int) -> None:
    observer.step(before + done, total)


def _shown(state: Search) -> str:
    """The incumbent as a person sees it, and how many image classes have another."""
    best = state.incumbent
    if best is None:
        return ""
    own = len({str(group.incumbent.term) for group in state.groups[1:] if group.incumbent} - {str(best.term)})
    return (best.name or str(best.term)) + (f" and {own} of image classes" if own else "")


def _stopped(error: OracleError, result: Result) -> OracleError:
    """The error that stopped a run, with what the run had found."""
    kept = f"the best of {result.search.candidates} candidates so far and the journal are in {result.folder}"
    text = f"{error}\n{kept}" if result.folder else str(error)
    stopped = OracleError(text, images=error.images, details=error.details, timed_out=error.timed_out)
    stopped.result = result
    return stopped
