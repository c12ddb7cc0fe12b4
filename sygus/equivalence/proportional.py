"""Classes of terms that are proportional over the axes of the theory: one positive factor for all places, whatever the tensor.

It is coarser than equality and no congruence: y·x is proportional to x where y is a positive scalar, but 1 + y·x is not to 1 + x.
So it tells that two whole expressions serve alike where proportions are all that counts, and replaces nothing inside a term.

As in `classes.py`, terms are compared within buckets, only a proof puts two into one class, and a tensor that separates two
tells later ones apart. The bucket of a term is a hash of its values at the random points, those of each point divided by the
absolute value of the first that is not zero: proportional terms share it.

What is proved is said of two symbolic places, so that a solver can prove it for tensors of all sizes. Terms c and d over the
axes of a theory are *proportional* when, for every tensor that the context allows, there is one λ > 0 with d = λ·c at every
place (with the axes channel and pixel: at every pixel of every channel). λ may depend on the tensor, not on the place. It is
enough that for every two places i and j

1. c(i)·d(j) = d(i)·c(j),
2. c(i)·d(i) ≥ 0,
3. c(i) = 0 exactly where d(i) = 0.

Proof. Fix a tensor. If c is zero everywhere, so is d by 3, and λ = 1 will do. Otherwise c(j) ≠ 0 for some j; d(j) ≠ 0 by 3, and
λ = d(j)/c(j) is positive by 2. By 1, d(i) = λ·c(i) for every i. ∎  The converse is plain. Claim 3 is needed for tensors on which
one of the two is zero everywhere and the other is not: they satisfy 1 and 2. On all others it follows from 1.

A tensor and two of its places give a value to each scalar variable below: what varies over the places has a variable for each of
the two, what does not (a logit, a mean across channels) is shared. The solver proves the claims for all values of these
variables, which is more than is needed, never less: two places of one channel, or one place taken twice, are values for which
copies agree. An atom such as `mean-pixel[A·G]` is the value that one function of the tensor has at a place, so it is copied as
a whole, under a name of its own; the variables within its key only say which function it is, and stay as they are. A fact holds
at every place, and so for each copy.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from ..constants import real
from ..core import apply
from ..semantics import exact
from ..semantics.interpret import interpret
from ..semantics.residues import PRIME, Pair, invert
from ..semantics.scalars import Instance
from ..solver.process import Claim
from ..terms import BOOL, Literal, Term, substitute, subterms, variable
from .abstraction import Abstraction
from .classes import Equivalence, Merge, Undecided
from .separation import Point

ZERO = real(0)
TRUE = Term(Literal(True, BOOL))
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
        return self.equivalence.separation.by_model(
            lambda instance: _out_of_proportion(instance, left, right),
            lambda point: self._separates(point, left, right),
            [tuple(2 if axis == longer else 1 for axis in axes) for longer in reversed(axes)] or [()],
        )

    def _separates(self, point: Point, left: Term, right: Term) -> bool:
        a, b = (point.value(term, self.equivalence.context) for term in (left, right))
        return a is not None and b is not None and _direction(a, point.sizes) != _direction(b, point.sizes)


def claims(left: Term, right: Term, abstraction: Abstraction) -> tuple[Claim, Claim]:
    """What proves that two terms are proportional: claim 1, and claims 2 and 3 as one.

    >>> from sygus import REAL, Context, Input, Theory
    >>> context = Context(Theory(axes=("row",)), {"x": Input("x", REAL, 1), "y": Input("y", REAL, 0)}, positive=frozenset("y"))
    >>> x, y = variable("x", REAL), variable("y", REAL)
    >>> for claim in claims(x, apply("*", y, x), Abstraction(context)):
    ...     print(claim.left, "=", claim.right, "if", *claim.facts)
    (* ||x@1| (* y ||x@2|)) = (* (* y ||x@1|) ||x@2|) if (> y 0.0)
    (and (>= (* ||x@1| (* y ||x@1|)) 0.0) (= (= ||x@1| 0.0) (= (* y ||x@1|) 0.0))) = true if (> y 0.0)
    """
    c, d = abstraction.scalar(left), abstraction.scalar(right)
    extents = abstraction.extents(c, d)
    known = [*abstraction.signs.facts(c, d, *extents), *extents]
    (c1, d1, *facts1), (c2, d2, *facts2) = ([_at(place, term, abstraction) for term in (c, d, *known)] for place in (1, 2))
    sign = apply(">=", apply("*", c1, d1), ZERO)
    together = apply("=", apply("=", c1, ZERO), apply("=", d1, ZERO))
    return (
        Claim(apply("*", c1, d2), apply("*", d1, c2), tuple(dict.fromkeys([*facts1, *facts2]))),
        Claim(apply("and", sign, together), TRUE, tuple(facts1)),
    )


def whole_claim(left: Term, right: Term, abstraction: Abstraction) -> Claim:
    """The same as one claim, for a file."""
    ratio, sign = claims(left, right, abstraction)
    return Claim(apply("and", apply("=", ratio.left, ratio.right), sign.left), TRUE, ratio.facts)


def _at(place: int, scalar: Term, abstraction: Abstraction) -> Term:
    """A scalar term with a copy, for this place, of every variable that varies over the places."""
    copies = {
        leaf: variable(f"|{leaf.name}@{place}", leaf.sort)
        for leaf in subterms(scalar)
        if leaf.is_variable and abstraction.varies(leaf)
    }
    return substitute(scalar, copies) if copies else scalar


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
    """A formula that says: some place, or some two, break one of the three claims."""
    c, d = (instance.at_every_index(interpret(term, instance)) for term in (left, right))
    cases = []
    for i in c:
        cases.append(apply("<", apply("*", c[i], d[i]), ZERO))
        cases.append(apply("distinct", apply("=", c[i], ZERO), apply("=", d[i], ZERO)))
    for i, j in itertools.combinations(c, 2):
        cases.append(apply("distinct", apply("*", c[i], d[j]), apply("*", d[i], c[j])))
    return apply("or", *cases)
