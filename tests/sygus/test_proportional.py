"""Terms that are proportional over channels and pixels: what is proved, what must not be, and that no proof is false."""

import itertools

import numpy as np
import pytest
import z3
from random_terms import OPERATORS, random_term, seeded
from setting import RELU, VARIABLES, cam, cam_context, grammar
from test_merges import tensors
from twin import evaluate

from sycam.cams import contribution
from sycam.theory import MAP
from sygus import INT, REAL, Context, Enumerator, Equivalence, Input, Proportional, Theory, Variable
from sygus.constants import real
from sygus.core import apply
from sygus.equivalence.proportional import claims
from sygus.solver.smtlib import write_smt2
from sygus.terms import subterms, variable


def heatmap_classes(context, solver, **options) -> Proportional:
    return Proportional(Equivalence(context, list(VARIABLES.values()), solver), contribution, **options)


def one_heatmap(left: str, right: str, solver, **assumed) -> bool:
    first, second = heatmap_classes(cam_context(**assumed), solver).representatives([cam(left), cam(right)])
    return first is second


# Pairs with proofs by hand -----------------------------------------------------------------------------------------------

SAME = {
    "twice": ("(gap G)", "(* 2.0 (gap G))", {}),
    "an equal term": ("(+ (gap G) (gap A))", "(gap (m+ A G))", {}),
    "the sum is Z times the mean, Z > 0": ("(gap G)", "(sum G)", {}),
    "over the sum of channels K times their mean": ("(* (csum y) drop)", "(* y drop)", {}),
    "over a positive y": ("(gap G)", "(/ (gap G) y)", {"positive": "y"}),
    "times a positive y": ("score", "(* y score)", {"positive": "y"}),
    "times y² + 1, positive whatever y": ("drop", "(* (+ 1.0 (* y y)) drop)", {}),
    "times what is positive in each image": ("drop", "(* (+ 1.0 (csum (abs score))) drop)", {}),
    "a positive factor through a ReLU": ("(relu (* y (gap G)))", "(relu (gap G))", {"positive": "y"}),
    "a positive factor of a difference": ("(- (* y drop) (* y y))", "(- drop y)", {"positive": "y"}),
    "y over its inverse": ("(/ drop (/ 1.0 y))", "drop", {"positive": "y"}),
    "weights and the contributions they make": ("(gap G)", "(scale (gap G) A)", {}),
    "weights and contributions, scaled": ("(* 3.0 (gap G))", "(scale (gap G) (m+ A A))", {}),
    "the mean of G·A is Σ gA over Z": ("(/ (sum (m* A G)) y)", "(gap (m* G A))", {"positive": "y"}),
    "a ReLU outside, A nonnegative": ("(relu (gap G))", "(mrelu (scale (gap G) A))", {}),
    "HiResCAM is Grad-CAM": ("(gap G)", "(m* A G)", {"uniform": "G"}),
    "XGrad-CAM is Grad-CAM: where gap A = 0, A is": ("(gap G)", "(/ (gap (m* A G)) (gap A))", {"uniform": "G"}),
    "weight free where A is dead": ("(gap G)", "(ite (= (gap A) 0.0) 0.0 (gap G))", {}),
    "weight free where A is dead, by its maximum": ("(gap G)", "(/ (* (gap G) (gmax A)) (gmax A))", {}),
    "a weight of ΣA over ΣA": ("y", "(/ (* y (gap A)) (gap A))", {"positive": "y"}),
    "nothing and nothing": ("(- drop drop)", "(relu (- (gap (m* A A))))", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_a_heatmap_that_is_the_same(name, solver):
    left, right, assumed = SAME[name]
    assert one_heatmap(left, right, solver, **assumed)


APART = {
    "minus": ("(gap G)", "(- (gap G))", {}),
    "minus twice": ("(gap G)", "(* (- 2.0) (gap G))", {}),
    "y of any sign": ("(gap G)", "(* y (gap G))", {}),
    "over a y of any sign": ("score", "(/ score y)", {}),
    "a factor of each channel": ("drop", "(* (gap A) drop)", {}),
    "a positive factor of each channel": ("drop", "(* (+ 1.0 (gap A)) drop)", {}),
    "a factor of each pixel": ("drop", "(scale drop (m* A A))", {}),
    "an offset": ("drop", "(+ drop y)", {"positive": "y"}),
    "a factor that is zero in some images: y = 0 leaves nothing": ("drop", "(* (abs y) drop)", {}),
    "a ReLU": ("drop", "(relu drop)", {}),
    "an absolute value": ("drop", "(abs drop)", {}),
    "a square": ("drop", "(* drop drop)", {}),
    "something and nothing": ("drop", "(- drop drop)", {}),
    "XGrad-CAM where G is not uniform": ("(gap G)", "(/ (gap (m* A G)) (gap A))", {}),
    "XGrad-CAM where A may sum to zero": ("(gap G)", "(/ (gap (m* A G)) (gap A))", {"uniform": "G", "nonneg": ""}),
    "HiResCAM where G is not uniform": ("(gap G)", "(m* A G)", {}),
    "a weight where A sums to zero and is not dead": ("(gap G)", "(ite (= (gap A) 0.0) 0.0 (gap G))", {"nonneg": ""}),
    "a ReLU outside, A of any sign": ("(relu (gap G))", "(mrelu (scale (gap G) A))", {"nonneg": ""}),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_a_heatmap_that_differs(name, solver):
    left, right, assumed = APART[name]
    assert not one_heatmap(left, right, solver, **assumed)
    context = cam_context(**assumed)
    abstraction = Equivalence(context, list(VARIABLES.values()), solver).abstraction
    asked = claims(contribution(cam(left)), contribution(cam(right)), abstraction)
    assert solver.equal(asked) != ["equal", "equal"], "the proof alone must not say so"


SHARED = ["csum", "cmean", "cmax"]
OF_EACH_CHANNEL = ["(softmax drop)", "(gmax A)", "(gap A)", "(exp drop)", "(gstd A)", "(abs (gap (m* A G)))"]


@pytest.mark.parametrize("reduction", SHARED)
def test_what_is_reduced_over_channels_is_one_number_for_both_places(reduction, solver):
    """Its key names drop, which differs from channel to channel: renaming inside of keys would tear it in two."""
    assert one_heatmap("(gap G)", f"(* (+ 1.0 (abs ({reduction} drop))) (gap G))", solver)


@pytest.mark.parametrize("factor", OF_EACH_CHANNEL)
def test_what_is_reduced_over_pixels_differs_from_channel_to_channel(factor, solver):
    """Were it shared by the two places, a positive factor of a channel would pass for one of the image."""
    assert not one_heatmap("(gap G)", f"(* (+ 1.0 {factor}) (gap G))", solver)
    assert one_heatmap(f"(* (+ 1.0 {factor}) (gap G))", f"(* (+ 3.0 (* 3.0 {factor})) (gap G))", solver)


def test_the_two_places_are_copied_in_claims_and_facts(solver):
    abstraction = Equivalence(cam_context(positive="y"), list(VARIABLES.values()), solver).abstraction
    ratio, sign = claims(contribution(cam("(* (csum (gap A)) drop)")), contribution(cam("(/ drop y)")), abstraction)
    total = "|mean-channel[||mean-pixel[A]|]"
    assert names(ratio.left, ratio.right) == {"K", "y", total, "|A@1", "|A@2", "|drop@1", "|drop@2"}
    assert names(sign.left) == {"K", "y", total, "|A@1", "|drop@1"}
    facts = set(map(str, ratio.facts))
    assert {"(>= ||A@1| 0.0)", "(>= ||A@2| 0.0)", "(> y 0.0)", "(> K 0.0)"} < facts
    for place in "12":  # one sum over the channels; below it, the mean of each of the two
        below = [fact for fact in ratio.facts if fact.name == "=>" and total in names(fact) and len(names(fact)) == 2]
        assert f"||mean-pixel[A]@{place}" in set().union(*map(names, below))


def names(*roots):
    return {t.name for t in subterms(*roots) if t.is_variable}


# What a proof may not use, and how pairs that are not proved end ----------------------------------------------------------


def test_a_refutation_is_a_tensor_and_tells_later_terms_apart(solver):
    """They differ only where y exceeds a million, which no random point does."""
    classes = heatmap_classes(cam_context(positive="y"), solver)
    rare = [f"(ite (> y 1000000.0) {text} drop)" for text in ("(* drop drop)", "(* y (* drop drop))", "(- drop)", "score")]
    terms = [cam(text) for text in ("drop", *rare)]
    assert len(set(classes.fingerprints(terms))) == 1
    first, square, scaled, minus, score = classes.representatives(terms)
    assert len({first, square, minus, score}) == 4
    assert scaled is not first  # y·drop² beyond a million, drop elsewhere: the factor may differ from image to image
    assert scaled is square
    assert (classes.counts.undecided, classes.counts.proved) == (0, 1)
    assert classes.counts.refuted < 9


def test_what_no_tensor_realises_is_undecided_and_can_be_written(solver, tmp_path):
    told = []
    classes = heatmap_classes(cam_context(), solver, on_undecided=told.append)
    square, maximum = cam("(* (gmax A) (gmax A))"), cam("(gmax (m* A A))")  # equal, beyond the axioms about reductions
    assert classes.representatives([square, maximum]) == [square, maximum]
    assert classes.undecided == told
    assert (told[0].left, told[0].right, told[0].reason) == (maximum, square, "no tensor realises the refutation")
    path = tmp_path / "query.smt2"
    write_smt2(classes.claim(maximum, square), path)
    assert z3_says(path) == z3.sat


@pytest.mark.parametrize("name", [name for name in SAME if "nothing" not in name])
def test_a_second_solver_confirms(name, solver, tmp_path):
    left, right, assumed = SAME[name]
    classes = heatmap_classes(cam_context(**assumed), solver)
    path = tmp_path / "query.smt2"
    write_smt2(classes.claim(cam(left), cam(right)), path)
    assert z3_says(path) in (z3.unsat, z3.unknown)


def z3_says(path):
    asked = z3.Solver()
    asked.set("timeout", 3000)
    asked.from_file(str(path))
    return asked.check()


def test_without_axes_proportional_means_of_one_sign(solver):
    x, y = (variable(name, REAL) for name in "xy")
    classes = Proportional(Equivalence(Context(positive=frozenset("y")), [Variable(n, REAL) for n in "xy"], solver))
    terms = [x, apply("*", y, x), apply("*", x, apply("*", x, x)), apply("*", x, x), y, real(2)]
    assert classes.representatives(terms) == [x, x, x, terms[3], y, y]


def test_a_level_in_between_is_its_own_place(solver):
    """Three axes: what varies over the first alone has a copy for each place, what varies over none has one."""
    theory = Theory("deep", ("a", "b", "c"))
    inputs = {name: Input(name, REAL, level) for level, name in enumerate(("none", "first", "second", "third"))}
    context = Context(theory, inputs, positive=frozenset(inputs))
    classes = Proportional(Equivalence(context, [Variable(name, REAL) for name in inputs], solver))
    third = variable("third", REAL)
    scaled = [apply("*", variable(name, REAL), third) for name in inputs]
    found = classes.representatives([third, *scaled])
    assert found == [third, third, *scaled[1:]]


# No proof is false -------------------------------------------------------------------------------------------------------

RATIONAL = [f for name, f in OPERATORS.items() if name not in ("gstd", "softmax", "uniform")]
LEAVES = [VARIABLES[name] for name in ("A", "G", "drop", "y", "K", "Z")]
VARIANTS = [  # of a Real t; most are proportional to it in some context, some in none
    "(* 2.0 {})", "(/ {} y)", "(* y {})", "(- {})", "(* {} (+ 1.0 (csum (abs drop))))", "(* {} (+ 1.0 (gmax A)))", "(relu {})",
    "(/ (* {} (gap A)) (gap A))", "(ite (= (gmax A) 0.0) drop {})", "(* {} (cmax (gap A)))", "(+ {} y)", "(abs {})", "(relu (* y {}))",
    "(/ (* {} drop) drop)", "(* {} (cmean (gmax (mabs G))))", "(/ (* K {}) Z)",
]  # fmt: skip
HALVES = [VARIANTS[::2], VARIANTS[1::2]]
SIZES = {(1, 1): 150, (2, 2): 400, (3, 1): 100, (1, 3): 100, (2, 3): 150}  # (channels, pixels): tensors


def not_proportional(pairs, context, seed):
    """Those of which some exact tensor says that they are not proportional, by the slow evaluator of `twin.py`."""
    generator, wrong = np.random.default_rng(seed), []
    used = names(*(t for pair in pairs for t in map(contribution, pair)))
    for sizes, count in SIZES.items():
        values, memo = tensors(context, sorted(used), sizes, count, generator), {}
        for pair in pairs:
            left, right = (direction(evaluate(contribution(t), values, sizes, memo), count, sizes) for t in pair)
            if (left != right).any():
                wrong.append(pair)
    return wrong


def direction(value, count, sizes):
    flat = np.broadcast_to(value, (count, *sizes)).reshape(count, -1)
    first = np.take_along_axis(flat, (flat != 0).argmax(1)[:, None], 1)
    return flat * np.where(first == 0, 1, 1 / np.where(first == 0, 1, abs(first)))


CONTEXTS = [cam_context(positive="y"), cam_context(nonneg=""), cam_context(positive="y", uniform="G")]


@pytest.mark.parametrize("which", range(len(CONTEXTS)))
def test_no_claimed_pair_is_false(which, solver):
    context, pick, texts = CONTEXTS[which], seeded(which), []
    while len(texts) < 16:
        base = random_term(pick, REAL, LEAVES, [*RATIONAL, RELU], ("exp", "sqrt", "to_real"), depth=3)
        if 1 < base.size < 14:
            texts.append(base)
    terms = [t for base in texts for t in (base, *(cam(variant.format(base)) for variant in pick(HALVES)))]
    terms += [random_term(pick, MAP, LEAVES, RATIONAL, ("exp", "sqrt", "to_real"), depth=2) for _ in range(60)]
    proofs = []
    classes = heatmap_classes(context, solver, on_proof=proofs.append)
    classes.representatives([t for t in terms if INT not in {s.sort for s in subterms(t)}])
    assert len(proofs) > 40
    assert not_proportional([proof[:2] for proof in proofs], context, which) == []


def test_the_slow_check_can_fail():
    almost = [
        ("(gap G)", "(* y (gap G))"), ("(gap G)", "(- (gap G))"), ("drop", "(* (+ 1.0 (gmax A)) drop)"), ("(gap A)", "(- y y)"),
    ]  # fmt: skip
    pairs = [(cam(a), cam(b)) for a, b in almost]
    assert set(not_proportional(pairs, cam_context(), 0)) == set(pairs)
    right = [(cam(a), cam(b)) for a, b, assumed in SAME.values() if not assumed]
    assert not_proportional(right, cam_context(), 0) == []


# Not a congruence --------------------------------------------------------------------------------------------------------


def test_it_is_no_congruence_and_the_enumerator_keeps_both(solver):
    alike, uses = ("(gap G)", "(* y (gap G))"), ("(- (gap A) (gap G))", "(- (gap A) (* y (gap G)))")
    assert one_heatmap(*alike, solver, positive="y")
    assert not one_heatmap(*uses, solver, positive="y")
    target, context = grammar("gradient")
    classes = Equivalence(context, list(target.variables), solver)
    found, terms, learner = Proportional(classes, contribution), [], iter(Enumerator(target.grammar, classes, 7))
    while batch := [candidate.term for candidate in itertools.islice(learner, 50)]:
        found.representatives(batch)
        terms += batch
    plain = Equivalence(context, list(target.variables), solver)
    assert terms == [c.term for c in Enumerator(target.grammar, plain, 7)]
    assert {cam(text) for text in (*alike, *uses)} < set(terms)
    assert len(set(found.representatives(terms))) < 0.7 * len(terms)
