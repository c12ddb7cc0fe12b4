"""Fingerprints against exact rationals on the same points, and what the points are like."""

from fractions import Fraction

import gmpy2
import numpy as np
import pytest
import twin
from random_terms import NUMBERS, random_term, seeded
from setting import INPUTS, RELU, VARIABLES, cam, cam_context

from sycam.theory import CAM, MAP
from sygus import (
    BOOL,
    INT,
    REAL,
    Context,
    Enumerator,
    Equivalence,
    Function,
    Input,
    Operator,
    Term,
    Theory,
    Variable,
    read,
    read_term,
)
from sygus.equivalence.fingerprint import Points
from sygus.semantics import exact
from sygus.semantics.residues import PRIME, invert
from sygus.terms import subterms

SEVERAL = [VARIABLES[name] for name in ("A", "G", "y", "drop", "K", "Z", "c")]
RATIONAL = [f.function for f in CAM.operators.values() if f.name in {*twin.OPERATORS, *twin.REDUCTIONS}] + [RELU]
SMALL = [n for n in NUMBERS if abs(n) < 100]


def random_terms(sort, count, depth=4, functions=RATIONAL, seed=0):
    pick, found = seeded(seed), {}
    while len(found) < count:
        term = random_term(pick, sort, SEVERAL, functions, ("exp", "sqrt"), SMALL, depth)
        if all(cam_context().level(part) <= CAM.sorts[part.sort] for part in subterms(term)):  # no Real that varies over pixels
            found[term] = None
    return list(found)


def exact_values(points: Points, group: int) -> dict[str, np.ndarray]:
    """The random inputs as rationals, from their floats, which are exact."""
    number = np.frompyfunc(lambda x: gmpy2.mpq(float(x)), 1, 1)
    return {term.name: number(pair.approximate) for term, pair in points.values[group].items()}


def residues(values: np.ndarray) -> np.ndarray:
    def residue(value) -> int:
        q = gmpy2.mpq(int(value)) if isinstance(value, (bool, np.bool_)) else value
        return int(q.numerator) * pow(int(q.denominator), -1, PRIME) % PRIME

    return np.frompyfunc(residue, 1, 1)(values).astype(np.int64)


@pytest.mark.parametrize("sort", [REAL, MAP, BOOL], ids=str)
def test_residue_is_the_exact_value_modulo_the_prime(sort):
    points = Points(cam_context(nonneg="A", positive="y"), SEVERAL)
    terms, compared = random_terms(sort, 150), 0
    for group, known in enumerate(points.groups):
        values, memo, slow = exact_values(points, group), {}, {}
        for term in terms:
            pair = points.evaluate(term, group, memo)
            truth = twin.evaluate(term, values, known.sizes, slow)
            shape = np.broadcast_shapes(pair.residue.shape, truth.shape)
            assert np.array_equal(np.broadcast_to(pair.residue, shape), np.broadcast_to(residues(truth), shape)), str(term)
            compared += shape[0]
    assert compared > 150 * 64 / 2


def test_both_slow_evaluators_agree():
    """`sygus.semantics.exact`, which decides whether a refutation is believed, against gmpy2 on whole arrays."""
    context = cam_context()
    points, compared = Points(context, SEVERAL, scalars=12), 0
    for sort in (REAL, MAP, BOOL):
        for group, known in enumerate(points.groups):
            values, slow = exact_values(points, group), {}
            for term in random_terms(sort, 60, seed=1):
                truth = twin.evaluate(term, values, known.sizes, slow)
                truth = np.broadcast_to(truth, (known.count, *np.broadcast_shapes(truth.shape[1:], (1, 1))))
                for point in range(0, known.count, 3):
                    valuation = {}
                    for name, value in values.items():
                        indices = np.ndindex(*known.sizes[: INPUTS[name].level])
                        valuation[name] = {index: Fraction(value[point][(*index, 0, 0)[:2]]) for index in indices}
                    for index, number in exact.evaluate(term, valuation, known.sizes, context).items():
                        at = tuple(i if n > 1 else 0 for i, n in zip((*index, 0, 0), truth.shape[1:], strict=False))
                        expected = truth[(point, *at)]
                        assert Fraction(number) == Fraction(int(expected) if sort == BOOL else expected), str(term)
                        compared += 1
    assert compared > 1000


def test_inverse_modulo_the_prime():
    numbers = np.random.default_rng(0).integers(1, PRIME, 1000)
    assert (invert(numbers) * numbers % PRIME == 1).all()
    assert invert(np.array([0, 1, PRIME - 1])).tolist() == [0, 1, PRIME - 1]


def draws(context, seeds=range(5)):
    for seed in seeds:
        points = Points(context, SEVERAL, seed)
        for group in range(len(points.groups)):
            yield points.groups[group], {t.name: p.approximate for t, p in points.values[group].items()}


def test_points_satisfy_the_assumptions():
    for group, values in draws(cam_context(nonneg="A", positive="y drop", uniform="G")):
        assert (values["A"] >= 0).all() and (values["y"] > 0).all() and (values["drop"] > 0).all()
        assert values["G"].shape == (group.count, group.sizes[0], 1)
        assert (values["K"] == group.sizes[0]).all() and (values["Z"] == group.sizes[1]).all()
        assert (values["c"] == np.rint(values["c"])).all() and (np.abs(values["c"]) > 1).any()


def test_points_without_assumptions_are_of_both_signs():
    for _, values in draws(cam_context(nonneg="")):
        for name in ("A", "G", "y", "drop"):
            assert (values[name] < 0).any() and (values[name] > 0).any()


def test_degenerate_points_occur():
    seen = dict.fromkeys(("dead channel", "dead map", "zero sum", "zero scalar", "equal channels", "generic"), 0)
    for group, values in draws(cam_context()):
        a, g, y = values["A"], values["G"], values["y"]
        channels = (a == 0).all(2).sum(1)
        seen["dead channel"] += ((channels > 0) & (channels < group.sizes[0])).sum()
        seen["dead map"] += (channels == group.sizes[0]).sum()
        seen["zero sum"] += ((g.sum(2) == 0) & (g != 0).any(2)).any(1).sum()
        seen["zero scalar"] += (y == 0).sum()
        seen["equal channels"] += ((g == g[:, :1]).all((1, 2)) & (g != 0).any((1, 2))).sum()
        seen["generic"] += ((a != 0).all((1, 2)) & (g != 0).all((1, 2))).sum()
    assert min(seen.values()) >= 5, seen
    assert seen["generic"] > 5 * 64 / 2, seen


@pytest.mark.parametrize("denominator", ["y", "drop", "(gap A)", "(gap G)", "(sum A)", "(csum drop)"])
def test_a_times_b_over_b_is_a_except_where_b_is_zero(denominator):
    points = Points(cam_context(), SEVERAL)
    for group in range(len(points.groups)):
        memo = {}
        a = points.evaluate(cam("(+ 3.0 (* y drop))"), group, memo)
        b = points.evaluate(cam(denominator), group, memo)
        quotient = points.evaluate(cam(f"(/ (* (+ 3.0 (* y drop)) {denominator}) {denominator})"), group, memo)
        shape = np.broadcast_shapes(a.residue.shape, b.residue.shape)
        zero = np.broadcast_to(b.residue == 0, shape)
        assert zero.any() and not zero.all()
        assert np.array_equal(quotient.residue == np.broadcast_to(a.residue, shape), ~zero | (a.residue == 0))
    hashes = Equivalence(cam_context(), SEVERAL, None).fingerprints([cam(f"(/ (* 2.0 {denominator}) {denominator})"), cam("2.0")])
    assert hashes[0] != hashes[1]


def test_a_sign_is_right_where_the_difference_is_tiny():
    """10⁸ apart in size: floats cancel, residues do not."""
    x = Variable("x", REAL)
    points = Points(Context(), [x])
    term = read_term("(ite (= (- (+ x 1000000000000000000000.0) 1000000000000000000000.0) x) 1.0 0.0)", [x], {})
    assert (points.evaluate(term, 0, {}).residue == 1).all()


@pytest.mark.parametrize("function", ["exp", "sqrt", "softmax", "gstd"])
def test_what_leaves_the_rationals_respects_equality_and_nothing_more(function):
    inside = ("(+ {0} {1})", "(+ {1} {0})", "(- {0} {1})") if function != "gstd" else ("(m+ A G)", "(m+ G A)", "(m- A G)")
    same, again, other = (cam(f"({function} {term.format('drop', 'score')})") for term in inside)
    classes = Equivalence(cam_context(), list(VARIABLES.values()), None)
    one, two, three = classes.fingerprints([same, again, other])
    assert one == two != three


def test_sqrt_and_exp_of_special_values():
    x = Variable("x", REAL)
    points = Points(Context(), [x])
    pair = points.evaluate(read_term("(sqrt (- (abs x)))", [x], {}), 0, {})
    assert (pair.residue == 0).all()
    assert (points.evaluate(read_term("(exp x)", [x], {}), 0, {}).approximate > 0).all()


def test_uninterpreted_functions_are_told_apart_by_their_whole_name_and_their_arguments():
    x, y = Variable("x", REAL), Variable("y", REAL)
    functions = {n: Function(n, (REAL, REAL), REAL) for n in ("activation_a", "activation_b", "activatioλ")}
    texts = ["(activation_a x y)", "(activation_b x y)", "(activation_a y x)", "(activation_a x (+ y 0.0))", "(|activatioλ| x y)"]
    terms = [read_term(text, [x, y], functions) for text in texts]
    first, *others = Equivalence(Context(), [x, y], None).fingerprints(terms)
    assert [first == other for other in others] == [False, False, True, False]


def test_an_opaque_operator_varies_over_no_more_than_its_sort():
    theory = Theory("with-blob", CAM.axes, dict(CAM.sorts), dict(CAM.operators))
    theory.add(Operator("blob", (MAP,), REAL))
    context = Context(theory, INPUTS)
    points = Points(context, SEVERAL)
    blob, moved = (read_term(f"(blob {m})", VARIABLES.values(), {}, theory) for m in ("A", "(m+ A G)"))
    one, two = (points.evaluate(t, 0, {}).residue for t in (blob, moved))
    assert one.shape == points.groups[0].shape(1)
    assert (one != two).any()


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ("((W Real) (M Map)) ((W Real ((blob M) (blob (scale 1.0 (fill y))))) (M Map ((fill y))))", ["(blob (fill y))"]),
        ("((W Real) (V Real)) ((W Real ((spot V) (spot 1.0) (spot (+ 0.0 1.0)))) (V Real (1.0 y)))", ["(spot 1.0)", "(spot y)"]),
    ],
)
def test_an_opaque_operator_sees_values_and_not_how_they_are_kept(rules, found, solver):
    """y is one number, kept as one within a production and once a channel in a bank."""
    theory = Theory("with-blob", CAM.axes, dict(CAM.sorts), dict(CAM.operators))
    theory.add(Operator("blob", (MAP,), REAL))
    theory.add(Operator("spot", (REAL,), REAL))
    text = f"""(set-logic ALL) (declare-sort Map 0) (declare-fun blob (Map) Real) (declare-fun spot (Real) Real)
        (declare-fun fill (Real) Map) (declare-fun scale (Real Map) Map) (synth-fun f ((y Real)) Real {rules}) (check-synth)"""
    target = read(text, theory=theory).target()
    classes = Equivalence(Context(theory, INPUTS), list(target.variables), solver)
    assert sorted(str(c.term) for c in Enumerator(target.grammar, classes, 6)) == found


def test_the_hash_of_a_class_does_not_depend_on_who_else_is_asked():
    terms = random_terms(REAL, 30) + random_terms(REAL, 30, seed=5)
    classes = [Equivalence(cam_context(), SEVERAL, None) for _ in range(2)]
    together = classes[0].fingerprints(terms)
    assert together == [classes[1].fingerprints([term])[0] for term in terms]
    assert together != Equivalence(cam_context(), SEVERAL, None, seed=1).fingerprints(terms)


def test_names_outside_ascii_are_variables_like_any_other():
    x = Variable("abcdefgλ", REAL)
    points = Points(Context(), [x])
    assert len(np.unique(points.values[0][Term(x)].residue)) > 30


def test_a_bool_that_is_constant_over_pixels_may_choose_between_weights():
    """Sort Bool may vary over pixels; (> y drop) does not, though its values are kept as wide as its sort."""
    points = Points(cam_context(), SEVERAL)
    condition = points.rows([points.evaluate(cam("(> y drop)"), g, {}) for g in range(2)], CAM.sorts[BOOL])
    chosen = []
    hole = Term(Variable("|B", BOOL))
    body = read_term("(ite |B| y drop)", [Variable("B", BOOL), *SEVERAL], {}, CAM)
    body = Term(body.symbol, (hole, *body.args[1:]))
    for group, pair in enumerate(condition):
        chosen.append(points.evaluate(body, group, {hole: pair}))
    rows = points.rows(chosen, CAM.sorts[REAL])
    direct = points.rows([points.evaluate(cam("(ite (> y drop) y drop)"), g, {}) for g in range(2)], CAM.sorts[REAL])
    for row, straight in zip(rows, direct, strict=True):
        assert np.array_equal(row.residue[0] if row.residue.ndim > straight.residue.ndim else row.residue, straight.residue)


def test_inputs_not_listed_have_level_zero():
    assert Context(CAM).input(Variable("A", MAP)) == Input("A", MAP, 0)
    assert cam_context(uniform="G drop").input(VARIABLES["G"]).level == 1
    assert cam_context(uniform="G drop").input(VARIABLES["drop"]).level == 1, "it is constant over pixels already"
    assert cam_context().input(Variable("c", INT)).level == 0
