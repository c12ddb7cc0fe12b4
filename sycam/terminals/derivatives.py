"""Derivatives of any function of the logits with respect to the activations: by autograd, or from the weights of a linear head.

With a GAP + linear head the logits are W·GAP(A) + b, so a function f of them has the gradient (∂f/∂logits)·W/Z at every pixel and
its Hessian times A is (∂²f/∂logits² · (logits − b))·W/Z: autograd then only goes through f, and the network is not run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sycam.errors import Unavailable
from sycam.network.heads import linear_head
from sycam.terminals.terminal import View

Objective = Callable[[Tensor], Tensor]
"""Logits [N, C] to one number for each image, [N]."""


def gradient_of(view: View, objective: Objective) -> Tensor:
    """Gradient of the objective with respect to the activations, [N, K, h, w]. One backward pass, none with a linear head."""
    return _derivatives(view, objective, second=False)[0]


def gradient_and_hessian(view: View, objective: Objective) -> tuple[Tensor, Tensor]:
    """Gradient of the objective, and its Hessian times A, [N, K, h, w] each. Two backward passes, none with a linear head."""
    return _derivatives(view, objective, second=True)


def _derivatives(view: View, objective: Objective, second: bool) -> tuple[Tensor, Tensor]:
    network, head = view.network, linear_head(view.network)
    # The fused kernels of attention have no second derivative.
    attention = sdpa_kernel(SDPBackend.MATH) if second else nullcontext()
    with torch.inference_mode(False), torch.enable_grad(), attention:
        A = view.A.detach().clone()
        if head is not None:
            leaf = view.logits.detach().clone().requires_grad_()
            derivatives = _autograd(objective(leaf), leaf, leaf.detach() - head.bias, second)
            assert derivatives is not None  # an objective is a function of the logits
            first, product = derivatives
            return constant_over_pixels(first @ head.weight, A), constant_over_pixels(product @ head.weight, A)
        leaf = A.clone().requires_grad_()
        logits = network.tail(leaf, view.images.clone() if network.needs_images else None)
        value = objective(logits)
        found = _autograd(value, leaf, A, second) if value.requires_grad else None
        if found is None:
            raise Unavailable(
                f"no gradient reaches layer {network.layer!r} from the logits of {network.name}: they do not depend on it, or "
                "the model switches gradients off after it; name another layer"
            )
    network.passes.backward += len(A) * (2 if second else 1)
    return found


def _autograd(value: Tensor, leaf: Tensor, direction: Tensor, second: bool) -> tuple[Tensor, Tensor] | None:
    """The gradient of the sum of `value`, and its Hessian times `direction` (zeros unless `second`); None where none reaches."""
    (first,) = torch.autograd.grad(value.sum(), leaf, create_graph=second, allow_unused=True)
    if first is None:  # the value's history is that of parameters alone
        return None
    product = torch.zeros_like(leaf)
    if second and first.requires_grad:
        (found,) = torch.autograd.grad((first * direction).sum(), leaf, allow_unused=True)
        product = product if found is None else found
    return first.detach(), product.detach()


def constant_over_pixels(weights: Tensor, A: Tensor) -> Tensor:
    """weights / Z at every pixel, bit for bit the same: [N, K] to [N, K, h, w]."""
    share = weights / (A.shape[2] * A.shape[3])
    return torch.empty_like(A).copy_(share[:, :, None, None].expand_as(A))


def added_by_channels(view: View) -> Tensor | None:
    """w_k · mean(A_k), what each channel adds to the logit, [N, K]; None where no such head is verified.

    Ablation, keeping one channel, DeepLIFT and Shapley values all give this there.
    """
    head = linear_head(view.network)
    return None if head is None else head.weight[view.classes] * view.A.mean((2, 3))


def added_by_pixels(view: View) -> Tensor | None:
    """w_k · A_k / Z, what each pixel of each channel adds to the logit, [N, K, h, w]; None where no such head is verified."""
    head = linear_head(view.network)
    return None if head is None else constant_over_pixels(head.weight[view.classes], view.A) * view.A
