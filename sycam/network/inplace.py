"""Calls in a torch.fx graph that write into a tensor: `F.relu_(x)`, `x.mul_(2)`, `x += y`, `nn.ReLU(inplace=True)`.

The graph shows who uses a call's *result*. A call written as a statement has none that anyone uses, and yet it counts.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from sycam.errors import SycamError

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
