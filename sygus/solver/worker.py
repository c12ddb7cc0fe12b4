"""The process that holds cvc5: `python -m sygus.solver.worker`. A JSON request a line on stdin, a JSON answer a line on stdout.

cvc5 keeps Python's interpreter lock while it checks, and may die or hang: neither may touch the process that asks. Requests:
`{"id", "kind": "equal", "terms": encoded [left, right, fact...], "lengths": [...]}`: a batch of claims, an answer for each, and
`{"id", "kind": "model", "terms": encoded [formula...]}` for one solution of a conjunction.
"""

from __future__ import annotations

import json
import resource
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import cvc5
from cvc5 import Kind

from ..semantics.interpret import Context, Domain, interpret
from ..terms import BOOL, Term, subterms
from .crossmultiply import Case, binary_divisions, cases, with_quotients
from .encode import CORE
from .messages import confine, decode

RLIMIT, TLIMIT, REBUILD = 200_000, 5_000, 2_000
CASES = 256
"""How many cases of zero denominators and conditions one claim may fall into."""


_CORE = {**CORE, "to_real": lambda make, number: number}


class Cvc5(Domain[Any]):
    """One incremental solver for nonlinear real arithmetic, renewed every `REBUILD` queries.

    Integers are taken for reals, which proves less and nothing false; who asks for a model checks that it is integral.

    The resource limit per query makes verdicts reproducible; the time limit is a backstop for a machine that stalls.
    """

    core = _CORE

    def __init__(self) -> None:
        super().__init__(Context())
        self.queries = self.simplified = 0
        self._renew()

    def _renew(self) -> None:
        self.manager = cvc5.TermManager()
        self.solver = cvc5.Solver(self.manager)
        self.solver.setLogic("QF_NRA")
        for option, value in (
            ("incremental", "true"), ("produce-models", "true"), ("rlimit-per", str(RLIMIT)), ("tlimit-per", str(TLIMIT)),
            ("nl-cov", "true"),
        ):  # fmt: skip
            self.solver.setOption(option, value)
        self.terms: dict[Term, Any] = {}

    def term(self, root: Term) -> Any:
        """The cvc5 term for a core term."""
        return interpret(root, self, self.terms)

    def literal(self, term: Term) -> Any:
        return self.manager.mkBoolean(bool(term.value)) if term.sort == BOOL else self.manager.mkReal(str(term.value))

    def variable(self, term: Term) -> Any:
        sort = self.manager.getBooleanSort() if term.sort == BOOL else self.manager.getRealSort()
        return self.manager.mkConst(sort, term.name)

    def applied(self, name: str, args: tuple[Any, ...]) -> Any:
        return self.core[name](self.manager.mkTerm, *args)

    def equal(self, left: Term, right: Term, facts: tuple[Term, ...]) -> str:
        """ "equal", "different" (a model of the scalars separates them) or "unknown: reason"."""
        for number, case in enumerate(cases(binary_divisions(left), binary_divisions(right), facts)):
            if number == CASES:
                return f"unknown: more than {CASES} cases"
            verdict = self._case(case)
            if verdict != "equal":
                return verdict
        return "equal"

    def _case(self, case: Case) -> str:
        claim = self.manager.mkTerm(Kind.EQUAL, self.term(case.left), self.term(case.right))
        simple = self.solver.simplify(claim)
        self.simplified += 1
        if simple.isBooleanValue() and simple.getBooleanValue():
            return "equal"
        result = self._check([*(self.term(f) for f in case.facts), self.manager.mkTerm(Kind.NOT, claim)])
        self.solver.pop()
        if result.isUnsat():
            return "equal"
        return "different" if result.isSat() else f"unknown: {result.getUnknownExplanation().name.lower()}"

    def _check(self, formulas: list[Any]) -> Any:
        self.queries += 1
        self.solver.push()
        for formula in formulas:
            self.solver.assertFormula(formula)
        return self.solver.checkSat()

    def check(self, formulas: list[Term]) -> Any:
        """cvc5's answer to whether `formulas` have a solution, as they stand."""
        result = self._check([self.term(formula) for formula in formulas])
        self.solver.pop()
        return result

    def model(self, formulas: list[Term]) -> dict[str, str] | None:
        """Rational values of the variables that satisfy `formulas`, or None where none is found."""
        used = [self.term(formula) for formula in with_quotients(formulas)]
        names = {term for term in subterms(*formulas) if term.is_variable}
        result = self._check(used)
        try:
            return self._values(names) if result.isSat() else None
        finally:
            self.solver.pop()

    def _values(self, names: set[Term]) -> dict[str, str] | None:
        values = {}
        for term in names:
            value = self.solver.getValue(self.term(term))
            if value.isBooleanValue():
                values[term.name] = str(value.getBooleanValue())
            elif value.isRealValue() or value.isIntegerValue():
                values[term.name] = str(Fraction(value.getRealValue() if value.isRealValue() else value.getIntegerValue()))
            else:
                return None  # an irrational algebraic number
        return values

    def between_requests(self) -> None:
        """Renews the solver when it is due: its memory would grow without bound."""
        if self.queries >= REBUILD or self.simplified >= 10 * REBUILD:
            self.queries = self.simplified = 0
            self._renew()


def main() -> None:
    """Answers requests until stdin ends."""
    limit = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    confine(4 * limit * 2**20)
    solver = Cvc5()
    for line in sys.stdin:
        request = json.loads(line)
        terms = decode(request["terms"])
        answer: dict[str, Any] = {"id": request["id"]}
        if request["kind"] == "equal":
            start = 0
            for length in request["lengths"]:
                left, right, *facts = terms[start : start + length]
                start += length
                verdict = solver.equal(left, right, tuple(facts))
                solver.between_requests()
                _answer({**answer, "verdict": verdict, "grown": start == len(terms) and _used() > limit * 2**20})
        else:
            model = solver.model(terms)
            solver.between_requests()
            _answer({**answer, "model": model, "grown": _used() > limit * 2**20})


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _used() -> int:
    """The memory that this process holds, in bytes; where the system does not say, the most that it has held."""
    statm = Path("/proc/self/statm")  # not ru_maxrss, which a child takes over from a large parent
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
