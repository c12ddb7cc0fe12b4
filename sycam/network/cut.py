"""Cut a CNN at the target layer: a *tail* that runs from the layer's output to the logits and nothing else.

Ablating a channel changes nothing before the layer, so a tail saves the rest of the network: 322 times on ResNet50
against a full forward pass per channel. The model is traced with torch.fx and never changed; the tail shares its
modules.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from sycam.errors import SycamError
from sycam.network.outputs import Output, catching, entries, evaluating, replacing

TOLERANCE = 1e-5  # relative to the largest logit


@dataclass(frozen=True)
class Cut:
    """The result of `cut`: a tail, or None and the reason in plain words."""

    tail: fx.GraphModule | None
    reason: str


class LayerTracer(fx.Tracer):
    """torch.fx's tracer, which also notes the node that a given module returned.

    Its `nn_module_stack` would tell the same, but not what a module *returned* where its last operation is shared.
    """

    def __init__(self, target: nn.Module) -> None:
        super().__init__()
        self.target = target
        self.returned: list[Any] = []
        self.before: set[fx.Node] = set()

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Trace one module call (torch.fx's hook for subclasses)."""
        output = super().call_module(m, forward, args, kwargs)
        if m is self.target:
            self.returned.append(output)
            self.before = set(self.graph.nodes)
        return output


def cut(model: nn.Module, target: nn.Module, images: Tensor, output: Output | None = None) -> Cut:
    """Build the tail after `target` and verify it against the whole model.

    Args:
        model: any classifier; comes back in the state it came in.
        target: one of its modules, which returns one tensor [N, ...] (maps, tokens) once per image.
        images: at least two different normalised images [N, 3, H, W] for the verification.
        output: where the logits lie in what the model returns.

    Returns:
        A `Cut` whose tail maps what the layer returns [N, ...] to logits [N, C], or whose `reason` says why there is
        none: tracing failed, something that the logits need bypasses the layer (a skip connection from before it, the
        image itself), the layer runs several times, or the logits differ.

    Raises:
        SycamError: the model returns no logits.

    >>> net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    >>> found = cut(net, net[1], torch.randn(2, 3, 4, 4))
    >>> found.tail(torch.ones(5, 2, 4, 4)).shape, found.reason
    (torch.Size([5, 3]), 'traced and verified')
    """
    select = output or Output(type(model).__name__)
    with evaluating(model):
        with torch.no_grad(), catching(target) as caught:
            returned = model(images.clone())
        if len(caught) != 1:
            return Cut(None, f"the layer runs {len(caught)} times for one image")
        logits, path = select(returned), select.path(returned)
        try:
            tail = _trace_tail(model, target, path)
            difference = _difference(model, target, tail, images, caught[0], logits, select)
        except _NoTailError as problem:
            return Cut(None, str(problem))
        except SycamError:
            raise
        except Exception as problem:  # noqa: BLE001 - a model may fail in any way under the tracer; hooks still work
            first = (str(problem).splitlines() or [""])[0]
            return Cut(None, f"torch.fx cannot trace the model: {type(problem).__name__}: {first}")
    if not difference <= TOLERANCE:
        return Cut(None, f"the traced tail's logits differ from the model's by {difference:.1e} of the largest")
    return Cut(tail, "traced and verified")


class _NoTailError(Exception):
    """The graph has no tail; the message says why."""


def _trace_tail(model: nn.Module, target: nn.Module, path: tuple[str, ...]) -> fx.GraphModule:
    tracer = LayerTracer(target)
    graph = tracer.trace(model)
    if len(tracer.returned) != 1 or not isinstance(tracer.returned[0], fx.Proxy):
        raise _NoTailError("the layer lies inside a module that torch.fx takes as one piece")
    border = tracer.returned[0].node
    result = _logits_node(next(node for node in graph.nodes if node.op == "output").args[0], path)

    # Only what the logits need: other outputs may depend on the image.
    needed: set[fx.Node] = set()
    waiting = [result]
    while waiting:
        while waiting:
            node = waiting.pop()
            if node is border or node in needed:
                continue
            if node.op == "placeholder":
                raise _NoTailError("the logits also depend on what bypasses the layer")
            needed.add(node)
            waiting.extend(node.all_input_nodes)
        waiting = _statements(graph, model, needed, border, tracer.before)

    tail = fx.Graph()
    activations = tail.placeholder("activations")
    # An in-place operation right after the layer must not overwrite the caller's tensor.
    copies = {border: tail.call_method("clone", (activations,))}
    for node in graph.nodes:
        if node in needed:
            copies[node] = tail.node_copy(node, copies.__getitem__)
    tail.output(copies[result])
    return fx.GraphModule(model, tail, class_name=f"{type(model).__name__}Tail")


def _statements(graph: fx.Graph, model: nn.Module, needed: set[fx.Node], border: fx.Node, before: set[fx.Node]) -> list[fx.Node]:
    """Calls, in order, that write into what the tail uses, or a possible view of it, and that the data flow leaves out."""
    reached: set[fx.Node] = set()  # may share memory with what the tail uses
    found = []
    for node in graph.nodes:
        into = overwritten(node, model)
        # What the layer's own output went through before it was returned is the layer's.
        if into in reached and node not in needed and (node not in before or into is not border):
            found.append(node)
        if node is border or node in needed or reached.intersection(node.all_input_nodes):
            reached.add(node)
    return found


def _logits_node(returned: Any, path: tuple[str, ...]) -> fx.Node:
    """The node of the logits in the traced output, which has the structure of the real one."""
    for step in path:
        if isinstance(returned, fx.Node) and isinstance(returned.target, type):  # how torch.fx writes records
            names = getattr(returned.target, "_fields", ())
            returned = {**dict(zip(names, returned.args, strict=False)), **returned.kwargs}
        returned = {} if isinstance(returned, fx.Node) else entries(returned)
        returned = returned.get(step)
    if not isinstance(returned, fx.Node):
        raise _NoTailError("torch.fx does not show where the logits lie in what the model returns")
    return returned


def _difference(
    model: nn.Module, target: nn.Module, tail: nn.Module, images: Tensor, own: Tensor, logits: Tensor, select: Output
) -> float:
    """Largest difference of the tail's logits from the model's, on its own activations and on altered ones, by the largest logit.

    A network's own activations hide much: a ReLU changes none that is positive, and max pooling hides a ReLU. So do both signs,
    channels of zeros and noise, one image each, all in one pass.
    """
    with torch.no_grad():
        altered = _altered(own)
        with replacing(target, altered):
            replaced = select(model(images[[n % len(images) for n in range(len(altered))]]))
        expected = torch.cat([logits, replaced])
        found = torch.cat([tail(own), tail(altered)])
        if found.shape != expected.shape:
            return float("inf")
        scale = expected.nan_to_num(0, 0, 0).abs().amax(1).clamp(min=float(logits.abs().max())).clamp(min=1e-12)  # [N]
        # Altered activations may overflow, or lead to the root of a negative number, in both alike.
        same = (found == expected) | (found.isnan() & expected.isnan())
        same[: len(logits)] = False
        return float(torch.where(same, 0, (found - expected).abs() / scale[:, None]).max())


def _altered(own: Tensor) -> Tensor:
    """Activations [6, ...] that no image has, from those of two or more images."""
    shifted = 0.5 * own[:2].flip(0).roll(1, dims=1)
    zeroed = own[:1].clone()
    zeroed[:, ::2] = 0
    noise = torch.randn(own[:1].shape, generator=torch.Generator().manual_seed(0)).to(own)
    return torch.cat([shifted, 2 * own[:1], -own[1:2], zeroed, noise * own.abs().amax()])


OPERATORS: dict[Any, Any] = {
    operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul, operator.ipow: operator.pow,
    operator.itruediv: operator.truediv, operator.ifloordiv: operator.floordiv, operator.imod: operator.mod,
    operator.iand: operator.and_, operator.ior: operator.or_, operator.ixor: operator.xor,
}  # fmt: skip
METHODS = {f"__{inplace.__name__}__": f"__{plain.__name__.strip('_')}__" for inplace, plain in OPERATORS.items()}


def overwritten(node: fx.Node, root: nn.Module) -> fx.Node | None:
    """The node whose tensor the call writes into; None where it writes into none.

    Args:
        node: of a graph.
        root: the module whose parts the graph calls.

    >>> class Net(nn.Module):
    ...     def forward(self, x):
    ...         x = x + 1
    ...         x.mul_(2)
    ...         return x.exp()
    >>> [str(overwritten(node, None)) for node in fx.symbolic_trace(Net()).graph.nodes]
    ['None', 'None', 'add', 'None', 'None']
    """
    kept = node.kwargs.get("out")
    if node.op == "call_module":
        writes = bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    elif node.op == "call_method":
        name = str(node.target)
        writes = _trailing(name) or name in METHODS
    elif node.op == "call_function":
        if isinstance(kept, fx.Node):
            return kept
        trailing = _trailing(_name(node.target)) and getattr(node.target, "__module__", None) != "_operator"  # operator.and_
        writes = trailing or node.target in OPERATORS or bool(node.kwargs.get("inplace"))
    else:
        return None
    into = node.args[0] if node.args else node.kwargs.get("input", node.kwargs.get("self"))
    return into if writes and isinstance(into, fx.Node) else None


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", ""))


def _trailing(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


def make_out_of_place(node: fx.Node) -> None:
    """Change a function or method call which `overwritten` names into the one that returns the same and writes nowhere.

    Raises:
        SycamError: there is none.
    """
    name = str(node.target) if node.op == "call_method" else _name(node.target)
    kwargs = {key: value for key, value in node.kwargs.items() if key != "out"}
    if "inplace" in kwargs:
        kwargs["inplace"] = False
    node.kwargs = kwargs
    found: Any = node.target
    if node.op == "call_method":
        found = METHODS.get(name, name.removesuffix("_"))
        found = found if hasattr(Tensor, found) else None
    elif node.target in OPERATORS:
        found = OPERATORS[node.target]
    elif _trailing(name):
        found = getattr(F, name[:-1], None) or getattr(torch, name[:-1], None)
    if found is None:
        raise SycamError(f"{name} writes into a tensor, and torch has no {name[:-1]} that does not")
    node.target = found
