"""Calls of functions and methods in a traced tail, told by name: which are modules, pointwise, scalings, or mere moves.

Rules of attribution are hooks on modules: a call that none of these covers takes its plain gradient, and the user must be told.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

HOMES = (None, "torch", "torch.nn.functional", "torch._C._nn", "_operator", "builtins")
POINTWISE = {
    "abs", "celu", "clamp", "clamp_max", "clamp_min", "clip", "cos", "elu", "erf", "exp", "expm1", "gelu", "hardshrink",
    "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log1p", "log_sigmoid", "logsigmoid", "mish", "pow", "prelu",
    "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "sin", "softplus", "softshrink", "softsign", "sqrt", "square",
    "tanh", "tanhshrink", "threshold",
}  # fmt: skip
SCALINGS = {"mul", "multiply", "div", "divide", "truediv"}
MAX_POOLS = {"max_pool2d", "adaptive_max_pool2d"}
AVERAGE_POOLS = {"avg_pool2d", "adaptive_avg_pool2d", "avg_pool1d", "adaptive_avg_pool1d"}
REDUCTIONS = {"mean", "sum"}
MOVES = {
    "add", "alpha_dropout", "cat", "chunk", "clone", "concat", "contiguous", "double", "dropout", "dropout1d", "dropout2d",
    "expand", "feature_dropout", "flatten", "flip", "float", "getattr", "getitem", "index_select", "movedim", "narrow",
    "pad", "permute", "pixel_shuffle", "repeat", "reshape", "roll", "select", "split", "squeeze", "stack", "swapaxes", "to",
    "transpose", "type_as", "unbind", "unflatten", "unsqueeze", "view",
}  # fmt: skip
"""Calls that hand each number on: gradient and relevance alike. Adding a constant too."""
LINEAR = {"batch_norm", "conv_transpose2d", "interpolate", "sub", "subtract", "upsample"}
"""Linear calls without a rule of relevance: the plain gradient is DeepLIFT's multiplier, and no relevance."""
WINNERS = {"amax", "max_pool1d", "max_pool3d"}
"""Relevance takes the largest, as the plain gradient does; DeepLIFT's rule would need to know its place."""
MOVING_MODULES = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.Identity, nn.Flatten, nn.Unflatten, nn.ZeroPad2d, nn.PixelShuffle,
    nn.ChannelShuffle, nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d,
)  # fmt: skip
LINEAR_MODULES = (nn.ConvTranspose2d, nn.Upsample)
NORMALISATIONS = (nn.LayerNorm, nn.GroupNorm)
"""Relevance passes through them unchanged; for DeepLIFT they multiply activations."""


def name_of(node: fx.Node) -> str:
    """`relu` for `F.relu(x)`, `torch.relu(x)` and `x.relu()`; nothing for a call of no torch function.

    >>> [name_of(node) for node in fx.symbolic_trace(lambda x: 2 * x.exp().view(-1)).graph.nodes]
    ['', 'exp', 'view', 'mul', '']
    """
    if node.op == "call_method":
        return str(node.target).strip("_")
    if node.op == "call_function" and getattr(node.target, "__module__", None) in HOMES:
        return str(getattr(node.target, "__name__", "")).strip("_")
    return ""


def as_module(node: fx.Node, values: dict[fx.Node, Any], constants: set[fx.Node]) -> nn.Module | None:
    """A functional linear layer, convolution or normalisation as the module of the same weights; None for any other call.

    Args:
        node: its first argument is the input.
        values: what each node returns.
        constants: those that depend on parameters alone.
    """
    name = name_of(node)
    given = [a for a in node.all_input_nodes if a is not node.args[0]] if node.args else []
    if name not in _MODULES or not given or not all(a in constants for a in given):
        return None
    args = fx.node.map_arg(node.args[1:], values.__getitem__)
    return _MODULES[name](*args, **{k: v for k, v in fx.node.map_arg(node.kwargs, values.__getitem__).items() if k != "input"})


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Module | None:
    return (
        _filled(nn.Linear(weight.shape[1], weight.shape[0], device="meta"), weight=weight, bias=bias)
        if weight.ndim == 2
        else None
    )


def _product(other: Tensor) -> nn.Module | None:
    return _linear(other.t()) if isinstance(other, Tensor) and other.ndim == 2 else None


def _convolution(
    weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> nn.Module:
    kind: Any = {3: nn.Conv1d, 4: nn.Conv2d}[weight.ndim]
    channels = weight.shape[1] * groups, weight.shape[0]
    made = kind(*channels, tuple(weight.shape[2:]), stride, padding, dilation, groups, device="meta")
    return _filled(made, weight=weight, bias=bias)


def _batch_norm(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> nn.Module | None:
    if training or running_mean is None or running_var is None:
        return None
    made = nn.BatchNorm2d(len(running_mean), eps, momentum, affine=weight is not None, device="meta")
    made.running_mean, made.running_var = running_mean, running_var
    return _filled(made, weight=weight, bias=bias)


_MODULES: dict[str, Any] = {
    "linear": _linear, "matmul": _product, "mm": _product, "conv1d": _convolution, "conv2d": _convolution,
    "batch_norm": _batch_norm,
}  # fmt: skip


def _filled(module: nn.Module, **tensors: Tensor | None) -> nn.Module:
    """The module with these as its parameters, shared and not copied."""
    for name, tensor in tensors.items():
        shared = (
            tensor if tensor is None or isinstance(tensor, nn.Parameter) else nn.Parameter(tensor.detach(), requires_grad=False)
        )
        setattr(module, name, shared)
    return module.eval()
