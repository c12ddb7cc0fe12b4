"""No merge is false: each is checked in exact arithmetic, by a second evaluator, on ten thousand random tensors."""

import gmpy2
import numpy as np
import pytest
import twin
from setting import INPUTS, cam, cam_context, grammar
from twin import evaluate, rationals

from sycam.theory import CAM
from sygus import BOOL, INT, Context, Enumerator, Equivalence, Input, Merge, Solver, Term, read
from sygus.terms import subterms, symbol_text

SIZES = {(1, 1): 1500, (2, 2): 5000, (1, 3): 1000, (2, 1): 1000, (3, 2): 1000, (2, 5): 500}  # (channels, pixels): tensors
CHUNK = 500


def tensors(context: Context, names, sizes, count, generator):
    """`count` random valuations that satisfy the assumptions, half of them degenerate on purpose."""
    values = {}
    point = np.arange(count)
    for name in names:
        known = context.inputs[name]
        if known.size_of is not None:
            values[name] = np.full((count, 1, 1), gmpy2.mpq(sizes[known.size_of]), object)
            continue
        if known.sort == BOOL:
            values[name] = generator.integers(0, 2, (count, 1, 1)).astype(bool).astype(object)
            continue
        level = known.level - (name in context.uniform)
        shape = (count, *(size if axis < level else 1 for axis, size in enumerate(sizes)))
        numbers = np.rint(generator.normal(0, 3, shape)).astype(np.int64)
        if level:
            numbers[(point % 8 == 1), generator.integers(shape[1])] = 0  # a dead channel
            numbers[point % 16 == 2] = numbers[point % 16 == 2][:, :1, :1]  # the same everywhere
            zero_sum = numbers[point % 16 == 5]
            zero_sum[..., -1] -= zero_sum.sum(-1)
            numbers[point % 16 == 5] = zero_sum
            numbers[(point % 16 == 7)[:, None, None] & (generator.random(shape) < 0.5)] = 0  # scattered zeros
        numbers[generator.random(count) < 0.08] = 0  # zero everywhere
        if name in context.nonneg | context.positive:
            numbers = np.abs(numbers)
        if name in context.positive:
            numbers[numbers == 0] = 1
        divisors = np.ones(shape, int) if known.sort == INT else generator.choice([1, 1, 2, 3], shape)
        values[name] = rationals(numbers, divisors)
    return values


def violations(merges: list[Merge], context: Context, seed: int = 0) -> tuple[list[str], int]:
    """The merges that some tensor refutes, and how many tensors each was tried on."""
    generator, tried = np.random.default_rng(seed), 0
    wrong: dict[Term, str] = {}
    names = {v.name for merge in merges for term in merge[:2] for v in variables_of(term)}
    for sizes, total in SIZES.items():
        for start in range(0, total, CHUNK):
            count = min(CHUNK, total - start)
            values, memo = tensors(context, sorted(names), sizes, count, generator), {}
            for merge in merges:
                left, right = (evaluate(term, values, sizes, memo) for term in merge[:2])
                if left is not right and (left != right).any():
                    wrong.setdefault(merge.term, f"{merge.term} is not {merge.representative} ({merge.proof})")
            tried += count
    return list(wrong.values()), tried


def variables_of(term):
    return [t.symbol for t in subterms(term) if t.is_variable]


def merges_of(target, context, limit) -> list[Merge]:
    merges: list[Merge] = []
    with Solver() as solver:
        classes = Equivalence(context, list(target.variables), solver, on_merge=merges.append)
        for _ in Enumerator(target.grammar, classes, limit):
            pass
    assert classes.counts.merges == len(merges)
    assert len({merge.term for merge in merges}) == len(merges), "a merge was reported twice"
    merged = {merge.term for merge in merges}
    assert not [merge for merge in merges if merge.representative in merged], "a representative was merged away"
    assert {merge.proof for merge in merges} <= {"identical", "cvc5", "instance"}
    return merges


@pytest.mark.parametrize(("name", "limit", "least"), [("gradient", 8, 1400), ("pixelwise", 7, 190), ("perturbation", 6, 1600)])
def test_every_merge_of_a_shipped_grammar_holds_on_ten_thousand_tensors(name, limit, least):
    target, context = grammar(name)
    merges = merges_of(target, context, limit)
    assert len(merges) >= least
    wrong, tried = violations(merges, context)
    assert tried == 10_000
    assert wrong == []


EVERYTHING = """(synth-fun f ((A Map) (G Map) (y Real) (drop Real) (K Real) (Z Real) (c Int) (b Bool)) Real
    ((W Real) (M Map) (B Bool))
    ((W Real (y drop K Z (to_real c) 2.0 (gap M) (sum M) (gmax M) (gmin M) (csum W) (cmean W) (cmax W) (+ W W) (* W W)
              (- W) (/ W W) (abs W) (ite B W W)))
     (M Map (A G (m+ M M) (m* M M) (m/ M M) (mrelu M) (mneg M) (mabs M) (scale W M) (fill W) (above M W)))
     (B Bool (b (> W W) (= W W) (not B) (and B B)))))"""


def test_merges_of_a_grammar_of_every_rational_operator():
    names = sorted({*twin.OPERATORS, *twin.REDUCTIONS} - {"m-", "nonneg", "positive"})
    declared = " ".join(
        f"(declare-fun {symbol_text(n)} ({' '.join(map(str, CAM.operators[n].parameters))}) {CAM.operators[n].result})"
        for n in names
    )
    target = read(f"(set-logic ALL)(declare-sort Map 0){declared}{EVERYTHING}(check-synth)", theory=CAM).target()
    inputs = {**INPUTS, "b": Input("b", BOOL)}
    context = Context(CAM, inputs, frozenset({"A"}), frozenset({"y"}))
    merges = merges_of(target, context, 4)
    assert len(merges) >= 600
    used = {t.name for merge in merges for term in merge[:2] for t in subterms(term)}
    assert used >= {*names, "ite", "abs", "not", "and", "to_real", "K", "Z"}
    assert violations(merges, context)[0] == []


def test_merges_under_a_uniform_gradient():
    target, context = grammar("gradient")
    uniform = Context(CAM, context.inputs, context.nonneg, context.positive, frozenset({"G"}))
    merges = merges_of(target, uniform, 7)
    assert len(merges) >= 400
    assert violations(merges, uniform)[0] == []
    more = {str(merge.term) for merge in merges} - {str(merge.term) for merge in merges_of(target, context, 7)}
    assert "(gap (m* A G))" in {str(m.term) for m in merges} | {str(m.representative) for m in merges}
    assert more, "the assumption proves nothing that was not known without it"


def test_the_check_can_fail():
    """Merges that are almost right are caught."""
    context = cam_context(nonneg="A", positive="y")
    almost = [
        ("(/ (* (gap A) (gap G)) (gap G))", "(gap A)"),
        ("(relu (gap G))", "(gap (mrelu G))"),
        ("(gap (m* A G))", "(* (gap A) (gap G))"),
        ("(/ (gap A) (gap A))", "(/ y y)"),
        ("(relu (- (gap A) y))", "(- (gap A) y)"),
        ("(* (gap (mrelu G)) (gap G))", "(* (relu (gap G)) (gap G))"),
    ]
    merges = [Merge(cam(a), cam(b), "wrong") for a, b in almost]
    wrong, _ = violations(merges, context)
    assert len(wrong) == len(almost)
    right = [("(* (gap G) (/ y y))", "(gap G)"), ("(gap (m* A A))", "(relu (gap (m* A A)))")]
    assert violations([Merge(cam(a), cam(b), "right") for a, b in right], context)[0] == []
