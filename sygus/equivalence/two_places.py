"""That two terms are proportional, said of two symbolic places, so that a solver can prove it for tensors of all sizes.

Terms c and d over the axes of a theory are *proportional* when, for every tensor that the context allows, there is one λ > 0
with d = λ·c at every place (with the axes channel and pixel: at every pixel of every channel). λ may depend on the tensor, not
on the place. It is enough that for every two places i and j

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

from ..core import apply
from ..solver.process import Claim
from ..terms import BOOL, Literal, Term, real, substitute, subterms, variable
from .abstraction import Abstraction

ZERO = real(0)
TRUE = Term(Literal(True, BOOL))


def claims(left: Term, right: Term, abstraction: Abstraction) -> tuple[Claim, Claim]:
    """What proves that two terms are proportional: claim 1, and claims 2 and 3 as one.

    >>> from sygus.terms import REAL
    >>> from sygus.theory import Context, Input, Theory
    >>> context = Context(Theory(axes=("row",)), {"x": Input("x", REAL, 1), "y": Input("y", REAL, 0)}, positive=frozenset("y"))
    >>> x, y = variable("x", REAL), variable("y", REAL)
    >>> for claim in claims(x, apply("*", y, x), Abstraction(context)):
    ...     print(claim.left, "=", claim.right, "if", *claim.facts)
    (* ||x@1| (* y ||x@2|)) = (* (* y ||x@1|) ||x@2|) if (> y 0.0)
    (and (>= (* ||x@1| (* y ||x@1|)) 0.0) (= (= ||x@1| 0.0) (= (* y ||x@1|) 0.0))) = true if (> y 0.0)
    """
    c, d = abstraction.scalar(left), abstraction.scalar(right)
    extents = abstraction.extents(c, d)
    known = [*abstraction.facts(c, d, *extents), *extents]
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
