"""cvc5's own SyGuS-IF parser as the referee: files that it reads we read, and files that it refuses we refuse.

`conformance/accept` and `conformance/reject` hold small files by what we do with them. `SYGUS_BENCHMARKS` may name a folder of `.sy`
and `.sl` files, on which both parsers are compared as well.
"""

import os
import re
from pathlib import Path

import cvc5
import pytest
from setting import GRAMMARS

from sycam.theory import CAM
from sygus import SygusError, read, read_file
from sygus.language.commands import COMMANDS

FILES = sorted((Path(__file__).parent / "conformance").glob("*/*.sy"))


def cvc5_error(text: str) -> str | None:
    """What cvc5's parser says against `text`. Sorts of bodies and assumptions are checked only by `invoke`."""
    manager = cvc5.TermManager()
    solver, symbols = cvc5.Solver(manager), cvc5.SymbolManager(manager)
    solver.setOption("sygus", "true")
    parser = cvc5.InputParser(solver, symbols)
    parser.setStringInput(cvc5.InputLanguage.SYGUS_2_1, text, "text")
    try:
        while not (command := parser.nextCommand()).isNull():
            if command.getCommandName() != "check-synth":
                answer = str(command.invoke(solver, symbols))
                if "error" in answer:
                    return answer
    except RuntimeError as error:
        return str(error)
    return None


def our_error(text: str) -> str | None:
    try:
        read(text)
    except SygusError as error:
        return str(error)
    return None


@pytest.mark.parametrize("path", sorted(GRAMMARS.glob("**/*.sy")), ids=lambda path: path.stem)
def test_shipped_grammar_is_read_by_both(path):
    if "objectives" not in path.parts:  # those use commands that cvc5 does not know
        assert cvc5_error(path.read_text(encoding="utf-8")) is None
    problem = read_file(path, CAM)
    assert problem.not_acted_on == []
    assert problem.checked == bool(problem.targets), "a grammar ends in (check-synth); known.sy has neither"


LACKS = "SyGuS-IF 2.1 that cvc5 1.4.2 lacks"
ORACLE = "cvc5 skips declare-oracle-fun with a warning, whatever it says, and does not know the function"
SLIP = "a slip: what has this name could not be used"
ONE_NAME = "one name, one signature"
LAST = "nothing after the first is reached"
WHOLE = "cvc5 only warns; a file is obeyed whole or not at all"
DEVIATIONS = {  # files that only one of the two accepts, and why ours is right
    "and_of_one": "the standard gives `and` at least two arguments",
    "argument_of_a_synth-fun_twice": "a slip: one of the two can never be used",
    "backslash_between_bars": "the standard forbids it",
    "check-synth_twice": LAST,
    "command_after_check-synth": LAST,
    "declare-datatype_constructor_named_as_a_core_function": ONE_NAME,
    "declare-datatype_selector_named_as_a_variable": ONE_NAME,
    "declare-oracle-fun_twice": ORACLE,
    "declare-oracle-fun_without_an_implementation": ORACLE,
    "declare-oracle-fun_without_the_feature": ORACLE,
    "feature_that_is_neither_true_nor_false": "the standard's values are true and false",
    "grammar_quantifier": "the standard's BfTerm has no binders",
    "grammar_weight_of_cvc5": WHOLE,
    "let_of_nothing": "the standard asks for a binding",
    "no_finite_term": "a slip: the search would find nothing",
    "nonterminal_named_as_a_definition": SLIP,
    "nonterminal_named_as_an_argument": SLIP,
    "nonterminal_named_plus": SLIP,
    "overloaded_function": ONE_NAME,
    "synth-fun_named_plus": SLIP,
    "unknown_feature": WHOLE,
    "variable_in_a_definition": "the standard closes definitions; free variables would escape the grammar's arguments",
    # and those that only we accept
    "chc-constraint_plain": LACKS,
    "chc-constraint_step": LACKS,
    "declare-correctness-cex-oracle_plain": LACKS,
    "declare-correctness-oracle_plain": LACKS,
    "declare-oracle-fun_of_a_function": ORACLE,
    "declare-oracle-fun_used": ORACLE,
    "declare-weight_annotated_constant": LACKS,
    "declare-weight_annotated_rule": LACKS,
    "declare-weight_of_a_function": LACKS,
    "declare-weight_plain": LACKS,
    "declare-weight_with_a_default": LACKS,
    "define-sort_as_the_standard_writes_it": "the standard's define-sort has no parameters; cvc5 asks for SMT-LIB's",
    "information_a_list_with_numbers": "cvc5 1.4.2 loses count of the parentheses",
    "information_unknown_status": "cvc5 checks the value of :status; nobody else reads it",
    "logic_CHC_LIA": LACKS,
    "nonterminals_not_declared": "the form of SyGuS-IF 1, which older suites use",
    "optimize-synth_Pareto": LACKS,
    "optimize-synth_lexicographic": LACKS,
    "optimize-synth_plain": LACKS,
    "optimize-synth_value_of_the_function": LACKS,
    "oracle-assume_plain": LACKS,
    "oracle-constraint-cex_plain": LACKS,
    "oracle-constraint-io_plain": LACKS,
    "oracle-constraint-membership_plain": LACKS,
    "oracle-constraint-negwitness_plain": LACKS,
    "oracle-constraint-poswitness_plain": LACKS,
    "oracle-constraint_plain": LACKS,
    "smt_assert_of_an_Int": "commands of SMT-LIB alone are read as s-expressions, and refused by Problem.target()",
    "weight": LACKS,
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accepts_what_cvc5_accepts(path):
    text = path.read_bytes().decode("utf-8")
    ours, theirs = our_error(text), cvc5_error(text)
    assert (ours is None) == (path.parent.name == "accept"), ours
    if path.stem in DEVIATIONS:
        assert (theirs is None) != (ours is None), "the deviation is gone: strike it from the list"
    else:
        assert (theirs is None) == (ours is None), f"ours: {ours}\ncvc5: {theirs}"


def test_every_deviation_is_a_file():
    stems = [path.stem for path in FILES]
    assert not DEVIATIONS.keys() - set(stems)
    assert len(set(stems)) == len(stems) > 15 * len(DEVIATIONS)


def blamed(path: Path) -> str | None:
    """The name of the command in which the error of a refused file is."""
    text = path.read_bytes().decode("utf-8")
    with pytest.raises(SygusError) as caught:
        read(text)
    place, lines = caught.value.place, text.split("\n")
    at = sum(len(line) + 1 for line in lines[: place.line - 1]) + place.column
    depth, start = 0, None
    for position, character in enumerate(text[:at]):
        if character == "(" and (depth := depth + 1) == 1:
            start = position
        elif character == ")":
            depth -= 1
    return None if start is None else re.match(r"\(([^\s()]*)", text[start:])[1]


def test_every_command_is_accepted_and_refused():
    accepted = "\n".join(path.read_bytes().decode() for path in FILES if path.parent.name == "accept")
    assert [command for command in COMMANDS if f"({command}" not in accepted] == []
    assert set(COMMANDS) - {blamed(path) for path in FILES if path.parent.name == "reject"} == set()


def benchmarks() -> list[Path]:
    folder = os.environ.get("SYGUS_BENCHMARKS")
    return sorted(path for path in Path(folder).rglob("*") if path.suffix in (".sy", ".sl")) if folder else []


@pytest.mark.skipif(not benchmarks(), reason="SYGUS_BENCHMARKS names no folder with .sy or .sl files")
def test_benchmarks_are_accepted_as_cvc5_accepts_them():
    apart = []
    for path in benchmarks():
        text = path.read_text(encoding="utf-8")
        ours, theirs = our_error(text), cvc5_error(text)
        if (ours is None) != (theirs is None):
            apart.append(f"{path}: ours: {ours}; cvc5: {theirs}")
    assert not apart, "\n".join(apart)


def test_the_form_of_sygus_1_is_read():
    (path,) = [path for path in FILES if path.stem == "nonterminals_not_declared"]
    assert str(read_file(path).target().grammar) == "R Real -> x | y | (+ R R)"
