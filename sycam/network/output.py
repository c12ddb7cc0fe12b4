"""Which part of what a model returns holds its logits: models return tensors, tuples, dicts and dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor

from sycam.errors import SycamError

NAMES = ("logits", "out")  # Hugging Face's and torchvision's words for it


@dataclass(frozen=True)
class Output:
    """Finds the logits [N, C] in what a model returned.

    Unless `wanted` says where, they are the returned tensor itself; or the entry named `logits` or `out` of a dict,
    named tuple or dataclass; or the only entry with two dimensions; or, of several in a tuple or list, its first.

    Args:
        name: the model's, for errors.
        wanted: where the logits lie: a key, field name or index, with dots for entries of entries (`heads.0`); None for
            the default.

    >>> import torch
    >>> Output("net")((torch.zeros(2, 5), torch.ones(2, 7))).shape
    torch.Size([2, 5])
    >>> Output("net", "head.1")({"head": [torch.zeros(2, 5), torch.ones(2, 7)]}).shape
    torch.Size([2, 7])
    """

    name: str
    wanted: str | None = None

    def __call__(self, returned: Any) -> Tensor:
        """The logits.

        Raises:
            SycamError: there are none, or it is not clear which; names the entries with their shapes.
        """
        found = returned
        for step in self.path(returned):
            found = entries(found)[step]
        if not isinstance(found, Tensor) or found.ndim != 2 or not found.is_floating_point():
            where = f" at {self.wanted!r}" if self.wanted is not None else ""
            hint = "" if isinstance(returned, Tensor) else f" ({_listing(returned)}: say which with --output)"
            raise SycamError(f"{self.name} returned {_kind(found)}{where}; a classifier returns logits [images, classes]{hint}")
        return found

    def path(self, returned: Any) -> tuple[str, ...]:
        """The steps from what the model returned to its logits, each a key of `entries`; none where it is they.

        Raises:
            SycamError: `wanted` is not there, or there is no default.
        """
        if self.wanted is None:
            return self._default(returned)
        steps: tuple[str, ...] = ()
        found = returned
        for step in str(self.wanted).split("."):
            inside = entries(found)
            if step not in inside:
                raise SycamError(f"{self.name} has no output {self.wanted!r}; it returned {_listing(returned)}")
            found, steps = inside[step], (*steps, step)
        return steps

    def _default(self, returned: Any) -> tuple[str, ...]:
        inside = entries(returned)
        for name in NAMES:
            if isinstance(inside.get(name), Tensor):
                return (name,)
        flat = [key for key, value in inside.items() if isinstance(value, Tensor) and value.ndim == 2]
        if len(flat) > 1 and isinstance(returned, tuple | list) and flat[0] == next(iter(inside)):
            return (flat[0],)
        if len(flat) > 1:
            raise SycamError(
                f"{self.name} returned {_listing(returned)}: it is not clear which are the logits, name them with --output"
            )
        return (flat[0],) if flat else ()


def entries(value: Any) -> dict[str, Any]:
    """What lies directly in a dict, named tuple, tuple, list, dataclass or object with `logits`; nothing in a tensor.

    >>> entries([5, 6])
    {'0': 5, '1': 6}
    """
    if isinstance(value, Tensor):
        return {}
    if isinstance(value, Mapping):
        return {str(key): entry for key, entry in value.items()}
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", [str(place) for place in range(len(value))])
        return dict(zip(names, value, strict=True))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: getattr(value, name) for name in NAMES if hasattr(value, name)}


def _listing(returned: Any) -> str:
    """`a dict with logits [2, 5], hidden (tuple)`, for errors."""
    inside = entries(returned)
    parts = [f"{key} {list(value.shape) if isinstance(value, Tensor) else f'({_kind(value)})'}" for key, value in inside.items()]
    return f"{_kind(returned)} with {', '.join(parts)}" if parts else _kind(returned)


def _kind(value: Any) -> str:
    return f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
