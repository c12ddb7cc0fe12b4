"""The interface of all learners: an iterable of candidates, and the learners by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, overload

from ..equivalence.classes import Equivalence
from ..errors import SygusError, nearest
from ..grammar import Grammar
from ..terms import Term


class Candidate(NamedTuple):
    """A term to be tried, and its cost in its grammar: the least cost of its derivations."""

    term: Term
    cost: int


class Learner(Protocol):
    """What proposes terms. Each iteration starts afresh and gives the same candidates again; closing the iterator frees what it
    holds."""

    def __iter__(self) -> Iterator[Candidate]: ...


class ClassLearner(Learner, Protocol):
    """A learner that gives one candidate for each class of proved-equal terms.

    Attributes:
        built: how many terms it looked at so far, duplicates among them.
        cost: the highest cost among them.
    """

    built: int
    cost: int

    def reached(self, representative: Term) -> bool:
        """Whether a candidate of this class was given."""
        ...


def _bottom_up(grammar: Grammar, limit: int, equivalence: Equivalence | None, seed: int) -> Learner:
    from .bottom_up import Enumerator

    if equivalence is None:
        raise SygusError("the learner 'bottom-up' gives one term for each class, and needs an equivalence")
    return Enumerator(grammar, equivalence, limit)


def _cvc5(grammar: Grammar, limit: int, equivalence: Equivalence | None, seed: int) -> Learner:
    from .findsynth import FindSynth

    return _distinct(FindSynth(grammar, limit), equivalence)


def _uniform(grammar: Grammar, limit: int, equivalence: Equivalence | None, seed: int) -> Learner:
    from .uniform import Uniform

    return _distinct(Uniform(grammar, limit, seed, repeat=equivalence is None), equivalence)


def _distinct(learner: Learner, equivalence: Equivalence | None) -> Learner:
    from .distinct import Distinct

    return learner if equivalence is None else Distinct(learner, equivalence)


LEARNERS: dict[str, Callable[[Grammar, int, Equivalence | None, int], Learner]] = {
    "bottom-up": _bottom_up,
    "cvc5": _cvc5,
    "uniform": _uniform,
}
"""Makers of learners by name, from a grammar, a highest cost, an equivalence and a seed. A new learner is one entry."""


@overload
def learner(name: str, grammar: Grammar, limit: int, *, equivalence: Equivalence, seed: int = 0) -> ClassLearner: ...


@overload
def learner(name: str, grammar: Grammar, limit: int, *, equivalence: None = None, seed: int = 0) -> Learner: ...


def learner(name: str, grammar: Grammar, limit: int, *, equivalence: Equivalence | None = None, seed: int = 0) -> Learner:
    """The learner `name` over `grammar`.

    Args:
        name: "bottom-up", one term for each class in order of cost; "cvc5", the terms of cvc5's enumerator in its order, distinct
            but for what its rewriter sees; "uniform", without end, random terms of exactly the cost `limit`.
        grammar: what the terms are derived from.
        limit: the highest cost.
        equivalence: which terms are the same: each learner is then a `ClassLearner`. None for the streams of "cvc5" and "uniform"
            as they are; "bottom-up" needs one.
        seed: of the random terms.

    Raises:
        SygusError: for an unknown name, or a grammar that the learner refuses.

    >>> from sygus import read
    >>> grammar = read("(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x (+ R R)))))(check-synth)").target().grammar
    >>> print(*next(iter(learner("uniform", grammar, limit=3))))
    (+ x x) 3
    >>> learner("unifrom", grammar, limit=3)
    Traceback (most recent call last):
    sygus.errors.SygusError: unknown learner 'unifrom'; did you mean 'uniform'?
    """
    if name not in LEARNERS:
        raise SygusError(f"unknown learner {name!r}{nearest(name, LEARNERS)}")
    return LEARNERS[name](grammar, limit, equivalence, seed)
