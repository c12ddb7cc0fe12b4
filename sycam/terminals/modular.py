"""The tail as modules that are each called once: what hooks on modules (`sycam.terminals.rescale`, zennit) can work on.

A network calls one ReLU three times, in place, or calls `F.relu` and `+`, where no module is to hook. The traced tail lists every
call, so each becomes a module of its own. Weights are shared with the model, hooks and flags are not: the model never changes.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sycam.errors import SycamError, Unavailable
from sycam.network.network import Network, Passes
from sycam.network.reshape import ChannelsFirst, Reshape

TOLERANCE = 1e-4  # relative to the largest logit; a fused normalisation rounds


class Addition(nn.Module):
    """The sum over the last axis of stacked branches: a residual connection as a module of one input."""

    def forward(self, stacked: Tensor) -> Tensor:
        """[..., branches] to [...]."""
        return stacked.sum(-1)


class Joining(nn.Module):
    """From maps to what the layer returns, where that lies otherwise: channels last, or tokens that are all patches."""

    def __init__(self, reshape: Reshape) -> None:
        super().__init__()
        self.reshape = reshape

    def forward(self, maps: Tensor) -> Tensor:
        """[N, K, h, w] to the layer's own shape."""
        return self.reshape.join(maps, None)


class SpatialMean(nn.Module):
    """Average pooling, however it was written, as a module of one input."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Pooled as the call in the model pools."""
        return self.pool(x)


class MaxPool(nn.Module):
    """Max pooling, however it was written, that can tell where the largest are."""

    def __init__(self, pool: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, h', w']."""
        return self.pool(x)[0]


FUNCTIONS: dict[Any, Callable[..., Tensor]] = {
    f: f
    for f in (
        F.relu, torch.relu, F.relu6, F.silu, F.gelu, F.hardswish, F.hardsigmoid, F.hardtanh, F.leaky_relu, F.elu, F.celu, F.selu,
        F.mish, F.softplus, torch.sigmoid, F.sigmoid, torch.tanh, F.tanh,
    )
}  # fmt: skip
METHODS: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu, "relu_": F.relu, "sigmoid": torch.sigmoid, "sigmoid_": torch.sigmoid, "tanh": torch.tanh,
}  # fmt: skip
HOOKABLE = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus)
POINTWISE = (
    nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Mish, nn.CELU, nn.SELU, nn.LogSigmoid, nn.Softsign,
    nn.Threshold, nn.PReLU,
)  # fmt: skip
ADDITIONS = (operator.add, operator.iadd, torch.add)
POOLS = (F.adaptive_avg_pool2d, F.avg_pool2d, torch.mean)


def modular_tail(network: Network) -> nn.Module:
    """The network's tail, from maps to logits, as modules that are each called once, in eval mode; built once, then remembered.

    Raises:
        Unavailable: the network could not be cut at its layer, the layer returns class tokens beside the maps, or the traced
            calls do not compute the same as modules.
    """
    if "modular tail" not in network.memo:
        reason, graph = network.cut_reason, network.tail_graph
        if graph is not None and network.needs_images:
            reason = "the layer returns class tokens, which belong to the image and to no map"
        elif graph is not None:
            generator = torch.Generator().manual_seed(0)
            example = torch.randn(2, network.channels, *network.map_size, generator=generator)
            example = example.to(network.device, network_dtype(network))
            joining = Joining(network.reshape)
            try:
                tail: nn.Module = _rewritten(graph, joining(example))
                if not isinstance(network.reshape, ChannelsFirst):
                    tail = nn.Sequential(joining, tail).eval()
                reason = _difference(network, tail, example)
            except Exception as problem:  # noqa: BLE001 - a traced model may hold any call; drop and shap still work
                reason = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}"
            if not reason:
                network.memo["modular tail"] = tail
                return tail
        raise Unavailable(
            f"the part of {network.name} after layer {network.layer!r} cannot be taken apart ({reason}), which lift, lift_map, "
            "lrp and lrp_contrast need: leave them out of the grammar, or name another --layer"
        )
    return network.memo["modular tail"]


def _difference(network: Network, tail: nn.Module, example: Tensor) -> str:
    """What is wrong with the modular tail, in words; nothing where its logits are the network's."""
    passes = Passes(**vars(network.passes))
    with torch.no_grad():
        expected, found = network.tail(example), tail(example)
    network.passes = passes  # the verification is not the run's work
    difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
    return "" if difference <= TOLERANCE else f"its logits as modules differ by {difference:.1e} of the largest"


def network_dtype(network: Network) -> torch.dtype:
    """Of the first floating-point parameter; float32 where there is none."""
    return next((p.dtype for p in network.model.parameters() if p.is_floating_point()), torch.float32)


class _Recorder(fx.Interpreter):
    """Notes what each node returns, so that sizes that a pooling was given become numbers."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, noted."""
        self.seen[n] = super().run_node(n)
        return self.seen[n]


def _rewritten(tail: fx.GraphModule, example: Tensor) -> fx.GraphModule:
    plain = _copied(tail)
    recorder = _Recorder(plain)
    with torch.no_grad():
        recorder.run(example)
    graph = fx.Graph()
    parts: dict[str, Any] = {}
    copies: dict[Any, Any] = {}

    def call(module: nn.Module, *args: Any) -> fx.Node:
        name = f"step{len(parts)}"
        parts[name] = module.eval()
        return graph.call_module(name, args)

    for node in plain.graph.nodes:
        first = copies.get(node.args[0]) if node.args and isinstance(node.args[0], fx.Node) else None
        tensors = [a for a in node.args if isinstance(a, fx.Node) and isinstance(recorder.seen.get(a), Tensor)]
        if node.op == "call_module":
            module = plain.get_submodule(node.target)
            fused = _fused(node, module, plain)
            if fused is not None:
                copies[node] = call(fused, copies[node.args[0].args[0]])
            else:
                copies[node] = call(_hookable(module), *[copies[a] for a in node.args])
        elif _is_addition(node) and len(tensors) == 2:
            stacked = graph.call_function(_stacked, tuple(copies[a] for a in tensors))
            copies[node] = call(Addition(), stacked)
        elif first is not None and (pointwise := _pointwise(node)) is not None:
            args, kwargs = _plain_arguments(node, recorder)
            copies[node] = call(_stand_in(_bound(pointwise, args, {k: v for k, v in kwargs.items() if k != "inplace"})), first)
        elif first is not None and _is_pool(node):
            args, kwargs = _plain_arguments(node, recorder)
            function = torch.mean if node.op == "call_method" else node.target
            copies[node] = call(SpatialMean(_bound(function, args, kwargs)), first)
        elif first is not None and node.op == "call_function" and node.target is F.layer_norm:
            args, kwargs = _plain_arguments(node, recorder)
            copies[node] = call(_layer_norm(*args, **kwargs), first)
        elif first is not None and node.op == "call_function" and node.target in (F.max_pool2d, torch.max_pool2d):
            args, kwargs = _plain_arguments(node, recorder)
            copies[node] = call(_max_pool(*args, **kwargs), first)
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            if node.op == "get_attr":
                parts[node.target] = attrgetter(node.target)(plain)
    found = fx.GraphModule(parts, graph, "ModularTail")
    found.graph.eliminate_dead_code()  # convolutions that were fused
    found.delete_all_unused_submodules()
    found.recompile()
    return found.eval()


def _copied(tail: fx.GraphModule) -> fx.GraphModule:
    """The tail with a module of its own for each call, not in place; parameters and buffers are the model's."""
    parts: dict[str, Any] = {}
    graph = fx.Graph()
    copies: dict[Any, Any] = {}
    for node in tail.graph.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
        if node.op == "call_module":
            module = tail.get_submodule(node.target)
            tensors = {id(t): t for t in (*module.parameters(), *module.buffers())}
            own = copy.deepcopy(module, dict(tensors)).eval()
            for part in own.modules():
                if getattr(part, "inplace", False):
                    part.inplace = False  # type: ignore[assignment]
            name = f"call{len(parts)}"
            copies[node].target, parts[name] = name, own
        elif node.op == "get_attr":
            parts[node.target] = attrgetter(node.target)(tail)
    return fx.GraphModule(parts, graph, "CopiedTail")


def _fused(node: fx.Node, module: nn.Module, plain: fx.GraphModule) -> nn.Module | None:
    """A convolution and the batch normalisation after it as one convolution, so that relevance passes through both at once."""
    before = node.args[0]
    if not isinstance(module, nn.BatchNorm2d) or not isinstance(before, fx.Node) or before.op != "call_module":
        return None
    convolution = plain.get_submodule(str(before.target))
    if not isinstance(convolution, nn.Conv2d) or len(before.users) != 1 or module.running_mean is None:
        return None
    return fuse_conv_bn_eval(convolution, module)


def _hookable(module: nn.Module) -> nn.Module:
    """The module, or one of a type in `HOOKABLE` which computes the same."""
    if isinstance(module, POINTWISE) and type(module) not in HOOKABLE:
        return _stand_in(module)
    if isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        return SpatialMean(module)
    if isinstance(module, nn.MaxPool2d) and not module.return_indices:
        return _max_pool(module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
    if isinstance(module, nn.AdaptiveMaxPool2d) and not module.return_indices:
        size: Any = module.output_size
        return MaxPool(lambda x: F.adaptive_max_pool2d(x, size, return_indices=True))
    return module


def _max_pool(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> MaxPool:
    """Max pooling with the arguments of `F.max_pool2d`."""
    if return_indices:
        raise SycamError("max pooling that also returns where the largest are")
    return MaxPool(lambda x: F.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True))


def _layer_norm(
    normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> nn.LayerNorm:
    """Layer normalisation with the arguments of `F.layer_norm`, its weights the model's."""
    module = nn.LayerNorm(normalized_shape, eps, elementwise_affine=False)
    module.weight, module.bias = weight, bias  # type: ignore[assignment]
    return module


def _stand_in(function: Callable[[Tensor], Tensor]) -> nn.Module:
    """A pointwise function in the form of a module of a type in `HOOKABLE`: rules ask its input and output."""
    module = nn.ReLU()
    # A module itself would become a part of this one, and ReLU's own forward would run.
    module.forward = lambda x: function(x)  # type: ignore[method-assign,assignment]
    return module


def _is_addition(node: fx.Node) -> bool:
    return (node.op == "call_function" and node.target in ADDITIONS and not node.kwargs) or (
        node.op == "call_method" and node.target in ("add", "add_") and not node.kwargs
    )


def _is_pool(node: fx.Node) -> bool:
    """Average pooling, or a mean over both axes of the pixels."""
    if node.op == "call_function" and node.target in POOLS[:2]:
        return True
    if (node.op, node.target) not in (("call_function", torch.mean), ("call_method", "mean")):
        return False
    axes = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    return isinstance(axes, list | tuple) and all(isinstance(a, int) for a in axes) and {a % 4 for a in axes} == {2, 3}


def _pointwise(node: fx.Node) -> Callable[..., Tensor] | None:
    if node.op == "call_function":
        return FUNCTIONS.get(node.target)
    return METHODS.get(str(node.target)) if node.op == "call_method" else None


def _plain_arguments(node: fx.Node, recorder: _Recorder) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments after the first, numbers where the model computes them."""
    args = fx.node.map_arg(node.args[1:], recorder.seen.__getitem__)
    return args, fx.node.map_arg(node.kwargs, recorder.seen.__getitem__)


def _bound(function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x, *args, **kwargs)


def _stacked(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(a, b), -1)
