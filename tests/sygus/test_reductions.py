"""What the scalar view knows of reductions beyond equal arguments: factors of rectified products, order, extents. All of it is
checked on exact random tensors, and none of it where it does not hold."""

import itertools
import random
from fractions import Fraction

import pytest
from setting import INPUTS, cam, cam_context, one_class

from sycam.theory import CAM, MAP
from sygus import REAL, Context, Operator, SygusError, Theory, Variable
from sygus.constants import real
from sygus.core import apply
from sygus.equivalence.abstraction import Abstraction
from sygus.equivalence.normal_form import is_rectified, polynomial, pulled
from sygus.semantics import exact
from sygus.terms import subterms, variable

X, Y, Z = (variable(name, REAL) for name in "xyz")
ATOMS = [X, Y, Z]


def relu(term):
    return apply("ite", apply(">", term, real(0)), term, real(0))


def random_polynomial(generator):
    """Sums of products and quotients of few atoms, zero exponents among them."""

    def factor():
        atom = generator.choice(ATOMS)
        return generator.choice([atom, atom, apply("/", real(1), atom), apply("/", atom, atom), apply("*", atom, atom)])

    def summand():
        product = real(generator.choice([1, 2, 3, -2, Fraction(1, 2)]))
        for _ in range(generator.randint(1, 4)):
            product = apply("*", product, factor())
        return product

    shared, total = factor(), summand()
    for _ in range(generator.randint(0, 2)):
        total = apply(generator.choice("+-"), total, summand())
    return apply("*", shared, total)


def test_what_is_pulled_out_changes_no_value():
    generator, moved = random.Random(4), 0
    for _ in range(400):
        nonneg = {atom for atom in ATOMS if generator.random() < 0.5}
        term = relu(random_polynomial(generator))
        if generator.random() < 0.3:
            term = relu(apply("*", generator.choice(ATOMS), term))
        result = pulled(term, lambda t, known=nonneg: t in known or is_rectified(t), lambda _: False)
        moved += result is not term
        for values in itertools.product((-2, -1, 0, 1, Fraction(1, 3)), repeat=3):
            if any(value < 0 and atom in nonneg for atom, value in zip(ATOMS, values, strict=True)):
                continue
            valuation = {atom.name: {(): Fraction(value)} for atom, value in zip(ATOMS, values, strict=True)}
            a, b = (exact.evaluate(t, valuation, (), Context()) for t in (term, result))
            assert a == b, f"{term} is not {result} at {values}"
    assert moved > 200


def test_a_negative_factor_stays_inside():
    assert pulled(relu(apply("*", X, Y)), lambda _: False, lambda _: False) is relu(apply("*", X, Y))
    halves = pulled(relu(apply("*", real(-2), Y)), lambda _: False, lambda _: False)
    assert halves.args[0] is real(2) and any(is_rectified(t) for t in subterms(halves))


def test_a_sum_of_one_sign_comes_out_and_a_factor_of_any_sign_stays():
    a, b, c = ATOMS
    both = apply("+", a, b)
    known = {a, b}.__contains__
    cases = [
        (apply("*", c, both), apply("*", both, relu(c))),
        (apply("-", apply("*", c, both)), apply("*", both, relu(apply("*", real(-1), c)))),
        (both, both),
        (apply("-", both), real(0)),
    ]
    for inside, expected in cases:
        found = pulled(relu(inside), known, lambda _: False)
        assert polynomial(found, lambda _: False) == polynomial(expected, lambda _: False)
    mixed = relu(apply("*", c, apply("+", a, c)))
    assert pulled(mixed, known, lambda _: False) is mixed


EQUAL = [  # left, right, what is assumed
    ("(gap (mrelu (m+ G G)))", "(* 2.0 (gap (mrelu G)))", {}),
    ("(gap (mrelu (scale (gap A) G)))", "(* (gap A) (gap (mrelu G)))", {}),
    ("(gap (mrelu (m* A G)))", "(gap (m* A (mrelu G)))", {}),
    ("(gap (mrelu (scale (gap G) (m+ A (mrelu G)))))", "(* (relu (gap G)) (gap (m+ A (mrelu G))))", {}),
    ("(gap (mrelu (scale (gap G) (mneg (m+ A A)))))", "(* 2.0 (* (relu (- (gap G))) (gap A)))", {}),
    ("(* (gap G) (gap (mrelu (scale (/ y (gap G)) G))))", "(/ (gap (mrelu (scale (* y (gap G)) G))) (gap G))", {}),
    ("(relu (- (gap G) (gap (mrelu G))))", "0.0", {}),
    ("(relu (- (gap (mrelu G)) (gap G)))", "(- (gap (mrelu G)) (gap G))", {}),
    ("(scale (/ (gap A) (gap A)) A)", "A", {}),
    ("(gap (mrelu (scale (/ (gap G) (gap G)) G)))", "(* (/ (gap G) (gap G)) (gap (mrelu G)))", {}),
]
DIFFERENT = [
    ("(gap (mrelu (scale (gap G) A)))", "(* (gap G) (gap (mrelu A)))", {}),
    ("(gap (mrelu (m* A G)))", "(gap (m* A (mrelu G)))", {"nonneg": ""}),
    ("(gap (mrelu (scale (gap G) (m+ A (mrelu G)))))", "(* (relu (gap G)) (gap (m+ A (mrelu G))))", {"nonneg": ""}),
    ("(gap (mrelu (scale (gap G) (m+ A G))))", "(* (relu (gap G)) (gap (m+ A G)))", {}),
    ("(relu (- (gap G) (gap A)))", "0.0", {}),
    ("(scale (/ (gap A) (gap A)) A)", "A", {"nonneg": ""}),
    ("(scale (/ (gap G) (gap G)) G)", "G", {}),
    ("(scale (/ (gap A) (gap A)) G)", "G", {}),
    ("(relu (- (gmax G) (gmax (mrelu G))))", "(- (gmax G) (gmax (mrelu G)))", {}),
]


@pytest.mark.parametrize(("left", "right", "assumed"), EQUAL)
def test_proved(left, right, assumed, solver):
    assert one_class(cam(left), cam(right), cam_context(**assumed), solver)


@pytest.mark.parametrize(("left", "right", "assumed"), DIFFERENT)
def test_not_proved_where_it_is_false(left, right, assumed, solver):
    assert not one_class(cam(left), cam(right), cam_context(**assumed), solver)


def test_order_and_extents_hold_on_tensors(solver):
    """Every fact that the scalar view states is true at every place of every tensor tried."""
    from sygus import Equivalence

    context = cam_context(positive="y")
    classes = Equivalence(context, [Variable(n, i.sort) for n, i in INPUTS.items()], solver)
    maps = ["A", "G", "(mrelu G)", "(m* A G)", "(m* A A)", "(m* G G)", "(m* A (mrelu G))", "(mrelu (m+ A G))", "(m* G (mrelu G))"]
    means = {classes.abstraction.scalar(cam(f"(gap {m})")): cam(f"(gap {m})") for m in maps}
    order = classes.abstraction.order(*means)
    assert len(means) == len(maps) and len(order) >= 5
    for values, sizes in valuations(60, context):
        for fact in order:
            above, below = (exact.evaluate(means[atom], values, sizes, context) for atom in fact.args)
            assert all(above[i] >= below[i] for i in above), f"{fact} fails"


def valuations(count, context):
    generator = random.Random(9)
    for _ in range(count):
        sizes = (generator.randint(1, 2), generator.randint(1, 3))
        values = {}
        for name, known in INPUTS.items():
            indices = itertools.product(*(range(size) for size in sizes[: known.level]))
            values[name] = {i: Fraction(generator.randint(-6, 6), 2) for i in indices}
            if name in context.nonneg | context.positive:
                values[name] = {i: abs(v) + (name in context.positive) for i, v in values[name].items()}
        yield values, sizes


def test_a_mean_of_what_may_be_negative_has_no_extent():
    view = Abstraction(cam_context())
    assert view.extents(view.scalar(cam("(gap G)"))) == []
    assert len(view.extents(view.scalar(cam("(gap A)")))) == 1


@pytest.mark.parametrize("kind", ["mean", "sum", "max", "min", "std"])
def test_an_outer_axis_is_reduced_after_the_inner_one(kind):
    """The mean over channels at each pixel would vary over pixels and not over channels: no value here does."""
    theory = Theory("own", CAM.axes, dict(CAM.sorts))
    message = f"'across' takes the {kind} over each channel of a Map, which varies over each pixel too: reduce that first"
    with pytest.raises(SygusError, match=message):
        theory.add(Operator("across", (MAP,), MAP, reduction=kind, axis=0))
    theory.add(Operator("across", (REAL,), REAL, reduction=kind, axis=0))
    theory.add(Operator("within", (MAP,), MAP, reduction=kind, axis=1))
