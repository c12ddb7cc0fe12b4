"""What models and layers return: where the logits lie, how what a layer returns becomes maps, hooks that catch or replace it, and
the class tokens beside the maps, kept by image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

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
            hint = "" if isinstance(returned, Tensor) else f" ({_listing(returned)}: say which as `output`)"
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
                f"{self.name} returned {_listing(returned)}: it is not clear which are the logits, name them as `output`"
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


MOST_EXTRA_TOKENS = 8  # before the patches: a class token, DeiT's distillation token, four or eight registers


class Reshape(Protocol):
    """A reshape function and its inverse. Give your own to `Network` where a layer's tokens lie otherwise."""

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the layer returned as maps [N, K, h, w], and the rest [N, ...], or None where maps are all."""

    def join(self, maps: Tensor, rest: Tensor | None) -> Tensor:
        """The layer's output again; differentiable in the maps."""


@dataclass(frozen=True)
class ChannelsFirst:
    """Maps as convolutions make them, [N, K, h, w]: nothing to do."""

    def split(self, output: Tensor) -> tuple[Tensor, None]:
        """The output itself."""
        return output, None

    def join(self, maps: Tensor, rest: Tensor | None) -> Tensor:
        """The maps themselves."""
        return maps


@dataclass(frozen=True)
class ChannelsLast:
    """Maps with the channels last, [N, h, w, K], as Swin's blocks return them.

    >>> ChannelsLast().split(torch.zeros(2, 7, 7, 96))[0].shape
    torch.Size([2, 96, 7, 7])
    """

    def split(self, output: Tensor) -> tuple[Tensor, None]:
        """[N, h, w, K] to [N, K, h, w]."""
        return output.permute(0, 3, 1, 2), None

    def join(self, maps: Tensor, rest: Tensor | None) -> Tensor:
        """[N, K, h, w] to [N, h, w, K]."""
        return maps.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Tokens:
    """Tokens [N, extra + h·w, K]: class, distillation or register tokens first, then the patches row by row.

    Attributes:
        extra: tokens before the patches; they are the rest [N, extra, K] that `join` needs.
        height: h, patches from top to bottom.
        width: w.

    >>> maps, rest = Tokens(1, 2, 3).split(torch.arange(7.0).view(1, 7, 1))
    >>> maps.tolist(), rest.tolist()
    ([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], [[[0.0]]])
    >>> Tokens(1, 2, 3).join(maps, rest).flatten().tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    """

    extra: int
    height: int
    width: int

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """[N, extra + h·w, K] to [N, K, h, w], and the extra tokens.

        Raises:
            SycamError: another number of tokens.
        """
        if output.shape[1] != self.extra + self.height * self.width:
            raise SycamError(
                f"the layer returned {output.shape[1]} tokens, not {self.extra} and {self.height}x{self.width} patches: give "
                "images of the size that the network was loaded for"
            )
        patches = output[:, self.extra :].transpose(1, 2).unflatten(2, (self.height, self.width))
        return patches, output[:, : self.extra] if self.extra else None

    def join(self, maps: Tensor, rest: Tensor | None) -> Tensor:
        """Maps [N, K, h, w] and extra tokens [N, extra, K] to [N, extra + h·w, K]."""
        patches = maps.flatten(2).transpose(1, 2)
        return patches if rest is None else torch.cat([rest, patches], 1)


def find_reshape(output: object) -> ChannelsFirst | ChannelsLast | Tokens | None:
    """How one square image's output becomes maps, by its shape; None where it cannot.

    [1, K, h, w] is taken as it is, unless only the middle two of its sides agree: [1, h, h, K]. Of T tokens [1, T, K]
    the last are the largest square number that leaves at most 8 before it: 197 is a class token and 14·14 patches.

    >>> find_reshape(torch.zeros(1, 197, 768)), find_reshape(torch.zeros(1, 7, 7, 768)), find_reshape(torch.zeros(1, 768))
    (Tokens(extra=1, height=14, width=14), ChannelsLast(), None)
    """
    if not isinstance(output, Tensor) or not output.is_floating_point() or len(output) != 1:
        return None
    if output.ndim == 4:
        first, height, width = output.shape[1:]
        return ChannelsLast() if first == height != width else ChannelsFirst()
    if output.ndim == 3:
        side = math.isqrt(output.shape[1])
        extra = output.shape[1] - side * side
        return Tokens(extra, side, side) if side > 1 and extra <= MOST_EXTRA_TOKENS else None
    return None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode inside the block; each one's own flag back afterwards, also on an error.

    >>> net = nn.Sequential(nn.Dropout())
    >>> with evaluating(net):
    ...     print(net[0].training)
    False
    >>> net[0].training
    True
    """
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def catching(module: nn.Module) -> Iterator[list[Tensor]]:
    """A list that receives a copy of the module's output each time it runs inside the block.

    The copy matters: an in-place ReLU after the module would overwrite what the hook caught.
    """
    caught: list[Tensor] = []

    def catch(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise SycamError(f"the layer ({type(module).__name__}) returns {type(output).__name__}, not one tensor")
        # Maps lie pixel by pixel, whatever layout the convolutions prefer: terms reduce over pixels.
        caught.append(output.detach().clone(memory_format=torch.contiguous_format))

    handle = module.register_forward_hook(catch)
    try:
        yield caught
    finally:
        handle.remove()


@contextmanager
def replacing(module: nn.Module, activations: Tensor, reshape: Reshape | None = None) -> Iterator[None]:
    """Inside the block the module returns (a copy of) `activations`, whatever its input.

    With a `reshape` they are maps, and what of the module's own output is no map stays as it is.
    """

    def replace(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        # A model may switch gradients off around its features; that must not cut off what replaces them.
        with torch.set_grad_enabled(activations.requires_grad):
            if reshape is None:
                return activations.clone()
            rest = reshape.split(output.detach())[1]
            # A reshaping may be a mere view, which an in-place operation after the layer would write through.
            return reshape.join(activations, rest).clone()

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


MOST = 8192  # images; a class token of a ViT-B takes 3 KiB


class ClassTokens:
    """The rest of recent images, found by the images' bits; the oldest goes first.

    >>> tokens = ClassTokens()
    >>> images = torch.tensor([[[[0.25]]], [[[0.5]]]])  # two images of one pixel
    >>> tokens.keep(images[:1], torch.tensor([[[7.0]]]))
    >>> tokens.missing(images).tolist(), tokens.of(images[[0, 0]]).flatten().tolist()
    ([1], [7.0, 7.0])
    """

    def __init__(self, most: int = MOST) -> None:
        self._kept: dict[tuple[int, int], Tensor] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, images: Tensor, rest: Tensor) -> None:
        """Remember the rest [N, ...] of images [N, ...]."""
        for key, value in zip(_keys(images), rest.clone(), strict=True):
            self._kept.pop(key, None)
            self._kept[key] = value
        while len(self._kept) > max(self._most, len(images)):
            del self._kept[next(iter(self._kept))]

    def missing(self, images: Tensor) -> Tensor:
        """Places of images that are not known, each different one once, [M] int64 on the CPU."""
        first: dict[tuple[int, int], int] = {}
        for place, key in enumerate(_keys(images)):
            if key in self._kept:
                self._kept[key] = self._kept.pop(key)  # asked for, so not the oldest any more
            else:
                first.setdefault(key, place)
        return torch.tensor(list(first.values()), dtype=torch.int64)

    def of(self, images: Tensor) -> Tensor:
        """The rest of known images, [N, ...]."""
        return torch.stack([self._kept[key] for key in _keys(images)])


def _keys(images: Tensor) -> list[tuple[int, int]]:
    """Two 64-bit hashes of each image's bits."""
    bits = images.detach().contiguous().flatten(1).view(torch.int32)
    factors = torch.randint(-(2**62), 2**62, (2, bits.shape[1]), generator=torch.Generator().manual_seed(0x5CA)) | 1
    factors = factors.to(images.device)
    # An image at a time: 64-bit copies of a whole batch would double its memory.
    hashes = torch.stack([(row.to(torch.int64) * factors).sum(1) for row in bits])
    return [(first, second) for first, second in hashes.tolist()]
