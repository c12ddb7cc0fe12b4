"""The value of terms on tensors: many terms over one batch of images, shared sub-terms once.

Every value has three axes [B, K, P]: images, channels, pixels, with 1 where it is constant, so that scalars, channel weights
and maps broadcast against each other as the theory says. Terms are evaluated in float64 whatever the network's precision: it
costs little beside the network, and proportional terms give one heatmap, bit for bit, which is then scored once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.heatmap import post
from sygus import BOOL, INT, REAL, Context, Function, Operator, Term, Variable, expand
from sygus.core import is_core
from sygus.terms import Literal, fold, subterms

from .operators import CAM, MAP

_CONTEXT = Context(CAM)


class Evaluator:
    """Terms over one batch of images.

    Args:
        terminals: by name; a Map [B, K, h, w], a channel Real [B, K], a scalar [B, 1].

    >>> A = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]]])  # one image, two channels, 1×2 pixels
    >>> from sygus import read_term
    >>> term = read_term("(/ (gap A) (gap A))", [Variable("A", MAP)], {}, CAM)
    >>> Evaluator({"A": A}).value(term).flatten().tolist()
    [1.0, 0.0]
    """

    def __init__(self, terminals: Mapping[str, Tensor]) -> None:
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
        return fold(term, self._visit, self._memo)

    def forget(self) -> None:
        """Drops all values kept."""
        self._memo.clear()

    def _visit(self, term: Term, args: tuple[Tensor, ...]) -> Tensor:
        symbol = term.symbol
        if isinstance(symbol, Literal):
            dtype = torch.bool if term.sort == BOOL else torch.int64 if term.sort == INT else self.dtype
            value = bool(symbol.value) if term.sort == BOOL else float(symbol.value)
            return torch.full((1, 1, 1), value, dtype=dtype, device=self.device)
        if isinstance(symbol, Variable):
            if symbol.name not in self.terminals:
                raise SycamError(f"term uses {symbol.name!r}, which was not computed; given are {sorted(self.terminals)}")
            return self.terminals[symbol.name]
        if not isinstance(symbol, Function):
            raise SycamError(f"a quantifier has no value on tensors: {symbol.name}")
        operator = _CONTEXT.operator(term)
        if operator is not None and operator.reduction is not None:
            return self._reduce(operator.reduction, operator.axis - 2, args[0])
        owner: Function | Operator = operator or symbol
        if owner.body is not None:
            return fold(owner.body, self._visit, {Term(v): arg for v, arg in zip(owner.variables, args, strict=True)})
        if not is_core(symbol):
            raise SycamError(f"{symbol.name!r} has no value on tensors: it is neither a core function nor an operator")
        return core_tensor(symbol.name, args)

    def _reduce(self, kind: str, axis: int, value: Tensor) -> Tensor:
        """A reduction over `axis` (-2 channels, -1 pixels), along which `value` may be constant."""
        count = self.sizes[axis]
        if kind == "softmax":
            shape = list(value.shape)
            shape[axis] = count
            return value.expand(shape).softmax(axis)
        if value.shape[axis] == 1 and count > 1:
            return value * count if kind == "sum" else torch.zeros_like(value) if kind == "std" else value
        if kind == "std":
            return torch.std(value, axis, correction=0, keepdim=True)
        if kind in ("max", "min"):
            return value.amax(axis, keepdim=True) if kind == "max" else value.amin(axis, keepdim=True)
        return value.sum(axis, keepdim=True) if kind == "sum" else value.mean(axis, keepdim=True)


def core_tensor(name: str, args: Sequence[Tensor]) -> Tensor:
    """The core function `name` on tensors that broadcast; division is total, `sqrt` is of the positive part."""
    first, rest = args[0], args[1:]
    if name == "-" and not rest:
        return -first
    if name in ("+", "-", "*", "/"):
        for other in rest:
            if name == "/":
                zero = other == 0
                first = torch.where(zero, 0, first / torch.where(zero, 1, other))
            else:
                first = first + other if name == "+" else first - other if name == "-" else first * other
        return first
    if name == "ite":
        return torch.where(first, rest[0], rest[1])
    if name in ("abs", "exp"):
        return first.abs() if name == "abs" else first.exp()
    if name == "sqrt":
        return first.clamp_min(0).sqrt()
    if name == "to_real":
        return first.double()
    if name == "to_int":
        return first.floor().long()
    if name == "is_int":
        return first == first.floor()
    if name in ("div", "mod"):
        for other in rest:
            positive = torch.where(other == 0, 1, other.abs())
            quotient = torch.where(other == 0, 0, other.sign() * torch.div(first, positive, rounding_mode="floor"))
            first = quotient if name == "div" else first - other * quotient
        return first
    if name == "not":
        return ~first
    if name == "distinct":
        return _all([a != b for i, a in enumerate(args) for b in args[i + 1 :]])
    if name in ("<", "<=", ">", ">=", "="):
        compare = {"<": torch.lt, "<=": torch.le, ">": torch.gt, ">=": torch.ge, "=": torch.eq}[name]
        return _all([compare(a, b) for a, b in zip(args, rest, strict=False)])
    if name == "=>":
        result = args[-1]
        for condition in reversed(args[:-1]):
            result = ~condition | result
        return result
    result = first
    for other in rest:
        result = result & other if name == "and" else result | other if name == "or" else result ^ other
    return result


def _all(conditions: list[Tensor]) -> Tensor:
    result = conditions[0]
    for condition in conditions[1:]:
        result = result & condition
    return result


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
    into terms with `exp` alone, the one function that overflows. Of an `ite` on what is one for the whole image, such as its
    class, only the branch that is taken counts."""
    expanded = expand(term)
    if not any(part.name == "exp" and part.args for part in subterms(expanded)):
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
