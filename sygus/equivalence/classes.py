"""Classes of terms that are proved equal: fingerprint buckets, cvc5 to confirm, refutations as new points.

Equal means: the same value for all tensors of all sizes that satisfy the assumptions of the context. Such terms may replace
each other anywhere. Only terms that share a fingerprint are compared; only a proof merges them. A refutation is believed when a
tensor realises it, and that tensor becomes a point at which later terms of the bucket are told apart. A pair that is neither
proved nor refuted stays two classes and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..semantics.exact import Tensor
from ..semantics.interpret import Context
from ..semantics.residues import Pair
from ..solver.process import Claim, Solver
from ..terms import Sort, Term, Variable
from .abstraction import Abstraction
from .fingerprint import Points
from .lemmas import Lemmas, Shape, shape
from .separation import Point, Separation, differ

BATCH = 4096
"""Terms whose fingerprints are taken at once."""


class Merge(NamedTuple):
    """`term` was proved equal to `representative`; `proof` is "identical" (one scalar form), "cvc5", or "instance" (of an
    equation that cvc5 proved for all values)."""

    term: Term
    representative: Term
    proof: str


class Undecided(NamedTuple):
    """Two terms that share every fingerprint and that nothing separates or proves equal."""

    left: Term
    right: Term
    reason: str


@dataclass(slots=True)
class _Bucket:
    """Terms of one sort and fingerprint, no two of them proved equal. Where there are several: their fingerprints at more points,
    and the tensors that tell apart what these leave together."""

    key: tuple[Sort, int]
    terms: list[Term]
    finer: dict[Term, int] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    values: dict[Term, list[Tensor | None]] = field(default_factory=dict)
    """On the points: as many as were asked for."""

    def forget(self) -> None:
        """Leaves out what is kept of terms that were merged, once it is most of what is kept."""
        if len(self.finer) > 4 * len(self.terms) + 64:
            kept = set(self.terms)
            self.finer = {term: value for term, value in self.finer.items() if term in kept}
            self.values = {term: value for term, value in self.values.items() if term in kept}


@dataclass
class Counts:
    """What the search for classes did. Of the `claims` that needed cvc5, it was `asked` one of each shape; `instances` are the
    merges by an equation proved before."""

    classes: int = 0
    merges: int = 0
    instances: int = 0
    claims: int = 0
    asked: int = 0
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
        self.abstraction = Abstraction(self.context, self.solver)
        self.lemmas = Lemmas(self.solver, [self.abstraction.signs.facts, self._more_facts])
        self.separation = Separation(self.context, self.inputs, self.solver, self.seed)
        self._firsts: dict[Sort, dict[int, Term]] = {}  # by fingerprint; most buckets hold one term for ever
        self._split: dict[tuple[Sort, int], _Bucket] = {}
        self._unrealised: set[Shape] = set()

    def fingerprints(self, terms: Sequence[Term]) -> list[int]:
        """The hash of each term's values at the random points."""
        self.context.check(*terms)
        found: dict[Term, int] = {}
        for start in range(0, len(terms), BATCH):
            values = self.points.values_of(terms[start : start + BATCH])
            by_sort: dict[Sort, list[Term]] = {}
            for term in dict.fromkeys(terms[start : start + BATCH]):
                by_sort.setdefault(term.sort, []).append(term)
            for alike in by_sort.values():
                groups = zip(*(values[term] for term in alike), strict=True)
                rows = [Pair(*map(np.stack, zip(*group, strict=True))) for group in groups]
                found.update(zip(alike, self.points.hashes(rows).tolist(), strict=True))
        return [found[term] for term in terms]

    def representatives(self, terms: Sequence[Term], fingerprints: Iterable[int] | None = None) -> list[Term]:
        """For each term the representative of its class, which is the term itself where the class is new.

        The order of `terms` decides who represents: earlier terms come first.
        """
        hashes = self.fingerprints(terms) if fingerprints is None else list(fingerprints)
        found: dict[int, Term] = {}
        waiting: dict[tuple[Sort, int], list[tuple[int, int]]] = {}  # by bucket: position, and how many rivals are behind it
        position_of: dict[Term, int] = {}
        for position, (term, value) in enumerate(zip(terms, hashes, strict=True)):
            if position_of.setdefault(term, position) != position:
                continue  # it comes again, since two nonterminals derive it
            firsts = self._firsts.setdefault(term.sort, {})
            if firsts.get(value, term) is not term:
                waiting.setdefault((term.sort, value), []).append((position, 0))
                continue
            if value not in firsts:
                firsts[value] = term
                self.counts.classes += 1
            found[position] = term
        while waiting:
            asked: list[tuple[_Bucket, int, int]] = []
            rounds = [(key, self._bucket(key), queue) for key, queue in waiting.items()]
            waiting = {key: self._next(bucket, queue, terms, found, asked) for key, bucket, queue in rounds}
            verdicts = self._decide([(bucket, terms[position], bucket.terms[index]) for bucket, position, index in asked])
            for (bucket, position, index), equal in zip(asked, verdicts, strict=True):
                if equal:
                    found[position] = bucket.terms[index]
                else:
                    waiting[bucket.key].append((position, index + 1))
            waiting = {key: sorted(queue) for key, queue in waiting.items() if queue}
        return [found[position_of[term]] for term in terms]

    def _bucket(self, key: tuple[Sort, int]) -> _Bucket:
        sort, value = key
        return self._split.get(key) or _Bucket(key, [self._firsts[sort][value]])

    def _next(
        self, bucket: _Bucket, queue: list[tuple[int, int]], terms: Sequence[Term], found: dict[int, Term],
        asked: list[tuple[_Bucket, int, int]],
    ) -> list[tuple[int, int]]:  # fmt: skip
        """Sends each term of a queue to its next rival, and makes a new class of the first that has none left. Returns those that
        must wait, since an earlier one is not decided yet and may become their rival."""
        rest: list[tuple[int, int]] = []
        pending = False
        for position, start in queue:
            term, rivals = terms[position], range(start, len(bucket.terms))
            seen = self._finer(bucket, term), self._values(bucket, term)
            if term in bucket.terms:
                found[position] = term
            elif (rival := next((i for i in rivals if self._may_equal(bucket, seen, bucket.terms[i])), None)) is not None:
                asked.append((bucket, position, rival))
                pending = True
            elif pending:
                rest.append((position, len(bucket.terms)))
            else:
                bucket.terms.append(term)
                self._split[bucket.key] = bucket
                self.counts.classes += 1
                found[position] = term
        return rest

    def claim(self, left: Term, right: Term) -> Claim:
        """What cvc5 is asked to prove two terms equal."""
        a, b = self.abstraction.scalar(left), self.abstraction.scalar(right)
        return Claim(a, b, tuple(self._more_facts(a, b) or self.abstraction.signs.facts(a, b)))

    def _more_facts(self, left: Term, right: Term) -> list[Term] | None:
        more = [*self.abstraction.order(left, right), *self.abstraction.extents(left, right)]
        return [*self.abstraction.signs.facts(left, right, *more), *more] if more else None

    def _finer(self, bucket: _Bucket, term: Term) -> int:
        """The fingerprint of a term at more points; 0 in a bucket of one term, which does without."""
        if len(bucket.terms) == 1:
            return 0
        found = bucket.finer.get(term)
        if found is None:
            bucket.forget()
            found = bucket.finer[term] = self.separation.fingerprint(term)
        return found

    def _values(self, bucket: _Bucket, term: Term) -> list[Tensor | None]:
        """A term on the tensors that split this bucket before."""
        if not bucket.points:
            return []
        known = bucket.values.setdefault(term, [])
        known += [point.value(term, self.context) for point in bucket.points[len(known) :]]
        return known

    def _may_equal(self, bucket: _Bucket, seen: tuple[int, list[Tensor | None]], rival: Term) -> bool:
        """Whether what was seen of a term at these points leaves it and a rival together."""
        finer, values = seen
        return finer == self._finer(bucket, rival) and not any(map(differ, values, self._values(bucket, rival)))

    def _decide(self, pairs: list[tuple[_Bucket, Term, Term]]) -> list[bool]:
        """For each term and representative of a bucket: whether they are proved equal."""
        verdicts = self._verdicts([(term, rival) for _, term, rival in pairs])
        self.counts.claims += sum(verdict != "identical" for verdict in verdicts)
        self.counts.asked = self.lemmas.asked
        return [self._decided(*pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True)]

    def _verdicts(self, pairs: Sequence[tuple[Term, Term]]) -> list[str]:
        """For each pair "identical", of one scalar form, or what cvc5 says."""
        forms = [(self.abstraction.scalar(left), self.abstraction.scalar(right)) for left, right in pairs]
        answers = iter(self.lemmas.equal([(left, right) for left, right in forms if left is not right]))
        return ["identical" if left is right else next(answers) for left, right in forms]

    def proves(self, pairs: Sequence[tuple[Term, Term]]) -> list[bool]:
        """For each pair whether it is proved equal. No class changes, and no refutation is sought.

        >>> from sygus.core import apply
        >>> from sygus.terms import REAL
        >>> x, y = Variable("x", REAL), Variable("y", REAL)
        >>> with Solver() as solver:
        ...     Equivalence(Context(), [x, y], solver).proves([(apply("+", Term(x), Term(y)), apply("+", Term(y), Term(x)))])
        [True]
        """
        return [verdict in ("identical", "equal") for verdict in self._verdicts(pairs)]

    def _decided(self, bucket: _Bucket, term: Term, rival: Term, verdict: str) -> bool:
        """Keeps account of a verdict; looks for a tensor that separates the two where they are not proved equal."""
        if verdict in ("identical", "equal"):
            self.counts.merges += 1
            if self.on_merge:
                self.on_merge(Merge(term, rival, "cvc5" if verdict == "equal" else verdict))
            return True
        claim = self.claim(term, rival)
        law = shape((claim.left, claim.right, *claim.facts))
        finer = bucket.finer.get(term)
        alike = finer is not None and finer == bucket.finer.get(rival)
        point = None if law in self._unrealised else self.separation.find(term, rival, alike)
        if point is not None:
            self.counts.refuted += 1
            self.counterexamples.append(point)
            if alike or self.separation.fingerprint(term) == self.separation.fingerprint(rival):
                bucket.points.append(point)
            return False
        self._unrealised.add(law)
        self.counts.undecided += 1
        reason = "no tensor realises the refutation" if verdict == "different" else verdict
        self.undecided.append(Undecided(term, rival, reason))
        if self.on_undecided:
            self.on_undecided(self.undecided[-1])
        return False
