"""FullGrad: the gradient of the input, and of the biases of every layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sycam.cams.baseline import register_baseline
from sycam.errors import Unavailable
from sycam.heatmap import minmax, upsample
from sycam.terminals.terminal import View


@register_baseline(
    "FullGrad",
    passes="1 forward, 1 backward, of the whole network",
    reference="Srinivas & Fleuret, Full-gradient representation for neural network visualization, NeurIPS 2019",
)
def full_grad(view: View) -> Tensor:
    """ψ(∂y/∂x · x) + Σ over layers and channels of ψ(∂y/∂b · b), ψ being absolute value, min-max of each map, and upsampling.

    The biases are those of convolutions, and of batch normalisation the implicit b − mean·w/σ. It does not read the target layer,
    and what it returns has the image's size.

    Raises:
        Unavailable: no gradient reaches the input.
    """
    network = view.network
    with torch.inference_mode(False), torch.enable_grad(), _adding_zeros(network.model) as found:
        leaf = view.images.detach().clone().requires_grad_()
        logits = network.differentiable(leaf * 1)  # · 1: a model may change its input in place
        y = logits.gather(1, view.classes.clone()[:, None]).sum()
        grads = torch.autograd.grad(y, [leaf, *(zeros for _, zeros in found)], allow_unused=True)
    network.passes.backward += len(view)
    if grads[0] is None:
        raise Unavailable(f"FullGrad: no gradient reaches the input of {network.name}")
    size = (view.images.shape[-2], view.images.shape[-1])
    total = minmax((grads[0] * leaf.detach()).abs()).sum(1)
    for (bias, _), grad in zip(found, grads[1:], strict=True):
        if grad is not None:  # upsampling is linear: once a layer, not once a channel
            total = total + upsample(minmax((grad * bias[:, None, None]).abs()).sum(1), size)
    return total


@contextmanager
def _adding_zeros(model: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Each call of a layer with a bias adds zeros to its output, whose gradient is the bias's at every pixel.

    Yields:
        (bias [K], zeros [N, K, h, w]) of each call, in order. Zeros of their own survive in-place layers and layers called twice.
    """
    found: list[tuple[Tensor, Tensor]] = []
    handles = []
    for module in model.modules():
        bias = _bias(module)
        if bias is None:
            continue

        def add(_module: nn.Module, _inputs: Any, output: Tensor, bias: Tensor = bias) -> Tensor:
            zeros = torch.zeros_like(output).requires_grad_()
            found.append((bias, zeros))
            return output + zeros

        handles.append(module.register_forward_hook(add))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _bias(module: nn.Module) -> Tensor | None:
    """What the layer adds to each channel of its output, [K]; None where it has no bias over maps."""
    if isinstance(module, nn.Conv2d):
        return None if module.bias is None else module.bias.detach()
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
        scale = (module.running_var + module.eps).rsqrt()
        scale = scale if module.weight is None else scale * module.weight.detach()
        own = 0 if module.bias is None else module.bias.detach()
        return own - module.running_mean * scale
    return None
