"""Hostile text: a clear error or a problem, in bounded time and memory, whatever is nested, long, or doubles with each line."""

import time
import tracemalloc

import pytest

from sygus import Problem, SygusError, expand, read, read_file
from sygus.language.parser import LONGEST
from sygus.terms import EXPANSION, LARGEST, LARGEST_SORT, WIDEST

N = 100_000
DEEP = 20_000  # where each level is more than a parenthesis
HEAD = "(set-logic ALL)\n"
MEGABYTE = 10**6


@pytest.fixture(autouse=True)
def bounded_time():
    begin = time.process_time()
    yield
    assert time.process_time() - begin < 60


def error(text: str) -> str:
    with pytest.raises(SygusError) as caught:
        read(text)
    assert len(str(caught.value)) < 2_000, "a message is for people"
    return str(caught.value)


def body(text: str):
    return read(f"{HEAD}(define-fun g ((x Real)) Real {text})").functions["g"].body


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(" * N, "found '(' where "),
        ("(" * N + ")" * N, "found '(' where "),
        (")" * N, "found ')' where '(' is expected"),
        (f"{HEAD}(define-fun g ((x Real)) Real {'(- ' * N}", "the file ends where"),
        (f"{HEAD}(define-fun g ((x Real)) Real {'(- ' * N}x{')' * (N + 2)}", "found ')' where '(' is expected"),
        (f"{HEAD}(set-info :a {'(' * N}", "the parenthesis at 2:1 is never closed"),
        (f"{HEAD}(declare-var x {'(Array Int ' * N}Int{')' * N})", f"a sort nested more than {LARGEST_SORT} deep"),
        (f"{HEAD}(assume {'(' * N}", "where '_' or 'as' is expected"),
        (f"{HEAD}(assume {'(_ ' * N}", "where a symbol is expected"),
        (f"{HEAD}(assume (= 1 {'(seq.unit ' * N}1{')' * N}))", f"a sort of more than {LARGEST_SORT} names"),
        (f"{HEAD}(assume {'(let ((a ' * N}", "the file ends where"),
    ],
    ids=["open", "balanced", "close", "open term", "close term", "open list", "sort", "head", "index", "sort of a term", "let"],
)
def test_nested_parentheses(text, message):
    assert message in error(text)


def test_deep_terms_are_read_printed_and_expanded():
    text = f"{'(- ' * N}x{')' * N}"
    term = body(text)
    assert term.size == N + 1
    assert str(term) == text
    assert expand(term) is term
    assert len(repr(term)) < 300
    assert read(f"{HEAD}(set-info :deep {'(' * N}{')' * N})").variables == {}


def test_deep_scopes():
    names = "".join(f"(let ((v{i} (- x))) " for i in range(DEEP))
    assert body(f"{names}v7{')' * DEEP}").size == 2
    assert body(f"{'(let ((y ' * DEEP}x{')) (- y))' * DEEP}").size == DEEP + 1
    quantified = f"{'(forall ((q Real)) ' * DEEP}true{')' * DEEP}"
    assert str(read(f"{HEAD}(assume {quantified})").assumptions[0][0]) == quantified
    annotated = read(f"{HEAD}(assume {'(! ' * DEEP}true{' :a)' * DEEP})")
    assert str(annotated.assumptions[0][0]) == "true"
    matched = f"{'(match l ((nil 0) ((c a) ' * 5_000}1{')))' * 5_000}"
    problem = read(f"{HEAD}(declare-datatype L ((nil) (c (t L))))(declare-var l L)(assume (= 1 {matched}))")
    assert problem.assumptions[0][0].size > 10_000


def test_quantifiers_that_would_capture_a_let_at_every_level():
    nest = f"{'(forall ((x Real)) (let ((z (+ y x))) ' * 2_000}(> z y){'))' * 2_000}"
    problem = read(f"{HEAD}(declare-var x Real)(assume (let ((y x)) {nest}))")
    assert problem.assumptions[0][0].size == 2_000 + 5


def test_doubling_lets_are_a_small_graph_but_no_text():
    term = body(f"{'(let ((x (+ x x))) ' * DEEP}x{')' * DEEP}")
    assert term.size == LARGEST
    assert expand(term) is term
    assert len(repr(term)) < 300
    with pytest.raises(SygusError, match="a term of more than 1,000,000 nodes is not written out"):
        str(term)
    assert "more than 2^62 nodes" in error(
        f"{HEAD}(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x (let ((y R)) {'(let ((y (+ y y))) ' * 100}y{')' * 101}))))"
    )


def test_definitions_that_double():
    lines = "".join(f"(define-fun f{i + 1} ((x Real)) Real (f{i} (f{i} x)))" for i in range(100))
    problem = read(f"{HEAD}(define-fun f0 ((x Real)) Real (- x)){lines}(assume (> (f100 1.0) 0.0))")
    with pytest.raises(SygusError, match=f"the definitions write out to more than {EXPANSION:,} terms"):
        expand(problem.assumptions[0][0])


def test_a_long_chain_of_definitions():
    lines = "".join(f"(define-fun f{i + 1} ((x Real)) Real (f{i} x))" for i in range(10_000))
    problem = read(f"{HEAD}(define-fun f0 ((x Real)) Real (- x)){lines}(assume (> (f10000 1.0) 0.0))")
    assert str(expand(problem.assumptions[0][0])) == "(> (- 1.0) 0.0)"


def test_sorts_that_double():
    lines = "".join(f"(define-sort S{i + 1} () (Array S{i} S{i}))" for i in range(40))
    assert f"a sort of more than {LARGEST_SORT} names" in error(f"{HEAD}(define-sort S0 () Int){lines}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(define-fun f ((x Real)) Real (f x))", "unknown function 'f'"),
        ("(define-fun f ((x Real)) Real (g x))(define-fun g ((x Real)) Real (f x))", "unknown function 'g'"),
        ("(define-fun f () Real f)", "unknown symbol 'f'"),
        ("(synth-fun f ((x Real)) Real ((R Real)) ((R Real ((f R)))))", "unknown function 'f'"),
        ("(synth-fun f ((x Real)) Real ((R Real)) ((R Real ((+ R R)))))", "'R' derives no finite term"),
        ("(declare-datatypes ((A 0) (B 0)) (((a (x B))) ((b (y A)))))", "'A' has no finite value"),
        ("(define-sort A () A)", "unknown sort 'A'"),
    ],
)
def test_cycles(text, message):
    assert message in error(HEAD + text)


@pytest.mark.parametrize(
    "text", ["(define-fun-rec f ((x Int)) Int (f x))", "(define-funs-rec ((f ((x Int)) Int) (g ((x Int)) Int)) ((g x) (f x)))"]
)
def test_recursion_is_read_but_never_expanded(text):
    problem = read(f"{HEAD}{text}(declare-var y Int)(assume (= 0 (f y)))")
    assert str(problem.assumptions[0][0]) == "(= 0 (f y))"
    with pytest.raises(SygusError, match="'f' is recursive: it has no finite expansion"):
        expand(problem.assumptions[0][0])


LONG = "a" * MEGABYTE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"(declare-var x {LONG})", "unknown sort 'aaa"),
        (f"(declare-var {LONG} Real)(assume (> b 0.0))", "unknown symbol 'b'"),
        (f"(declare-var {LONG} Real)(declare-var {LONG} Real)", "is declared twice"),
        (f"({LONG} Real)", "unknown command 'aaa"),
        (f"(declare-var x Real {LONG})", "found 'aaa"),
        (f"(set-feature :{LONG} true)", "unknown feature :aaa"),
        (f"(assume ({LONG} 1))", "unknown function 'aaa"),
        (f"(declare-fun {LONG} (Real) Bool)(assume {LONG})", "takes 1 arguments"),
        (f"(declare-var |{LONG}", "a quoted symbol begins here and never ends"),
        (f'(set-info :a "{LONG}', "a string begins here and never ends"),
        (f"(assume (= 1 {'1' * MEGABYTE}))", "a number of 1,000,000 digits: at most 4,000 are read"),
        (f"(assume (= 1.0 0.{'1' * MEGABYTE}))", "a number of 1,000,002 digits"),
        (f"(declare-sort M {'1' * MEGABYTE})", "a number of 1,000,000 digits"),
        (f"(assume (= #x00 #x{'1' * MEGABYTE}))", f"a bit-vector of more than {WIDEST:,} bits"),
        (f"(assume (= #x00 (_ bv{'1' * MEGABYTE} 8)))", "does not fit in 8 bits"),
        (f"(declare-var x (_ BitVec {'9' * 3_000}))", f"a bit-vector of more than {WIDEST:,} bits"),
        (f"(assume (= #x00 ((_ repeat {'9' * 3_000}) #x00)))", f"a bit-vector of more than {WIDEST:,} bits"),
        (f"(assume (+ {'#x00 ' * N}))", "'+' does not apply to arguments of sorts"),
        ("(declare-var \0 Real)", "unexpected character '\\x00'"),
        ("(declare-var x\0 Real)", "unexpected character '\\x00'"),
    ],
)  # fmt: skip
def test_long_words_and_strange_ones(text, message):
    assert message in error(HEAD + text)


def test_long_logic():
    assert "unknown logic LLL" in error(f"(set-logic {'L' * MEGABYTE})")
    assert read(f"(set-logic {'LIA' * 1_000})").logic.startswith("LIALIA")


def test_long_words_that_are_right():
    assert str(read(f"{HEAD}(declare-var {LONG} Bool)(assume {LONG})").assumptions[0][0]) == LONG
    digits = "7" * 3_990
    assert str(body(f"(+ {digits}.5 0.{digits})")) == f"(+ {digits}.5 0.{digits})"
    text = f'"{"a" * MEGABYTE}"'
    assert str(read(f"{HEAD}(assume (= {text} {text}))").assumptions[0][0]) == f"(= {text} {text})"


def test_many_commands_and_many_productions():
    assert len(read(HEAD + "".join(f"(declare-var x{i} Real)(assume (> x{i} 0.0))" for i in range(5_000))).assumptions) == 5_000
    rules = " ".join(f"(+ R {i}.0)" for i in range(N))
    target = read(f"{HEAD}(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x {rules}))))(check-synth)").target()
    assert len(target.grammar.productions["R"]) == N + 1
    nonterminals = " ".join(f"(R{i} Real)" for i in range(2_000))
    chain = " ".join(f"(R{i} Real ({'x' if i == 1_999 else f'(- R{i + 1})'}))" for i in range(2_000))
    assert len(read(f"{HEAD}(synth-fun f ((x Real)) Real ({nonterminals}) ({chain}))").targets[0].grammar.nonterminals) == 2_000


def test_many_datatypes_in_a_chain():
    heads = " ".join(f"(D{i} 0)" for i in range(2_000))
    bodies = " ".join(f"((c{i} (s{i} D{i + 1})))" for i in range(1_999))
    assert len(read(f"{HEAD}(declare-datatypes ({heads}) ({bodies} ((end))))").datatypes) == 2_000


def test_a_file_that_is_too_long(tmp_path):
    path = tmp_path / "long.sy"
    path.write_bytes(b"; x\n" * (50 * 2**20 // 4))
    with pytest.raises(SygusError, match=f"long.sy has more than {LONGEST:,} characters"):
        read_file(path)
    path.write_bytes(b"\xff" * 2**20)
    with pytest.raises(SygusError, match="is not UTF-8: byte 0 is 0xff"):
        read_file(path)


def test_a_megabyte_takes_seconds_and_little_memory():
    rules = " ".join(f"(+ x (* R {i}.5))" for i in range(51_000))
    text = f"{HEAD}(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x {rules}))))(check-synth)"
    assert len(text) > MEGABYTE
    begin = time.process_time()
    assert isinstance(read(text), Problem)
    assert time.process_time() - begin < 20  # 3 s where nothing else runs
    tracemalloc.start()
    problem = read(text[: len(text) // 10].rsplit(" (+", 1)[0] + "))))(check-synth)")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert problem.checked and peak < 40 * 2**20, "a file takes less than 400 times its length"
