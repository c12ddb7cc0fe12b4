"""The tail as modules that are each called once: what hooks on modules (`sycam.terminals.rescale`, zennit) can work on.

A network calls one ReLU three times, in place, or calls `F.relu` and `+`, where no module is to hook. The traced tail lists every
call, so each becomes a module of its own. Weights are shared with the model, hooks and flags are not: the model never changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sycam.errors import SycamError, Unavailable
from sycam.network.cut import make_out_of_place, overwritten
from sycam.network.network import Network, Passes
from sycam.network.outputs import ChannelsFirst, evaluating
from sycam.terminals.calls import (
    AVERAGE_POOLS,
    LINEAR,
    LINEAR_MODULES,
    MOVES,
    MOVING_MODULES,
    NORMALISATIONS,
    REDUCTIONS,
    SCALINGS,
    WINNERS,
    as_module,
    name_of,
)
from sycam.terminals.calls import POINTWISE as POINTWISE_CALLS
from sycam.terminals.parts import HOOKABLE, POINTWISE, Addition, Joining, MaxPool, Scaling, SpatialMean

TOLERANCE = 1e-4  # relative to the largest logit; a fused normalisation rounds


COVERED = (*HOOKABLE, Addition, Joining, Scaling, SpatialMean, MaxPool, *MOVING_MODULES)


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
                tail: nn.Module
                tail, uncovered = _rewritten(graph, joining(example))
                if not isinstance(network.reshape, ChannelsFirst):
                    tail = nn.Sequential(joining, tail).eval()
                reason = _difference(network, tail, example)
            except Exception as problem:  # noqa: BLE001 - a traced model may hold any call; drop and shap still work
                reason = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}"
            if not reason:
                network.memo["modular tail"], network.memo["uncovered"] = tail, uncovered
                return tail
        raise Unavailable(
            f"the part of {network.name} after layer {network.layer!r} cannot be taken apart ({reason}), which lift, lift_map, "
            "lrp and lrp_contrast need: leave them out of the grammar, or name another `layer`"
        )
    return network.memo["modular tail"]


@dataclass(frozen=True)
class Uncovered:
    """Names of the calls of a modular tail that take their plain gradient, since no rule covers them; for messages.

    Attributes:
        lift: by DeepLIFT's rules: neither linear, nor pointwise, nor a max pooling.
        relevance: by the rules of layer-wise relevance propagation.
    """

    lift: tuple[str, ...]
    relevance: tuple[str, ...]


def uncovered_calls(network: Network) -> Uncovered:
    """Which calls of the network's modular tail no rule covers.

    Raises:
        Unavailable: as `modular_tail`.
    """
    modular_tail(network)
    found: Uncovered = network.memo["uncovered"]
    return found


def _difference(network: Network, tail: nn.Module, example: Tensor) -> str:
    """What is wrong with the modular tail, in words; nothing where its logits are the network's."""
    passes = Passes(**vars(network.passes))
    others = torch.cat([example, -example[:1]])  # one image more: no size of the batch may have become a number
    with torch.no_grad():
        expected, found = network.tail(others), tail(others)
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


def _rewritten(tail: fx.GraphModule, example: Tensor) -> tuple[fx.GraphModule, Uncovered]:
    plain = _copied(tail, example)
    recorder = _Recorder(plain)
    with torch.no_grad():
        recorder.run(example)
    constants = _constants(plain.graph)
    graph = fx.Graph()
    parts: dict[str, Any] = {}
    copies: dict[Any, Any] = {}
    lift: dict[str, None] = {}
    relevance: dict[str, None] = {}

    def call(module: nn.Module, *args: Any) -> fx.Node:
        name = f"step{len(parts)}"
        parts[name] = module.eval()
        if not isinstance(module, COVERED):
            if not isinstance(module, LINEAR_MODULES):
                lift[type(module).__name__] = None
            if not isinstance(module, NORMALISATIONS):
                relevance[type(module).__name__] = None
        return graph.call_module(name, args)

    for node in plain.graph.nodes:
        tensors = [a for a in node.all_input_nodes if isinstance(recorder.seen.get(a), Tensor)]
        active = [a for a in tensors if a not in constants]
        name, one = name_of(node), len(active) == 1 and isinstance(recorder.seen[node], Tensor)
        # All other arguments are numbers or the model's own tensors.
        single = one and bool(node.args) and node.args[0] is active[0] and all(a is active[0] or a in constants for a in tensors)
        if node.op == "call_module":
            module = plain.get_submodule(node.target)
            fused = _fused(node, module, plain)
            if fused is not None:
                copies[node] = call(fused, copies[node.args[0].args[0]])
            else:
                copies[node] = call(_hookable(module), *[copies[a] for a in node.args])
        elif name == "add" and not node.kwargs and len(tensors) == 2:
            stacked = graph.call_function(_stacked, tuple(copies[a] for a in tensors))
            copies[node] = call(Addition(), stacked)
        elif one and name in SCALINGS and (bound := _scaling(node, active[0], recorder)) is not None:
            copies[node] = call(Scaling(bound), copies[active[0]])
        elif single and (known := _single(node, name, recorder)) is not None:
            copies[node] = call(known, copies[active[0]])
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            if node.op == "get_attr":
                parts[node.target] = attrgetter(node.target)(plain)
            elif active and node.op != "output" and not _moves(node, name, recorder):
                called = name or str(getattr(node.target, "__name__", node.target))
                if name not in WINNERS:
                    relevance[called] = None
                if name not in LINEAR:
                    lift[called] = None
    found = fx.GraphModule(parts, graph, "ModularTail")
    found.graph.eliminate_dead_code()  # convolutions that were fused
    found.delete_all_unused_submodules()
    found.recompile()
    return found.eval(), Uncovered(tuple(lift), tuple(relevance))


def _single(node: fx.Node, name: str, recorder: _Recorder) -> nn.Module | None:
    """A function of one tensor, its first argument, as a module that rules know; None where it is another."""
    args, kwargs = _plain_arguments(node, recorder)
    if name in POINTWISE_CALLS:
        return _stand_in(_bound(_function(node), args, kwargs))
    if name in AVERAGE_POOLS or (name in REDUCTIONS and _keeps_images(args, kwargs, recorder.seen[node.all_input_nodes[0]].ndim)):
        return SpatialMean(_bound(_function(node), args, kwargs))
    if name in ("neg", "negative"):
        return Scaling(torch.neg)
    if name == "layer_norm":
        return _layer_norm(*args, **kwargs)
    if name == "max_pool2d":
        return _max_pool(*args, **kwargs)
    if name == "adaptive_max_pool2d":
        return _adaptive_max_pool(*args, **kwargs)
    return None


def _function(node: fx.Node) -> Callable[..., Tensor]:
    if node.op == "call_function":
        return node.target  # type: ignore[return-value]
    name = str(node.target)
    return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)


def _scaling(node: fx.Node, active: fx.Node, recorder: _Recorder) -> Callable[[Tensor], Tensor] | None:
    """The multiplication as a function of the active factor, where the other is constant and widens no axis."""
    places = [place for place, a in enumerate(node.args) if a is active]
    if len(node.args) != 2 or len(places) != 1 or node.kwargs or (places[0] == 1 and name_of(node) not in ("mul", "multiply")):
        return None
    if recorder.seen[node].shape != recorder.seen[active].shape:
        return None
    (other,) = fx.node.map_arg((node.args[1 - places[0]],), recorder.seen.__getitem__)
    return _bound(_function(node), (other,), {})


def _keeps_images(args: tuple[Any, ...], kwargs: dict[str, Any], axes: int) -> bool:
    """Whether a mean or sum is over some axes, and not over the images."""
    over = kwargs.get("dim", args[0] if args else None)
    over = over if isinstance(over, list | tuple) else [over]
    return all(isinstance(a, int) and a % axes != 0 for a in over) and len(over) > 0


def _moves(node: fx.Node, name: str, recorder: _Recorder) -> bool:
    """Whether the call hands each number on, or returns a mere number."""
    value = recorder.seen[node]
    tensors = [value] if isinstance(value, Tensor) else value if isinstance(value, list | tuple) else []
    same = any(value is recorder.seen[a] for a in node.all_input_nodes)  # as stochastic depth in eval mode
    return same or (name in MOVES and "alpha" not in node.kwargs) or not any(isinstance(v, Tensor) for v in tensors)


def _constants(graph: fx.Graph) -> set[fx.Node]:
    """The nodes that depend on parameters and buffers alone."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr" or (node.op in ("call_function", "call_method") and found.issuperset(node.all_input_nodes)):
            found.add(node)
    return found


def _copied(tail: fx.GraphModule, example: Tensor) -> fx.GraphModule:
    """The tail with a module of its own for each call, functional layers too, none in place; weights are the model's.

    What is written into a tensor counts for all who use that tensor afterwards: they use the call's result instead.
    """
    recorder = _Recorder(tail)
    with evaluating(tail), torch.no_grad():
        recorder.run(example.clone())
    constants = _constants(tail.graph)
    parts: dict[str, nn.Module | Any] = {}
    graph = fx.Graph()
    copies: dict[Any, Any] = {}
    done: list[fx.Node] = []
    for node in tail.graph.nodes:
        if node.op in ("call_function", "call_method") and not node.args and "input" in node.kwargs:
            node.args, node.kwargs = (node.kwargs["input"],), {k: v for k, v in node.kwargs.items() if k != "input"}
        into = overwritten(node, tail)
        module = None if node in constants else as_module(node, recorder.seen, constants)
        if module is None:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            if into is not None and node.op != "call_module":
                make_out_of_place(copies[node])
        if node.op == "call_module":
            called = tail.get_submodule(node.target)
            tensors = {id(t): t for t in (*called.parameters(), *called.buffers())}
            module = copy.deepcopy(called, dict(tensors)).eval()
            for part in module.modules():
                if getattr(part, "inplace", False):
                    part.inplace = False  # type: ignore[assignment]
            name = f"call{len(parts)}"
            copies[node].target, parts[name] = name, module
        elif module is not None:
            name = f"call{len(parts)}"
            parts[name] = module
            copies[node] = graph.call_module(name, (copies[node.args[0]],))
        elif node.op == "get_attr":
            parts[node.target] = attrgetter(node.target)(tail)
        done.append(node)
        if into is not None and isinstance(recorder.seen[into], Tensor):
            _rebind(node, into, done, copies, recorder.seen)
    return fx.GraphModule(parts, graph, "CopiedTail")


def _rebind(node: fx.Node, into: fx.Node, done: list[fx.Node], copies: dict[Any, Any], values: dict[fx.Node, Any]) -> None:
    """Let all later users of the tensor that `node` wrote into use its result.

    Raises:
        SycamError: a view of that tensor, or what it is a view of, is used later.
    """
    memory = values[into].untyped_storage().data_ptr()
    for earlier in done:
        value = values[earlier]
        if not isinstance(value, Tensor) or value.untyped_storage().data_ptr() != memory:
            continue
        if value is values[into]:
            copies[earlier] = copies[node]
        elif any(user not in done for user in earlier.users):
            raise SycamError(f"{node.target} writes into a view of a tensor that is used afterwards")


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
        return _adaptive_max_pool(module.output_size)
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


def _adaptive_max_pool(output_size: Any, return_indices: bool = False) -> MaxPool:
    """Adaptive max pooling with the arguments of `F.adaptive_max_pool2d`."""
    if return_indices:
        raise SycamError("max pooling that also returns where the largest are")
    return MaxPool(lambda x: F.adaptive_max_pool2d(x, output_size, return_indices=True))


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


def _plain_arguments(node: fx.Node, recorder: _Recorder) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments after the first, numbers where the model computes them."""
    args = fx.node.map_arg(node.args[1:], recorder.seen.__getitem__)
    return args, fx.node.map_arg(node.kwargs, recorder.seen.__getitem__)


def _bound(function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x, *args, **kwargs)


def _stacked(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(a, b), -1)
