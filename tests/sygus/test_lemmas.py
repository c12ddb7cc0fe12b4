"""One proof for all claims of a shape: never for a claim that is not an instance."""

import itertools
import random

import pytest
from random_terms import random_term

from sygus import REAL, Solver, read_term
from sygus.constants import real
from sygus.core import apply
from sygus.equivalence.lemmas import Lemmas, _without, shape, shared
from sygus.terms import substitute, subterms, variable

X, Y, Z = (variable(name, REAL) for name in "xyz")
SCALARS = [a.symbol for a in (X, Y, Z)]


def any_term(generator, depth):
    return random_term(generator.choice, REAL, SCALARS, (), ("exp", "sqrt", "to_real"), depth=depth)


class Counting(Solver):
    """Counts the claims that reach cvc5."""

    def __init__(self):
        super().__init__()
        self.claims = []

    def equal(self, claims):
        self.claims += claims
        return super().equal(claims)


@pytest.fixture
def lemmas():
    with Counting() as solver:
        positive = apply(">", X, real(0))
        yield Lemmas(solver, [lambda left, right: [positive] if X in set(subterms(left, right)) else None])


def term(text):
    return read_term(text, [a.symbol for a in (X, Y, Z)], {})


def test_renamed_claims_are_asked_once(lemmas):
    pairs = [(apply("+", a, b), apply("+", b, a)) for a, b in itertools.permutations((X, Y, Z), 2)]
    assert lemmas.equal(pairs) == ["equal"] * 6
    assert len(lemmas.solver.claims) == lemmas.asked == 1


def test_instances_are_proved_by_their_law(lemmas):
    for inner in ("(* x x)", "(* y z)", "(- (/ y x) z)", "(ite (> x z) x z)"):
        assert lemmas.equal([(term(f"(+ {inner} z)"), term(f"(+ z {inner})"))]) == ["equal"]
    assert lemmas.asked == 1


def test_where_the_stronger_claim_is_false_the_claim_itself_is_asked(lemmas):
    """relu(relu(x)) - z = relu(x) - z; with relu(x) as a variable it is false."""
    once, twice = "(ite (> x 0.0) x 0.0)", "(ite (> (ite (> x 0.0) x 0.0) 0.0) (ite (> x 0.0) x 0.0) 0.0)"
    assert lemmas.equal([(term(f"(- {twice} z)"), term(f"(- {once} z)"))]) == ["equal"]
    assert lemmas.asked == 2


def test_facts_count_where_the_law_fails_without(lemmas):
    """x is positive, y is not."""
    assert lemmas.equal([(term("(/ (* x y) x)"), Y), (term("(/ (* y x) y)"), X), (term("(/ x x)"), real(1))]) == [
        "equal", "different", "equal",
    ]  # fmt: skip
    assert lemmas.equal([(term("(/ y y)"), real(1))]) == ["different"]


def test_a_shape_tells_claims_apart():
    texts = [
        "(+ x y)",
        "(+ y x)",
        "(+ x x)",
        "(* x y)",
        "(+ x 1.0)",
        "(+ x 2.0)",
        "(- x)",
        "(- x y)",
        "(+ x (+ y z))",
        "(+ (+ x y) z)",
    ]
    keys = [shape([term(a), term(b)]) for a, b in itertools.product(texts, repeat=2)]
    assert len(set(keys)) == len(texts) ** 2 - _renamings(texts)


def _renamings(texts):
    """Pairs of `texts` that are a renaming of an earlier pair, found by trying every permutation of the variables."""
    seen, repeated = set(), 0
    for a, b in itertools.product(texts, repeat=2):
        pair = (term(a), term(b))
        renamed = [
            tuple(substitute(side, dict(zip((X, Y, Z), order, strict=True))) for side in pair)
            for order in itertools.permutations((X, Y, Z))
        ]
        repeated += any(other in seen for other in renamed)
        seen.add(pair)
    return repeated


def test_the_stronger_form_has_the_claim_as_an_instance():
    """Put back what was taken for variables, and the claim is there again."""
    generator = random.Random(3)
    cut_at_all = 0
    for _ in range(300):
        left, right = (any_term(generator, 4) for _ in range(2))
        if generator.random() < 0.5:
            right = apply("+", right, apply("*", left, left))
        cut = shared(left, right)
        cut_at_all += bool(cut)
        claim = _without((left, right), cut)
        back = {variable(f"||{index}|", t.sort): t for index, t in enumerate(cut)}
        assert (substitute(claim.left, back), substitute(claim.right, back)) == (left, right)
        assert claim.facts == ()
        assert shape((left, right), cut) == shape((claim.left, claim.right))
    assert cut_at_all > 30


def test_verdicts_are_those_of_the_solver(lemmas):
    generator = random.Random(5)
    with Solver() as solver:
        for _ in range(120):
            left, right = (any_term(generator, 3) for _ in range(2))
            if left is right:
                continue
            bare = Lemmas(solver, [])
            assert (bare.equal([(left, right)]) == ["equal"]) == (solver.equal([_without((left, right), set())]) == ["equal"])


def test_depth_changes_no_shape(monkeypatch):
    """Walked by recursion or not, the numbering is one; a term of any depth has a shape."""
    import sygus.equivalence.lemmas as module

    generator = random.Random(8)
    pairs = [(any_term(generator, 4), any_term(generator, 4)) for _ in range(60)]
    recursive = [(shape(pair), shape(pair, shared(*pair))) for pair in pairs]
    monkeypatch.setattr(module, "SHALLOW", 0)
    assert [(shape(pair), shape(pair, shared(*pair))) for pair in pairs] == recursive
    deep = X
    for _ in range(20_000):
        deep = apply("-", deep)
    assert len(shape((deep, X))) == 20_003
