"""Classes of terms that are proportional over the axes of the theory: one positive factor for all places, whatever the tensor.

It is coarser than equality and no congruence: y·x is proportional to x where y is a positive scalar, but 1 + y·x is not to 1 + x.
So it tells that two whole expressions serve alike where proportions are all that counts, and replaces nothing inside a term.

As in `classes.py`, terms are compared within buckets, only a proof puts two into one class, and a tensor that separates two
tells later ones apart. The bucket of a term is a hash of its values at the random points, those of each point divided by the
absolute value of the first that is not zero: proportional terms share it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from ..core import apply
from ..solver.process import Claim
from ..terms import Term
from . import exact
from .classes import Equivalence, Merge, Undecided
from .fingerprint import PRIME, Pair, invert
from .instance import Instance
from .refutation import Point
from .two_places import ZERO, claims, whole_claim

RIVALS = 4  # at most so many of a bucket are compared with a term; one is there, or two, but where pairs stay undecided


@dataclass
class Tally:
    """What the search for proportional terms did: pairs proved, refuted by a tensor, left undecided; claims put to cvc5."""

    proved: int = 0
    refuted: int = 0
    undecided: int = 0
    claims: int = 0


@dataclass
class Proportional:
    """The classes of proportional terms found so far, and how to find the class of a term.

    Args:
        equivalence: whose context, points, names of atoms and solver are used; its classes stay as they are.
        whole: what is compared in place of a term: the contributions of which it gives the weights, say.
        on_proof, on_undecided: told of each, for a run's journal.

    >>> from sygus import REAL, Context, Input, Solver, Theory, Variable
    >>> context = Context(Theory(axes=("row",)), {"x": Input("x", REAL, 1), "y": Input("y", REAL, 0)}, positive=frozenset("y"))
    >>> x, y = Variable("x", REAL), Variable("y", REAL)
    >>> terms = [Term(x), apply("*", Term(y), Term(x)), apply("-", Term(x)), apply("*", Term(x), Term(x))]
    >>> with Solver() as solver:
    ...     [str(term) for term in Proportional(Equivalence(context, [x, y], solver)).representatives(terms)]
    ['x', 'x', '(- x)', '(* x x)']
    """

    equivalence: Equivalence
    whole: Callable[[Term], Term] = lambda term: term
    on_proof: Callable[[Merge], None] | None = None
    on_undecided: Callable[[Undecided], None] | None = None
    counts: Tally = field(default_factory=Tally)
    undecided: list[Undecided] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._buckets: dict[int, list[Term]] = {}
        self._classes: dict[Term, Term] = {}
        self._points: dict[Term, list[Point]] = {}  # by representative: tensors that set others of its bucket apart from it

    def representatives(self, terms: Sequence[Term]) -> list[Term]:
        """For each term the representative of its class: the earliest term in it."""
        new = [term for term in dict.fromkeys(terms) if term not in self._classes]
        key = dict(zip(new, self.fingerprints(new), strict=True))
        compared = dict.fromkeys(new, 0)
        while new:
            pairs, waiting, busy = [], [], set()
            for term in new:
                bucket = self._buckets.setdefault(key[term], [])
                while compared[term] < min(len(bucket), RIVALS) and self._apart(term, bucket[compared[term]]):
                    compared[term] += 1
                if compared[term] < min(len(bucket), RIVALS):
                    pairs.append((term, bucket[compared[term]]))
                elif key[term] in busy:  # an earlier term of this bucket is still to be placed: it may become the rival
                    waiting.append(term)
                else:
                    bucket.append(term)
                    self._classes[term] = term
                busy.add(key[term])
            for (term, rival), proved in zip(pairs, self._decide(pairs), strict=True):
                if proved:
                    self._classes[term] = rival
                else:
                    compared[term] += 1
                    waiting.append(term)
            again = set(waiting)
            new = [term for term in compared if term in again]
        return [self._classes[term] for term in terms]

    def fingerprints(self, terms: Sequence[Term]) -> list[int]:
        """For each term a hash of the proportions of its values at the random points. Equal for terms that are proportional."""
        points, depth = self.equivalence.points, len(self.equivalence.context.theory.axes)
        memos: list[dict[Term, Pair]] = [{} for _ in points.groups]
        found = []
        for term in terms:
            values = [points.evaluate(self.whole(term), group, memo) for group, memo in enumerate(memos)]
            rows = points.rows([value.each(lambda x: x[None]) for value in values], depth)
            found.append(int(points.hashes([_proportions(pair) for pair in rows])[0]))
        return found

    def _apart(self, term: Term, rival: Term) -> bool:
        """Whether a tensor found before separates the two."""
        return any(self._separates(point, self.whole(term), self.whole(rival)) for point in self._points.get(rival, ()))

    def claim(self, left: Term, right: Term) -> Claim:
        """What would prove two terms proportional, as one claim."""
        return whole_claim(self.whole(left), self.whole(right), self.equivalence.abstraction)

    def _decide(self, pairs: Sequence[tuple[Term, Term]]) -> list[bool]:
        """For each (term, representative): whether they are proved proportional."""
        abstraction = self.equivalence.abstraction
        wholes = [(self.whole(term), self.whole(rival)) for term, rival in pairs]
        same = [abstraction.scalar(a) is abstraction.scalar(b) for a, b in wholes]
        asked = [c for (a, b), known in zip(wholes, same, strict=True) if not known for c in claims(a, b, abstraction)]
        self.counts.claims += len(asked)
        verdicts = iter(self.equivalence.solver.equal(asked))
        decided = []
        for (term, rival), (a, b), known in zip(pairs, wholes, same, strict=True):
            answers = [] if known else [next(verdicts), next(verdicts)]
            proved = all(answer == "equal" for answer in answers)
            if proved:
                self.counts.proved += 1
                if self.on_proof:
                    self.on_proof(Merge(term, rival, "identical" if known else "cvc5"))
            elif "different" in answers and (point := self._refute(a, b)) is not None:
                self.counts.refuted += 1
                self._points.setdefault(rival, []).append(point)
            else:
                self.counts.undecided += 1
                reason = next((answer for answer in answers if answer.startswith("unknown")), "no tensor realises the refutation")
                self.undecided.append(Undecided(term, rival, reason))
                if self.on_undecided:
                    self.on_undecided(self.undecided[-1])
            decided.append(proved)
        return decided

    def _refute(self, left: Term, right: Term) -> Point | None:
        """A small tensor on which the two are not proportional, where one is found."""
        axes = range(len(self.equivalence.context.theory.axes))
        for sizes in [tuple(2 if axis == longer else 1 for axis in axes) for longer in reversed(axes)] or [()]:
            instance = Instance(self.equivalence.context, sizes)
            try:
                formulas = [_out_of_proportion(instance, left, right), *instance.facts()]
            except KeyError:  # an operator without a rational form
                return None
            model = self.equivalence.solver.model(formulas)
            values = None if model is None else instance.tensors(self.equivalence.inputs, model)
            if values is not None and self._separates(point := Point(values, sizes), left, right):
                return point
        return None

    def _separates(self, point: Point, left: Term, right: Term) -> bool:
        try:
            a, b = (exact.evaluate(term, point.values, point.sizes, self.equivalence.context) for term in (left, right))
        except exact.Inexact:
            return False
        return _direction(a, point.sizes) != _direction(b, point.sizes)


def _proportions(pair: Pair) -> Pair:
    """Values [N, points, axes...], those of each point divided by the absolute value of the first that is not zero."""
    flat = pair.residue.reshape(*pair.residue.shape[:2], -1).astype(np.int64)
    first = (flat != 0).argmax(2)[..., None]
    scale = invert(np.take_along_axis(flat, first, 2))
    negative = np.take_along_axis(pair.approximate.reshape(flat.shape), first, 2) < 0
    scaled = flat * np.where(negative, (PRIME - scale) % PRIME, scale) % PRIME
    return Pair(scaled.reshape(pair.residue.shape).astype(pair.residue.dtype), pair.approximate)


def _direction(value: exact.Tensor, sizes: tuple[int, ...]) -> list[Fraction]:
    """The same in rational numbers, for one tensor: its entries in the order of their indices over all axes."""
    level = len(next(iter(value)))
    entries = [Fraction(value[index[:level]]) for index in itertools.product(*map(range, sizes))]
    scale = next((abs(entry) for entry in entries if entry), Fraction(1))
    return [entry / scale for entry in entries]


def _out_of_proportion(instance: Instance, left: Term, right: Term) -> Term:
    """A formula that says: some place, or some two, break one of the three claims of `two_places.py`."""
    c, d = instance.values(left), instance.values(right)
    cases = []
    for i in c:
        cases.append(apply("<", apply("*", c[i], d[i]), ZERO))
        cases.append(apply("distinct", apply("=", c[i], ZERO), apply("=", d[i], ZERO)))
    for i, j in itertools.combinations(c, 2):
        cases.append(apply("distinct", apply("*", c[i], d[j]), apply("*", d[i], c[j])))
    return apply("or", *cases)
