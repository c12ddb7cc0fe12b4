"""Random problems are read, printed and read again; random damage to a file gives a problem or a clear error, never anything else."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from setting import GRAMMARS
from test_conformance import FILES, cvc5_error

from sygus import BOOL, INT, REAL, Problem, Sort, SygusError, Term, Variable, read, read_term
from sygus.constants import real
from sygus.core import apply
from sygus.language.logics import logic
from sygus.language.problem import synth_fun
from sygus.terms import STRING, Binder, Function, Literal, bit_vector, define_fun, sort_text, symbol_text

FIXED = settings(max_examples=60, deadline=None, derandomize=True)
FEW = settings(max_examples=25, deadline=None, derandomize=True)
BYTE, ARRAY = bit_vector(8), Sort("Array", (INT, REAL))
SORTS = (BOOL, INT, REAL, BYTE, bit_vector(3), STRING, ARRAY)
VARIABLES = tuple(Variable(f"{prefix}{i}", sort) for i, sort in enumerate(SORTS) for prefix in ("x", "two words "))
TABLES = [
    (table, name, signature)
    for table in logic("ALL").tables
    for name, signatures in table.functions.items()
    for signature in signatures
    if name not in ("const", "eqrange") and not name.endswith("_total")
]
CORE = [
    ("+", INT, (INT, INT)), ("-", INT, (INT,)), ("*", REAL, (REAL, REAL, REAL)), ("/", REAL, (REAL, REAL)), ("div", INT, (INT, INT)),
    ("mod", INT, (INT, INT)), ("to_int", INT, (REAL,)), ("to_real", REAL, (INT,)), ("is_int", BOOL, (REAL,)), ("<", BOOL, (INT, INT)),
    ("=>", BOOL, (BOOL, BOOL)), ("not", BOOL, (BOOL,)), ("abs", INT, (INT,)),
    *(("=", BOOL, (sort, sort)) for sort in SORTS), *(("ite", sort, (BOOL, sort, sort)) for sort in SORTS),
]  # fmt: skip


def leaf(pick, sort):
    if pick((True, False)) or sort == ARRAY:
        return Term(pick([v for v in VARIABLES if v.sort == sort]))
    if sort == BOOL:
        return Term(Literal(pick((True, False)), BOOL))
    if sort == STRING:
        return Term(Literal(pick(("", "a", 'say "x"', "\\u{41}", "é\n\t", "\\", "\U0001f600")), STRING))
    if sort == REAL:
        return real(pick((0, 1, 0.125, 10**20)))
    if sort == INT:
        return Term(Literal(pick((0, 1, 7, 10**20)), INT))
    return Term(Literal(pick(range(2 ** sort.indices[0])), sort))


def build(pick, sort, depth):
    """A term of `sort` with core functions, those of the tables, indexed ones, quantifiers and constant arrays."""
    if depth == 0 or pick(range(5)) == 0:
        return leaf(pick, sort)
    if sort == BOOL and pick(range(4)) == 0:
        bound = tuple(pick([v for v in VARIABLES if v.sort == s]) for s in pick(((INT,), (BOOL, REAL))))
        return Term(Binder(pick(("forall", "exists")), bound), (build(pick, BOOL, depth - 1),))
    if sort == ARRAY and pick((True, False)):
        return Term(Function("const", (REAL,), ARRAY, qualified=True), (real(pick((0, 1, 0.5))),))  # cvc5 asks for a value
    if sort == bit_vector(3) and pick((True, False)):
        return Term(Function("extract", (BYTE,), sort, indices=(5, 3)), (build(pick, BYTE, depth - 1),))
    found = [(name, sorts) for name, result, sorts in CORE if result == sort]
    for table, name, signature in TABLES:
        for sorts in ((sort,) * len(signature.parameters), signature.parameters):
            if all(s in SORTS for s in sorts) and (function := table.function(name, sorts)) and function.result == sort:
                found.append((table, name, sorts))
    chosen = pick(found)
    args = tuple(build(pick, s, depth - 1) for s in chosen[-1])
    return apply(chosen[0], *args) if len(chosen) == 2 else Term(chosen[0].function(chosen[1], chosen[2]), args)


@st.composite
def any_term(draw, sorts=SORTS, depth=4):
    pick = random.Random(draw(st.integers(0, 2**32))).choice
    return build(pick, draw(st.sampled_from(sorts)), depth)


def declarations():
    return "".join(f"(declare-var {symbol_text(v.name)} {sort_text(v.sort)})" for v in VARIABLES)


@FIXED
@given(any_term())
def test_a_printed_term_is_read_back_as_the_same_object(term):
    assert read_term(str(term), VARIABLES, {}) is term


@FIXED
@given(any_term(sorts=(BOOL,)))
def test_a_random_problem_is_accepted_by_both(term):
    text = f"(set-logic ALL){declarations()}(assume {term})"
    assert read(text).assumptions[0][0] is term
    assert cvc5_error(text) is None


@FEW
@given(any_term(depth=3))
def test_a_random_definition_is_accepted_by_both(term):
    text = f"(set-logic ALL){define_fun('g h', VARIABLES, term)}"
    assert read(text).functions["g h"].body is term
    assert cvc5_error(text) is None


@st.composite
def synth_funs(draw):
    """A function to synthesise with a random well-typed grammar, in which every nonterminal has a leaf."""
    pick = random.Random(draw(st.integers(0, 2**32))).choice
    sorts = draw(st.lists(st.sampled_from((BOOL, INT, REAL, BYTE, STRING)), min_size=1, max_size=4))
    holes = {f"N{i}": sort for i, sort in enumerate(sorts)}
    rules = []
    for name, sort in holes.items():
        bodies = [str(leaf(pick, sort))]
        for _ in range(pick(range(4))):
            body = build(lambda choices: pick([c for c in choices if c is not None]), sort, 2)
            if "forall" not in str(body) and "exists" not in str(body):
                bodies.append(str(body))
        bodies.extend(other for other, s in holes.items() if s == sort and other != name)
        bodies.extend(["(Constant Int)"] if sort == INT else [])
        rules.append(f"({name} {sort_text(sort)} ({' '.join(bodies)}))")
    arguments = " ".join(f"({symbol_text(v.name)} {sort_text(v.sort)})" for v in VARIABLES)
    heads = " ".join(f"({name} {sort_text(sort)})" for name, sort in holes.items())
    return f"(synth-fun f ({arguments}) {sort_text(sorts[0])} ({heads}) ({' '.join(rules)}))"


@FEW
@given(synth_funs())
def test_a_random_grammar_is_accepted_by_both_and_printed_back(command):
    text = f"(set-logic ALL){command}(check-synth)"
    target = read(text).target()
    again = read(f"(set-logic ALL){synth_fun(target)}(check-synth)").target()
    assert (again.grammar, again.variables, again.result) == (target.grammar, target.variables, target.result)
    assert cvc5_error(text) is None
    assert cvc5_error(f"(set-logic ALL){synth_fun(target)}(check-synth)") is None


SEEDS = [path.read_bytes().decode() for path in [*sorted(GRAMMARS.glob("**/*.sy")), *FILES[::7]]]
WORDS = ("(", ")", "let", "forall", "_", "as", "!", "match", "Real", "Int", "Map", "0", "1.5", "#x0f", '"a"', "|", '"', ";", ":named", "par",
         "(check-synth)", "(_ BitVec 8)", "->", "Constant", "x", "\0", "\ufeff", "é", "-1", "()")  # fmt: skip


def outcome(text: str) -> None:
    """Reads `text`: nothing but a problem or an error with a message may come of it."""
    try:
        result: Problem | str = read(text)
    except SygusError as error:
        result = str(error)
    assert isinstance(result, Problem) or 0 < len(result) < 5_000


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_a_damaged_file_gives_a_problem_or_a_clear_error(seed):
    chance = random.Random(seed)
    tokens = re.findall(r'"[^"]*"|\|[^|]*\||[()]|[^\s()]+|\s+', chance.choice(SEEDS)) or [""]
    for _ in range(chance.randint(1, 4)):
        at, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
        kind = chance.randrange(5)
        if kind == 0:
            tokens[at] = ""
        elif kind == 1:
            tokens[at] *= 2
        elif kind == 2:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif kind == 3:
            tokens[at] = chance.choice(WORDS)
        else:
            tokens[at] = "".join(chr(chance.randrange(256)) for _ in range(3))
    outcome("".join(tokens))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(WORDS), max_size=40))
def test_random_words_give_a_problem_or_a_clear_error(words):
    outcome(" ".join(words))


@FIXED
@given(st.binary(max_size=200))
def test_random_bytes_give_a_problem_or_a_clear_error(data):
    outcome(data.decode("latin-1"))


@pytest.mark.parametrize("path", FILES[::11], ids=lambda path: path.stem)
def test_every_prefix_of_a_file_gives_a_problem_or_a_clear_error(path):
    text = path.read_bytes().decode()
    for end in range(0, len(text), max(1, len(text) // 25)):
        outcome(text[:end])
