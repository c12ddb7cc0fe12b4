"""Queries on paper: what `write_smt2` writes is read by pysmt and by cvc5, and its answer is the claim's."""

import cvc5
import pytest
from pysmt.environment import Environment
from pysmt.smtlib.parser import SmtLibParser
from random_terms import random_term, seeded
from setting import VARIABLES, cam, cam_context
from test_abstraction import EQUAL, UNDECIDED, WRONG
from test_solver import SCALARS, division_claims

from sygus import BOOL, INT, REAL, Equivalence
from sygus.constants import real
from sygus.core import apply
from sygus.solver.crossmultiply import binary_divisions
from sygus.solver.process import Claim
from sygus.solver.smtlib import ToPysmt, refutation, write_smt2
from sygus.terms import Literal, Term, variable


def cvc5_answer(text: str, rlimit: int = 500_000) -> str:
    """What cvc5 answers to a script, read by its own parser."""
    manager = cvc5.TermManager()
    solver, symbols = cvc5.Solver(manager), cvc5.SymbolManager(manager)
    solver.setOption("rlimit", str(rlimit))
    parser = cvc5.InputParser(solver, symbols)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "query")
    answers = ""
    while not (command := parser.nextCommand()).isNull():
        answers += str(command.invoke(solver, symbols))
    return answers.strip()


def z3_answer(text: str) -> str:
    z3 = pytest.importorskip("z3")
    solver = z3.Solver()
    solver.set("rlimit", 3_000_000)
    solver.from_string(text)
    return str(solver.check())


def pysmt_assertions(path) -> list:
    with path.open(encoding="utf-8") as file:
        script = SmtLibParser(Environment()).get_script(file)
    assert [c.name for c in script.commands][-1] == "check-sat" and script.commands[0].name == "set-logic"
    return [command for command in script.commands if command.name == "assert"]


@pytest.fixture
def written(tmp_path):
    def write(claim: Claim, comment: str = "") -> str:
        path = tmp_path / "query.smt2"
        write_smt2(claim, path, comment)
        assert len(pysmt_assertions(path)) == 1
        return path.read_text(encoding="utf-8")

    return write


def test_proved_claims_are_unsatisfiable_for_others_too(solver, written):
    classes = Equivalence(cam_context(positive="y"), list(VARIABLES.values()), solver)
    claims = [classes.claim(cam(left), cam(right)) for left, right in EQUAL.values()]
    proved = [c for c, verdict in zip(claims, solver.equal(claims), strict=True) if verdict == "equal" and c.left is not c.right]
    assert len(proved) >= 15
    answers = [(cvc5_answer(text), z3_answer(text)) for text in map(written, proved)]
    assert not [claim for claim, answer in zip(proved, answers, strict=True) if "sat" in answer]
    assert sum(answer == ("unsat", "unsat") for answer in answers) >= len(proved) - 1


def test_refuted_claims_are_satisfiable(solver, written):
    classes = Equivalence(cam_context(), list(VARIABLES.values()), solver)
    claims = [classes.claim(cam(left), cam(right)) for left, right in WRONG]
    assert all(verdict != "equal" for verdict in solver.equal(claims))
    answers = [z3_answer(written(claim)) for claim in claims]
    assert "unsat" not in answers and answers.count("sat") >= len(claims) - 2


@pytest.mark.parametrize(("left", "right"), UNDECIDED)
def test_undecided_claims_are_written_whole(left, right, solver, written):
    classes = Equivalence(cam_context(), list(VARIABLES.values()), solver)
    classes.representatives([cam(left), cam(right)])
    (pair,) = classes.undecided
    claim = classes.claim(pair.left, pair.right)
    text = written(claim, f"{pair.left}\nand {pair.right}\n{pair.reason}")
    assert text.startswith(f"; {pair.left}\n; and {pair.right}\n; no tensor realises the refutation\n(set-logic QF_NRA)\n")
    assert cvc5_answer(text) == z3_answer(text) == "sat", "the abstraction has a model, though no tensor has"


def test_division_claims_in_the_second_encoding(solver, written):
    """`ite` around `/`, no fractions: the encoding shares nothing with the one that gave the verdicts."""
    claims, agreed = division_claims(60), 0
    for claim, verdict in zip(claims, solver.equal(claims), strict=True):
        answer = z3_answer(written(claim))
        if answer != "unknown" and not verdict.startswith("unknown"):
            assert (answer == "unsat") == (verdict == "equal"), f"{claim.left} and {claim.right}"
            agreed += 1
    assert agreed >= 45


def test_names_stay_apart(written):
    """`a|b`, `a\\b` and `a_b` are three variables; a file with two of them confused would prove them equal."""
    names = ["a|b", "a_b", "a\\b", "a_b_", "|mean-pixel[A]", "_mean-pixel[A]", "two words", "let", "λ", "0"]
    for left in names:
        for right in names:
            text = written(Claim(variable(left, REAL), variable(right, REAL), ()))
            assert z3_answer(text) == ("unsat" if left == right else "sat")


def test_every_core_function_means_the_same_there():
    """A random formula and the same formula through pysmt: z3 says that they are one."""
    z3 = pytest.importorskip("z3")
    pick, declared = seeded(11), "".join(f"(declare-fun {v.name} () Real)" for v in SCALARS)
    total = "(define-fun over ((a Real) (b Real)) Real (ite (= b 0.0) 0.0 (/ a b)))"
    agreed = 0
    for _ in range(60):
        term = random_term(pick, BOOL, SCALARS, (), ("exp", "sqrt", "to_real"), depth=3)
        ours = str(binary_divisions(term)).replace("(/ ", "(over ")
        theirs = ToPysmt().formula(term).to_smtlib(daggify=False)
        checker = z3.Solver()
        checker.set("rlimit", 1_000_000)
        checker.add(z3.parse_smt2_string(f"{declared}{total}(assert (xor {ours} {theirs}))"))
        answer = checker.check()
        assert answer != z3.sat, str(term)
        agreed += answer == z3.unsat
    assert agreed >= 50


def test_refutation_and_facts():
    x, y, b = variable("x", REAL), variable("y", REAL), variable("b", BOOL)
    fact = apply(">", x, real(0))
    assert refutation(Claim(x, y, ())) is apply("distinct", x, y)
    assert refutation(Claim(x, y, (fact,))) is apply("and", fact, apply("distinct", x, y))
    text = ToPysmt().formula(refutation(Claim(b, apply("not", b), (fact, b)))).serialize()
    assert text == "((0.0 < x) & b & (! (b <-> (! b))))"
    integer = Term(Literal(3, INT))
    assert ToPysmt().formula(apply("to_real", integer)).serialize() == "3.0"
