"""The operators of the CAM theory, each declared once.

Values live over two axes, channel and pixel: sort `Map` is one real per channel and pixel, sort `Real` one real per channel. A
pointwise operator is given by the SyGuS-IF term that it applies everywhere, a reduction by its kind and axis. From that
one line follow its value on tensors, its fingerprint, its meaning to cvc5, and whether it commutes.

A new operator is one more call, here or in a plug-in:

>>> pointwise("msquare", (MAP,), MAP, "(* x x)", "square").body
<Real (* x x)>
>>> _ = CAM.operators.pop("msquare")
"""

from __future__ import annotations

from sygus import BOOL, INT, REAL, Operator, Sort, Theory, Variable, read_term

MAP = Sort("Map")
CHANNEL, PIXEL = 0, 1

CAM = Theory("cam", axes=("channel", "pixel"), sorts={MAP: 2, REAL: 1, INT: 0, BOOL: 2})
OPERATORS = CAM.operators


def pointwise(name: str, parameters: tuple[Sort, ...], result: Sort, body: str, doc: str) -> Operator:
    """Registers an operator that applies `body`, a term over the reals x, y, z, at every channel and pixel."""
    variables = tuple(Variable(letter, REAL) for letter in "xyz"[: len(parameters)])
    term = read_term(body, variables, {}, file=f"operator {name}")
    return CAM.add(Operator(name, parameters, result, variables, term, doc=doc))


def reduction(name: str, parameter: Sort, result: Sort, kind: str, axis: int, doc: str) -> Operator:
    """Registers an operator that reduces one axis (`CHANNEL` or `PIXEL`) by a kind of `sygus.theory.REDUCTIONS`."""
    return CAM.add(Operator(name, (parameter,), result, reduction=kind, axis=axis, doc=doc))


pointwise("m+", (MAP, MAP), MAP, "(+ x y)", "pixelwise sum")
pointwise("m-", (MAP, MAP), MAP, "(- x y)", "pixelwise difference")
pointwise("m*", (MAP, MAP), MAP, "(* x y)", "pixelwise product")
pointwise("m/", (MAP, MAP), MAP, "(/ x y)", "pixelwise quotient, x / 0 = 0")
pointwise("mrelu", (MAP,), MAP, "(ite (> x 0.0) x 0.0)", "positive part")
pointwise("mabs", (MAP,), MAP, "(abs x)", "absolute value")
pointwise("mneg", (MAP,), MAP, "(- x)", "negation")
pointwise("scale", (REAL, MAP), MAP, "(* x y)", "each channel's map times its real")
pointwise("fill", (REAL,), MAP, "x", "each channel's real at every pixel")
pointwise("above", (MAP, REAL), MAP, "(ite (> x y) 1.0 0.0)", "1 where the map exceeds the real, else 0")
reduction("gap", MAP, REAL, "mean", PIXEL, "spatial mean")
reduction("sum", MAP, REAL, "sum", PIXEL, "spatial sum")
reduction("gmax", MAP, REAL, "max", PIXEL, "spatial maximum")
reduction("gmin", MAP, REAL, "min", PIXEL, "spatial minimum")
reduction("gstd", MAP, REAL, "std", PIXEL, "spatial standard deviation")
reduction("softmax", REAL, REAL, "softmax", CHANNEL, "softmax across channels")
reduction("cmean", REAL, REAL, "mean", CHANNEL, "mean across channels")
reduction("cmax", REAL, REAL, "max", CHANNEL, "maximum across channels")
reduction("csum", REAL, REAL, "sum", CHANNEL, "sum across channels")
# What files assume of terminals; verified on every image before it is used.
pointwise("nonneg", (MAP,), BOOL, "(>= x 0.0)", "assumption: nowhere negative")
pointwise("positive", (REAL,), BOOL, "(> x 0.0)", "assumption: everywhere positive")
CAM.add(Operator("uniform", (MAP,), BOOL, doc="assumption: constant over pixels, bit for bit"))
