"""The constraint oracle: does a candidate obey the laws of its file?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..equivalence.fingerprint import Points
from ..equivalence.separation import Point, Separation
from ..semantics.interpret import Context
from ..solver.process import Claim, Solver
from ..terms import Term, subterms
from .hypotheses import UnderHypotheses
from .law import TRUE, Law, Obligation


class Verdict(NamedTuple):
    """What is known of a candidate.

    Attributes:
        status: "lawful" (every law is proved), "broken" (`counterexample` breaks a law) or "undecided" (neither).
        law: the one that is broken or undecided.
        counterexample: where it is broken.
        reason: one line for people; empty where the candidate is lawful.
    """

    status: str
    law: Law | None = None
    counterexample: Point | None = None
    reason: str = ""


class Unproved(NamedTuple):
    """A claim that would make a candidate obey a law, and that is neither proved nor refuted."""

    candidate: Term
    law: Law
    claim: Claim
    reason: str


@dataclass
class LawCounts:
    """What the oracle did: verdicts, how many of those that were broken fell without cvc5 (at random points, or at
    counterexamples that earlier candidates left behind), and the claims that went to cvc5."""

    lawful: int = 0
    broken: int = 0
    undecided: int = 0
    at_points: int = 0
    at_counterexamples: int = 0
    claims: int = 0


LAWFUL = Verdict("lawful")


@dataclass
class ConstraintOracle:
    """Verifies candidates against laws: at counterexamples found before, at random points, and last through cvc5.

    A law is proved for all values of its variables that satisfy the assumptions of the context, all tensors of all sizes. A
    candidate breaks it only where exact arithmetic confirms a counterexample, which is kept.

    Args:
        laws: see `law.laws`.
        context: theory, assumptions, and the laws' variables as inputs; a variable that it does not list has level 0.
        solver: where cvc5 runs.
        seed: of the random points.

    >>> from .. import read, read_term
    >>> from .law import laws
    >>> problem = read('''(declare-var k Real) (synth-fun f ((x Real)) Real ((R Real)) ((R Real (x 1.0 (* R R)))))
    ...                   (constraint (>= (f k) 0.0)) (check-synth)''')
    >>> target = problem.target()
    >>> with Solver() as solver:
    ...     oracle = ConstraintOracle(laws(problem), Context(), solver)
    ...     for text in ("(* x x)", "x"):
    ...         print(oracle.verdict(read_term(text, target.variables, {})).reason or "lawful")
    lawful
    breaks the constraint at <text>:2:19 where k = -17/64
    """

    laws: Sequence[Law]
    context: Context
    solver: Solver
    seed: int = 0
    counts: LawCounts = field(default_factory=LawCounts)
    counterexamples: list[tuple[Law, Point]] = field(default_factory=list)
    unproved: list[Unproved] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.check(*(law.term for law in self.laws))
        inputs = dict.fromkeys(v for law in self.laws for v in law.inputs())
        points = Points(self.context, list(inputs), self.seed)
        self._searches = [Separation(self.context, law.inputs(), self.solver, points=points) for law in self.laws]
        depth = len(self.context.theory.axes)
        self._sizes = [(1,) * depth, (1,) * (depth - 1) + (2,), (2,) * depth] if depth else [()]
        self._views: dict[tuple[Term, ...], UnderHypotheses] = {}
        self._verdicts: dict[Term, Verdict] = {}

    def verdict(self, candidate: Term) -> Verdict:
        """Whether `candidate`, a term over the function's arguments, obeys every law."""
        if candidate not in self._verdicts:
            found = self._screened(candidate) or self._decided(candidate)
            setattr(self.counts, found.status, getattr(self.counts, found.status) + 1)
            if found.status == "broken":  # most are, and it is quickly found again
                return found
            self._verdicts[candidate] = found
        return self._verdicts[candidate]

    def _screened(self, candidate: Term) -> Verdict | None:
        """A verdict without cvc5, for most of those that break a law."""
        for law, point in self.counterexamples:
            if point.separates(law.of(candidate), TRUE, self.context):
                self.counts.at_counterexamples += 1
                return _broken(law, point)
        for law, search in zip(self.laws, self._searches, strict=True):
            found = search.at_points(law.of(candidate), TRUE)
            if found is not None:
                self.counts.at_points += 1
                return _broken(law, found)
        return None

    def _decided(self, candidate: Term) -> Verdict:
        undecided: Verdict | None = None
        for law, search in zip(self.laws, self._searches, strict=True):
            failed = self._unproved(law, candidate)
            if failed is None:
                continue
            found = search.where_different(law.of(candidate), TRUE, self._sizes)
            if found is not None:
                self.counterexamples.append((law, found))
                return _broken(law, found)
            self.unproved.append(failed)
            reason = f"neither proved nor refuted: the constraint at {law.place} ({failed.reason})"
            undecided = undecided or Verdict("undecided", law, None, reason)
        return undecided or LAWFUL

    def _unproved(self, law: Law, candidate: Term) -> Unproved | None:
        """The first claim of a law that cvc5 does not prove; None where it proves them all."""
        for obligation in law.obligations(candidate, self.context):
            view = self._view(law, obligation)
            scalar = view.scalar(obligation.conclusion)
            claim = Claim(scalar, TRUE, tuple(view.signs.facts(scalar)))
            verdict = self._asked(claim)
            if verdict != "equal" and (order := view.order(scalar)):
                claim = Claim(scalar, TRUE, (*claim.facts, *order))
                verdict = self._asked(claim)
            if verdict != "equal":
                reason = "no tensor realises the refutation" if verdict == "different" else verdict
                return Unproved(candidate, law, claim, reason)
        return None

    def _asked(self, claim: Claim) -> str:
        self.counts.claims += 1
        (verdict,) = self.solver.equal([claim])
        return verdict

    def _view(self, law: Law, obligation: Obligation) -> UnderHypotheses:
        """One view for all candidates where the hypotheses are the law's own: what it proved of reductions is of use again."""
        view = self._views.get(obligation.hypotheses)
        if view is None:
            view = UnderHypotheses(self.context, obligation.hypotheses, self.solver)
            if set(obligation.hypotheses).issubset(subterms(law.term)):
                self._views[obligation.hypotheses] = view
        return view


def _broken(law: Law, point: Point) -> Verdict:
    return Verdict("broken", law, point, f"breaks the constraint at {law.place} where {point}")
