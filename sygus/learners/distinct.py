"""Any stream of terms as a learner of classes: one candidate for each class of proved-equal terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from ..equivalence.classes import Equivalence
from ..terms import Term
from .learner import Candidate, Learner, Scored

FIRST, MOST = 16, 1024
"""Terms that are classified at once, at first and later."""
PATIENCE = 100_000
"""Terms in a row without a new class after which a stream counts as exhausted."""


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

    def __init__(self, learner: Learner, equivalence: Equivalence) -> None:
        self.learner, self.equivalence = learner, equivalence
        self.in_order_of_cost, self.learns_from_scores = learner.in_order_of_cost, learner.learns_from_scores
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


def distinct(stream: Learner, equivalence: Equivalence | None) -> Learner:
    """One candidate for each class that a stream has; the stream itself where there is no equivalence."""
    return stream if equivalence is None else Distinct(stream, equivalence)
