"""What a layer returned beside maps (class tokens), kept by image, so that a tail need not run the network up to the layer."""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 8192  # images; a class token of a ViT-B takes 3 KiB


class Rests:
    """The rest of recent images, found by the images' bits; the oldest goes first.

    >>> rests = Rests()
    >>> images = torch.tensor([[[[0.25]]], [[[0.5]]]])  # two images of one pixel
    >>> rests.keep(images[:1], torch.tensor([[[7.0]]]))
    >>> rests.missing(images).tolist(), rests.of(images[[0, 0]]).flatten().tolist()
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
