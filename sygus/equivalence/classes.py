"""Classes of terms that are proved equal: fingerprint buckets, cvc5 to confirm, refutations as new points.

Equal means: the same value for all tensors of all sizes that satisfy the assumptions of the context. Such terms may replace
each other anywhere. Only terms that share a fingerprint are compared; only a proof merges them. A refutation is believed when a
tensor realises it, and that tensor becomes a point at which later terms of the bucket are told apart. A pair that is neither
proved nor refuted stays two classes and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from ..core import apply
from ..solver.process import Claim, Solver
from ..terms import INT, Sort, Term, Variable, real
from ..theory import Context
from . import exact
from .abstraction import Abstraction, Instance
from .fingerprint import Points


class Merge(NamedTuple):
    """`term` was proved equal to `representative`; `proof` is "identical" (one scalar form) or "cvc5"."""

    term: Term
    representative: Term
    proof: str


class Undecided(NamedTuple):
    """Two terms that share every fingerprint and that nothing separates or proves equal."""

    left: Term
    right: Term
    reason: str


@dataclass(frozen=True)
class Point:
    """A tensor that separated two terms: values of the inputs, and the sizes of the axes."""

    values: dict[str, exact.Tensor]
    sizes: tuple[int, ...]


@dataclass
class Counts:
    """What the search for classes did."""

    classes: int = 0
    merges: int = 0
    claims: int = 0
    refuted: int = 0
    undecided: int = 0


@dataclass
class Equivalence:
    """The classes found so far, and how to find the class of a term.

    Args:
        context: theory, inputs and assumptions.
        inputs: the variables that terms may have.
        solver: where cvc5 runs.
        seed: of the random points.
        on_merge, on_undecided: told of each, for a run's journal.

    >>> from sygus.core import apply
    >>> from sygus.terms import REAL
    >>> x, y = Variable("x", REAL), Variable("y", REAL)
    >>> with Solver() as solver:
    ...     classes = Equivalence(Context(), [x, y], solver)
    ...     [str(t) for t in classes.representatives([apply("+", Term(x), Term(y)), apply("+", Term(y), Term(x))])]
    ['(+ x y)', '(+ x y)']
    """

    context: Context
    inputs: list[Variable]
    solver: Solver
    seed: int = 0
    on_merge: Callable[[Merge], None] | None = None
    on_undecided: Callable[[Undecided], None] | None = None
    counts: Counts = field(default_factory=Counts)
    undecided: list[Undecided] = field(default_factory=list)
    counterexamples: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.points = Points(self.context, self.inputs, self.seed)
        self.abstraction = Abstraction(self.context, self._never_negative)
        self._buckets: dict[tuple[Sort, int], list[Term]] = {}
        self._classes: dict[Term, Term] = {}
        self._signatures: dict[Term, list[exact.Tensor | None]] = {}

    def fingerprints(self, terms: Sequence[Term]) -> list[int]:
        """The hash of each term's values at the random points."""
        memos: list[dict] = [{} for _ in self.points.groups]
        depth = len(self.context.theory.axes)
        found = []
        for term in terms:
            values = [self.points.evaluate(term, group, memo) for group, memo in enumerate(memos)]
            level = self.context.theory.sorts.get(term.sort, depth)
            rows = self.points.rows([type(v)(v.residue[None], v.approximate[None]) for v in values], level)
            found.append(int(self.points.hashes(rows)[0]))
        return found

    def representatives(self, terms: Sequence[Term], fingerprints: Iterable[int] | None = None) -> list[Term]:
        """For each term the representative of its class, which is the term itself where the class is new.

        The order of `terms` decides who represents: earlier terms come first.
        """
        hashes = self.fingerprints(terms) if fingerprints is None else list(fingerprints)
        found: dict[int, Term] = {}
        waiting: dict[tuple[Sort, int], list[tuple[int, int]]] = {}
        asked: set[Term] = set()
        for position, (term, value) in enumerate(zip(terms, hashes, strict=True)):
            if term not in self._classes and term not in asked:  # a term comes again where two nonterminals derive it
                asked.add(term)
                waiting.setdefault((term.sort, value), []).append((position, 0))
        while waiting:
            claims: list[tuple[tuple[Sort, int], int, int, Term]] = []
            for key, queue in list(waiting.items()):
                bucket = self._buckets.setdefault(key, [])
                rest: list[tuple[int, int]] = []
                for position, compared in queue:
                    term, rival = terms[position], None
                    for index in range(compared, len(bucket)):
                        if self._may_equal(term, bucket[index]):
                            rival, compared = bucket[index], index
                            break
                    if rival is not None:
                        claims.append((key, position, compared, rival))
                    elif not rest and not any(c[0] == key for c in claims[-1:]):
                        bucket.append(term)
                        self.counts.classes += 1
                        found[position] = term
                    else:  # an earlier term of this bucket is not decided yet: it may become the rival
                        rest.append((position, len(bucket)))
                waiting[key] = rest
                if not rest:
                    del waiting[key]
            verdicts = self._decide([(terms[position], rival) for _, position, _, rival in claims])
            for (key, position, compared, rival), equal in zip(claims, verdicts, strict=True):
                if equal:
                    found[position] = rival
                else:
                    waiting.setdefault(key, []).append((position, compared + 1))
            for queue in waiting.values():
                queue.sort()
        self._classes.update((terms[position], representative) for position, representative in found.items())
        return [self._classes[term] for term in terms]

    def claim(self, left: Term, right: Term) -> Claim:
        """What cvc5 is asked to prove two terms equal."""
        a, b = self.abstraction.scalar(left), self.abstraction.scalar(right)
        return Claim(a, b, tuple(self.abstraction.facts(a, b)))

    def _may_equal(self, left: Term, right: Term) -> bool:
        """Whether the counterexamples found so far leave the two together."""
        if not self.counterexamples:
            return True
        pairs = zip(self._signature(left), self._signature(right), strict=True)
        return all(a is None or b is None or _same(a, b) for a, b in pairs)

    def _signature(self, term: Term) -> list[exact.Tensor | None]:
        known = self._signatures.setdefault(term, [])
        for point in self.counterexamples[len(known) :]:
            try:
                known.append(exact.evaluate(term, point.values, point.sizes, self.context))
            except exact.Inexact:
                known.append(None)
        return known

    def _decide(self, pairs: list[tuple[Term, Term]]) -> list[bool]:
        """For each (term, representative): whether they are proved equal."""
        proofs: list[str | None] = []
        claims: list[Claim] = []
        for term, rival in pairs:
            claim = self.claim(term, rival)
            proofs.append("identical" if claim.left is claim.right else None)
            if claim.left is not claim.right:
                claims.append(claim)
        answers = iter(self.solver.equal(claims))
        self.counts.claims += len(claims)
        decided = []
        for (term, rival), proof in zip(pairs, proofs, strict=True):
            verdict = "equal" if proof else next(answers)
            if verdict == "equal":
                self.counts.merges += 1
                if self.on_merge:
                    self.on_merge(Merge(term, rival, proof or "cvc5"))
            elif self._refute(term, rival):
                self.counts.refuted += 1
            else:
                self.counts.undecided += 1
                reason = "no tensor realises the refutation" if verdict == "different" else verdict
                self.undecided.append(Undecided(term, rival, reason))
                if self.on_undecided:
                    self.on_undecided(self.undecided[-1])
            decided.append(verdict == "equal")
        return decided

    def _never_negative(self, term: Term) -> bool:
        """Whether cvc5 proves that a scalar term is at least zero under the assumptions."""
        negative = apply("ite", apply("<", term, real(0)), real(1), real(0))
        return self.solver.equal([Claim(negative, real(0), tuple(self.abstraction.facts(term)))]) == ["equal"]

    def _refute(self, left: Term, right: Term) -> bool:
        """Looks for a tensor on which the two differ; a found one joins the counterexamples."""
        depth = len(self.context.theory.axes)
        sizes = [()] if not depth else [(1,) * depth, (1,) * (depth - 1) + (2,), (2,) * depth]
        for size in sizes:
            instance = Instance(self.context, size)
            try:
                formulas = [instance.difference(left, right), *instance.facts()]
            except KeyError:  # an operator without a rational form
                return False
            model = self.solver.model(formulas)
            if model is None:
                continue
            point = Point({v.name: self._tensor(instance, v, model) for v in self.inputs}, size)
            if self._integral(point) and self._separates(point, left, right):
                self.counterexamples.append(point)
                return True
        return False

    def _tensor(self, instance: Instance, symbol: Variable, model: dict[str, Fraction | bool]) -> exact.Tensor:
        """The model's values of one input; one that the formula does not mention is 1, which every assumption allows."""
        entries = instance._input(symbol)
        return {index: model.get(entry.name, Fraction(1)) for index, entry in entries.items()}

    def _integral(self, point: Point) -> bool:
        integers = [v.name for v in self.inputs if v.sort == INT]
        return all(Fraction(value).denominator == 1 for name in integers for value in point.values[name].values())

    def _separates(self, point: Point, left: Term, right: Term) -> bool:
        try:
            a, b = (exact.evaluate(t, point.values, point.sizes, self.context) for t in (left, right))
        except exact.Inexact:
            return False
        return not _same(a, b)


def _same(a: exact.Tensor, b: exact.Tensor) -> bool:
    """Whether two values agree, the one of lower level being constant over the axes it lacks."""
    wide, narrow = (a, b) if len(next(iter(a))) >= len(next(iter(b))) else (b, a)
    level = len(next(iter(narrow)))
    return all(value == narrow[index[:level]] for index, value in wide.items())
