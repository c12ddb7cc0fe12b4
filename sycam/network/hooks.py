"""Context managers that look into a model, or change one layer's output, and always leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sycam.errors import SycamError
from sycam.network.reshape import Reshape


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
