"""The cvc5 process may die, hang or be interrupted: no query is lost. And its "equal" is true of every rational."""

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from fractions import Fraction

import cvc5
import gmpy2
import numpy as np
import pytest
import twin
from random_terms import random_term, seeded
from setting import VARIABLES, cam, cam_context

from sygus import BOOL, REAL, Context, Equivalence, Solver, SygusError, Variable, read_term
from sygus.constants import real
from sygus.core import apply
from sygus.solver.crossmultiply import as_fractions, binary_divisions, cases
from sygus.solver.messages import decode, encode
from sygus.solver.process import Claim
from sygus.solver.worker import Cvc5
from sygus.terms import Function, Term, subterms, variable

X, Y, Z = (variable(name, REAL) for name in "xyz")


def quick_claims(count: int) -> list[Claim]:
    """x + i = i + x, which holds, and x + i = x, which does not, in turn."""
    return [
        Claim(apply("+", X, real(i)), apply("+", real(i), X) if i % 2 else X, ()) for i in range(1, count + 1)
    ]  # fmt: skip


def expected(count: int) -> list[str]:
    return ["equal" if i % 2 else "different" for i in range(1, count + 1)]


def hard_claim(i: int) -> Claim:
    """A quintic identity that is almost true: cvc5 works on it until its limit."""
    a, b, c = (variable(f"{n}{i}", REAL) for n in "abc")
    power = [apply("*", *[v] * 7) for v in (a, b, c)]
    return Claim(apply("+", *power), apply("*", *power), tuple(apply(">", v, real(2)) for v in (a, b, c)))


def stop(pid: int, kind: int) -> None:
    os.kill(pid, kind)


# Death and hanging --------------------------------------------------------------------------------------------------------


def test_killed_between_batches():
    with Solver() as solver:
        assert solver.equal(quick_claims(3)) == expected(3)
        first = solver.pid
        stop(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        assert solver.equal(quick_claims(50)) == expected(50)
        assert solver.pid != first
        stop(solver.pid, signal.SIGKILL)  # and before it is known to be dead
        assert solver.equal(quick_claims(50)) == expected(50)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_killed_in_the_middle_of_a_batch(delay):
    with Solver() as solver:
        solver.equal(quick_claims(1))
        first = solver.pid
        stop(first, signal.SIGSTOP)  # so that the batch is certainly not over

        def kill():
            time.sleep(delay)
            stop(first, signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        assert solver.equal(quick_claims(300)) == expected(300)
        thread.join()
        assert solver.pid != first and solver.restarts == 1


def test_killed_again_and_again():
    verdicts = []
    with Solver() as solver:
        for _ in range(5):
            verdicts += solver.equal(quick_claims(20))
            stop(solver.pid, signal.SIGKILL)
    assert verdicts == expected(20) * 5


@pytest.mark.parametrize("count", [3, 5000], ids=["small request", "request larger than a pipe"])
def test_a_hang_ends_by_timeout(count):
    with Solver(seconds=1.0) as solver:
        solver.equal(quick_claims(1))
        first = solver.pid
        stop(first, signal.SIGSTOP)
        begin = time.perf_counter()
        assert solver.equal(quick_claims(count)) == expected(count)
        assert time.perf_counter() - begin < 20, "the wait is for one answer, whatever the size of the batch"
        assert solver.pid != first and solver.restarts == 1
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)


def test_a_hang_in_the_middle_of_a_batch_repeats_nothing_that_was_answered():
    with Solver(seconds=1.0) as solver:
        solver.equal(quick_claims(1))
        line, seen = solver._receive, []

        def counted():
            seen.append(line())
            if len(seen) == 500:
                stop(solver.pid, signal.SIGSTOP)
            return seen[-1]

        solver._receive = counted
        assert solver.equal(quick_claims(4000)) == expected(4000)
        assert solver.restarts == 1
        assert len(seen) == 4000 + 1, "one for each claim, and the one that did not come"


def test_a_claim_that_ends_the_process_twice_is_unknown_and_the_others_are_not(monkeypatch):
    class Fragile(Solver):
        """Its process dies over any request that mentions `boom`."""

        def _ask(self, request, count=1):
            if "boom" in str(request["terms"]):
                self._process = self._process or self._start()
                stop(self._process.pid, signal.SIGKILL)
                while self._process.alive:
                    time.sleep(0.001)
                self._failed()
                return []
            return super()._ask(request, count)

    boom = Claim(variable("boom", REAL), X, ())
    with Fragile() as solver:
        verdicts = solver.equal([*quick_claims(4), boom, *quick_claims(4)])
    assert verdicts[:4] == verdicts[5:] == expected(4)
    assert verdicts[4] == "unknown: the solver process died or hung twice over this query"


def test_unknown_never_merges():
    class Unsure(Solver):
        def equal(self, claims):
            return ["unknown: resourceout"] * len(claims)

        def model(self, formulas):
            return None

    terms = [cam("(* drop score)"), cam("(* score drop)"), cam("(+ drop 0.0)"), cam("drop")]
    told = []
    with Unsure() as solver:
        classes = Equivalence(cam_context(), list(VARIABLES.values()), solver, on_merge=told.append)
        assert classes.representatives(terms) == terms
    assert classes.counts.undecided == 2 and classes.counts.merges == 0 and told == []
    assert {u.reason for u in classes.undecided} == {"unknown: resourceout"}


def test_a_real_resource_limit_is_unknown_and_the_same_on_each_run(monkeypatch):
    with Solver() as solver:
        first = solver.equal([hard_claim(0), *quick_claims(2)])
        stop(solver.pid, signal.SIGKILL)
        second = solver.equal([hard_claim(0), *quick_claims(2)])
    assert first == second and first[1:] == expected(2)
    assert first[0] in ("unknown: resourceout", "different", "unknown: incomplete")


def test_too_many_deaths_are_an_error_with_a_question():
    class Stillborn(Solver):
        def _start(self):
            process = super()._start()
            stop(process.pid, signal.SIGKILL)
            while process.alive:
                time.sleep(0.001)
            return process

    with pytest.raises(SygusError, match="ended more than 100 times: is cvc5 installed"), Stillborn() as solver:
        solver.equal(quick_claims(60))


def test_a_model_is_found_though_the_process_is_killed():
    with Solver() as solver:
        formula = [apply("=", apply("*", X, X), real(4)), apply("<", X, real(0))]
        assert solver.model(formula) == {"x": Fraction(-2)}
        stop(solver.pid, signal.SIGKILL)
        assert solver.model(formula) == {"x": Fraction(-2)}
        assert solver.model([apply("=", apply("*", X, X), real(2))]) is None, "irrational"
        assert solver.model([apply("<", X, X)]) is None
        b = variable("b", BOOL)
        assert solver.model([apply("not", b), apply("=", X, real(Fraction(-1, 3)))]) == {"b": False, "x": Fraction(-1, 3)}


def test_an_interrupted_request_does_not_answer_the_next():
    with Solver() as solver:
        solver.equal(quick_claims(1))
        line = Solver._receive

        def interrupted(self):
            raise KeyboardInterrupt

        Solver._receive = interrupted
        try:
            with contextlib.suppress(KeyboardInterrupt):
                solver.equal([Claim(X, X, ())] * 7)
        finally:
            Solver._receive = line
        assert solver.equal(quick_claims(4)) == expected(4)
        assert solver.restarts == 0


def test_the_process_ends_with_the_solver():
    with Solver() as solver:
        solver.equal(quick_claims(1))
        pid = solver.pid
    assert solver.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert solver.equal(quick_claims(2)) == expected(2), "a closed solver starts again when it is asked"
    solver.close()
    solver.close()


def test_a_thousand_queries_more_than_one_solver_lives():
    """The solver inside is renewed after 2,000 checks; verdicts before and after are alike."""

    def square(i: int) -> Term:
        return apply("*", apply("+", X, real(i)), apply("+", X, real(i)))

    def expanded(i: int) -> Term:  # wrong for every third
        return apply("+", apply("*", X, X), apply("*", real(2 * i if i % 3 else 2 * i + 1), X), real(i * i))

    claims = [Claim(square(i), expanded(i), (apply(">", X, real(i)),)) for i in range(1, 2500)]
    with Solver() as solver:
        assert solver.equal(claims) == ["equal" if i % 3 else "different" for i in range(1, 2500)]
        assert solver.restarts == 0


# What a verdict means -----------------------------------------------------------------------------------------------------

SCALARS = [Variable(name, REAL) for name in "xyz"]
NUMBERS = [Fraction(n) for n in (0, 1, 2)]
EDGE = [Fraction(n, d) for n, d in ((0, 1), (1, 1), (-1, 1), (2, 1), (1, 2), (-3, 2))]


def valuations(count: int) -> dict[str, twin.Array]:
    """All mixtures of a few edge values, zeros among them, and random rationals: an array for each variable."""
    generator = random.Random(0)
    points = list(itertools.product(EDGE, repeat=3))
    points += [tuple(Fraction(generator.randint(-9, 9), generator.randint(1, 5)) for _ in SCALARS) for _ in range(count)]
    columns = np.array([[gmpy2.mpq(number) for number in point] for point in points], object)
    return {v.name: columns[:, i].reshape(-1, 1, 1) for i, v in enumerate(SCALARS)}


def values(term: Term, points: dict[str, twin.Array], memo: dict[Term, twin.Array]) -> twin.Array:
    count = len(next(iter(points.values())))
    return np.broadcast_to(twin.evaluate(term, points, (1, 1), memo), (count, 1, 1)).ravel()


def division_term(pick, depth=3) -> Term:
    return random_term(pick, REAL, SCALARS, (), ("exp", "sqrt", "to_real", "abs"), NUMBERS, depth)


def rewritten(term: Term, pick) -> Term:
    """A term that looks different: sometimes equal, sometimes only where no denominator is zero."""
    other = pick([X, Y, apply("+", X, Y), apply("-", Y, Z)])
    return pick(
        [
            apply("/", apply("*", term, other), other),
            apply("/", term, apply("/", other, other)),
            apply("*", apply("/", term, other), other),
            apply("/", apply("*", term, term), term),
            apply("-", apply("+", term, other), other),
            apply("/", real(1), apply("/", real(1), term)),
            apply("ite", apply("=", other, real(0)), term, apply("/", apply("*", other, term), other)),
            apply("*", apply("/", term, term), term),
            apply("ite", apply("<", term, other), apply("-", other, apply("-", other, term)), term),
        ]
    )


def division_claims(count: int) -> list[Claim]:
    pick, claims = seeded(3), []
    while len(claims) < count:
        left = division_term(pick)
        if any(t.name == "/" for t in subterms(left)):
            claims.append(Claim(left, rewritten(left, pick), ()))
    return claims


def test_equal_is_true_of_every_rational(solver):
    claims = division_claims(250)
    verdicts = solver.equal(claims)
    tally = {kind: sum(v.startswith(kind) for v in verdicts) for kind in ("equal", "different", "unknown")}
    assert tally["equal"] >= 100 and tally["different"] >= 40 and tally["unknown"] <= 5, tally
    points, memo, refuted = valuations(2000), {}, 0
    for claim, verdict in zip(claims, verdicts, strict=True):
        differs = values(claim.left, points, memo) != values(claim.right, points, memo)
        refuted += bool(differs.any())
        assert verdict != "equal" or not differs.any(), f"{claim.left} is not {claim.right}"
    assert refuted >= 40


def test_verdicts_agree_with_cvc5s_own_total_division(solver):
    """Where cvc5 1.4.2 is right: for 1/(1/t) = t, t = z·z/z - z, it gives a "model" in which both sides are 0."""
    claims = division_claims(60)
    other, agreed = Cvc5(), 0
    for claim, verdict in zip(claims, solver.equal(claims), strict=True):
        left, right = (other.term(binary_divisions(side)) for side in claim[:2])
        result = other._check([other.manager.mkTerm(cvc5.Kind.DISTINCT, left, right)])
        false_model = result.isSat() and other.solver.getValue(left) == other.solver.getValue(right)
        other.solver.pop()
        if not (false_model or result.isUnknown() or verdict.startswith("unknown")):
            assert result.isUnsat() == (verdict == "equal"), f"{claim.left} and {claim.right}"
            agreed += 1
    assert agreed >= 35


def test_a_difference_of_quotients_is_realised():
    """Models are sought without division too: of the differences that exist nearly all are found."""
    claims = division_claims(70)
    with Solver(seconds=3.0) as solver:
        different = [claim for claim, verdict in zip(claims, solver.equal(claims), strict=True) if verdict == "different"]
        classes = Equivalence(Context(), SCALARS, solver)
        realised = [classes.separation.find(claim.left, claim.right) for claim in different]
    assert len(different) >= 12
    assert sum(point is not None for point in realised) >= len(different) - 2


def test_verdicts_agree_with_z3(solver):
    z3 = pytest.importorskip("z3")

    declared = "".join(f"(declare-const {v.name} Real)" for v in SCALARS)
    total = "(define-fun over ((a Real) (b Real)) Real (ite (= b 0.0) 0.0 (/ a b)))"

    claims, agreed = division_claims(80), 0
    for claim, verdict in zip(claims, solver.equal(claims), strict=True):
        if verdict.startswith("unknown"):
            continue
        checker = z3.Solver()
        checker.set("rlimit", 2_000_000)
        left, right = (str(binary_divisions(side)).replace("(/ ", "(over ") for side in claim[:2])
        checker.add(z3.parse_smt2_string(f"{declared}{total}(assert (distinct {left} {right}))"))
        answer = checker.check()
        if answer != z3.unknown:
            assert (answer == z3.unsat) == (verdict == "equal"), f"{claim.left} and {claim.right}"
            agreed += 1
    assert agreed >= 60


CASES = [
    ("(/ (* x y) y)", "x", 2), ("(/ x 2.0)", "(* 0.5 x)", 1), ("(/ x 0.0)", "y", 1), ("(/ x (- 2.0))", "y", 2),
    ("(/ x y z)", "(/ x (* y z))", 5), ("(/ x (/ y z))", "(/ (* x z) y)", 3), ("(/ (/ x y) y)", "(/ x (* y y))", 4),
    ("(ite (> (/ x y) 0.0) x y)", "x", 2), ("x", "x", 0),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right", "count"), CASES)
def test_cases_cover_every_zero_denominator_and_say_what_the_quotients_say(left, right, count):
    """At each valuation exactly one case applies, and it holds there if and only if the two terms agree."""
    a, b = (binary_divisions(read_term(text, SCALARS, {})) for text in (left, right))
    found = list(cases(a, b, ()))
    assert len(found) <= 8 and (count == 0) == (not found)
    points, memo = valuations(100), {}
    agree = values(a, points, memo) == values(b, points, memo)
    covered = np.zeros(len(agree), bool)
    for case in found:
        applies = np.logical_and.reduce([values(fact, points, memo).astype(bool) for fact in case.facts] or [~covered | True])
        assert not (covered & applies).any(), "two cases apply"
        covered |= applies
        claimed = values(case.left, points, memo) == values(case.right, points, memo)
        assert (claimed == agree)[applies].all()
    assert agree[~covered].all(), "a valuation that no case covers"
    for case in found:
        assert not [t for t in subterms(case.left, case.right) if isinstance(t.symbol, Function) and t.name == "/"]


def test_random_cases_say_what_the_quotients_say():
    checked, points, memo = 0, valuations(300), {}
    for claim in division_claims(150):
        left, right = binary_divisions(claim.left), binary_divisions(claim.right)
        found = list(itertools.islice(cases(left, right, ()), 65))
        if len(found) > 64:
            continue
        agree = values(left, points, memo) == values(right, points, memo)
        covered = np.zeros(len(agree), bool)
        for case in found:
            applies = np.logical_and.reduce([values(fact, points, memo).astype(bool) for fact in case.facts] or [~covered | True])
            claimed = values(case.left, points, memo) == values(case.right, points, memo)
            assert (claimed == agree)[applies].all(), f"{left} and {right} in the case of {case}"
            covered |= applies
            checked += applies.sum()
        assert agree[~covered].all(), f"{left} and {right}: no case covers a point where they differ"
    assert checked > 20_000


def test_a_variable_called_like_a_function_is_a_variable(solver):
    slash, y = variable("/", REAL), variable("y", REAL)
    claim = Claim(apply("/", apply("*", slash, y), y), apply("*", slash, apply("/", y, y)), ())
    assert solver.equal([claim]) == ["equal"]
    assert as_fractions(apply("+", slash, y)) == [(apply("+", slash, y), real(1))]


def test_facts_matter_and_contradictory_facts_prove_anything(solver):
    quotient = apply("/", X, X)
    positive, negative = apply(">", X, real(0)), apply("<", X, real(0))
    one = real(1)
    assert solver.equal(
        [Claim(quotient, one, ()), Claim(quotient, one, (positive,)), Claim(Y, Z, (positive, negative)), Claim(Y, Z, (positive,))]
    ) == ["different", "equal", "equal", "different"]
    assert solver.equal([]) == []


def test_terms_survive_the_wire():
    pick = seeded(7)
    terms = [random_term(pick, REAL, SCALARS, (), ("exp", "sqrt")) for _ in range(200)]
    assert all(a is b for a, b in zip(decode(encode(terms)), terms, strict=True))
    odd = variable('a "quoted"\n\\name|', REAL)
    assert decode(encode([odd])) == [odd]


def test_a_process_that_grew_is_renewed_and_nothing_is_lost():
    """Every process of Python holds more than a MiB: here each request ends with one that has grown."""
    x, y = (variable(name, REAL) for name in "xy")
    true, false = Claim(apply("+", x, y), apply("+", y, x), ()), Claim(x, y, ())
    with Solver() as solver:
        assert solver.equal([true]) == ["equal"] and solver.renewals == 0 and solver.pid is not None
    with Solver(memory=40) as solver:  # and it may take up to 160 MiB for a query
        assert solver.equal([true, false, true]) == ["equal", "different", "equal"]
        assert solver.model([apply(">", x, y)]) is not None
        assert (solver.renewals, solver.restarts, solver.pid) == (2, 0, None)
