"""The value of terms on tensors: many terms over one batch of images, shared sub-terms once.

Every value has three axes [B, K, P]: images, channels, pixels, with 1 where it is constant, so that scalars, channel weights
and maps broadcast against each other as the theory says. Terms are evaluated in float64 whatever the network's precision: it
costs little beside the network, and proportional terms give one heatmap, bit for bit, which is then scored once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from itertools import combinations, pairwise

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.heatmap import post
from sygus import BOOL, INT, REAL, Context, Function, Operator, Term, expand
from sygus.core import FUNCTIONS
from sygus.semantics.interpret import Domain, interpret
from sygus.terms import fold, subterms

from .operators import CAM, MAP

_CONTEXT = Context(CAM)


def _divided(a: Tensor, b: Tensor) -> Tensor:
    zero = b == 0
    return torch.where(zero, 0, a / torch.where(zero, 1, b))


def _div(a: Tensor, b: Tensor) -> Tensor:
    """SMT-LIB's div, whose remainder is never negative; total, x div 0 = 0."""
    positive = torch.where(b == 0, 1, b.abs())
    return torch.where(b == 0, 0, b.sign() * torch.div(a, positive, rounding_mode="floor"))


def _folded(step: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *args: reduce(step, args)


def _chain(relation: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *args: reduce(torch.bitwise_and, [relation(a, b) for a, b in pairwise(args)])


CORE: dict[str, Callable[..., Tensor]] = {
    "+": _folded(torch.add),
    "-": lambda first, *rest: reduce(torch.sub, rest, first) if rest else -first,
    "*": _folded(torch.mul),
    "/": _folded(_divided),
    "abs": torch.abs,
    "div": _folded(_div),
    "mod": lambda a, b: a - b * _div(a, b),
    "exp": torch.exp,
    "sqrt": lambda a: a.clamp_min(0).sqrt(),
    "to_real": lambda a: a.double(),
    "to_int": lambda a: a.floor().long(),
    "is_int": lambda a: a == a.floor(),
    "<": _chain(torch.lt),
    "<=": _chain(torch.le),
    ">": _chain(torch.gt),
    ">=": _chain(torch.ge),
    "=": _chain(torch.eq),
    "distinct": lambda *args: reduce(torch.bitwise_and, [a != b for a, b in combinations(args, 2)]),
    "ite": torch.where,
    "and": _folded(torch.bitwise_and),
    "or": _folded(torch.bitwise_or),
    "xor": _folded(torch.bitwise_xor),
    "=>": lambda *args: reduce(lambda right, left: ~left | right, args[-2::-1], args[-1]),
    "not": torch.bitwise_not,
}
"""The core functions on tensors that broadcast."""


def _along(
    reduction: Callable[..., Tensor], of_constant: Callable[[Tensor, int], Tensor] = lambda value, size: value
) -> Callable[[Tensor, int, int], Tensor]:
    """A reduction of an axis of `size` entries, along which the value may have one: then it is constant."""

    def reduced(value: Tensor, axis: int, size: int) -> Tensor:
        constant = value.shape[axis] == 1 and size > 1
        return of_constant(value, size) if constant else reduction(value, axis, keepdim=True)

    return reduced


def _softmax(value: Tensor, axis: int, size: int) -> Tensor:
    shape = list(value.shape)
    shape[axis] = size
    return value.expand(shape).softmax(axis)


REDUCTIONS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "mean": _along(torch.mean),
    "sum": _along(torch.sum, lambda value, size: value * size),
    "max": _along(torch.amax),
    "min": _along(torch.amin),
    "std": _along(partial(torch.std, correction=0), lambda value, size: torch.zeros_like(value)),
    "softmax": _softmax,
}
"""The reductions: of a value [B, K or 1, P or 1], an axis (-2 channels, -1 pixels) and the size of that axis."""


class Evaluator(Domain[Tensor]):
    """Terms over one batch of images.

    Args:
        terminals: by name; a Map [B, K, h, w], a channel Real [B, K], a scalar [B, 1].

    >>> A = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]]])  # one image, two channels, 1×2 pixels
    >>> from sygus import Variable, read_term
    >>> term = read_term("(/ (gap A) (gap A))", [Variable("A", MAP)], {}, CAM)
    >>> Evaluator({"A": A}).value(term).flatten().tolist()
    [1.0, 0.0]
    """

    core, reductions = CORE, REDUCTIONS

    def __init__(self, terminals: Mapping[str, Tensor]) -> None:
        super().__init__(_CONTEXT)
        terminals = {n: v.double() if v.is_floating_point() else v for n, v in terminals.items()}
        activations = terminals["A"]  # [B, K, h, w]
        self.batch, self.channels, self.height, self.width = activations.shape
        self.sizes = (self.channels, self.height * self.width)
        self.activations = activations.flatten(2)  # [B, K, P]
        self.device, self.dtype = activations.device, activations.dtype
        self.terminals = {name: value.flatten(2) if value.dim() == 4 else value[:, :, None] for name, value in terminals.items()}
        self._memo: dict[Term, Tensor] = {}

    def value(self, term: Term) -> Tensor:
        """The value of `term`: [B, K or 1, P or 1]. Kept, and shared with later terms, until `forget`."""
        return interpret(term, self, self._memo)

    def forget(self) -> None:
        """Drops all values kept."""
        self._memo.clear()

    def literal(self, term: Term) -> Tensor:
        dtype = torch.bool if term.sort == BOOL else torch.int64 if term.sort == INT else self.dtype
        value = bool(term.value) if term.sort == BOOL else float(term.value)
        return torch.full((1, 1, 1), value, dtype=dtype, device=self.device)

    def variable(self, term: Term) -> Tensor:
        if term.name not in self.terminals:
            raise SycamError(f"term uses {term.name!r}, which was not computed; given are {sorted(self.terminals)}")
        return self.terminals[term.name]

    def reduced(self, operator: Operator, value: Tensor) -> Tensor:
        assert operator.reduction is not None
        return self.reductions[operator.reduction](value, operator.axis - len(self.sizes), self.sizes[operator.axis])

    def unknown(self, term: Term, args: tuple[Tensor, ...]) -> Tensor:
        if not isinstance(term.symbol, Function):
            raise SycamError(f"a quantifier has no value on tensors: {term.name}")
        raise SycamError(f"{term.name!r} has no value on tensors: it is neither a core function nor an operator")


def localisation(terms: Sequence[Term], evaluator: Evaluator) -> Tensor:
    """The sum over channels that each term's heatmap is made of: Σ_k w_k·A_k for a Real term, Σ_k M_k for a Map.

    Args:
        terms: candidates of sort Real or Map.
        evaluator: the batch of images.

    Returns:
        [len(terms), B, h, w], not yet rectified; non-finite where a term is.
    """
    e = evaluator
    out = torch.empty(len(terms), e.batch, e.sizes[1], dtype=e.dtype, device=e.device)
    weights = [i for i, term in enumerate(terms) if term.sort in (REAL, INT)]
    if weights:
        stacked = torch.stack(
            [e.value(terms[i]).to(e.dtype).expand(e.batch, e.channels, 1).squeeze(2) for i in weights], 1
        )  # [B, C, K]
        out[weights] = torch.bmm(stacked, e.activations).transpose(0, 1)
    for i, term in enumerate(terms):
        if term.sort == MAP:
            out[i] = e.value(term).expand(e.batch, e.channels, e.sizes[1]).sum(1)
        elif term.sort not in (REAL, INT):
            raise SycamError(f"a CAM is a term of sort Real (channel weights) or Map (contributions), not {term.sort}: {term}")
    return out.unflatten(2, (e.height, e.width))


def _defined(term: Term, evaluator: Evaluator) -> Tensor:
    """Where no sub-term is NaN, [B] Bool. A comparison hides NaN (the ReLU of inf - inf is 0), so the sums do not tell; one looks
    into terms with a function that overflows, such as `exp`, alone. Of an `ite` on what is one for the whole image, such as its
    class, only the branch that is taken counts."""
    expanded = expand(term)
    if not any(part.args and part.name in FUNCTIONS and FUNCTIONS[part.name].overflows for part in subterms(expanded)):
        return torch.ones(evaluator.batch, dtype=torch.bool, device=evaluator.device)

    def visit(part: Term, args: tuple[Tensor, ...]) -> Tensor:
        own = ~evaluator.value(part).isnan().flatten(1).any(1)  # [B], or [1] of a constant
        if part.name == "ite" and evaluator.value(part.args[0]).flatten(1).shape[1] == 1:
            taken = evaluator.value(part.args[0]).flatten()
            return own & args[0] & torch.where(taken, args[1], args[2])
        return reduce(torch.logical_and, args, own)

    return fold(expanded, visit, {}).expand(evaluator.batch)


def combined_maps(terms: Sequence[Term], evaluator: Evaluator) -> tuple[Tensor, Tensor]:
    """What the heatmaps of terms are upsampled from: the rectified sum over channels, divided by its maximum.

    Returns:
        maps [len(terms), B, h, w], float32 in [0, 1], and a Bool [len(terms), B]: whether the term was finite there. Where it was
        not, the map is zero.
    """
    sums = localisation(terms, evaluator)  # [C, B, h, w]
    finite = sums.isfinite().flatten(2).all(2) & torch.stack([_defined(term, evaluator) for term in terms])
    sums = torch.where(finite[:, :, None, None], sums, 0).relu()
    peak = sums.flatten(2).amax(2)[:, :, None, None]
    return (sums / torch.where(peak == 0, 1, peak)).float(), finite


def heatmaps_of(terms: Sequence[Term], evaluator: Evaluator, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Heatmaps of terms on a batch of images.

    Returns:
        heatmaps [len(terms), B, H, W] in [0, 1], and a Bool [len(terms), B]: whether the term was finite there. Where it was
        not, the heatmap is zero.
    """
    maps, finite = combined_maps(terms, evaluator)
    return post(maps.flatten(0, 1), size).unflatten(0, (len(terms), evaluator.batch)), finite
