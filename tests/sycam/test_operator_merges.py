"""No merge over any operator of the theory is false on tensors: those that leave the rationals too (exp, sqrt, gstd, softmax).

`tests/sygus/test_merges.py` checks the rational ones in exact arithmetic; here all are evaluated as a run evaluates them.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sycam.theory import CAM, MAP, OPERATORS, Evaluator
from sygus import REAL, Context, Enumerator, Equivalence, Input, Merge, Solver, Term, Variable, read, read_term
from sygus.terms import subterms, symbol_text

INPUTS = {
    name: Input(name, sort, level)
    for name, sort, level in (("A", MAP, 2), ("G", MAP, 2), ("drop", REAL, 1), ("score", REAL, 1), ("y", REAL, 0), ("p", REAL, 0))
} | {"K": Input("K", REAL, 0, 0), "Z": Input("Z", REAL, 0, 1)}
CONTEXT = Context(CAM, INPUTS, frozenset({"A"}), frozenset({"p"}))
LISTED = {
    "m+", "m-", "m*", "m/", "mrelu", "mabs", "mneg", "scale", "fill", "above", "gap", "sum", "gmax", "gmin", "gstd", "softmax",
    "cmean", "cmax", "csum",
}  # fmt: skip
GRAMMAR = """(synth-fun f ((A Map) (G Map) (drop Real) (score Real) (y Real) (p Real) (K Real) (Z Real)) Real
    ((W Real) (M Map))
    ((W Real (drop score y p K Z 2.0 (gap M) (sum M) (gmax M) (gmin M) (gstd M) (softmax W) (cmean W) (cmax W) (csum W)
              (+ W W) (- W W) (* W W) (/ W W) (abs W) (exp W) (sqrt W) (ite (> W 0.0) W 0.0)))
     (M Map (A G (m+ M M) (m- M M) (m* M M) (m/ M M) (mrelu M) (mabs M) (mneg M) (scale W M) (fill W) (above M W)))))"""


def tensors(batch: int, channels: int, height: int, width: int, seed: int) -> dict[str, Tensor]:
    """Small numbers, some of them zero, equal, or the same everywhere; A is nowhere negative, p is positive."""
    random = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        values = torch.randint(-6, 7, (batch, *shape), generator=random).double() / 4
        values[batch // 4] = 0
        values[batch // 3] = values[batch // 3].flatten()[0]
        return values

    A, G = numbers(channels, height, width).abs(), numbers(channels, height, width)
    A[batch // 2, 0], G[batch // 2 + 1, -1] = 0, 0  # dead channels
    made = {"A": A, "G": G, "drop": numbers(channels), "score": numbers(channels), "y": numbers(1), "p": numbers(1).abs() + 0.25}
    sizes = {"K": channels, "Z": height * width}
    return made | {name: torch.full((batch, 1), float(size), dtype=torch.float64) for name, size in sizes.items()}


SHAPES = [(40, 1, 1, 1), (40, 2, 1, 2), (60, 3, 2, 2), (40, 5, 1, 3), (20, 2, 3, 3)]


def refuted(merges: list[Merge]) -> list[str]:
    """The merges whose sides differ on some tensor by more than rounding."""
    wrong = {}
    for seed, shape in enumerate(SHAPES):
        evaluator = Evaluator(tensors(*shape, seed))
        for merge in merges:
            left, right = torch.broadcast_tensors(evaluator.value(merge.term), evaluator.value(merge.representative))
            known = left.isfinite() & right.isfinite()
            scale = torch.maximum(left[known].abs(), right[known].abs())
            if bool(((left[known] - right[known]).abs() > 1e-6 * scale.clamp(min=1e-3)).any()):
                wrong[merge.term] = f"{merge.term} is not {merge.representative} ({merge.proof})"
    return list(wrong.values())


def test_every_operator_of_the_design_is_there():
    assert set(OPERATORS) >= LISTED
    assert not [name for name in LISTED if OPERATORS[name].body is None and OPERATORS[name].reduction is None]  # none is opaque


def test_merges_over_every_operator_hold_on_tensors():
    declared = " ".join(
        f"(declare-fun {symbol_text(n)} ({' '.join(map(str, OPERATORS[n].parameters))}) {OPERATORS[n].result})"
        for n in sorted(LISTED)
    )
    target = read(f"(set-logic ALL)(declare-sort Map 0){declared}{GRAMMAR}(check-synth)", theory=CAM).target()
    merges: list[Merge] = []
    with Solver() as solver:
        classes = Equivalence(CONTEXT, list(target.variables), solver, on_merge=merges.append)
        for _ in Enumerator(target.grammar, classes, 4):
            pass
    used = {t.name for merge in merges for term in merge[:2] for t in subterms(term)}
    assert used >= {*LISTED, "exp", "sqrt", "abs"}
    assert len(merges) > 400
    assert refuted(merges) == []


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("(gap (m* A G))", "(* (gap A) (gap G))"), ("(softmax (* 2.0 drop))", "(softmax drop)"),
        ("(gstd (m+ A G))", "(+ (gstd A) (gstd G))"), ("(sqrt (* drop drop))", "drop"), ("(exp (+ drop y))", "(exp drop)"),
        ("(cmax (+ drop score))", "(+ (cmax drop) (cmax score))"), ("(gap (above A y))", "(gap (above G y))"),
        ("(sum A)", "(* K (gap A))"),
    ],
)  # fmt: skip
def test_what_is_almost_right_is_refuted(left, right):
    variables = [Variable(name, known.sort) for name, known in INPUTS.items()]
    terms: list[Term] = [read_term(text, variables, {}, CAM) for text in (left, right)]
    assert refuted([Merge(*terms, "wrong")])
