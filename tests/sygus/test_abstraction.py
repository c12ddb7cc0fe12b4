"""What a proof may use of reductions, and above all what it may not."""

from fractions import Fraction

import pytest
from setting import RELU, VARIABLES, cam, cam_context, one_class

from sycam.theory import CAM
from sygus import INT, REAL, Context, Equivalence, Function, Input, Solver, Term, Variable, read, read_term
from sygus.constants import real
from sygus.core import apply
from sygus.equivalence.abstraction import Abstraction
from sygus.equivalence.separation import difference
from sygus.semantics import exact
from sygus.semantics.scalars import Instance
from sygus.solver.process import Claim
from sygus.terms import subterms, variable

ALL = list(VARIABLES.values())


# The trap ---------------------------------------------------------------------------------------------------------------


def test_the_trap_on_scalars(solver):
    """relu(a)·S(relu a) and relu(a)·S(a), S a reduction as cvc5 would see it: a term keyed by its argument."""
    a, s = Variable("a", REAL), {"S": Function("S", (REAL,), REAL), "relu": RELU}
    left, right = (read_term(text, [a], s) for text in ("(* (relu a) (S (relu a)))", "(* (relu a) (S a))"))
    classes = Equivalence(Context(), [a], solver)
    claim = classes.claim(left, right)
    assert {t.name for t in subterms(claim.left) if t.is_variable} != {t.name for t in subterms(claim.right) if t.is_variable}
    assert solver.equal([claim]) == ["different"]
    assert not one_class(left, right, Context(), solver, [a])


def test_the_trap_is_real():
    """With S uninterpreted, cvc5 proves the false equality: what the abstraction exists to prevent."""
    import cvc5

    make = cvc5.TermManager()
    solver = cvc5.Solver(make)
    solver.setLogic("QF_UFNRA")
    number = make.getRealSort()
    a, s = make.mkConst(number, "a"), make.mkConst(make.mkFunctionSort([number], number), "S")
    zero = make.mkReal(0)
    relu = make.mkTerm(cvc5.Kind.ITE, make.mkTerm(cvc5.Kind.GT, a, zero), a, zero)
    sides = [make.mkTerm(cvc5.Kind.MULT, relu, make.mkTerm(cvc5.Kind.APPLY_UF, s, x)) for x in (relu, a)]
    solver.assertFormula(make.mkTerm(cvc5.Kind.DISTINCT, *sides))
    assert solver.checkSat().isUnsat()


TRAPS = [
    ("(scale (gap (mrelu G)) (mrelu G))", "(scale (gap G) (mrelu G))"),
    ("(scale (sum (mrelu G)) (mrelu G))", "(scale (sum G) (mrelu G))"),
    ("(scale (gmax (mabs G)) (mrelu G))", "(scale (gmax G) (mrelu G))"),
    ("(m* (above G 0.0) (fill (gap (above G 0.0))))", "(m* (above G 0.0) (fill 1.0))"),
    ("(* (relu drop) (csum (relu drop)))", "(* (relu drop) (csum drop))"),
    ("(* (relu drop) (softmax (relu drop)))", "(* (relu drop) (softmax drop))"),
    ("(* (relu drop) (exp (csum (relu drop))))", "(* (relu drop) (exp (csum drop)))"),
    ("(m* G (fill (/ (gap G) (gap G))))", "(m* (m/ G G) (fill (gap G)))"),
]


@pytest.mark.parametrize(("left", "right"), TRAPS, ids=[a for a, _ in TRAPS])
def test_the_trap_on_tensors(left, right, solver):
    classes = Equivalence(cam_context(), ALL, solver)
    assert solver.equal([classes.claim(cam(left), cam(right))]) != ["equal"], "the proof alone must not say so"
    assert not one_class(cam(left), cam(right), cam_context(), solver)


# What is true and proved --------------------------------------------------------------------------------------------------

EQUAL = {
    "mean of a sum": ("(gap (m+ A G))", "(+ (gap A) (gap G))"),
    "mean of a difference": ("(gap (m- A G))", "(- (gap A) (gap G))"),
    "mean of a negation": ("(gap (mneg G))", "(- (gap G))"),
    "a channel's factor comes out": ("(gap (scale drop G))", "(* drop (gap G))"),
    "a product of factors comes out": ("(gap (scale (* drop y) (scale score G)))", "(* drop (* y (* score (gap G))))"),
    "a divisor comes out": ("(gap (m/ G (fill drop)))", "(/ (gap G) drop)"),
    "a factor that is a mean comes out": ("(gap (scale (gap A) G))", "(* (gap A) (gap G))"),
    "a factor that is a maximum comes out": ("(gap (scale (gmax A) G))", "(* (gmax A) (gap G))"),
    "mean of a constant map": ("(gap (fill drop))", "drop"),
    "maximum of a constant map": ("(gmax (fill drop))", "drop"),
    "minimum of a constant map": ("(gmin (fill drop))", "drop"),
    "mean of a number": ("(gap (fill 3.0))", "3.0"),
    "sum is Z times mean": ("(sum G)", "(* Z (gap G))"),
    "mean is sum over Z": ("(gap G)", "(/ (sum G) Z)"),
    "csum is K times cmean": ("(csum drop)", "(* K (cmean drop))"),
    "csum of a scalar": ("(csum y)", "(* K y)"),
    "sum of a constant map": ("(sum (fill drop))", "(* Z drop)"),
    "csum pulls scalars out": ("(csum (* y drop))", "(* y (csum drop))"),
    "both reductions": ("(csum (sum (scale y A)))", "(* (* K Z) (* y (cmean (gap A))))"),
    "mean of means": ("(cmean (gap (m+ A G)))", "(+ (cmean (gap A)) (cmean (gap G)))"),
    "sums are distributed": ("(gap (m* A (m+ A G)))", "(+ (gap (m* A A)) (gap (m* G A)))"),
    "commuted inside": ("(gap (m* A G))", "(gap (m* G A))"),
    "associated inside": ("(gap (m* A (m* A G)))", "(gap (m* (m* G A) A))"),
    "mean of what is nonnegative": ("(relu (gap A))", "(gap A)"),
    "mean of a square": ("(relu (gap (m* G G)))", "(gap (m* G G))"),
    "mean of an absolute value": ("(abs (gap (mabs G)))", "(gap (mabs G))"),
    "mean of a positive part": ("(relu (gap (mrelu G)))", "(gap (mrelu G))"),
    "mean of what only a proof shows nonnegative": ("(relu (gap (m* G (mrelu G))))", "(gap (m* G (mrelu G)))"),
    "maximum of what is nonnegative": ("(relu (gmax A))", "(gmax A)"),
    "minimum of what is nonnegative": ("(relu (gmin (m* A A)))", "(gmin (m* A A))"),
    "deviation and softmax are nonnegative": ("(+ (relu (gstd G)) (relu (softmax drop)))", "(+ (gstd G) (softmax drop))"),
    "exp and sqrt are nonnegative": ("(+ (abs (exp y)) (abs (sqrt y)))", "(+ (exp y) (sqrt y))"),
    "positive part of what is nonnegative": ("(mrelu A)", "A"),
    "x·x over x": ("(m/ (m* G G) G)", "G"),
    "x over x times x": ("(m* (m/ G G) G)", "G"),
    "x over x, inverted": ("(m/ G (m* G G))", "(m/ (m/ G G) G)"),
    "b over b, b positive": ("(/ (* drop y) y)", "drop"),
    "b over b inside a mean, b positive": ("(gap (scale (/ y y) G))", "(gap G)"),
    "inverse of an inverse": ("(m/ (fill 1.0) (m/ (fill 1.0) G))", "G"),
    "sizes are positive": ("(/ (* drop (* K Z)) (* Z K))", "drop"),
    "a define-fun is its body": ("(gap (fill (relu drop)))", "(ite (> drop 0.0) drop 0.0)"),
    "softmax of a mean, taken out of a mean": ("(gap (scale (softmax (gap A)) G))", "(* (gap G) (softmax (gap A)))"),
    "integers": ("(gap (scale (to_real c) A))", "(* (to_real c) (gap A))"),
    "integers, summed": ("(* (to_real (+ c c)) y)", "(* 2.0 (* (to_real c) y))"),
    "XGrad-CAM without pixels": ("(/ (sum (m* A G)) (sum A))", "(/ (gap (m* A G)) (gap A))"),
    "HiResCAM's mean": ("(/ (sum (m* A G)) Z)", "(gap (m* G A))"),
    "Grad-CAM times activation": ("(gap (scale (gap G) A))", "(* (gap A) (gap G))"),
    "Grad-CAM++'s coefficient, g² cancelled": (
        "(sum (m* (m/ (m* G G) (m* G (m* G G))) (mrelu G)))", "(sum (m/ (mrelu G) G))"
    ),
    "LayerCAM of a nonnegative gradient": ("(m* A (mrelu (m* G G)))", "(m* G (m* A G))"),
    "Ablation-CAM, score positive": ("(/ (* y drop) (* y y))", "(/ drop y)"),
}  # fmt: skip


@pytest.mark.parametrize("name", EQUAL)
def test_true_equality_is_proved(name, solver):
    left, right = EQUAL[name]
    assert one_class(cam(left), cam(right), cam_context(positive="y"), solver)


UNIFORM = {
    "mean of a uniform map": ("(gap (m* A G))", "(* (gap G) (gap A))"),
    "XGrad-CAM is Grad-CAM where A is alive": ("(* (gap A) (/ (gap (m* A G)) (gap A)))", "(* (gap A) (gap G))"),
    "HiResCAM is Grad-CAM": ("(m* A G)", "(scale (gap G) A)"),
    "LayerCAM's gradient": ("(m* A (mrelu G))", "(scale (relu (gap G)) A)"),
    "a uniform map is its mean": ("G", "(fill (gap G))"),
    "maximum": ("(gmax (mrelu G))", "(relu (gap G))"),
}


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_gradient(name, solver):
    left, right = map(cam, UNIFORM[name])
    assert one_class(left, right, cam_context(uniform="G"), solver)
    assert not one_class(left, right, cam_context(), solver), "only the assumption makes them equal"


ASSUMED = [
    ("(mrelu A)", "A", {"nonneg": "A"}),
    ("(relu y)", "y", {"positive": "y"}),
    ("(/ (* drop y) y)", "drop", {"positive": "y"}),
    ("(/ (* drop y) y)", "drop", {"positive": "drop"}),
    ("(gap (scale (/ y y) G))", "(gap G)", {"positive": "y"}),
    ("(relu (gap (m* A A)))", "(gap (m* A A))", {}),
]


@pytest.mark.parametrize(("left", "right", "assumed"), ASSUMED)
def test_what_an_assumption_makes_equal_is_not_equal_without(left, right, assumed, solver):
    none = {"nonneg": "", "positive": ""}
    holds = (left, right, assumed) != ASSUMED[3]
    assert one_class(cam(left), cam(right), cam_context(**{**none, **assumed}), solver) == holds
    assert one_class(cam(left), cam(right), cam_context(**none), solver) == (not assumed)


# What is false and never proved -------------------------------------------------------------------------------------------

WRONG = [
    ("(/ (* drop y) y)", "drop"),
    ("(/ (* (gap A) (gap G)) (gap A))", "(gap G)"),
    ("(/ (gap (m* A G)) (gap A))", "(gap G)"),
    ("(gap (m* A G))", "(* (gap A) (gap G))"),
    ("(gap (m* G G))", "(* (gap G) (gap G))"),
    ("(gap (mrelu G))", "(relu (gap G))"),
    ("(gap (mabs G))", "(abs (gap G))"),
    ("(gap (m/ A G))", "(/ (gap A) (gap G))"),
    ("(gap (m/ G G))", "1.0"),
    ("(relu (gap (m* G (mabs G))))", "(gap (m* G (mabs G)))"),
    ("(relu (gap (ite (> y 0.0) G (fill 0.0))))", "(gap (ite (> y 0.0) G (fill 0.0)))"),
    ("(relu (gmax (ite (> y 0.0) G A)))", "(gmax (ite (> y 0.0) G A))"),
    ("(m/ G G)", "(fill 1.0)"),
    ("(relu (gap G))", "(gap G)"),
    ("(sum G)", "(gap G)"),
    ("(sum G)", "(* K (gap G))"),
    ("(csum drop)", "(cmean drop)"),
    ("(cmean (* drop score))", "(* (cmean drop) (cmean score))"),
    ("(cmean drop)", "drop"),
    ("(cmax drop)", "drop"),
    ("(cmax (gap A))", "(gmax A)"),
    ("(gmax (m+ A G))", "(+ (gmax A) (gmax G))"),
    ("(gmax (m* A A))", "(gmax A)"),
    ("(gmax (scale drop A))", "(* drop (gmax A))"),
    ("(gmax (mneg G))", "(- (gmax G))"),
    ("(gmin G)", "(gmax G)"),
    ("(gstd (scale drop G))", "(* drop (gstd G))"),
    ("(softmax (* 2.0 drop))", "(softmax drop)"),
    ("(softmax drop)", "(/ (exp drop) (csum (exp score)))"),
    ("(exp (+ y y))", "(* 2.0 (exp y))"),
    ("(* (sqrt y) (sqrt y))", "y"),
    ("(mrelu G)", "G"),
    ("(m* A (mrelu G))", "(mrelu (m* A (fill (gap G))))"),
    ("(scale (gap G) A)", "(m* A G)"),
    ("(above G 0.0)", "(m/ G G)"),
    ("(to_real c)", "y"),
    ("(gap (scale (to_real c) A))", "(gap A)"),
    ("(above (scale drop A) 0.0)", "(above A 0.0)"),
    ("(/ 1.0 (+ (gap A) 1.0))", "(/ (gap A) (+ (* (gap A) (gap A)) (gap A)))"),
]


@pytest.mark.parametrize(("left", "right"), WRONG, ids=[f"{a} {b}" for a, b in WRONG])
def test_false_equality_is_not_proved(left, right, solver):
    classes = Equivalence(cam_context(), ALL, solver)
    assert solver.equal([classes.claim(cam(left), cam(right))]) != ["equal"]
    assert not one_class(cam(left), cam(right), cam_context(), solver)


def test_a_name_in_a_file_is_never_taken_for_an_atom(solver):
    """The atom of (exp x) prints much like the symbol |exp[x]|, and is another thing."""
    inputs = [Variable("x", REAL), Variable("exp[x]", REAL), Variable("|exp[x]", REAL)]
    classes = Equivalence(Context(), inputs, solver)
    claim = classes.claim(read_term("(exp x)", inputs, {}), Term(inputs[1]))
    assert claim.left is not claim.right
    assert solver.equal([claim]) == ["different"]


@pytest.mark.parametrize("name", ["+", "-", "*", "ite", "/"])
def test_an_assumption_on_an_argument_named_like_a_function_says_nothing_of_the_function(name, solver):
    context = Context(CAM, {n: Input(n, v.sort, 2 if n in "AG" else 0) for n, v in VARIABLES.items()}, positive=frozenset({name}))
    inputs = [*ALL, Variable(name, REAL)]
    divisor = {"+": "(+ y p)", "-": "(- y p)", "*": "(* y p)", "ite": "(ite (> y p) y p)", "/": "(/ y p)"}[name]
    left = read_term(f"(gap (scale (/ {divisor} {divisor}) A))", inputs, {}, CAM)
    assert not one_class(left, cam("(gap A)"), context, solver, inputs)
    y = variable("y", REAL)
    assert one_class(apply("/", apply("*", y, variable(name, REAL)), variable(name, REAL)), y, context, solver, inputs)


def test_a_constant_function_inside_a_reduction_has_a_level():
    functions = {"k": Function("k", (), REAL, (), real(Fraction(1, 2)))}
    term = read_term("(softmax (* k drop))", ALL, functions, CAM)
    assert cam_context().level(term) == 1
    mean = Function("mean", (VARIABLES["A"].sort,), REAL, (VARIABLES["A"],), cam("(gap A)"))
    assert cam_context().level(read_term("(mean G)", ALL, {"mean": mean}, CAM)) == 1


# Atoms ------------------------------------------------------------------------------------------------------------------------


def test_atoms_of_one_mean_are_one_whatever_its_form():
    abstraction = Abstraction(cam_context())
    forms = ["(gap (m* A G))", "(gap (m* G A))", "(gap (m/ (m* A (m* G G)) G))", "(/ (sum (m* A G)) Z)"]
    atoms = [{t for t in subterms(abstraction.scalar(cam(form))) if t.is_variable and t.name != "Z"} for form in forms]
    assert all(len(found) == 1 for found in atoms) and len(set.union(*atoms)) == 1


def test_only_known_facts_are_stated():
    class Doubting:
        def __init__(self):
            self.asked = []

        def equal(self, claims):
            self.asked += claims
            return ["different"] * len(claims)

    solver = Doubting()
    abstraction = Abstraction(cam_context(positive="y"), solver)
    scalar = abstraction.scalar(cam("(* (gap (m* A G)) (+ (gap (mabs G)) (* y (* drop (sum A)))))"))
    facts = {str(fact) for fact in abstraction.signs.facts(scalar)}
    assert facts == {
        "(>= ||mean-pixel[(abs G)]| 0.0)", "(>= ||mean-pixel[A]| 0.0)", "(> y 0.0)", "(> Z 0.0)",
    }  # fmt: skip
    assert len(solver.asked) == 1, "the sign of A·G is asked of the solver, once"


# Refutations ------------------------------------------------------------------------------------------------------------------


def blind(classes: Equivalence) -> Equivalence:
    """`classes` with fingerprints that see nothing, so that every pair of a sort is compared."""
    classes.fingerprints = lambda terms: [0] * len(terms)  # type: ignore[method-assign]
    return classes


def test_a_refutation_becomes_a_point_that_separates_later_terms(solver):
    classes = blind(Equivalence(cam_context(), ALL, solver))
    texts = ["(gap A)", "(gap G)", "(gap (mrelu G))", "(relu (gap G))", "(+ (gap A) 1.0)"]
    found = classes.representatives([cam(text) for text in texts])
    assert len(set(found)) == len(texts)
    counts = classes.counts
    assert counts.refuted == len(classes.counterexamples) >= 4 and counts.merges == counts.undecided == 0
    for point in classes.counterexamples:
        assert all(v >= 0 for v in point.values["A"].values())
    asked = counts.claims
    again = [f"(+ (* 1.0 {text}) 0.0)" for text in texts]
    assert classes.representatives([cam(text) for text in again]) == found
    assert counts.claims - asked <= len(texts) + 2, "earlier counterexamples lead almost straight to the class"
    later = classes.representatives([cam("(+ (gap A) 7.0)")])
    assert later == [cam("(+ (gap A) 7.0)")]


@pytest.mark.parametrize("batch", [1, 4, 24])
def test_every_rival_of_a_bucket_is_tried(batch):
    """Without models nothing tells rivals apart: the class may be the last of the bucket."""

    class Modelless(Solver):
        def model(self, formulas):
            return None

    names = [Variable(name, REAL) for name in "stuvwxyz"]
    leaves = [Term(v) for v in names]
    terms = [*leaves, *(apply("+", v, real(0)) for v in reversed(leaves)), *(apply("*", real(1), v) for v in leaves)]
    with Modelless() as solver:
        classes = blind(Equivalence(Context(), names, solver))
        found = [r for start in range(0, 24, batch) for r in classes.representatives(terms[start : start + batch])]
    assert found == [*leaves, *reversed(leaves), *leaves]
    assert classes.counts.merges == 16 and classes.counts.classes == 8
    assert len({frozenset(pair[:2]) for pair in classes.undecided}) == classes.counts.undecided


def test_every_counterexample_is_exact_and_separates(solver):
    classes = blind(Equivalence(cam_context(positive="y"), ALL, solver))
    pairs = [(cam(a), cam(b)) for a, b in WRONG if not any(w in a + b for w in ("gstd", "softmax", "exp", "sqrt"))]
    separated = 0
    for left, right in pairs:
        if left is right or left.sort != right.sort:
            continue
        point = classes.separation.find(left, right)
        if point is not None:
            a, b = (exact.evaluate(t, point.values, point.sizes, classes.context) for t in (left, right))
            wide, narrow = (a, b) if len(next(iter(a))) >= len(next(iter(b))) else (b, a)
            level = len(next(iter(narrow)))
            assert any(value != narrow[i[:level]] for i, value in wide.items())
            assert point.values["y"][()] > 0 and all(v >= 0 for v in point.values["A"].values())
            separated += 1
    assert separated >= 20


def test_a_refutation_that_needs_a_fraction_for_an_integer_is_not_believed(solver):
    """Integers are reals to the solver: 2c = 1 has a real solution and no integral one."""
    c = Variable("c", INT)
    classes = blind(Equivalence(Context(), [c], solver))
    left = read_term("(ite (= (* 2 c) 1) 1.0 0.0)", [c], {})
    assert classes.representatives([real(0), left]) == [real(0), left]
    assert classes.counts.refuted == 0 and classes.counts.undecided == 1


UNDECIDED = [
    ("(* (gmax A) (gmax A))", "(gmax (m* A A))"),
    ("(/ (gmax A) (gmax A))", "(/ (gap A) (gap A))"),
    ("(relu (- (gmax G) (gap G)))", "(- (gmax G) (gap G))"),
    (  # (g - 1)² ≥ 0, but its mean is split into three before its sign is asked
        "(relu (gap (m+ (m- (m* G G) (scale 2.0 G)) (fill 1.0))))",
        "(gap (m+ (m- (m* G G) (scale 2.0 G)) (fill 1.0)))",
    ),
]


@pytest.mark.parametrize(("left", "right"), UNDECIDED)
def test_a_pair_that_nobody_decides_stays_two_classes_and_is_counted(left, right, solver):
    told = []
    classes = Equivalence(cam_context(), ALL, solver, on_undecided=told.append)
    terms = [cam(left), cam(right)]
    assert len(set(classes.fingerprints(terms))) == 1, "they are in fact equal, so they share a bucket"
    assert classes.representatives(terms) == terms
    assert classes.counts.undecided == len(classes.undecided) == len(told) == 1
    assert set(told[0][:2]) == set(terms) and told[0].reason == "no tensor realises the refutation"
    assert classes.counts.merges == 0
    assert classes.representatives(terms) == terms and classes.counts.undecided == 1, "asked again, it is not counted again"


def test_instances_write_a_tensor_out():
    instance = Instance(cam_context(), (1, 2))
    formula = difference(instance, cam("(sum A)"), cam("(* Z (gap A))"))
    assert {t.name for t in subterms(formula) if t.is_variable} == {"A@0.0", "A@0.1"}
    assert {str(fact) for fact in instance.facts()} == {"(>= |A@0.0| 0.0)", "(>= |A@0.1| 0.0)"} or len(instance.facts()) == 2
    with pytest.raises(exact.Inexact):
        difference(instance, cam("(softmax drop)"), cam("drop"))


def test_a_claim_carries_its_facts(solver):
    classes = Equivalence(cam_context(positive="y"), ALL, solver)
    claim = classes.claim(cam("(/ y y)"), cam("1.0"))
    assert claim == Claim(cam("(/ y y)"), real(1), (apply(">", variable("y", REAL), real(0)),))
    assert solver.equal([claim, claim._replace(facts=())]) == ["equal", "different"]


# What a define-fun hides ------------------------------------------------------------------------------------------------

SPREAD = read(
    """(set-logic ALL) (declare-sort Map 0) (declare-fun gmax (Map) Real) (declare-fun gmin (Map) Real)
    (declare-fun gstd (Map) Real) (declare-fun cmax (Real) Real)
    (define-fun spread ((M Map)) Real (- (gmax M) (gmin M))) (define-fun rough ((y Map)) Real (gstd y))
    (define-fun highest ((A Real)) Real (cmax A))""",
    theory=CAM,
).functions


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("(cmean (* (spread A) drop))", "(* (spread A) (cmean drop))", False),
        ("(cmean (* (rough A) drop))", "(* (rough A) (cmean drop))", False),
        ("(cmean (* (gmax A) drop))", "(* (gmax A) (cmean drop))", False),
        ("(cmean (* (highest drop) score))", "(* (highest drop) (cmean score))", True),
        ("(cmean (* (spread A) y))", "(* y (cmean (- (gmax A) (gmin A))))", True),
    ],
)
def test_a_reduction_in_a_define_fun_varies_as_its_argument_does(left, right, equal, solver):
    """The name of a parameter says nothing: A is a map here, a weight in `highest`; y is a number here, a map in `rough`."""
    terms = [read_term(text, VARIABLES.values(), SPREAD, CAM) for text in (left, right)]
    assert Equivalence(cam_context(), ALL, solver).proves([tuple(terms)]) == [equal]


def test_no_fingerprint_is_needed_to_keep_apart_what_a_define_fun_hides(solver):
    """Both sides are 0 at every random point, where y is nowhere near 1000."""
    left, right = (
        read_term(f"(* (relu (- y 1000.0)) {text})", VARIABLES.values(), {**SPREAD, "relu": RELU}, CAM)
        for text in ("(cmean (* (spread A) drop))", "(* (spread A) (cmean drop))")
    )
    classes = Equivalence(cam_context(), ALL, solver)
    assert classes.fingerprints([left]) == classes.fingerprints([right])
    assert not one_class(left, right, cam_context(), solver)
