"""Random numbers that belong to an image: they depend on the seed and on its pixels, never on its batch or its place in it."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor

from sycam.terminals.view import View


def image_keys(view: View) -> list[bytes]:
    """A key for each image, of the seed and of its pixels as float32; computed once for a view."""
    if view.keys is None:
        seed = str(view.settings.seed).encode()
        images = view.images.detach().to("cpu", torch.float32).contiguous()
        view.keys = [blake2b(image.numpy().tobytes(), digest_size=16, key=seed).digest() for image in images]
    return view.keys


def generator(key: bytes, *purpose: str | int) -> torch.Generator:
    """A generator on the CPU for one image and one purpose, the same wherever the network lies.

    >>> torch.rand(1, generator=generator(b"a", "noise", 3)) == torch.rand(1, generator=generator(b"a", "noise", 3))
    tensor([True])
    """
    digest = blake2b(" ".join(map(str, purpose)).encode(), digest_size=8, key=key).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def normal(shape: tuple[int, ...], key: bytes, *purpose: str | int) -> Tensor:
    """Standard normal numbers, float32 on the CPU whatever the network's precision and device."""
    return torch.randn(shape, generator=generator(key, *purpose))
