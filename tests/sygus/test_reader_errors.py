"""Errors are messages: place, what was found, what is expected, the line with a caret, and the nearest name."""

import time

import pytest
from setting import GRAMMARS

from sycam.theory import CAM
from sygus import Context, Place, SygusError, read, read_file

HEAD = "(set-logic ALL)\n"
GRADIENT = (GRAMMARS / "gradient.sy").read_text(encoding="utf-8")


def failure(text: str, theory=CAM) -> SygusError:
    with pytest.raises(SygusError) as caught:
        read(text, "my.sy", theory).target()
    return caught.value


def test_whole_message_with_place_line_and_caret():
    text = HEAD + "(declare-sort Map 0)\n  (declare-var A\tMup) ; oops\n"
    assert str(failure(text)) == (
        "my.sy:3:18: unknown sort 'Mup'; did you mean 'Map'?\n"
        "      (declare-var A Mup) ; oops\n"
        "                     ^"
    )  # fmt: skip


def test_caret_stays_under_the_name_in_a_long_line():
    text = f"{HEAD}(declare-var {'a' * 300} Reel)"
    message, line, caret = str(failure(text)).split("\n")
    assert message.startswith("my.sy:2:315: ") and len(line) <= 104
    assert line[caret.index("^") :].startswith("Reel")


@pytest.mark.parametrize(
    ("before", "after", "place", "message"),
    [
        ("(gap M) ", "(gap M ", None, "found"),
        ("(+ W W)", "(+ W)", "(+ W)", "'+' does not apply to arguments of sorts (Real)"),
        ("(+ W W)", "(+ W M)", "(+ W M)", "'+' does not apply to arguments of sorts (Real Map)"),
        ("(+ W W)", "(+ W 1)", "(+ W 1)", "'+' does not apply to arguments of sorts (Real Int); write 1.0 for the real number"),
        ("((W Real (y ", "((W Real (0 ", "0 ", "a rule for Real cannot produce 0, which is Int; write 0.0 for the real number"),
        ("((W Real (y ", "((W Real (-1.0 ", "-1.0 ", "unknown symbol '-1.0'; a negative number is written (- 1.0)"),
        ("(relu W)))", "(rel W)))", "(rel W)", "unknown function 'rel'; did you mean 'relu'?"),
        ("(relu W)))", "(gmax M)))", "(gmax M)", "unknown function 'gmax': declare it first with (declare-fun gmax (Map) Real)"),
        ("(declare-fun gap (Map) Real)", "(declare-fun gab (Map) Real)", "gab", "no operator 'gab'; did you mean 'gap'?"),
        ("(declare-fun gap (Map) Real)", "(declare-fun gap (Map) Map)", "gap (Map) Map",
         "operator 'gap' is (Map) Real in theory 'cam', declared here as (Map) Map"),
        ("(gap M) ", "(gap W) ", "(gap W)", "'gap' takes arguments of sorts (Map), found (Real)"),
        ("(mrelu M)))", "mrelu))", "mrelu))", "'mrelu' takes 1 arguments: (mrelu ...)"),
        ("(M Map (A\n", "(M Map (B\n", "B\n", "unknown symbol 'B'; known: "),
        ("(W Real) (M Map)", "(W Real)", "M) ", "unknown symbol 'M'; known: A, G, W"),
        ("((W Real) (M Map))", "((M Map) (W Real))", None, "the function returns Real, but its first nonterminal 'M' is Map"),
        ("(define-fun relu", "(define-fun gap", "gap ((x", "'gap' is declared twice"),
        ("(define-fun relu", "(define-fun ite", "ite ((x", "'ite' is a core function and cannot be declared again"),
        ("(define-fun relu", "(define-fun select", "select ((x", "belongs to another theory of SMT-LIB"),
        ("(synth-fun weight", "(synth-fun let", "let ((A", "'let' is a reserved word: write |let|, or rename it"),
        ("(set-logic ALL)", "(set-logic ALLL)", "ALLL", "unknown logic ALLL: write ALL, or a name of SMT-LIB's such as NRA"),
        ("(check-synth) ", "(check-synth)(exit) ", "(exit)", "a command after (check-synth) is never reached"),
        ("(check-synth) ", "", None, "no (check-synth) and no (optimize-synth ...): nothing is asked for"),
        ("(assume (nonneg A)) ", "(assume (gap A)) ", "(gap A)", "expected a Bool, found (gap A), which is Real"),
        ("(assume (nonneg A)) ", "(assume (nonneg G)) ", "G)) ", "unknown symbol 'G'"),
    ],
)  # fmt: skip
def test_a_slip_in_the_shipped_grammar(before, after, place, message):
    assert GRADIENT.count(before) >= 1
    text = GRADIENT.replace(before, after, 1)
    error = failure(text)
    assert message in error.message
    if place is not None:
        start = text.index(place, GRADIENT.index(before))
        line = text.count("\n", 0, start) + 1
        column = start - text.rfind("\n", 0, start)
        assert error.place == Place("my.sy", line, column)
        shown = str(error).split("\n")
        assert shown[0] == f"my.sy:{line}:{column}: {error.message}"
        assert shown[1][shown[2].index("^") :].startswith(place.split("\n")[0].rstrip()[:8])


def test_missing_parenthesis_names_the_one_that_is_open():
    error = failure(HEAD + "(declare-var A Real)\n (synth-fun f ((x Real)) Real ((R Real)) ((R Real (x)))\n(check-synth)\n")
    assert error.message == "found '(' where ')' is expected; the command that begins at 3:2 is not closed yet"
    assert error.place == Place("my.sy", 4, 1)
    error = failure(HEAD + "(declare-fun g (Real) Real\n")
    assert error.message == "the file ends where ')' is expected; the parenthesis at 2:1 is never closed"
    assert error.place == Place("my.sy", 2, 27)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ('(echo "text")', "the command (echo ...)"),
        ("(assert true)", "the command (assert ...)"),
        ("(define-fun-rec r ((x Real)) Real (r x))", "the recursive function 'r'"),
        ("(set-option :random-seed 1)", "the option :random-seed"),
        ("(set-feature :grammars false)", "the feature :grammars false"),
    ],
)
def test_a_command_that_would_be_ignored_is_refused_by_name_and_place(command, named):
    text = f"{HEAD}\n {command}\n(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x))))(check-synth)"
    problem = read(text, "my.sy")
    with pytest.raises(SygusError) as caught:
        problem.target()
    first, line, caret = str(caught.value).split("\n")
    assert first == f"my.sy:3:2: {named} is not supported yet, and a file is obeyed whole or not at all: take it out"
    assert line == f"     {command}"
    assert caret == "     ^"


@pytest.mark.parametrize("command", ["(set-feature :grammars true)", "(set-feature :oracles false)", "(set-info :a (b))"])
def test_a_command_that_changes_nothing_is_let_through(command):
    text = f"{command}{HEAD}(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x))))(check-synth)"
    assert read(text).target().name == "f"


def synth(grammar: str) -> str:
    return f"{HEAD}(synth-fun f ((x Real)) Real {grammar})(check-synth)"


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ("((R Real)) ()", "nonterminal 'R' has no rule"),
        ("()", "the grammar has no rule"),
        ("((R Real)) ((R Real ()))", "the rule of 'R' is empty: give it at least one production"),
        ("((R Real)) ((R Real (R)))", "nonterminal 'R' derives no finite term"),
        ("((R Real)) ((R Real ((+ R R) (* R R))))", "nonterminal 'R' derives no finite term"),
        ("((R Real) (S Real)) ((R Real (x)) (S Real ((- S))))", "nonterminal 'S' derives no finite term"),
        ("((R Real) (S Real)) ((R Real (S)) (S Real (R)))", "nonterminal 'R' derives no finite term"),
        ("", "synth-fun 'f' has no grammar: give one, ((W Real)) ((W Real (...)))"),
        ("((R Real)) ((R Real (x (Constant Int))))", "a rule for Real cannot produce a Int"),
        ("((R Real)) ((R Real (x (+ R (Constant Real)))))", "unknown symbol 'Real'"),
    ],
)
def test_grammar_that_derives_nothing(grammar, message):
    error = failure(synth(grammar))
    assert message in error.message and error.place.line == 2


def test_two_targets_or_none():
    two = synth("((R Real)) ((R Real (x)))").replace("(check-synth)", "") + synth("((R Real)) ((R Real (x)))")[
        len(HEAD) :
    ].replace("synth-fun f", "synth-fun g")
    assert "a second synth-fun: a run synthesises one function" in failure(two).message
    assert "no synth-fun: a grammar file says what to synthesise" in failure(HEAD + "(check-synth)").message


def test_file_that_is_not_utf8(tmp_path):
    path = tmp_path / "latin.sy"
    path.write_bytes(b"(set-logic ALL) ; caf\xe9")
    with pytest.raises(SygusError, match=r"latin\.sy is not UTF-8: byte 21 is 0xe9"):
        read_file(path)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(SygusError, match=r"cannot read .*nowhere\.sy: No such file"):
        read_file(tmp_path / "nowhere.sy")


def test_a_let_hides_functions_by_parts_not_for_good():
    body = "(let ((h 1.0)) (+ h {use}))"
    text = HEAD + "(define-fun h ((x Real)) Real x)(define-fun g ((x Real)) Real {})"
    assert str(read(text.format(body.format(use="x"))).functions["g"].body) == "(+ 1.0 x)"
    error = failure(text.format(body.format(use="(h x)")))
    assert error.message == "'h' is a variable here, not a function"
    assert read(text.format("(+ (let ((h 1.0)) h) (h x))")).functions["g"].body.size == 4


@pytest.mark.parametrize("depth", [20_000])
def test_deep_nesting_costs_memory_not_the_stack(depth):
    begin = time.perf_counter()
    term = f"{'(- ' * depth}x{')' * depth}"
    problem = read(f"{HEAD}(define-fun g ((x Real)) Real {term})(set-info :deep {'(' * depth}{')' * depth})")
    body = problem.functions["g"].body
    assert body.size == depth + 1
    assert str(body) == term
    assert Context().level(body) == 0
    lets = f"{'(let ((x (- x))) ' * 300}x{')' * 300}"
    assert read(f"{HEAD}(define-fun g ((x Real)) Real {lets})").functions["g"].body.size == 301
    error = failure(HEAD + "(" * depth)
    assert error.place.line == 2
    error = failure(f"{HEAD}(define-fun g ((x Real)) Real {'(- ' * depth}x")
    assert error.message == "the file ends where a term is expected; the parenthesis at 2:1 is never closed"
    assert time.perf_counter() - begin < 30


def test_deep_let_is_not_quadratic():
    begin = time.perf_counter()
    depth = 5_000
    text = f"{HEAD}(define-fun g ((x Real)) Real {''.join(f'(let ((v{i} (- x))) ' for i in range(depth))}v7{')' * depth})"
    assert read(text).functions["g"].body.size == 2
    assert time.perf_counter() - begin < 10
