"""What a learner is, and the learners by name. A new one is a file of this folder that registers a class, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar

from ..equivalence.classes import Equivalence
from ..grammar import Grammar
from ..registry import Registry
from ..terms import Term

FIRST, MOST = 16, 1024
"""Terms that are classified at once, at first and later."""
PATIENCE = 100_000
"""Terms in a row without a new class after which a stream counts as exhausted."""


class Candidate(NamedTuple):
    """A term to be tried, and its cost in its grammar: the least cost of its derivations."""

    term: Term
    cost: int


class Scored(Protocol):
    """What a learner is told of a candidate: what became of it, and its score, None where it has none."""

    @property
    def term(self) -> Term: ...
    @property
    def status(self) -> str: ...
    @property
    def score(self) -> float | None: ...


class Learner:
    """What proposes terms. Each iteration starts afresh and gives the same candidates again; closing the iterator frees what it
    holds.

    Attributes:
        name: by which it is asked for.
        in_order_of_cost: whether it gives all classes of one cost before any of a higher one.
        only_at_limit: whether every candidate costs exactly the limit; else they cost at most that.
        of_classes: whether it gives one candidate for each class itself; else `learner` takes the first of each class.
        learns_from_scores: whether `learn` changes what comes next.
        built: how many terms it looked at so far, duplicates among them.
        cost: the highest cost among them.
    """

    name: str = ""
    in_order_of_cost: bool = False
    only_at_limit: bool = False
    of_classes: bool = False
    learns_from_scores: bool = False
    built: int = 0
    cost: int = 0

    @classmethod
    def make(cls, grammar: Grammar, limit: int, equivalence: Equivalence | None, seed: int) -> Learner:
        """A learner over a grammar; see `learner`."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Candidate]:
        raise NotImplementedError

    def reached(self, representative: Term) -> bool:
        """Whether a candidate of this class was given; of a learner without classes, never."""
        return False

    def learn(self, tried: Sequence[Scored]) -> None:
        """Told of each batch of candidates once it is dealt with. Most learners do nothing with it."""


class Listed(Learner):
    """Candidates that are known beforehand, in their order.

    >>> [candidate.cost for candidate in Listed([])]
    []
    """

    name = "listed"

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self._candidates = candidates

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._candidates)


class Distinct(Learner):
    """The first term of each class that a learner's stream has.

    Args:
        learner: the stream.
        equivalence: which terms are the same.

    Attributes:
        built: how many terms the stream gave so far.
        cost: the highest cost among them.

    >>> from sygus import Context, Solver, read
    >>> from .uniform import Uniform
    >>> target = read("(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x (+ R R) (* R R)))))(check-synth)").target()
    >>> with Solver() as solver:
    ...     learner = Distinct(Uniform(target.grammar, 5, repeat=False), Equivalence(Context(), list(target.variables), solver))
    ...     len([candidate for candidate in learner]), learner.built
    (4, 8)
    """

    of_classes = True

    def __init__(self, learner: Learner, equivalence: Equivalence) -> None:
        self.learner, self.equivalence = learner, equivalence
        self.name, self.learns_from_scores = learner.name, learner.learns_from_scores
        self.in_order_of_cost, self.only_at_limit = learner.in_order_of_cost, learner.only_at_limit
        self.built = self.cost = 0
        self._seen: set[Term] = set()

    def learn(self, tried: Sequence[Scored]) -> None:
        """Told to the stream."""
        self.learner.learn(tried)

    def reached(self, representative: Term) -> bool:
        """Whether a term was found in the class of `representative`."""
        return representative in self._seen

    def __iter__(self) -> Iterator[Candidate]:
        self.built = self.cost = 0
        self._seen = set()
        stream, size, last = iter(self.learner), FIRST, 0
        while (batch := list(islice(stream, size))) and self.built - last < PATIENCE:
            self.cost = max(self.cost, *(candidate.cost for candidate in batch))
            for candidate, found in zip(batch, self.equivalence.representatives([c.term for c in batch]), strict=True):
                self.built += 1
                if found not in self._seen:
                    self._seen.add(found)
                    last = self.built
                    yield candidate
            size = min(2 * size, MOST)


LEARNERS: Registry[type[Learner]] = Registry("learner", __package__)
"""The learners by name. Every file of this folder is looked through."""
L = TypeVar("L", bound=type[Learner])


def register_learner(name: str) -> Callable[[L], L]:
    """Makes a class of learners known by a name.

    Raises:
        SygusError: the name is taken.
    """

    def register(made: L) -> L:
        home = made.__module__
        if not home.startswith(f"{__package__}.") and name in LEARNERS and LEARNERS[name].__qualname__ == made.__qualname__:
            del LEARNERS[name]  # a person's own file that was read anew
        made.name = name
        LEARNERS.add(name, made, home)
        return made

    return register


def learner_class(name: str) -> type[Learner]:
    """The learners of that name, as yet without a grammar.

    Raises:
        SygusError: there are none.

    >>> learner_class("bottom-up").in_order_of_cost, learner_class("uniform").in_order_of_cost
    (True, False)
    >>> learner_class("unifrom")
    Traceback (most recent call last):
    sygus.errors.SygusError: no learner 'unifrom'; did you mean 'uniform'? There are: bottom-up, cvc5, uniform
    """
    return LEARNERS.find(name)


def learner(name: str, grammar: Grammar, limit: int, *, equivalence: Equivalence | None = None, seed: int = 0) -> Learner:
    """The learner `name` over `grammar`.

    Args:
        name: "bottom-up", one term for each class in order of cost; "cvc5", the terms of cvc5's enumerator in its order, distinct
            but for what its rewriter sees; "uniform", without end, random terms of exactly the cost `limit`.
        grammar: what the terms are derived from.
        limit: the highest cost.
        equivalence: which terms are the same: each learner then gives one candidate for each class. None for the streams of
            "cvc5" and "uniform" as they are; "bottom-up" needs one.
        seed: of the random terms.

    Raises:
        SygusError: for an unknown name, or a grammar that the learner refuses.

    >>> from sygus import read
    >>> grammar = read("(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x (+ R R)))))(check-synth)").target().grammar
    >>> print(*next(iter(learner("uniform", grammar, limit=3))))
    (+ x x) 3
    """
    made = learner_class(name).make(grammar, limit, equivalence, seed)
    return made if equivalence is None or made.of_classes else Distinct(made, equivalence)
