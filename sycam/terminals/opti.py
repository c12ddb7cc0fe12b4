"""The terminal `opti`: Opti-CAM's weights, found by gradient ascent on the masked image's logit."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.errors import Unavailable
from sycam.heatmap import post
from sycam.network.batching import images_at_once
from sycam.terminals.terminal import View, register_terminal

UNCHANGED = 1e-10
"""A loss that changes by less ends an image's optimisation."""
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's own


@register_terminal(
    "opti",
    settings=("opti_steps", "opti_rate"),
    sort="Real",
    level="channel",
    passes="up to 100 forward and backward",
    source="Opti-CAM: Zhang et al., CVIU 2024, equations 6 to 9",
)
def optimised_weights(view: View) -> Tensor:
    """softmax(u) after Adam has maximised the logit of the image masked by n(up(Σ_k softmax(u)_k A_k)) over u, from u = 0.

    The mask multiplies the image before normalisation: what it masks turns black. Each image stops on its own, after
    `opti_steps` of rate `opti_rate`, or where its loss changes by less than 1e-10.
    """
    size = min(view.chunk, images_at_once(view.network.device, *view.images.shape[-2:]))
    parts = [_optimise(view, slice(start, start + size)) for start in range(0, len(view), size)]
    return torch.cat(parts)


def _optimise(view: View, part: slice) -> Tensor:
    """The weights of some of the images, [n, K]."""
    settings = view.settings
    with torch.inference_mode(False), torch.enable_grad():
        A, images, classes = (tensor[part].clone() for tensor in (view.A, view.images, view.classes))
        weights = A.new_zeros(A.shape[:2])  # u of the images that have stopped
        active = torch.arange(len(A), device=A.device)
        u, first, second = (torch.zeros_like(weights) for _ in range(3))
        previous: Tensor | None = None
        for step in range(1, settings.opti_steps + 1):
            loss, gradient = _loss(view, u, A[active], images[active], classes[active])
            if previous is not None:
                going = (loss - previous).abs() >= UNCHANGED
                if not bool(going.all()):
                    weights[active[~going]] = u[~going]
                    active, u, first, second, loss, gradient = (
                        kept[going] for kept in (active, u, first, second, loss, gradient)
                    )
                    if not len(active):
                        break
            previous = loss
            first = BETA1 * first + (1 - BETA1) * gradient
            second = BETA2 * second + (1 - BETA2) * gradient * gradient
            root = (second / (1 - BETA2**step)).sqrt() + EPSILON
            u = u - settings.opti_rate * first / (1 - BETA1**step) / root
        weights[active] = u
    return weights.softmax(1)


def _loss(view: View, u: Tensor, A: Tensor, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the logit of each masked image, [n], and its gradient with respect to u, [n, K]."""
    u = u.detach().requires_grad_()
    combined = torch.einsum("nk,nkhw->nhw", u.softmax(1), A)
    mask = post(combined, (images.shape[2], images.shape[3]), relu=False)[:, None]
    loss = -view.network.differentiable(_masked(view, images, mask)).gather(1, classes[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(loss.sum(), u, allow_unused=True)
    if gradient is None:
        raise Unavailable(
            f"opti: no gradient reaches the image from the logits of {view.network.name}: the model switches gradients off"
        )
    view.network.passes.backward += len(u)
    # A dead channel's weight only scales the map, which min-max undoes: what is left of its gradient is rounding, and Adam would
    # stretch that to full steps.
    return loss.detach(), gradient * A.flatten(2).any(-1)


def _masked(view: View, images: Tensor, mask: Tensor) -> Tensor:
    """Normalised images whose raw pixels are multiplied by the mask."""
    preprocessing = view.network.preprocessing
    black = [-mean / std for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True)]
    floor = images.new_tensor(black[: images.shape[1]])[:, None, None]
    return floor + mask * (images - floor)
