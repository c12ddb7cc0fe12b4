"""cvc5's enumerator as a learner: the terms of a grammar in cvc5's order, less those that its rewriter sees to be equal to
earlier ones.

cvc5 runs in a process of its own (`solver/stream_worker.py`), since it holds the interpreter while it searches and may search for
ever: in a grammar with finitely many classes it looks for the next one without end.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ..constants import constant
from ..costs import Automaton, Costs, cheapest, check_costs
from ..equivalence.classes import Equivalence
from ..errors import SygusError
from ..grammar import Grammar
from ..solver.messages import LineProcess
from ..solver.stream import describe
from ..terms import BOOL, INT, Sort, Term, Value, is_any_constant
from .learner import Candidate, Learner, register_learner

FIRST, MOST = 8, 2048
"""How many terms one message brings, at first and once the stream runs."""
START = 60.0
"""Seconds for a process to start and to find out what cvc5 makes of each production, some milliseconds for each."""


@register_learner("cvc5")
class FindSynth(Learner):
    """The stream of `findSynth(ENUM)`. Its order is that of cvc5's size: the number of productions with holes in a derivation,
    chains not counted.

    cvc5 works ahead by one message, no further. A process that dies is started again and goes on after the last term that was
    given: the stream is deterministic. All terms given are kept, since later ones are built from them.

    Args:
        grammar: what to enumerate.
        limit: the highest cost; dearer terms are left out. None for no limit. Where cvc5 gave a dearer term for a class, it gives
            no other, and the class is missing: for all classes up to a cost, give `applications` and no limit.
        applications: the largest of cvc5's sizes. By default what no term within the limit exceeds. Without one the stream goes
            on as long as cvc5 finds terms.
        seconds: how long one term may take before the process is taken to hang.
        attempts: how often in a row the process may die or hang without a new term.

    Attributes:
        restarts: how often a process was started again.
        pid: the process of the latest iteration.

    Raises:
        SygusError: for a production that cvc5 cannot take, for a grammar that has infinitely many terms of one cost, and, while
            iterating, once cvc5 gave no new term in `attempts` processes.

    >>> from sygus import read
    >>> text = "(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x 1.0 (- R R) (* R R)))))(check-synth)"
    >>> [str(c.term) for c in FindSynth(read(text).target().grammar, limit=3)]
    ['x', '1.0', '(- x x)', '(* x x)', '(- x 1.0)', '(- 1.0 x)']
    """

    @classmethod
    def make(cls, grammar: Grammar, limit: int, equivalence: Equivalence | None, seed: int) -> Learner:
        """See `Learner`."""
        return cls(grammar, limit)

    def __init__(
        self,
        grammar: Grammar,
        limit: int | None = None,
        *,
        applications: int | None = None,
        seconds: float = 30.0,
        attempts: int = 3,
    ) -> None:
        check_costs(grammar)
        self.grammar, self.limit, self.seconds, self.attempts = grammar, limit, seconds, attempts
        bounds = [applications, _most_applications(grammar), None if limit is None else _applications_within(grammar, limit)]
        applications = min((bound for bound in bounds if bound is not None), default=None)
        self.restarts = 0
        self.pid: int | None = None
        self._message = {**describe(grammar), "applications": applications, "seconds": seconds}
        productions = [p for name in grammar.nonterminals for p in grammar.proper(name)]
        self._templates = [None if is_any_constant(p.body) else grammar.template(p.body) for p in productions]
        self._sorts = [grammar.nonterminals[p.nonterminal] for p in productions]
        self._cheapest = {name: term for name, (_, term) in cheapest(grammar).items()}
        self._size_is_cost = all(self._templates) and all(p.weight is None for p in productions)
        self._automaton = Automaton.of(grammar)

    def __iter__(self) -> Iterator[Candidate]:
        costs: dict[Term, Costs] = {}
        for term in self._terms():
            cost = term.size if self._size_is_cost else self._automaton.cost(term, memo=costs)
            assert cost is not None, term
            if self.limit is None or cost <= self.limit:
                yield Candidate(term, cost)

    def _terms(self) -> Iterator[Term]:
        """The terms of the stream, each once, over as many processes as it takes."""
        given: set[Term] = set()
        seen = failures = 0  # `seen` counts what came over the pipe, given or a repetition
        while True:
            process = LineProcess("sygus.solver.stream_worker", seconds=START + self.seconds)
            self.pid = process.pid
            position = 0
            try:
                for found in self._messages(process, seen, FIRST if not failures and not seen else 1):
                    new = found[max(0, seen - position) :]
                    position += len(found)
                    for term in new:
                        seen += 1
                        failures = 0
                        if term not in given:
                            given.add(term)
                            yield term
                return
            except _Ended:
                failures += 1
                self.restarts += 1
                if failures >= self.attempts:
                    raise SygusError(
                        f"cvc5 gave no term after the first {seen} in {self.attempts} processes, each of which ended or took "
                        f"longer than {self.seconds:g} s"
                    ) from None
            finally:
                process.close()

    def _messages(self, process: LineProcess, seen: int, size: int) -> Iterator[list[Term]]:
        """The terms of one message after the other. The next is asked for before one is gone through.

        The terms that were seen are asked for in large messages; then messages grow from `size` terms. After a process that ended
        that is 1, so that a term on which cvc5 hangs holds back none before it.
        """
        rows: list[Term] = []
        self._ask(process, self._message)
        self._answer(process)
        process.seconds = self.seconds
        again = seen
        self._ask(process, {"count": min(again, MOST) or size})
        while True:
            message = self._answer(process)
            again = max(0, again - len(message["terms"]))
            if not message["done"]:
                self._ask(process, {"count": min(again, MOST) or size})
                size = min(2 * size, MOST) if not again else size
            for production, *parts in message["rows"]:
                template = self._templates[production]
                if template is None:
                    sort = self._sorts[production]
                    rows.append(constant(_value(parts[0], sort), sort))
                elif -1 in parts:
                    holes = zip(parts, template.holes, strict=True)
                    rows.append(template.fill(tuple(rows[row] if row >= 0 else self._cheapest[hole] for row, hole in holes)))
                else:
                    rows.append(template.fill(tuple([rows[row] for row in parts])))
            yield [rows[row] for row in message["terms"]]
            if message["done"]:
                return

    @staticmethod
    def _ask(process: LineProcess, message: dict[str, Any]) -> None:
        if not process.send(message):
            raise _Ended

    @staticmethod
    def _answer(process: LineProcess) -> dict[str, Any]:
        message = process.receive()
        if message is None:
            raise _Ended
        if "error" in message:
            raise SygusError(f"cvc5 cannot enumerate the grammar further: {message['error']}")
        return message


def _most_applications(grammar: Grammar) -> int | None:
    """The largest number of productions with holes in a derivation; None where there is no largest."""
    holes = {name: [grammar.holes(p.body) for p in grammar.proper(name)] for name in grammar.nonterminals}
    below = {name: {hole for names in rules for hole in names} for name, rules in holes.items()}
    try:
        order = [*TopologicalSorter(below).static_order()]
    except CycleError:
        return None
    found: dict[str, int] = {}
    for name in order:
        found[name] = max((bool(names) + sum(found[hole] for hole in names) for names in holes[name]), default=0)
    return None if any(is_any_constant(p.body) for name in order for p in grammar.proper(name)) else found[grammar.start]


def _applications_within(grammar: Grammar, limit: int) -> int | None:
    """The number of applications that no term of cost `limit` exceeds; None where an application may cost nothing."""
    weights = [grammar.weight(p) for name in grammar.nonterminals for p in grammar.proper(name) if grammar.holes(p.body)]
    least = min(weights, default=1)
    leaf = min((cost for cost, _ in cheapest(grammar).values()), default=0)
    return max(0, (limit - leaf) // least) if least else None


class _Ended(Exception):
    """The process ended, or hung."""


def _value(text: str, sort: Sort) -> Value:
    return text == "True" if sort == BOOL else int(text) if sort == INT else Fraction(text)
