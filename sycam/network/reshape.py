"""Between a layer's output and maps [N, K, h, w]: transformers hand on tokens, or maps with the channels last.

A CAM weighs maps. `split` makes maps of what a layer returned and keeps what is no map (class and register tokens);
`join` undoes it, so that the rest of the network runs from changed maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sycam.errors import SycamError

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
