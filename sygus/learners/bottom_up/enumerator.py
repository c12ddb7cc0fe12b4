"""Bottom-up enumeration of a grammar in order of cost, one term for each class of proved-equal terms.

Terms are built from representatives only. All combinations of one production and one split of the cost are looked at at once.
Those that an equation makes equal to an earlier one are done (`equations`). The others are evaluated by broadcasting the values
of their parts, and a term object is made for each, since a duplicate must be proved to be one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...constants import constant_value, real
from ...core import described
from ...costs import cheapest, check_costs
from ...equivalence.classes import Equivalence, Merge
from ...errors import SygusError
from ...grammar import Grammar, Production, Template
from ...terms import Function, Term, Variable, is_any_constant, no_collection
from ..learner import Candidate, Learner, register_learner
from .bank import Bank, Budget, Rows
from .derivations import NOTHING, Derivations, Nodes, pending
from .equations import Equation, Equations, Universal

CHUNK = 2048
"""Combinations that are evaluated at once."""
BATCH = 8192
"""Terms that are sorted into classes at once, at most; fewer at first, so that equations are learnt early."""


@dataclass(frozen=True, eq=False)
class _Rule:
    """A production to build with. A `commutative` one is built in one order of its two holes only."""

    nonterminal: str
    template: Template
    weight: int
    commutative: bool


class _Built(NamedTuple):
    """What one rule gives: combination i takes the parts `indices[hole][i]` of the banks, which are the nodes `parts[hole][i]`,
    and its result goes to `cells[i]`. `found` says which class equations put it in; the `open` ones have terms with their
    fingerprints."""

    rule: _Rule
    banks: list[Bank]
    indices: list[NDArray[np.int32]]
    parts: list[Nodes]
    cells: NDArray[np.int64]
    found: Nodes
    open: NDArray[np.int64]
    terms: list[Term]
    hashes: list[int]
    rows: Rows

    def term(self, combination: int) -> Term:
        """The term of any combination."""
        parts = [bank.terms[index[combination]] for bank, index in zip(self.banks, self.indices, strict=True)]
        return self.rule.template.fill(tuple(parts))


@register_learner("bottom-up")
class Enumerator(Learner):
    """The classes of a grammar, cheapest first. Each iteration gives all candidates of the start nonterminal anew.

    Args:
        grammar: what to enumerate.
        equivalence: which terms are the same; it may be shared and already hold classes.
        limit: the highest cost.
        memory: bytes of values that may be kept; what is beyond is computed again when it is needed.

    Attributes:
        built: how many terms were built so far, duplicates among them.
        cost: the cost that is being enumerated.

    Raises:
        SygusError: a cost has infinitely many terms, or a production varies over an axis that values of its sort do not have.

    >>> from sygus import Context, Solver, read
    >>> grammar = read('''(synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y (+ R R) (* R R)))))
    ...                   (check-synth)''').target().grammar
    >>> from sygus.terms import REAL
    >>> with Solver() as solver:
    ...     classes = Equivalence(Context(), [Variable("x", REAL), Variable("y", REAL)], solver)
    ...     [str(c.term) for c in Enumerator(grammar, classes, limit=3)]
    ['x', 'y', '(+ x x)', '(+ x y)', '(+ y y)', '(* x x)', '(* x y)', '(* y y)']
    """

    in_order_of_cost = True
    of_classes = True

    @classmethod
    def make(cls, grammar: Grammar, limit: int, equivalence: Equivalence | None, seed: int) -> Learner:
        """See `Learner`."""
        if equivalence is None:
            raise SygusError("the learner 'bottom-up' gives one term for each class, and needs an equivalence")
        return cls(grammar, equivalence, limit)

    def __init__(self, grammar: Grammar, equivalence: Equivalence, limit: int, memory: int = 512 * 2**20) -> None:
        check_costs(grammar)
        equivalence.context.check(*(p.body for rules in grammar.productions.values() for p in rules))
        self.grammar, self.equivalence, self.limit = grammar, equivalence, limit
        self._depth = len(equivalence.context.theory.axes)
        self._levels = self._check_levels()
        self._memory = memory
        self._least = {name: cost for name, (cost, _) in cheapest(grammar).items()}
        self._rules: dict[str, list[_Rule]] = {}
        self._any_constants: dict[str, list[Production]] = {}
        reachable = set(grammar.reachable())
        for name in grammar.nonterminals:
            productions = grammar.proper(name) if name in reachable else []
            proper = [p for p in productions if all(hole in self._least for hole in grammar.holes(p.body))]
            self._any_constants[name] = [p for p in proper if is_any_constant(p.body)]
            self._rules[name] = [self._rule(name, p) for p in proper if not is_any_constant(p.body)]
        proper_rules = [rule for rules in self._rules.values() for rule in rules]
        self._numbered = {rule: number for number, rule in enumerate(proper_rules, start=1)}
        self._first = {rule.template: rule for rule in reversed(proper_rules)}
        self._last_use = self._last_uses()
        self._start()

    def _start(self) -> None:
        self.built = self.cost = 0
        self._budget = Budget(self._memory)
        self._bank: dict[str, dict[int, Bank]] = {name: {} for name in self.grammar.nonterminals}
        self._seen: dict[str, dict[Term, int]] = {name: {} for name in self.grammar.nonterminals}
        self._heads: list[Term] = []
        self._nodes: dict[tuple[str, int], list[Nodes]] = {}
        holes, commutative = zip((0, False), *map(_cells, self._numbered), strict=True)
        self._table = Derivations(holes, commutative, self.limit)
        self._special: set[int] = set()
        self._equations = Equations(self._table, self._proved, self._special)
        self._universal: Universal | None = None
        self._done: dict[tuple[_Rule, tuple[int, ...]], list[int]] = {}

    def reached(self, representative: Term) -> bool:
        """Whether a term of the start nonterminal was found in the class of `representative`."""
        return representative in self._seen[self.grammar.start]

    def __iter__(self) -> Iterator[Candidate]:
        self._start()
        for cost in range(self.limit + 1):
            self.cost = cost
            for nonterminal in self.grammar.nonterminals:
                self._bank[nonterminal][cost] = Bank(self._budget)
                self._nodes[nonterminal, cost] = [np.empty(0, np.int32)]
            yield from self._classify(self._rules_at(cost, free=False))
            before = -1
            while before != (before := self._size(cost)):  # a free production builds on terms of this very cost
                yield from self._classify(self._rules_at(cost, free=True))

    # What to build ------------------------------------------------------------------------------------------------------

    def _rule(self, nonterminal: str, production: Production) -> _Rule:
        template = self.grammar.template(production.body)
        body, holes = template.body, template.holes
        operator = self.equivalence.context.operator(body)
        known = operator or (described(body.symbol) if isinstance(body.symbol, Function) else None)
        swaps = (
            known is not None
            and known.commutative
            and len(holes) == 2
            and body.args == template.variables
            and holes[0] == holes[1]
        )
        return _Rule(nonterminal, template, self.grammar.weight(production), swaps)

    def _rules_at(self, cost: int, free: bool) -> Iterator[_Rule]:
        """The rules that may give a term of `cost`: those that cost nothing themselves, or the others."""
        for name in self.grammar.nonterminals:
            yield from (rule for rule in self._rules[name] if (rule.weight == 0) == free)
            for production in () if free else self._any_constants[name]:
                for body in self.grammar.bodies(production, cost):
                    yield self._rule(name, Production(name, body, cost))

    def _last_uses(self) -> dict[str, int]:
        """For each nonterminal the highest cost of a term that is part of another one."""
        last = dict.fromkeys(self.grammar.nonterminals, -1)
        for rules in self._rules.values():
            for rule in rules:
                whole = rule.weight + sum(self._least[hole] for hole in rule.template.holes)
                for hole in rule.template.holes:
                    last[hole] = max(last[hole], self.limit - whole + self._least[hole])
        return last

    def _size(self, cost: int) -> int:
        return sum(len(banks[cost].terms) for banks in self._bank.values())

    def _check_levels(self) -> dict[str, int]:
        """Over how many axes the terms of each nonterminal vary. Refuses a production that varies over one over which values of
        its sort are constant."""
        theory, levels, before = self.equivalence.context.theory, dict.fromkeys(self.grammar.nonterminals, 0), None
        while levels != before:  # upwards until nothing changes: (ite B W W) varies as its condition does
            before = dict(levels)
            for name, sort in self.grammar.nonterminals.items():
                highest = theory.sorts.get(sort, self._depth)
                for production in self.grammar.productions[name]:
                    holes = {Term(Variable(hole, s)): levels[hole] for hole, s in self.grammar.nonterminals.items()}
                    levels[name] = max(levels[name], self.equivalence.context.level(production.body, holes))
                    if levels[name] > highest:
                        raise SygusError(
                            f"the production {production.body} of {name!r} varies over each {theory.axes[highest]}, and a "
                            f"value of sort {sort} does not: reduce it first"
                        )
        return levels

    def _blocks(self, rule: _Rule, cost: int) -> Iterator[tuple[tuple[int, ...], tuple[range, ...], bool]]:
        """The combinations of parts for a rule that were not built yet: costs of the parts, a block, whether only those in order
        count."""
        holes = rule.template.holes
        for split in _splits(cost - rule.weight, [self._least[hole] for hole in holes]):
            if rule.commutative and split[0] > split[1]:
                continue
            lengths = [len(self._bank[hole][part].terms) for hole, part in zip(holes, split, strict=True)]
            done = self._done.get((rule, split), [0] * len(holes))
            if rule.weight == 0:
                if (rule, split) in self._done and done == lengths:
                    continue
                self._done[rule, split] = lengths
            in_order = rule.commutative and split[0] == split[1]
            for first_new in range(len(holes)) if holes else [0]:
                bounds = [
                    (done[hole] if hole == first_new else 0, done[hole] if hole < first_new else lengths[hole])
                    for hole in range(len(holes))
                ]  # fmt: skip
                for block in _grid([range(*bound) for bound in bounds]):
                    yield split, block, in_order

    # Building and sorting -----------------------------------------------------------------------------------------------

    def _classify(self, rules: Iterable[_Rule]) -> Iterator[Candidate]:
        """Builds all terms of some rules at the present cost, keeps those whose class is new."""
        waiting: list[_Built] = []
        built = opened = 0
        for rule in rules:
            for split, block, in_order in self._blocks(rule, self.cost):
                with no_collection():
                    waiting.append(self._build(rule, split, block, in_order, built))
                built += len(waiting[-1].found)
                opened += len(waiting[-1].open)
                if opened >= min(BATCH, 256 + len(self._table)) or built >= 16 * BATCH:
                    yield from self._sort(waiting)
                    waiting, built, opened = [], 0, 0
        yield from self._sort(waiting)

    def _build(self, rule: _Rule, split: tuple[int, ...], block: tuple[range, ...], in_order: bool, before: int) -> _Built:
        """The combinations of a block. `before` is how many others wait to be sorted."""
        banks = [self._bank[hole][part] for hole, part in zip(rule.template.holes, split, strict=True)]
        shape = tuple(len(chosen) for chosen in block)
        grid = [index.reshape(-1).astype(np.int32) + chosen.start for index, chosen in zip(np.indices(shape), block, strict=True)]
        kept = np.flatnonzero(grid[0] <= grid[1]) if in_order else np.arange(int(np.prod(shape)))
        indices = [index[kept] for index in grid]
        parts = [self._nodes_of(hole, part)[i] for hole, part, i in zip(rule.template.holes, split, indices, strict=True)]
        cells, found = self._instances(rule, split, [len(bank.terms) for bank in banks], parts, len(kept), before)
        todo = np.flatnonzero(found == NOTHING)
        rows: Rows
        if not len(todo):
            rows = []
        elif 2 * len(todo) < len(kept):
            rows = self._again(rule, banks, [index[todo] for index in indices])
        else:
            values = [
                [pair.each(_along(position, len(block))) for pair in bank.rows(chosen.start, chosen.stop)]
                for position, (bank, chosen) in enumerate(zip(banks, block, strict=True))
            ]
            rows = self._rows(rule.template, values, shape, kept[todo])
        chosen_terms = [[bank.terms[i] for i in index[todo]] for bank, index in zip(banks, indices, strict=True)]
        terms = (
            [rule.template.fill(arguments) for arguments in zip(*chosen_terms, strict=True)] if banks else [rule.template.body]
        )
        self.built += len(kept)
        hashes = self.equivalence.points.hashes(rows).tolist() if rows else []
        return _Built(rule, banks, indices, parts, cells, found, open=todo, terms=terms, hashes=hashes, rows=rows)

    def _instances(
        self, rule: _Rule, split: tuple[int, ...], lengths: list[int], parts: list[Nodes], count: int, before: int
    ) -> tuple[NDArray[np.int64], Nodes]:
        """The cells of combinations, and in which class equations put them."""
        number = self._numbered.get(rule, 0)
        if not self._table.arities[number]:
            return np.full(count, NOTHING, np.int64), np.full(count, NOTHING, np.int32)
        self._table.open(number, split, tuple(lengths))
        cells = self._table.cells(number, parts)
        self._table.fill(cells, pending(np.arange(before, before + count, dtype=np.int32)))
        return cells, self._equations.instances(number, parts, before)

    def _nodes_of(self, nonterminal: str, cost: int) -> Nodes:
        """The nodes of a bank, by position."""
        chunks = self._nodes[nonterminal, cost]
        if len(chunks) > 1:
            chunks[:] = [np.concatenate(chunks)]
        return chunks[0]

    def _rows(self, template: Template, parts: list[Rows], shape: tuple[int, ...], kept: NDArray[np.int64]) -> Rows:
        """The values of the combinations `kept` of a grid of `shape`, from parts that broadcast to it."""
        points, values = self.equivalence.points, []
        for group in range(len(points.groups)):
            memo = {variable: rows[group] for variable, rows in zip(template.variables, parts, strict=True)}
            result = points.evaluate(template.body, group, memo)
            tail = result.residue.shape[result.residue.ndim - self._depth - 1 :]
            values.append(result.each(_flat(shape, tail, kept)))
        return points.rows(values, self.equivalence.context.theory.sorts.get(template.body.sort, self._depth))

    def _again(self, rule: _Rule, banks: list[Bank], indices: list[NDArray[np.int32]]) -> Rows:
        """The values of terms that were built before."""
        parts: list[Rows] = []
        for bank, index in zip(banks, indices, strict=True):
            low = int(index.min())
            parts.append([pair.each(_chosen(index - low)) for pair in bank.rows(low, int(index.max()) + 1)])
        count = len(indices[0]) if indices else 1
        return self._rows(rule.template, parts, (count,), np.arange(count))

    def _sort(self, waiting: list[_Built]) -> Iterator[Candidate]:
        """Classes for what was built; the new ones go to their banks."""
        with no_collection():
            terms = [term for built in waiting for term in built.terms]
            found = iter(self.equivalence.representatives(terms, [value for built in waiting for value in built.hashes]))
            nodes = np.concatenate([np.empty(0, np.int32), *(built.found for built in waiting)])
            merges: list[tuple[_Built, int, int]] = []
            fresh: list[tuple[str, list[Term]]] = []
            start = 0
            for built in waiting:
                fresh.append((built.rule.nonterminal, self._keep(built, nodes[start : start + len(built.found)], found, merges)))
                start += len(built.found)
            while len(waits := np.flatnonzero(nodes < NOTHING)):
                nodes[waits] = nodes[pending(nodes[waits])]
            self._close(waiting, nodes)
            self._learn(merges)
        for name, new in fresh:
            if name == self.grammar.start:
                yield from (Candidate(term, self.cost) for term in new)

    def _keep(self, built: _Built, nodes: Nodes, found: Iterator[Term], merges: list[tuple[_Built, int, int]]) -> list[Term]:
        """Takes the new classes among `built` into their bank, and writes the nodes of its open terms into `nodes`."""
        name, first = built.rule.nonterminal, len(self._table)
        seen, new, numbers = self._seen[name], list[int](), list[int]()
        for position, term in enumerate(built.terms):
            representative = next(found)
            node = seen.get(representative)
            if node is None:
                node = seen[representative] = first + len(new)
                new.append(position)
                self._heads.append(representative)
            elif representative is not term:
                merges.append((built, int(built.open[position]), node))
            numbers.append(node)
        nodes[built.open] = numbers
        if not new:
            return []
        at = built.open[new]
        fresh = [built.terms[position] for position in new]
        rows = [pair.each(_chosen(np.array(new))) for pair in built.rows] if self.cost <= self._last_use[name] else None
        bank = self._bank[name][self.cost]
        positions = range(len(bank.terms), len(bank.terms) + len(new))
        bank.add(fresh, rows, partial(self._again, built.rule, built.banks, [index[at] for index in built.indices]))
        number = self._numbered.get(built.rule, 0)
        self._nodes[name, self.cost].append(self._table.add(number, [part[at] for part in built.parts], self.cost, positions))
        self._special.update(first + i for i, term in enumerate(fresh) if self._is_special(term))
        return fresh

    def _close(self, waiting: list[_Built], nodes: Nodes) -> None:
        """Writes the nodes of all combinations into their cells, and keeps account of those that equations decided."""
        counts, report, start = self.equivalence.counts, self.equivalence.on_merge, 0
        for built in waiting:
            mine = nodes[start : start + len(built.found)]
            start += len(mine)
            self._table.fill(built.cells, mine)
            if self._first.get(built.rule.template) is not built.rule:
                continue  # another nonterminal has the same production, and the same terms
            instances = np.flatnonzero(built.found != NOTHING)
            counts.merges += len(instances)
            counts.instances += len(instances)
            for i in instances.tolist() if report else ():
                report(Merge(built.term(i), self._heads[mine[i]], "instance"))  # type: ignore[misc]

    # Equations ----------------------------------------------------------------------------------------------------------

    def _learn(self, merges: list[tuple[_Built, int, int]]) -> None:
        """Seeks equations that show merges of rules that have cells."""
        self._equations.learn(
            (number, tuple(int(part[i]) for part in built.parts), node)
            for built, i, node in merges
            if self._table.arities[number := self._numbered.get(built.rule, 0)]
        )

    def _proved(self, equations: Sequence[Equation]) -> list[bool]:
        if self._universal is None:
            templates = [Template(real(0), (), ()), *(rule.template for rule in self._numbered)]
            self._universal = Universal(self.equivalence, self.grammar.nonterminals, self._levels, templates, self._heads)
        return self._universal(equations)

    def _is_special(self, term: Term) -> bool:
        """Whether more is known of a term than that it is one: a constant, an input of which something is assumed."""
        if not isinstance(term.symbol, Variable):
            return constant_value(term) is not None
        context = self.equivalence.context
        assumed = context.nonneg | context.positive | context.uniform
        return term.name in assumed or context.input(term.symbol).size_of is not None


def _cells(rule: _Rule) -> tuple[int, bool]:
    """How many holes a rule has, 0 where it gets no cells, and whether it is commutative. A rule that costs nothing gets none:
    the banks that it is applied to still grow."""
    holes = len(rule.template.holes)
    return (holes if rule.weight and holes <= 2 else 0), rule.commutative


def _along(position: int, axes: int) -> Callable[[NDArray], NDArray]:
    """Lays rows along one of several leading axes."""
    before, after = (1,) * position, (1,) * (axes - position - 1)
    return lambda x: x.reshape(before + x.shape[:1] + after + x.shape[1:])


def _flat(shape: tuple[int, ...], tail: tuple[int, ...], kept: NDArray[np.int64]) -> Callable[[NDArray], NDArray]:
    """The combinations `kept` of the leading axes `shape`, as rows."""

    def rows(x: NDArray) -> NDArray:
        flat = np.broadcast_to(x, shape + tail).reshape((-1, *tail))
        return flat if len(flat) == len(kept) else flat[kept]

    return rows


def _chosen(rows: NDArray) -> Callable[[NDArray], NDArray]:
    """Some rows."""
    return lambda x: x[rows]


def _splits(total: int, least: list[int]) -> Iterator[tuple[int, ...]]:
    """All ways to write `total` as an ordered sum of numbers, each at least its bound.

    >>> list(_splits(4, [1, 1]))
    [(1, 3), (2, 2), (3, 1)]
    """
    if not least:
        if total == 0:
            yield ()
        return
    bound, *others = least
    for first in range(bound, total - sum(others) + 1):
        for rest in _splits(total - first, others):
            yield (first, *rest)


def _grid(bounds: list[range]) -> Iterator[tuple[range, ...]]:
    """The grid of `bounds` in blocks of about `CHUNK` combinations."""
    if not bounds:
        yield ()
        return
    first, *rest = bounds
    for tail in _grid(rest):
        width = max(1, CHUNK // max(1, int(np.prod([len(r) for r in tail]))))
        for start in range(first.start, first.stop, width):
            yield (range(start, min(first.stop, start + width)), *tail)
