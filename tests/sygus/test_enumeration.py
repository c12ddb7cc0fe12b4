"""The enumeration misses nothing and repeats nothing: cvc5's own enumerator is the referee."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from setting import INPUTS, grammar

from sycam.theory import CAM, MAP
from sygus import (
    BOOL,
    REAL,
    Context,
    Enumerator,
    Equivalence,
    Grammar,
    Input,
    Operator,
    Solver,
    SygusError,
    Theory,
    Variable,
    read,
    read_term,
)
from sygus.constants import real
from sygus.core import apply
from sygus.learners.bottom_up.enumerator import _grid, _splits
from sygus.learners.findsynth import FindSynth
from sygus.terms import subterms, variable

CAM_HEAD = """(set-logic ALL) (declare-sort Map 0) (declare-fun gap (Map) Real) (declare-fun m* (Map Map) Map)
(declare-fun m+ (Map Map) Map) (declare-fun scale (Real Map) Map) {relu}
"""
GRADIENT = """(synth-fun f ((A Map) (G Map) (y Real)) Real ((W Real) (M Map))
    ((W Real (y (gap M) (+ W W) (- W W) (/ W W) (relu W))) (M Map (A G (m* M M)))))"""
PIXELWISE = """(synth-fun f ((A Map) (G Map)) Map ((M Map) (W Real))
    ((M Map (A G (m* M M) (m+ M M) (scale W M))) (W Real ((gap M) (/ W W)))))"""
SCALAR = """(synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y (+ R R) (- R R) (* R R) (/ R R) (relu R)))))"""
TEMPLATE = """(synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y 1.0 (- R) (* R R) (ite (> R y) R R)))))"""
TWO = """(synth-fun f ((x Real) (y Real)) Real ((R Real) (B Bool))
    ((R Real (x y (- R R) (ite B R R))) (B Bool ((> R R) (= R R) (not B) (and B B)))))"""
RELU_TEXT = "(define-fun relu ((x Real)) Real (ite (> x 0.0) x 0.0))"
EACH = 3  # cvc5's size of a term is the number of its applications: below, cost = 1 + EACH · that number


def by_applications(grammar: Grammar) -> Grammar:
    """The grammar with weights under which a term costs 1 + EACH · the number of productions with holes."""
    weighted = {
        name: [replace(p, weight=EACH + 1 - len(holes) if (holes := grammar.holes(p.body)) else 1) for p in productions]
        for name, productions in grammar.productions.items()
    }
    return Grammar(grammar.nonterminals, weighted)


def context_of(target) -> Context:
    return Context(CAM, {v.name: INPUTS.get(v.name, Input(v.name, v.sort)) for v in target.variables}, frozenset({"A"}))


def target_of(text: str):
    theory = CAM if "Map" in text else None
    head = CAM_HEAD.format(relu=RELU_TEXT) if theory else f"(set-logic ALL){RELU_TEXT}"
    return read(head + text + "(check-synth)", theory=CAM).target()


@pytest.mark.parametrize(
    ("text", "applications", "least"),
    [(GRADIENT, 4, 2000), (PIXELWISE, 3, 700), (SCALAR, 3, 2000), (TEMPLATE, 2, 200), (TWO, 3, 90)],
    ids=["gradient", "pixelwise", "scalar", "template", "two nonterminals"],
)
def test_the_classes_are_those_of_cvc5s_enumerator(text, applications, least, solver):
    target = target_of(text)
    theirs = [found.term for found in FindSynth(target.grammar, applications=applications)]
    assert len(theirs) == len(set(theirs)) >= least
    assert all(target.grammar.derives(term) for term in theirs)

    classes = Equivalence(context_of(target), list(target.variables), solver)
    ours = [found.term for found in Enumerator(by_applications(target.grammar), classes, 1 + EACH * applications)]
    assert all(target.grammar.derives(term) for term in ours)
    assert len(set(ours)) == len(ours)
    assert classes.representatives(ours) == ours, "two candidates of one class"

    of_theirs = classes.representatives(theirs)
    missed = [str(term) for term, found in zip(theirs, of_theirs, strict=True) if found not in set(ours)]
    assert missed == [], "classes that the enumeration does not have"
    extra = set(ours) - set(of_theirs)
    assert {str(term) for term in extra} == set(), "classes that cvc5's enumerator does not have"


@pytest.mark.parametrize("text", [SCALAR, GRADIENT], ids=["scalar", "gradient"])
def test_each_class_is_represented_by_one_of_its_smallest_terms(text, solver):
    target = target_of(text)
    classes = Equivalence(context_of(target), list(target.variables), solver)
    costs = {found.term: found.cost for found in Enumerator(target.grammar, classes, 6)}
    assert all(cost == term.size for term, cost in costs.items())
    small = [term for term, cost in FindSynth(target.grammar, applications=3) if cost <= 6]
    assert len(small) > 200
    for term, representative in zip(small, classes.representatives(small), strict=True):
        assert costs[representative] <= term.size


class Spy(Equivalence):
    """Records every term that is classified."""

    def representatives(self, terms, fingerprints=None):
        self.__dict__.setdefault("asked", []).extend(terms)
        hashes = list(fingerprints)
        assert hashes == self.fingerprints(terms), "the values of blocks differ from those of terms one by one"
        return super().representatives(terms, hashes)


def spied(text: str, limit: int, solver) -> tuple[Spy, Enumerator, list]:
    target = target_of(text)
    classes = Spy(context_of(target), list(target.variables), solver)
    enumerator = Enumerator(target.grammar, classes, limit)
    return classes, enumerator, list(enumerator)


@pytest.mark.parametrize(("text", "limit"), [(GRADIENT, 6), (PIXELWISE, 6), (TWO, 6), (SCALAR, 5)])
def test_commutative_duplicates_are_never_built(text, limit, solver):
    classes, enumerator, found = spied(text, limit, solver)
    built = classes.asked
    assert enumerator.built == len(built) > len(found)
    pairs = {(t.name, t.args) for t in built if len(t.args) == 2}
    for name, (left, right) in pairs:
        if left is not right and (name, (right, left)) in pairs:
            assert name in ("-", "/", ">", "scale"), f"({name} {left} {right}) was built in both orders"
    if text is not TWO:
        orders = {name for name, (left, right) in pairs if left is not right and (name, (right, left)) in pairs}
        assert orders & {"-", "/"}, "what does not commute is built in both orders"


def test_how_many_terms_are_built(solver):
    """By hand: x, y; then 3 unordered pairs of each commutative operator, 4 ordered pairs of the other."""
    text = "(synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y (+ R R) (* R R) (- R R)))))"
    _, enumerator, found = spied(text, 3, solver)
    assert enumerator.built == 2 + 3 + 3 + 4
    assert [str(c.term) for c in found] == [
        "x", "y", "(+ x x)", "(+ x y)", "(+ y y)", "(* x x)", "(* x y)", "(* y y)", "(- x x)", "(- x y)", "(- y x)",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "limit"), [("gradient", 7), ("pixelwise", 6), ("perturbation", 5)])
def test_cheapest_first_and_the_same_on_every_run(name, limit):
    def run():
        target, context = grammar(name)
        merges = []
        with Solver() as solver:
            classes = Equivalence(context, list(target.variables), solver, on_merge=lambda m: merges.append(tuple(map(str, m))))
            enumerator = Enumerator(target.grammar, classes, limit)
            found = [(str(c.term), c.cost) for c in enumerator]
        return found, merges, classes.counts, enumerator.built, [tuple(map(str, u)) for u in classes.undecided]

    first, second = run(), run()
    assert first == second
    costs = [cost for _, cost in first[0]]
    assert costs == sorted(costs) and {1, 2, limit} <= set(costs)


def test_the_sequence_does_not_depend_on_hash_seeds():
    script = (
        "import sygus\n"
        "p = sygus.read('''(synth-fun f ((x Real) (y Real)) Real ((R Real)) ((R Real (x y 1.0 (+ R R) (* R R) (/ R R)))))"
        "(check-synth)''').target()\n"
        "with sygus.Solver() as s:\n"
        "    e = sygus.Equivalence(sygus.Context(), list(p.variables), s)\n"
        "    print([str(c.term) for c in sygus.Enumerator(p.grammar, e, 5)], e.counts)\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1 and outputs.pop().count("x") > 50


@pytest.mark.parametrize("text", [GRADIENT, PIXELWISE, TWO, TEMPLATE])
def test_derives_says_what_the_enumeration_finds(text, solver):
    target = target_of(text)
    classes, _, found = spied(text, 5, solver)
    assert all(target.grammar.derives(c.term) for c in found)
    for term in classes.asked:
        names = [n for n, sort in target.grammar.nonterminals.items() if target.grammar.derives(term, n)]
        assert names and all(target.grammar.nonterminals[n] == term.sort for n in names)
    foreign = [apply("abs", found[0].term)] if found[0].term.sort == REAL else []
    foreign += [variable("q", found[0].term.sort), *[real(7)][: found[0].term.sort == REAL]]
    assert not any(target.grammar.derives(term) for term in foreign)
    wrong_place = [t for c in found for t in subterms(c.term) if t.sort != found[0].term.sort]
    assert not any(target.grammar.derives(term) for term in wrong_place)


def test_derives_to_the_letter():
    rules = "((R Real) (S Real)) ((R Real (S (ite (> R 0.0) R R) (+ S 1.0))) (S Real (x (- S))))"
    x = Variable("x", REAL)
    derives = target_of(f"(synth-fun f ((x Real)) Real {rules})").grammar.derives

    def term(text):
        return read_term(text, [x], {})

    assert derives(term("x")) and derives(term("(- (- x))")) and derives(term("(+ (- x) 1.0)"))
    assert derives(term("(ite (> (+ x 1.0) 0.0) x (ite (> x 0.0) x x))"))
    others = ["1.0", "(+ x 2.0)", "(+ 1.0 x)", "(+ (+ x 1.0) 1.0)", "(- (+ x 1.0))"]
    others += ["(ite (> x 1.0) x x)", "(ite (< x 0.0) x x)", "(ite (> 0.0 x) x x)"]
    for text in others:
        assert not derives(term(text)), text
    assert derives(term("(- x)"), "S") and not derives(term("(+ x 1.0)"), "S")


def candidates(rules: str, limit: int, solver, arguments="(x Real) (y Real)", sort="Real"):
    target = target_of(f"(synth-fun f ({arguments}) {sort} {rules})")
    classes = Equivalence(context_of(target), list(target.variables), solver)
    return [(str(c.term), c.cost) for c in Enumerator(target.grammar, classes, limit)], classes


def test_any_constant_and_any_variable(solver):
    found, _ = candidates("((R Real)) ((R Real ((Constant Real) (Variable Real))))", 2, solver, "(x Real) (b Bool) (y Real)")
    constants = [("0.0", 1), ("1.0", 1), ("(- 1.0)", 1), ("2.0", 2), ("0.5", 2), ("(- 2.0)", 2), ("(- 0.5)", 2)]
    assert found == [("x", 1), ("y", 1), *constants]


def test_chains_cost_nothing_and_are_followed_to_the_end(solver):
    rules = "((R Real) (S Real) (T Real)) ((R Real (S (+ R R))) (S Real (T R)) (T Real (x y (- T))))"
    found, classes = candidates(rules, 3, solver)
    assert found[:4] == [("x", 1), ("y", 1), ("(- x)", 2), ("(- y)", 2)]
    assert ("(+ x y)", 3) in found and len(found) == 7, "(- (- x)) is x, and is merged"
    assert classes.counts.merges == 2, "once for the class, whatever the number of nonterminals that derive it"


def test_nested_templates_cost_their_nodes(solver):
    found, _ = candidates("((R Real)) ((R Real (x y (ite (> R 0.0) R R))))", 6, solver)
    expected = [f"(ite (> {test} 0.0) {branches})" for test in "xy" for branches in ("x y", "y x")]
    assert found[2:] == [(text, 6) for text in expected]


def test_repeated_nonterminals_take_different_terms(solver):
    found, _ = candidates("((R Real)) ((R Real (x (let ((z R)) (- z y)) (* R R))))", 5, solver)
    texts = [text for text, _ in found]
    assert "(- x y)" in texts and "(* x (- x y))" in texts and "(* x x)" in texts


def test_an_argument_may_be_called_like_a_hole(solver):
    found, _ = candidates("((W Real)) ((W Real (x (+ W |W#0|))))", 3, solver, "(x Real) (|W#0| Real)")
    assert found == [("x", 1), ("(+ x |W#0|)", 3)]
    found, _ = candidates("((W Real)) ((W Real (x (- |W#1| W))))", 5, solver, "(x Real) (|W#0| Real) (|W#1| Real)")
    assert found == [("x", 1), ("(- |W#1| x)", 3)], "(- |W#1| (- |W#1| x)) is x"


def test_weights_of_two_nonterminals_shared(solver):
    """The same class found by two nonterminals is a candidate of each, and is proved once."""
    rules = "((R Real) (S Real)) ((R Real (x (+ S S))) (S Real (y x (+ S S))))"
    found, classes = candidates(rules, 3, solver)
    assert found == [("x", 1), ("(+ y y)", 3), ("(+ y x)", 3), ("(+ x x)", 3)]
    assert classes.counts.merges == 0 and classes.counts.claims == 0


def test_a_condition_of_its_own_nonterminal_chooses_between_weights(solver):
    rules = "((W Real) (M Map) (B Bool)) ((W Real (y (gap M) (ite B W W))) (M Map (A)) (B Bool ((> W W))))"
    found, _ = candidates(rules, 8, solver, "(A Map) (y Real)")
    assert ("(ite (> y (gap A)) y (gap A))", 8) in found and len(found) == 4


@pytest.mark.parametrize("condition", ["(nonneg M)", "(= M M)"])
def test_a_condition_that_varies_over_pixels_cannot_choose_between_weights(condition, solver):
    text = f"""(set-logic ALL) (declare-sort Map 0) (declare-fun nonneg (Map) Bool) (declare-fun gap (Map) Real)
        (synth-fun f ((A Map) (y Real)) Real ((W Real) (M Map) (B Bool))
        ((W Real (y (gap M) (ite B W W))) (M Map (A (ite B M M))) (B Bool ({condition} (> W W))))) (check-synth)"""
    target = read(text, theory=CAM).target()
    classes = Equivalence(context_of(target), list(target.variables), solver)
    with pytest.raises(SygusError, match=r"the production \(ite B W W\) of 'W' varies over each pixel, and a value of sort Real"):
        Enumerator(target.grammar, classes, 3)
    maps = Grammar({"M": MAP, "B": BOOL, "W": REAL}, {**target.grammar.productions, "W": target.grammar.productions["W"][:2]})
    assert len(list(Enumerator(maps, classes, 3))) == 1


def test_splits_and_blocks_cover_everything_once():
    for total, parts in itertools.product(range(8), range(4)):
        expected = [c for c in itertools.product(range(1, total + 1), repeat=parts) if sum(c) == total]
        assert sorted(_splits(total, [1] * parts)) == sorted(expected)
    assert list(_splits(3, [0, 2])) == [(0, 3), (1, 2)]
    for lengths in ([1], [5000], [3, 4000], [70, 80, 3], [1, 1, 1], [2500, 2]):
        cells = [c for block in _grid([range(n) for n in lengths]) for c in itertools.product(*block)]
        assert len(cells) == len(set(cells)) == len(list(itertools.product(*map(range, lengths))))


def test_large_blocks_lose_nothing(solver, monkeypatch):
    """Chunks of seven combinations find what chunks of 2,048 find."""
    import sygus.learners.bottom_up.enumerator

    def run():
        return spied(GRADIENT, 6, solver)[1:]

    whole, found = run()
    monkeypatch.setattr(sygus.learners.bottom_up.enumerator, "CHUNK", 7)
    chunked, again = run()
    assert [str(c.term) for c in found] != [] and {c.cost for c in found} == {c.cost for c in again}
    assert len(found) == len(again) and chunked.built == whole.built


def test_batches_and_memory_change_nothing(solver, monkeypatch):
    """Values that are computed again are the values that were kept."""
    import sygus.learners.bottom_up.enumerator

    for name, limit in (("gradient", 7), ("pixelwise", 6)):
        target, context = grammar(name)

        def run(memory, target=target, context=context, limit=limit):
            classes = Equivalence(context, list(target.variables), solver)
            return [(str(c.term), c.cost) for c in Enumerator(target.grammar, classes, limit, memory)], classes.counts.classes

        kept = run(2**30)
        assert run(0) == kept
        assert run(20_000) == kept
        monkeypatch.setattr(sygus.learners.bottom_up.enumerator, "BATCH", 11)
        found, classes = run(2**30)
        assert (sorted(found, key=lambda c: c[1]), classes) == (found, kept[1])
        assert sorted(c for _, c in found) == sorted(c for _, c in kept[0])
        monkeypatch.undo()


def weighted(rules, weights, limit, solver, arguments="(x Real) (y Real)"):
    """Terms in order of the weights of the productions, by the text of their bodies."""
    text = f"(synth-fun f ({arguments}) Real {rules})(check-synth)"
    target = read(text).target()
    productions = {
        n: [replace(p, weight=weights.get(str(p.body), 1)) for p in ps] for n, ps in target.grammar.productions.items()
    }
    classes = Equivalence(Context(), list(target.variables), solver)
    return [(str(c.term), c.cost) for c in Enumerator(replace(target.grammar, productions=productions), classes, limit)]


def test_declared_weights_order_the_enumeration(solver):
    rules = "((R Real)) ((R Real (x y (+ R R) (* R R))))"
    assert weighted(rules, {"x": 0, "y": 5, "(+ R R)": 20, "(* R R)": 2}, 7, solver) == [
        ("x", 0), ("(* x x)", 2), ("(* x (* x x))", 4), ("y", 5), ("(* x (* x (* x x)))", 6), ("(* x y)", 7),
    ]  # fmt: skip
    found = weighted(rules, {"x": 1, "y": 3, "(+ R R)": 2, "(* R R)": 1}, 5, solver)
    assert found[:5] == [("x", 1), ("y", 3), ("(* x x)", 3), ("(+ x x)", 4), ("(* x y)", 5)]
    assert [cost for _, cost in found] == sorted(cost for _, cost in found)


def test_productions_that_cost_nothing(solver):
    """They build on terms of their own cost, in any order of the rules, and each term is built once."""
    rules = "((R Real) (S Real) (T Real)) ((R Real ((+ S T) (- S))) (S Real ((* T T) x)) (T Real (y (- x))))"
    free = {"(+ S T)": 0, "(- S)": 0, "(* T T)": 0, "y": 0, "x": 0, "(- x)": 1}
    found = dict(weighted(rules, free, 2, solver))
    everything = weighted(rules, {}, 20, solver)
    assert found.keys() == {term for term, _ in everything} or len(found) <= len(everything)
    assert found["(- x)"] == 0 and found["(+ (* y y) y)"] == 0 and found["(+ (* y (- x)) (- x))"] == 2
    assert len(found) == len({term for term, _ in everything if found.get(term) is not None})


def test_infinitely_many_terms_of_one_cost_are_refused(solver):
    with pytest.raises(SygusError, match="cost"):
        weighted("((R Real)) ((R Real (x (- R))))", {"(- R)": 0}, 3, solver)


def test_representatives_do_not_depend_on_batches(solver):
    target, context = grammar("gradient")
    classes = Spy(context, list(target.variables), solver)
    list(Enumerator(target.grammar, classes, 6))
    terms = classes.asked
    together = Equivalence(context, list(target.variables), solver).representatives(terms)
    one = Equivalence(context, list(target.variables), solver)
    assert [one.representatives([term])[0] for term in terms] == together
    assert Equivalence(context, list(target.variables), solver).representatives([*terms, *terms])[len(terms) :] == together


def test_a_nonterminal_that_the_start_does_not_reach_is_not_built(solver):
    """Its variables need no values: y is none of the inputs."""
    target = target_of("(synth-fun f ((x Real) (y Real)) Real ((R Real) (S Real)) ((R Real (x (- R R))) (S Real (y (- S R)))))")
    assert target.grammar.reachable() == ["R"]
    assert target.grammar.terminals() == ["x"]
    learner = Enumerator(target.grammar, Equivalence(Context(), [Variable("x", REAL)], solver), limit=3)
    assert [str(found.term) for found in learner] == ["x", "(- x x)"]


@pytest.mark.parametrize(("body", "orders"), [("(+ x x y)", 2), ("(* x y y)", 2), ("(+ y x)", 1)])
def test_an_operator_commutes_only_where_its_body_says_each_argument_once(body, orders, solver):
    """2·x + y is not 2·y + x: both orders are built, and both are classes."""
    x, y = Variable("x", REAL), Variable("y", REAL)
    theory = Theory("own")
    theory.add(Operator("own", (REAL, REAL), REAL, (x, y), read_term(body, [x, y], {})))
    text = """(set-logic ALL)(declare-fun own (Real Real) Real)
        (synth-fun f ((a Real) (b Real)) Real ((R Real)) ((R Real (a b (own R R)))))(check-synth)"""
    target = read(text, theory=theory).target()
    learner = Enumerator(target.grammar, Equivalence(Context(theory), list(target.variables), solver), 3)
    expected = ["a", "b", "(own a a)", "(own a b)", *["(own b a)"][: orders - 1], "(own b b)"]
    assert [str(c.term) for c in learner] == expected and learner.built == len(expected)


@pytest.mark.parametrize(
    "own", ["(define-fun + ((a Bool) (b Bool)) Bool (and a (not b)))", "(define-fun * ((a Bool) (b Bool)) Bool (=> a b))",
            "(declare-fun + (Bool Bool) Bool)"],
)  # fmt: skip
def test_a_function_of_the_file_that_is_called_like_a_core_function_need_not_commute(own, solver):
    """The logic UF has no arithmetic, and so the name is free."""
    name = own.split()[1]
    text = f"(set-logic UF){own}(synth-fun f ((x Bool) (y Bool)) Bool ((B Bool)) ((B Bool (x y ({name} B B)))))(check-synth)"
    target = read(text).target()
    classes = Equivalence(Context(), list(target.variables), solver)
    found = {str(c.term) for c in Enumerator(target.grammar, classes, 3)}
    assert {f"({name} x y)", f"({name} y x)"} <= found


def test_a_function_of_the_file_with_name_and_sorts_of_a_core_function_is_refused():
    """Nothing would be known of it, but of the core's exp that it is positive: |exp x| = exp x."""
    text = "(set-logic UFLRA)(declare-fun exp (Real) Real)(synth-fun f ((x Real)) Real ((R Real)) ((R Real (x (exp R)))))(check-synth)"
    with pytest.raises(
        SygusError, match="a function of one's own with the name and the sorts of the core's exp is not supported yet"
    ):
        read(text).target()
    assert read(text.replace("(declare-fun exp (Real) Real)", "(define-fun exp ((x Real)) Real (- x))")).target()
