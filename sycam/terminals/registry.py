"""The registry of terminals: the leaves of a grammar that a CNN and an image give a value.

A terminal is one registered function of a `View`; registering it is all that a grammar needs to name it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from sycam.job import TerminalSettings
from sycam.registry import Registry

if TYPE_CHECKING:
    from sycam.terminals.view import View

Compute = Callable[["View"], Tensor]

SHAPES = {
    ("Map", "pixel"): "[N, K, h, w]",
    ("Real", "channel"): "[N, K]",
    ("Real", "scalar"): "[N, 1]",
    ("Int", "scalar"): "[N, 1]",
}


@dataclass(frozen=True)
class Terminal:
    """One terminal.

    Attributes:
        name: as a grammar writes it.
        sort: SyGuS sort: `Map`, `Real` or `Int`.
        level: what it has a value for: each `pixel` of each channel, each `channel`, or the image (`scalar`).
        passes: cost per image, in words.
        source: the paper, or what it is.
        doc: meaning.
        compute: its tensor for a `View`, of the shape in `SHAPES`, without history.
        settings: the fields of `TerminalSettings` that it reads; None where that is not known, and may be all.
        of_class: whether it depends on the image class that is explained.
    """

    name: str
    sort: str
    level: str
    passes: str
    source: str
    doc: str
    compute: Compute
    settings: tuple[str, ...] | None = None
    of_class: bool = True

    @property
    def shape(self) -> str:
        """Of its tensor, in words."""
        return SHAPES[self.sort, self.level]


TERMINALS: Registry[Terminal] = Registry(
    "terminal", __package__, first=("gradients", "head", "masking", "deeplift", "shapley", "opti", "noise", "relevance")
)
"""By name, in the order in which people want to see them listed. Every file of this folder is looked through."""


def register_terminal(
    name: str,
    sort: str = "Map",
    level: str = "pixel",
    passes: str = "none",
    source: str = "",
    *,
    settings: Collection[str] | None = None,
    of_class: bool = True,
) -> Callable[[Compute], Compute]:
    """Register the decorated function of a `View` as a terminal; its docstring is the meaning.

    `settings` and `of_class` (see `Terminal`) let values that were kept serve other settings and classes; left out they are
    computed again for each.

    Raises:
        SycamError: the name is taken.
        ValueError: sort and level do not go together, there is no docstring, or no such setting.

    >>> @register_terminal("ones", sort="Real", level="channel", source="a control")
    ... def ones(view):
    ...     '''One for every channel.'''
    ...     return view.A.new_ones(view.A.shape[:2])
    >>> TERMINALS.pop("ones").shape
    '[N, K]'
    """
    if (sort, level) not in SHAPES:
        pairs = ", ".join(f"{sort} of {level}" for sort, level in SHAPES)
        raise ValueError(f"terminal {name!r}: no {sort} of {level}; there are {pairs}")
    unknown = set(settings or ()) - set(TerminalSettings.__dataclass_fields__)
    if unknown:
        raise ValueError(
            f"terminal {name!r}: no setting {sorted(unknown)}; there are {list(TerminalSettings.__dataclass_fields__)}"
        )

    def register(compute: Compute) -> Compute:
        doc = inspect.getdoc(compute)
        if not doc:
            raise ValueError(f"terminal {name!r} needs a docstring that says what it means")
        reads = None if settings is None else tuple(settings)
        made = Terminal(name, sort, level, passes, source, doc, compute, settings=reads, of_class=of_class)
        TERMINALS.add(name, made, compute.__module__)
        return compute

    return register


def terminal(name: str) -> Terminal:
    """The terminal of that name.

    Raises:
        SycamError: there is none; names the nearest.

    >>> terminal("dorp")
    Traceback (most recent call last):
    sycam.errors.SycamError: no terminal 'dorp'; did you mean 'drop'? There are: A, ...
    """
    return TERMINALS.find(name)
