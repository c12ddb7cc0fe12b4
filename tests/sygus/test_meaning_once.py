"""What a core function, a kind of reduction or an operator means is one entry a domain: one of each is added, all domains follow,
and it is taken out again."""

import itertools
import random
from fractions import Fraction

import pytest
import torch

from sycam.theory import CAM, MAP
from sycam.theory import evaluate as tensors
from sygus import INT, REAL, Context, Enumerator, Equivalence, Input, Operator, Theory, Variable, read, read_term
from sygus import theory as theories
from sygus.constants import real
from sygus.core import FUNCTIONS, CoreFunction, Sign, alike, apply, core_function
from sygus.equivalence.abstraction import Abstraction
from sygus.language.logics import logic
from sygus.semantics import exact, residues, scalars
from sygus.solver import encode, smtlib
from sygus.solver.process import Claim
from sygus.solver.worker import Cvc5
from sygus.terms import variable

X, Y, D = (variable(name, REAL) for name in "xyd")
INPUTS = {"A": Input("A", MAP, 2), "G": Input("G", MAP, 2), "w": Input("w", REAL, 1), "y": Input("y", REAL)}
SIZES = (2, 4)  # a mean of four halves is a float
VARIABLES = [Variable(name, known.sort) for name, known in INPUTS.items()]


@pytest.fixture
def larger(monkeypatch):
    """The core function (larger a b), the larger of two numbers: one entry a domain."""

    def ite(core, a, b):
        return core["ite"](core[">"](a, b), a, b)

    entry = CoreFunction(alike((REAL, INT), 2, 2), "arithmetic", commutative=True, sign=Sign.KEPT)
    monkeypatch.setitem(FUNCTIONS, "larger", entry)
    monkeypatch.setitem(exact.CORE, "larger", max)
    monkeypatch.setitem(residues.CORE, "larger", lambda a, b: ite(residues.CORE, a, b))
    monkeypatch.setitem(scalars.CORE, "larger", lambda a, b: ite(scalars.CORE, a, b))
    monkeypatch.setitem(tensors.CORE, "larger", torch.maximum)
    logic.cache_clear()
    yield
    monkeypatch.undo()
    logic.cache_clear()
    assert core_function("larger", (REAL, REAL)) is None


@pytest.fixture
def theory(monkeypatch):
    """The kind "range" of reductions, largest minus smallest entry: one entry a domain. And a theory with operators of it."""
    monkeypatch.setitem(theories.REDUCTIONS, "range", theories.Reduction(sign=Sign.NEVER_NEGATIVE))
    monkeypatch.setitem(exact.REDUCTIONS, "range", lambda entries, size: max(entries) - min(entries))
    monkeypatch.setitem(residues.REDUCTIONS, "range", lambda a, axis: residues.CORE["-"](*_ends(residues.REDUCTIONS, a, axis)))
    monkeypatch.setitem(scalars.REDUCTIONS, "range", lambda entries, size: apply("-", *_ends(scalars.REDUCTIONS, entries, size)))
    monkeypatch.setitem(
        tensors.REDUCTIONS, "range", lambda v, axis, size: v.amax(axis, keepdim=True) - v.amin(axis, keepdim=True)
    )
    found = Theory("own", CAM.axes, dict(CAM.sorts), dict(CAM.operators))
    found.add(Operator("grange", (MAP,), REAL, reduction="range", axis=1))
    found.add(Operator("crange", (REAL,), REAL, reduction="range", axis=0))
    return found


def _ends(reductions, *args):
    return reductions["max"](*args), reductions["min"](*args)


def term(text, theory=CAM):
    return read_term(text, VARIABLES, {}, theory)


def context(theory=CAM, **assumed):
    return Context(theory, INPUTS, **{kind: frozenset(names) for kind, names in assumed.items()})


def valuations(count, sizes):
    generator = random.Random(5)
    for _ in range(count):
        yield {
            name: {i: Fraction(generator.randint(-9, 9), 2) for i in itertools.product(*map(range, sizes[: known.level]))}
            for name, known in INPUTS.items()
        }


def agree(left, right, context):
    """Whether two terms have one value: by fingerprints, exact numbers and tensors, which must all say the same."""
    one, other = Equivalence(context, VARIABLES, None).fingerprints([left, right])
    exactly, on_tensors = [], []
    for values in valuations(20, SIZES):
        a, b = (exact.evaluate(t, values, SIZES, context) for t in (left, right))
        exactly.append(exact.same(a, b))
        evaluator = tensors.Evaluator({name: _tensor(value, INPUTS[name].level) for name, value in values.items()})
        evaluator.context = context
        wide = [evaluator.value(t).expand(1, *SIZES)[0] for t in (left, right)]
        on_tensors.append(torch.equal(*wide))
        for number, tensor in zip((a, b), wide, strict=True):
            level = len(next(iter(number)))
            assert all(tensor[index].item() == number[index[:level]] for index in itertools.product(*map(range, SIZES)))
    assert (one == other) == all(exactly) == all(on_tensors)
    return one == other


def _tensor(value, level):
    shape = (1, *SIZES[:level]) if level else (1, 1)
    flat = torch.tensor([float(number) for number in value.values()]).double().reshape(shape)
    return flat[:, :, None] if level == 2 else flat  # [B, K, 1, P]


# A core function --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("(larger y 0.0)", "(ite (> y 0.0) y 0.0)", True),
        ("(larger w y)", "(larger y w)", True),
        ("(larger w (larger w y))", "(larger w y)", True),
        ("(larger (* 2.0 w) (* 2.0 y))", "(* 2.0 (larger w y))", True),
        ("(gap (scale (larger y y) A))", "(* y (gap A))", True),
        ("(larger w y)", "w", False),
        ("(larger (- w) (- y))", "(- (larger w y))", False),
    ],
)
def test_a_core_function_has_its_meaning_in_every_domain(left, right, equal, larger, solver):
    left, right = term(left), term(right)
    assert agree(left, right, context()) == equal
    classes = Equivalence(context(), VARIABLES, solver)
    assert classes.proves([(left, right)]) == [equal]
    if not equal:
        point = classes.separation.where_different(left, right, [(1, 1), (2, 2)])
        assert point is not None and point.separates(left, right, context()), "cvc5 finds a tensor too"


def test_a_core_function_is_read_and_enumerated(larger, solver):
    problem = read("(synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y (larger R R)))))(check-synth)")
    target = problem.target()
    classes = Equivalence(Context(), list(target.variables), solver)
    found = [str(candidate.term) for candidate in Enumerator(target.grammar, classes, limit=7)]
    assert found == ["x", "y", "(larger x y)"]
    assert classes.counts.undecided == 0


def test_a_core_function_that_cvc5_has_is_named_to_it(larger, monkeypatch):
    """Then the solver's tables have an entry each, and no factor is taken out of it that it does not let out."""
    monkeypatch.setitem(encode.CORE, "larger", lambda make, a, b: make(encode.Kind.ITE, make(encode.Kind.GT, a, b), a, b))
    monkeypatch.setitem(Cvc5.core, "larger", encode.CORE["larger"])
    monkeypatch.setitem(smtlib.CORE, "larger", lambda make, a, b: make.Ite(make.GT(a, b), a, b))
    solver = Cvc5()
    apart, together = apply("larger", apply("/", X, D), apply("/", Y, D)), apply("/", apply("larger", X, Y), D)
    assert solver.equal(apart, together, (apply(">", D, real(0)),)) == "equal"
    assert solver.equal(apart, together, ()) == "different"
    assert solver.equal(apply("larger", X, Y), apply("larger", Y, X), ()) == "equal"
    text = smtlib.ToPysmt().formula(smtlib.refutation(Claim(apply("larger", X, Y), X, ()))).serialize()
    assert text == "(! (((y < x) ? x : y) = x))"


def test_what_no_table_has_is_unknown_and_equal_for_equal_arguments(monkeypatch, solver):
    monkeypatch.setitem(FUNCTIONS, "mystery", CoreFunction(alike((REAL,), 1, 1), "real", sign=Sign.NEVER_NEGATIVE))
    logic.cache_clear()
    try:
        a, b, c = term("(mystery (+ y w))"), term("(mystery (+ w y))"), term("(mystery y)")
        classes = Equivalence(context(), VARIABLES, solver)
        assert classes.proves([(a, b), (a, c)]) == [True, False]
        assert classes.fingerprints([a])[0] == classes.fingerprints([b])[0] != classes.fingerprints([c])[0]
        assert classes.proves([(term("(abs (mystery y))"), c)]) == [True], "its sign is known"
    finally:
        monkeypatch.undo()
        logic.cache_clear()


# A kind of reduction ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "same", "proved"),
    [
        ("(grange A)", "(- (gmax A) (gmin A))", True, False),  # of either side nothing is known but the arguments
        ("(grange (m+ A G))", "(grange (m+ G A))", True, True),
        ("(abs (grange A))", "(grange A)", True, True),
        ("(grange (fill w))", "0.0", True, False),
        ("(grange A)", "(gmax A)", False, False),
        ("(crange (gap A))", "(grange A)", False, False),
    ],
)
def test_a_kind_of_reduction_has_its_meaning_in_every_domain(left, right, same, proved, theory, solver):
    left, right, known = term(left, theory), term(right, theory), context(theory)
    assert agree(left, right, known) == same
    classes = Equivalence(known, VARIABLES, solver)
    assert classes.proves([(left, right)]) == [proved]
    if not same:
        point = classes.separation.where_different(left, right, [(1, 1), (1, 2), (2, 2)])
        assert point is not None and point.separates(left, right, known), "cvc5 finds a tensor"


def test_what_is_known_of_a_kind_of_reduction_is_used(theory):
    view = Abstraction(context(theory))
    atom = view.scalar(term("(grange A)", theory))
    assert view.signs.by_form(atom) and [str(fact) for fact in view.signs.facts(atom)] == ["(>= ||grange[A]| 0.0)"]
    assert context(theory).level(term("(grange A)", theory)) == 1 and context(theory).level(term("(crange w)", theory)) == 0


def test_an_unknown_kind_of_reduction_is_refused():
    with pytest.raises(theories.SygusError, match="unknown reduction 'rnage'"):
        Theory("own", CAM.axes, dict(CAM.sorts)).add(Operator("r", (MAP,), REAL, reduction="rnage", axis=1))


# An operator ------------------------------------------------------------------------------------------------------------


def test_an_operator_is_one_entry(solver):
    theory = Theory("own", CAM.axes, dict(CAM.sorts), dict(CAM.operators))
    x = Variable("x", REAL)
    theory.add(Operator("mcube", (MAP,), MAP, (x,), read_term("(* x x x)", [x], {})))
    left, right = term("(gap (mcube A))", theory), term("(gap (m* A (m* A A)))", theory)
    assert agree(left, right, context(theory))
    assert Equivalence(context(theory), VARIABLES, solver).proves([(left, right)]) == [True]


# The tables -------------------------------------------------------------------------------------------------------------


def test_every_table_has_every_function_that_its_domain_can_have():
    for table in (exact.CORE, residues.CORE, tensors.CORE):
        assert table.keys() == FUNCTIONS.keys()
    for table in (scalars.CORE, encode.CORE, smtlib.CORE):
        assert table.keys() == scalars.SOLVED
    for table in (exact.REDUCTIONS, residues.REDUCTIONS, tensors.REDUCTIONS):
        assert table.keys() == theories.REDUCTIONS.keys()
    assert theories.REDUCTIONS.keys() - scalars.REDUCTIONS.keys() == {"std", "softmax"}, "these leave the rational numbers"
