"""Context managers that look into a model, or change one layer's output, and always leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sycam.errors import SycamError


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

    def catch(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        # Maps lie pixel by pixel, whatever layout the convolutions prefer: terms reduce over pixels.
        caught.append(output.detach().clone(memory_format=torch.contiguous_format))

    handle = module.register_forward_hook(catch)
    try:
        yield caught
    finally:
        handle.remove()


@contextmanager
def replacing(module: nn.Module, activations: Tensor) -> Iterator[None]:
    """Inside the block the module returns (a copy of) `activations`, whatever its input."""

    def replace(_module: nn.Module, _inputs: Any, _output: Tensor) -> Tensor:
        # A model may switch gradients off around its features; that must not cut off what replaces them.
        with torch.set_grad_enabled(activations.requires_grad):
            return activations.clone()

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def first_tensor(output: Any, name: str) -> Tensor:
    """The logits [N, C] in what a model returns: the tensor itself, a `logits` or `out` entry, or the first of a tuple.

    Raises:
        SycamError: there is no such tensor, or it is not of two dimensions.
    """
    found = output
    if isinstance(found, dict):
        entries = [found[key] for key in ("logits", "out") if key in found]
        found = entries[0] if entries else next(iter(found.values()), None)
    elif isinstance(getattr(found, "logits", None), Tensor):
        found = found.logits
    elif isinstance(found, list | tuple):
        found = found[0] if found else None
    if not isinstance(found, Tensor) or found.ndim != 2:
        shape = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type(output).__name__
        raise SycamError(f"{name} returned {shape}; a classifier returns logits [images, classes]")
    return found
