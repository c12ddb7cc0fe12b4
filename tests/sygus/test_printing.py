"""Reading what is printed gives the same term, for us and for cvc5."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_terms import DEFINED, OPERATORS, VARIABLES, terms
from test_conformance import cvc5_error

from sycam.theory import CAM, MAP
from sygus import BOOL, INT, REAL, Function, Sort, Term, Variable, define_fun, read, read_term
from sygus.constants import real
from sygus.terms import Literal, literal_text, sort_text, symbol_text, variable

SORTS = (REAL, BOOL, INT, MAP)


@pytest.mark.parametrize("sort", SORTS, ids=str)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_reading_what_is_printed_is_the_same_object(sort, data):
    term = data.draw(terms(sort))
    assert read_term(str(term), VARIABLES, {**OPERATORS, **DEFINED}, CAM) is term


HEAD = """(set-logic ALL) (declare-sort Map 0) {operators}
(define-fun relu ((x Real)) Real (ite (> x 0.0) x 0.0))
(define-fun |odd name| ((M Map) (b Bool)) Real (ite b (gap (m* M M)) (- 1.0)))
(define-fun half () Real 0.5)
""".format(
    operators=" ".join(
        f"(declare-fun {symbol_text(f.name)} ({' '.join(map(sort_text, f.parameters))}) {sort_text(f.result)})"
        for f in OPERATORS.values()
    )
)
ARGUMENTS = tuple(v for v in VARIABLES if v.name not in DEFINED and v.name not in OPERATORS)


@pytest.mark.parametrize("sort", SORTS, ids=str)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_define_fun_is_read_back_by_us_and_by_cvc5(sort, data):
    body = data.draw(terms(sort, ARGUMENTS))
    command = define_fun("the answer", ARGUMENTS, body)
    assert read(HEAD + command, theory=CAM).functions["the answer"] == Function(
        "the answer", tuple(v.sort for v in ARGUMENTS), sort, ARGUMENTS, body
    )
    assert cvc5_error(HEAD + command) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0"), (1, "1.0"), (10, "10.0"), (Fraction(1, 10), "0.1"), (Fraction(1, 8), "0.125"),
        (Fraction(1001, 10**3), "1.001"),
        (Fraction(5, 100), "0.05"), (-2, "(- 2.0)"), (Fraction(-1, 2), "(- 0.5)"), (Fraction(1, 3), "(/ 1.0 3.0)"),
        (Fraction(-22, 7), "(- (/ 22.0 7.0))"), (10**30, f"1{'0' * 30}.0"),
    ],
)  # fmt: skip
def test_numbers_as_sygus_if_writes_them(value, text):
    assert str(real(value)) == text
    assert read_term(text, [], {}) is real(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("A", "A"), ("m*", "m*"), ("-", "-"), ("-a", "-a"), ("a@b", "a@b"), ("-1", "|-1|"), ("1a", "|1a|"), ("a b", "|a b|"),
     ("", "||"), ("let", "|let|"), ("!", "|!|"), ("_", "|_|"), ("as", "|as|"), ("match", "|match|"), ("par", "|par|"),
     ("true", "|true|"), ("exists", "|exists|"), ("Variable", "|Variable|"), ("a;b", "|a;b|"), ("λ", "|λ|"), ("a:b", "|a:b|")],
)  # fmt: skip
def test_symbols_are_quoted_where_they_must_be(name, text):
    assert symbol_text(name) == text
    assert read_term(text, [Variable(name, REAL)], {}) is variable(name, REAL)


def test_literals_and_sorts():
    assert [literal_text(Literal(v, s)) for v, s in ((True, BOOL), (False, BOOL), (12, INT))] == ["true", "false", "12"]
    assert sort_text(Sort("Array", (INT, Sort("My Map")))) == "(Array Int |My Map|)"
    x = Variable("x", Sort("My Map"))
    text = define_fun("f", (x,), Term(x))
    assert text == "(define-fun f ((x |My Map|)) |My Map| x)"
    assert read(f"(declare-sort |My Map| 0){text}").functions["f"].body is Term(x)


def test_two_terms_are_one_object_only_where_they_are_equal():
    x = Variable("x", REAL)
    one, two = read_term("(+ x 1.0)", [x], {}), read_term("(+  x ; one\n 1.00)", [x], {})
    assert one is two
    others = ["(+ 1.0 x)", "(+ x 1.0 0.0)", "(- x 1.0)", "(+ x 10.0)"]
    assert len({one, *(read_term(other, [x], {}) for other in others)}) == 5
    assert Term(Literal(1, INT)) is not Term(Literal(True, BOOL))
    assert Term(Literal(1, INT)) is not Term(Literal(Fraction(1), REAL))
