"""What cvc5 has proved already, up to the names of variables: most duplicates are instances of few laws.

`relu(relu(a/c))/d = relu(a/c)/d` and `relu(relu(b/e))/a = relu(b/e)/a` are one claim, and both are instances of
`relu(relu(x))/y = relu(x)/y`. So a claim is asked in two forms. The first has no facts, and terms that both sides share are
variables: it claims more, and proves all instances at once. Where it is not proved, the claim is asked as it stands, with what
is known of its variables. Each form has a shape, in which leaves are numbered as they occur, and cvc5 is asked once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..solver.process import Claim, Solver
from ..terms import BOOL, Literal, Term, substitute, variable

Shape = tuple[object, ...]
Pair = tuple[Term, Term]
SHALLOW = 300
"""Nodes of a term that is walked by recursion."""
LIMIT = 200_000
"""Shapes that are kept; the memory is emptied when there are more."""


def shared(left: Term, right: Term) -> set[Term]:
    """The largest terms in `right` that occur in `left`, neither side being one.

    >>> from sygus.core import apply
    >>> from sygus.terms import REAL
    >>> x = variable("x", REAL)
    >>> square = apply("*", x, x)
    >>> [str(term) for term in shared(apply("+", square, x), apply("+", x, square))]
    ['(* x x)']
    """
    inside: set[Term] = set()
    stack = [left]
    while stack:
        for arg in stack.pop().args:
            if arg.args and arg not in inside:
                inside.add(arg)
                stack.append(arg)
    inside.discard(right)
    found: set[Term] = set()
    seen: set[Term] = set()
    stack = [right]
    while stack and inside:
        for arg in stack.pop().args:
            if arg in inside and arg.sort != BOOL:
                found.add(arg)
            elif arg.args and arg not in seen and arg is not left:
                seen.add(arg)
                stack.append(arg)
    return found


def shape(roots: Iterable[Term], cut: Iterable[Term] = ()) -> Shape:
    """A key: lists of terms that have the same one are one list up to a renaming of variables that keeps sorts. The terms in
    `cut` count as variables.

    >>> from sygus.core import apply
    >>> from sygus.terms import REAL
    >>> x, y = variable("x", REAL), variable("y", REAL)
    >>> shape([apply("+", x, y), y]) == shape([apply("+", y, x), x])
    True
    >>> shape([apply("+", x, y), y]) == shape([apply("+", x, y), x])
    False
    """
    nodes: list[object] = []
    number: dict[Term, int] = {}

    def add(term: Term) -> None:
        if not term.args or term in cut:
            nodes.append((term.symbol.value, term.sort) if isinstance(term.symbol, Literal) else term.sort)
        else:
            nodes.append((term.symbol.name, *[number[arg] for arg in term.args]))  # type: ignore[union-attr]
        number[term] = len(number)

    def shallow(term: Term) -> None:
        if term.args and term not in cut:
            for arg in term.args:
                if arg not in number:
                    shallow(arg)
        add(term)

    found: list[int] = []
    for root in roots:
        if root not in number:
            if root.size <= SHALLOW:  # recursion is twice as fast
                shallow(root)
            else:
                for term in _in_order(root, number, cut):
                    add(term)
        found.append(number[root])
    return (*nodes, *found)


def _in_order(root: Term, known: dict[Term, int], cut: Iterable[Term]) -> Iterator[Term]:
    """What is not known below `root`, arguments before the terms that use them, from left to right, without recursion."""
    stack = [root]
    while stack:
        term = stack[-1]
        missing = [] if term in cut else [arg for arg in term.args if arg not in known]
        if missing and term not in known:
            stack += missing[::-1]
            continue
        stack.pop()
        if term not in known:
            yield term


@dataclass
class Lemmas:
    """Asks cvc5 for equalities, each shape once.

    Args:
        solver: where cvc5 runs.
        facts: what is known of the variables in two terms, tried one after the other until a claim is proved; the later give
            more, or None where they have no more to give.

    Attributes:
        asked: how many claims went to cvc5.

    >>> from sygus.core import apply
    >>> from sygus.terms import REAL
    >>> x, y, z = (variable(name, REAL) for name in "xyz")
    >>> with Solver() as solver:
    ...     lemmas = Lemmas(solver, [])
    ...     lemmas.equal([(apply("+", a, b), apply("+", b, a)) for a, b in ((x, y), (y, z), (x, z))]), lemmas.asked
    (['equal', 'equal', 'equal'], 1)
    """

    solver: Solver
    facts: Sequence[Callable[[Term, Term], list[Term] | None]]
    asked: int = 0
    _verdicts: dict[Shape, str] = field(default_factory=dict)

    def equal(self, pairs: Sequence[Pair]) -> list[str]:
        """A verdict for each pair, as `Solver.equal` gives them."""
        if len(self._verdicts) > LIMIT:
            self._verdicts.clear()
        cuts = [shared(*pair) for pair in pairs]
        keys = [shape(pair, cut) for pair, cut in zip(pairs, cuts, strict=True)]
        new = {key: i for i, key in enumerate(keys) if key not in self._verdicts}
        self._ask({key: _without(pairs[i], cuts[i]) for key, i in new.items()})
        verdicts = [self._verdicts[key] for key in keys]
        for facts in self.facts:
            known = {i: facts(*pairs[i]) for i, verdict in enumerate(verdicts) if verdict != "equal"}
            whole = {i: shape((*pairs[i], *found)) for i, found in known.items() if found is not None}
            self._ask({k: Claim(*pairs[i], tuple(known[i] or ())) for i, k in whole.items() if k not in self._verdicts})
            for i, key in whole.items():
                verdicts[i] = self._verdicts[key]
        return verdicts

    def _ask(self, claims: dict[Shape, Claim]) -> None:
        self.asked += len(claims)
        self._verdicts.update(zip(claims, self.solver.equal(list(claims.values())), strict=True))


def _without(pair: Pair, cut: set[Term]) -> Claim:
    """The claim without facts in which each term of `cut` is a variable. A bar keeps its name apart from those of files."""
    fresh = {term: variable(f"||{index}|", term.sort) for index, term in enumerate(cut)}
    left, right = (substitute(term, fresh) for term in pair)
    return Claim(left, right, ())
