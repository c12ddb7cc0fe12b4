"""Terms on tensors against the slow exact evaluation in rational numbers, and what is not finite."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sycam.cams import cam_from_text, terminal_variable
from sycam.errors import SycamError
from sycam.terminals import TERMINALS
from sycam.theory import CAM, MAP, Evaluator, combined_maps, heatmaps_of, localisation
from sygus import BOOL, REAL, Context, Function, Input, Sort, Term, expand
from sygus.constants import real
from sygus.core import apply
from sygus.semantics import exact
from sygus.terms import subterms

LEVELS = {"scalar": 0, "channel": 1, "pixel": 2}
NAMES = ("A", "G", "drop", "fc", "y", "p", "K", "Z")
INPUTS = {
    name: Input(name, terminal_variable(name).sort, LEVELS[TERMINALS[name].level], {"K": 0, "Z": 1}.get(name)) for name in NAMES
}
CONTEXT = Context(CAM, INPUTS)
IRRATIONAL = {"gstd", "softmax"}  # and the core's exp and sqrt
OPAQUE = {name for name, operator in CAM.operators.items() if operator.body is None and operator.reduction is None}


CORE = {  # result: function to the sort of its arguments
    REAL: {"+": REAL, "-": REAL, "*": REAL, "/": REAL, "abs": REAL, "ite": REAL},
    BOOL: {
        **dict.fromkeys(("<", "<=", ">", ">=", "=", "distinct"), REAL),
        **dict.fromkeys(("and", "or", "xor", "=>", "not"), BOOL),
    },
    MAP: {"ite": MAP},
}
EXAMPLES = 2000
LITERALS = [real(0), real(1), real(Fraction(1, 2)), real(-2), real(3)]


def operators(result: Sort) -> list[Function]:
    """The operators of a sort whose values are rational."""
    names = sorted(set(CAM.operators) - IRRATIONAL - OPAQUE)
    return [CAM.operators[name].function for name in names if CAM.operators[name].result == result]


def random_term(draw: random.Random, sort: Sort, depth: int) -> Term:
    """A term of a sort over the terminals, all rational operators and core functions, each as likely as another."""
    leaves = [Term(terminal_variable(name)) for name in NAMES if terminal_variable(name).sort == sort]
    if sort == REAL:
        leaves += LITERALS
    if leaves and (depth == 0 or draw.random() < 0.1):
        return draw.choice(leaves)
    depth = max(depth - 1, 0)
    if sort == BOOL and depth == 0:
        return apply(draw.choice(["<", ">", "="]), *(random_term(draw, REAL, 0) for _ in range(2)))
    chosen = draw.choice([*operators(sort), *CORE[sort]])
    if isinstance(chosen, Function):
        return Term(chosen, tuple(random_term(draw, parameter, depth) for parameter in chosen.parameters))
    below = CORE[sort][chosen]
    if chosen == "ite":
        return apply("ite", *(random_term(draw, s, depth) for s in (BOOL, below, below)))
    count = 1 if chosen in ("abs", "not") else draw.choice([1, 2, 3] if chosen == "-" else [2, 2, 3])
    return apply(chosen, *(random_term(draw, below, depth) for _ in range(count)))


def random_valuation(draw: random.Random, sizes: tuple[int, int]) -> dict[str, exact.Tensor]:
    """A value of every terminal. Small halves, zeros often: sums and products are exact in float64, denominators vanish."""
    made = {}
    for name, known in INPUTS.items():
        indices = itertools.product(*(range(size) for size in sizes[: known.level]))
        made[name] = {index: Fraction(draw.choice([-4, -2, -1, 0, 0, 0, 1, 2, 3, 4]), 2) for index in indices}
    return made


def tensors(images: list[dict], sizes: tuple[int, int]) -> dict[str, Tensor]:
    """The terminals of several valuations as the evaluator takes them, maps as [B, K, 1, P]."""
    made = {}
    for name, known in INPUTS.items():
        shape = {2: (*sizes[:1], 1, sizes[1]), 1: sizes[:1], 0: (1,)}[known.level]
        rows = [[float(value[index]) for index in sorted(value)] for value in (image[name] for image in images)]
        made[name] = torch.tensor(rows, dtype=torch.float64).reshape(len(images), *shape)
    made["K"], made["Z"] = (torch.full((len(images), 1), float(size), dtype=torch.float64) for size in sizes)
    return made


def exact_tensor(term: Term, image: dict, sizes: tuple[int, int]) -> Tensor:
    """The exact value of one image, [K, P] float64 (or Bool)."""
    found = exact.evaluate(term, image, sizes, CONTEXT)
    rows = [[found[(k, p)[: len(next(iter(found)))]] for p in range(sizes[1])] for k in range(sizes[0])]
    kind = bool if term.sort == BOOL else float
    return torch.tensor([[kind(x) for x in row] for row in rows], dtype=torch.bool if kind is bool else torch.float64)


def unsteady(term: Term, evaluator: Evaluator, images: list[dict], sizes: tuple[int, int]) -> bool:
    """Whether rounding may have decided something: a zero that is none in float64, or two numbers that are nearly equal."""
    for sub in subterms(expand(term)):
        operands = [a for a in sub.args if a.sort != BOOL]
        values = [evaluator.value(a).expand(len(images), *sizes) for a in operands]
        for a, b in itertools.combinations(values, 2):
            if bool((((a - b) != 0) & ((a - b).abs() < 1e-9)).any()):
                return True
        for operand, value in zip(operands, values, strict=True):
            expected = torch.stack([exact_tensor(operand, image, sizes) for image in images])
            if not torch.equal(value == 0, expected == 0):
                return True
    return False


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(st.integers(0, 2**64))
def test_random_terms_are_what_exact_arithmetic_says(seed):
    draw = random.Random(seed)
    sizes = draw.randint(1, 3), draw.randint(1, 3)
    term = random_term(draw, draw.choice([REAL, REAL, MAP, MAP, BOOL]), draw.randint(1, 4))
    images = [random_valuation(draw, sizes) for _ in range(2)]
    evaluator = Evaluator(tensors(images, sizes))
    found = evaluator.value(term).expand(2, *sizes)
    expected = torch.stack([exact_tensor(term, image, sizes) for image in images])
    assert found.dtype == expected.dtype
    if not torch.allclose(found.double(), expected.double(), rtol=1e-9, atol=1e-12):
        assume(not unsteady(term, evaluator, images, sizes))
        raise AssertionError(f"{term} at {images}, {sizes}: {found.tolist()}, exactly {expected.tolist()}")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 2**64))
def test_irrational_operators_of_random_terms(seed):
    draw, sizes = random.Random(seed), (3, 2)
    image = random_valuation(draw, sizes)
    real_term, map_term = random_term(draw, REAL, 2), random_term(draw, MAP, 2)
    evaluator = Evaluator(tensors([image], sizes))
    weights = exact_tensor(real_term, image, sizes)[:, 0].tolist()  # [K]
    maps = exact_tensor(map_term, image, sizes).tolist()  # [K][P]
    assume(max(map(abs, weights)) < 100)
    assume(not unsteady(apply("abs", real_term), evaluator, [image], sizes))

    def value(name: str, argument: Term) -> list[float]:
        operator = CAM.operators.get(name)
        term = Term(operator.function, (argument,)) if operator else apply(name, argument)
        return evaluator.value(term).expand(1, *sizes)[0, :, 0].tolist()

    powers = [math.exp(w) for w in weights]
    assert value("exp", real_term) == pytest.approx(powers, rel=1e-9)
    assert value("sqrt", real_term) == pytest.approx([math.sqrt(max(w, 0.0)) for w in weights], rel=1e-9)
    assert value("softmax", real_term) == pytest.approx([p / sum(powers) for p in powers], rel=1e-9)
    deviations = [math.sqrt(sum((x - sum(row) / 2) ** 2 for x in row) / 2) for row in maps]  # of all pixels, not of a sample
    assert value("gstd", map_term) == pytest.approx(deviations, rel=1e-9, abs=1e-9)


def test_every_operator_is_among_those_drawn():
    rational = {f.name for sort in (REAL, MAP, BOOL) for f in operators(sort)}
    assert rational | IRRATIONAL | OPAQUE == set(CAM.operators)
    assert {"uniform"} == OPAQUE


# Two channels of 2×2: A₁ = 1 2 / 0 1, A₂ = 0; one image.
A = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
TINY = {"A": A, "G": A - 1, "y": torch.tensor([[3.0]]), "K": torch.tensor([[2.0]]), "Z": torch.tensor([[4.0]]),
        "drop": torch.tensor([[0.5, -0.5]]), "c": torch.tensor([[7]])}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(/ (gap A) (sum A))", [0.25, 0.0]),  # 1/4, and 0/0 is 0
        ("(/ y (gap A))", [3.0, 0.0]),  # 3/0 is 0
        ("(/ y (gap A) y)", [1.0, 0.0]),  # from the left
        ("(gap (m/ G A))", [0.125, 0.0]),  # (0 + 1/2 - 1/0 + 0)/4
        ("(gap (m/ A A))", [0.75, 0.0]),
        ("(- (gap A))", [-1.0, 0.0]),
        ("(- y (gap A) drop)", [1.5, 3.5]),
        ("(sqrt drop)", [math.sqrt(0.5), 0.0]),
        ("(sum (fill y))", [12.0, 12.0]),
        ("(gstd (fill drop))", [0.0, 0.0]),
        ("(gmax (fill drop))", [0.5, -0.5]),
        ("(csum y)", [6.0, 6.0]),
        ("(cmean drop)", [0.0, 0.0]),
        ("(softmax y)", [0.5, 0.5]),
        ("(sum (above A (gap A)))", [1.0, 0.0]),
        ("(gmin (mneg A))", [-2.0, 0.0]),
        ("(sum (mabs G))", [2.0, 4.0]),
        ("(sum (m- A G))", [4.0, 4.0]),
        ("(ite (and (> y 2.0) (=> false (= y y)) (not (distinct y y))) drop y)", [0.5, -0.5]),
        ("(relu drop)", [0.5, 0.0]),
        ("(to_real c)", [7.0, 7.0]),
        ("(ite (= c 7) drop y)", [0.5, -0.5]),
        ("(/ (to_real (+ c c 1)) (to_real (- c 4)))", [5.0, 5.0]),
        ("(/ (to_real c) (to_real (+ c 4)))", [7 / 11, 7 / 11]),
    ],
)
def test_values_by_hand(text, value):
    found = Evaluator(TINY).value(cam_from_text(text).term)
    assert found.expand(1, 2, 1).flatten().tolist() == pytest.approx(value, rel=1e-15, abs=0)


def test_values_are_float64_whatever_the_terminals_are():
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        evaluator = Evaluator({name: v.to(dtype) if v.is_floating_point() else v for name, v in TINY.items()})
        for text in ("(/ (gap A) 3.0)", "(m* A G)", "(to_real c)", "(softmax (gap G))", "3.0"):
            value = evaluator.value(cam_from_text(text).term)
            assert value.dtype == torch.float64
        assert evaluator.value(cam_from_text("(/ y 7.0)").term).item() == 3 / 7
    c = Term(terminal_variable("c"))
    assert Evaluator(TINY).value(apply("+", c, c)).dtype == torch.int64


def test_a_value_is_kept_until_forgotten_and_terminals_are_not_touched():
    before = {name: value.clone() for name, value in TINY.items()}
    evaluator, term = Evaluator(TINY), cam_from_text("(gap (mrelu (m* A G)))").term
    kept = evaluator.value(term)
    assert evaluator.value(term) is kept
    evaluator.forget()
    assert evaluator.value(term) is not kept and torch.equal(evaluator.value(term), kept)
    assert all(torch.equal(before[name], value) for name, value in TINY.items())


def random_terminals(images: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(images, 5, 4, 3, generator=generator) for name in ("A", "G")}
    made["A"] = made["A"].relu()
    made["A"][:, 1] = 0
    made |= {name: torch.randn(images, 5, generator=generator) for name in ("drop", "fc")}
    made |= {name: torch.rand(images, 1, generator=generator) + 0.1 for name in ("y", "p")}
    return made | {"K": torch.full((images, 1), 5.0), "Z": torch.full((images, 1), 12.0)}


TEXTS = [
    "(gap G)", "(/ (gap (m* A G)) (gap A))", "(softmax drop)", "(* fc (cmax (gstd A)))", "(m* A (mrelu G))",
    "(scale (/ drop y) (above A (gap A)))", "(exp (- (gmax G)))", "y", "(+ p (csum (sum (m/ A G))))",
]  # fmt: skip


def test_batch_order_and_size_change_nothing():
    candidates, terminals = [cam_from_text(text).term for text in TEXTS], random_terminals(7)
    sums = localisation(candidates, Evaluator(terminals))  # [C, B, h, w]
    maps, finite = combined_maps(candidates, Evaluator(terminals))
    assert bool(finite.all()) and maps.dtype == torch.float32
    shuffled = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    again = localisation(candidates, Evaluator({name: value[shuffled] for name, value in terminals.items()}))
    torch.testing.assert_close(again, sums[:, shuffled], rtol=1e-13, atol=1e-13)
    for places in (slice(0, 1), slice(1, 4), slice(4, 7)):
        part = Evaluator({name: value[places] for name, value in terminals.items()})
        torch.testing.assert_close(localisation(candidates, part), sums[:, places], rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(combined_maps(candidates, part)[0], maps[:, places], rtol=0, atol=1e-6)
    for i, candidate in enumerate(candidates):  # alone, and in another order
        torch.testing.assert_close(localisation([candidate], Evaluator(terminals))[0], sums[i], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(localisation(candidates[::-1], Evaluator(terminals)).flip(0), sums, rtol=1e-13, atol=1e-13)


def test_proportional_terms_have_one_map_bit_for_bit():
    texts = ["(gap G)", "(sum G)", "(* 4.0 (gap G))", "(* y (gap G))", "(/ (gap G) (* p 3.0))"]
    maps, _ = combined_maps([cam_from_text(text).term for text in texts], Evaluator(random_terminals(16)))
    for other in maps[1:]:
        assert torch.equal(other, maps[0])


def test_what_is_not_finite_is_flagged_on_its_image_and_draws_nothing():
    terminals = random_terminals(3)
    terminals["y"] = torch.tensor([[1.0], [900.0], [2.0]])  # exp(900) overflows float64
    texts = ["(exp y)", "(gap G)", "(* (gap A) (- (exp y) (exp y)))", "(scale (exp y) A)", "(exp (- y))"]
    for maps, finite in (
        combined_maps([cam_from_text(t).term for t in texts], Evaluator(terminals)),
        heatmaps_of([cam_from_text(t).term for t in texts], Evaluator(terminals), (8, 6)),
    ):
        assert finite.tolist() == [[True, False, True], [True] * 3, [True, False, True], [True, False, True], [True] * 3]
        assert bool(maps.isfinite().all()) and float(maps.min()) >= 0 and float(maps.max()) <= 1
        assert bool((maps[0, 1] == 0).all()) and bool((maps[3, 1] == 0).all())
        assert float(maps[0, 0].max()) > 0.9  # the image beside it is drawn


@pytest.mark.parametrize(
    "text",
    [
        "(relu (- (exp y) (exp (- y 1.0))))",  # inf - inf, of which the comparison in relu makes 0
        "(gap (mrelu (scale (- (exp y) (exp y)) A)))",
        "(ite (> (* 0.0 (exp y)) 1.0) y (gap A))",
    ],
)
def test_a_comparison_does_not_hide_what_overflowed(text):
    terminals = random_terminals(2)
    terminals["y"] = torch.tensor([[1.0], [900.0]])
    maps, finite = combined_maps([cam_from_text(text).term], Evaluator(terminals))
    assert finite.tolist() == [[True, False]]
    assert bool((maps[0, 1] == 0).all())
    # What is only large stays: 1 / exp(900) is 0 to the last bit.
    assert combined_maps([cam_from_text("(/ 1.0 (exp y))").term], Evaluator(terminals))[1].all()


def test_a_term_without_value_is_refused():
    evaluator = Evaluator({"A": TINY["A"]})
    with pytest.raises(SycamError, match=r"term uses 'G', which was not computed; given are \['A'\]"):
        evaluator.value(cam_from_text("(gap G)").term)
    with pytest.raises(SycamError, match=r"sort Real \(channel weights\) or Map \(contributions\), not Bool"):
        localisation([apply(">", Term(terminal_variable("y")), real(0))], Evaluator(TINY))
    with pytest.raises(SycamError, match="'uniform' has no value on tensors"):
        evaluator.value(Term(CAM.operators["uniform"].function, (Term(terminal_variable("A")),)))


def test_rounding_is_that_of_smt_lib():
    """Euclidean division with a remainder that is never negative, total; floor for to_int. Against exact arithmetic."""
    from itertools import product

    from sycam.theory.evaluate import CORE

    pairs = list(product(range(-7, 8), repeat=2))
    a, b = (torch.tensor(side) for side in zip(*pairs, strict=True))
    for name in ("div", "mod"):
        expected = [int(exact.CORE[name](*map(Fraction, pair))) for pair in pairs]
        assert CORE[name](a, b).tolist() == expected
        assert all(0 <= x % abs(y) < abs(y) for x, y in pairs if y)
    halves = torch.arange(-9, 10).double() / 2
    for name in ("to_int", "is_int"):
        expected = [exact.CORE[name](Fraction(float(x))) for x in halves]
        assert CORE[name](halves).tolist() == [e if name == "is_int" else int(e) for e in expected]
    assert CORE["div"](torch.tensor([7, -7, 7, -7]), torch.tensor([2, 2, -2, -2])).tolist() == [3, -4, -3, 4]
    assert CORE["mod"](torch.tensor([7, -7, 7]), torch.tensor([2, 2, 0])).tolist() == [1, 1, 7]
