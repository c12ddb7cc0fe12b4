"""CAMs that take many passes: Group-CAM, Integrated Grad-CAM as published, Poly-CAM and ReciproCAM.

Poly-CAM's three forms share their passes where they are asked for together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sycam.cams.baseline import register_baseline
from sycam.errors import Unavailable
from sycam.heatmap import minmax, upsample
from sycam.network.batching import images_at_once
from sycam.network.network import Network
from sycam.terminals.terminal import View

GROUPS = 32
QUANTILE = 0.7
RADIUS, SIGMA = 25, 50.0  # of the blur: 51×51 pixels


@register_baseline(
    "Group-CAM",
    passes="1 forward, 1 backward, 32 + 1 forward",
    reference="Zhang et al., Group-CAM, arXiv 2103.13859 (2021), with the authors' 32 groups, quantile 0.7 and blur",
)
@torch.no_grad()
def group_cam(view: View) -> Tensor:
    """Σ over 32 groups of channels of (p of the image blurred where the group's mask is low − p of the blurred image)·mask.

    A group's mask is the rectified sum of its gap(G)·A, zero up to its 70% quantile, upsampled and scaled to [0, 1]. The sum is
    made of masks at image size, and rectified there. In an image too small for a blur of 51×51 pixels the kernel is the largest
    that reflects at the border.
    """
    from torchvision.transforms.functional import gaussian_blur  # takes a second to load, which no other CAM needs

    images, network, A = view.images, view.network, view.A
    height, width = images.shape[-2:]
    weighted = view["G"].mean((2, 3), keepdim=True) * A
    masks = torch.stack([part.sum(1) for part in weighted.chunk(GROUPS, 1)], 1).relu()  # [N, M, h, w]
    threshold = masks.flatten(2).quantile(QUANTILE, 2)[:, :, None, None]
    masks = torch.where(masks > threshold, masks, 0)
    radius = [min(RADIUS, side - 1) for side in (width, height)]
    blurred = gaussian_blur(images, [2 * r + 1 for r in radius], [SIGMA, SIGMA])
    plain = view.of_class(network.logits(blurred).softmax(1))[:, 0]  # [N]
    varying = masks.flatten(2).amax(2) > masks.flatten(2).amin(2)
    image, group = varying.nonzero(as_tuple=True)  # [jobs] each
    total = images.new_zeros(len(images), height, width)
    chunk = min(view.chunk, images_at_once(network.device, height, width))
    for start in range(0, len(image), chunk):
        of, m = image[start : start + chunk], group[start : start + chunk]
        mask = minmax(upsample(masks[of, m], (height, width)))  # [chunk, H, W]
        mixed = images[of] * mask[:, None] + blurred[of] * (1 - mask[:, None])
        gained = network.logits(mixed).softmax(1).gather(1, view.classes[of, None])[:, 0] - plain[of]
        total.index_add_(0, of, gained[:, None, None] * mask)
    return total


@register_baseline(
    "Integrated-Grad-CAM-published",
    passes="path-steps forward and backward",
    reference="Sattarzadeh et al., Integrated Grad-CAM, ICASSP 2021; a Riemann sum as in the authors' code, which takes 50 steps",
)
def integrated_grad_cam(view: View) -> Tensor:
    """Mean over t of (Σ_k gap(G(x_t))·(A_k(x_t) − A_k(x_0)))₊, x_t = t/n·x for t from 1 to n = `path_steps`, x_0 the zero image.

    Each step has the activations of its own image, so that this is no term over terminals of the image alone. The zero image is
    the mean colour, as wherever sycam masks.
    """
    network = view.network
    steps = view.settings.path_steps
    start = network.activations(torch.zeros_like(view.images[:1]))[0]
    total = torch.zeros_like(view.A[:, 0])
    for t in range(1, steps + 1):
        images = view.images * (t / steps)
        A, _ = network.activations(images)
        weights = network.gradient(A, images, view.classes).mean((2, 3), keepdim=True)
        total += (weights * (A - start)).sum(1).relu()
    return total / steps


Call = tuple[nn.Module, int]  # a module, and which of its calls in one forward pass

REFERENCE = "Englebert et al., Poly-CAM, ICPR 2022 (arXiv 2204.13359), section 3"
PASSES = "2K forward, K being the channels of all layers"
OUTLIERS = 0.001  # share of pixels at each end that the masks' scaling leaves out, as the authors do


@register_baseline("Poly-CAM-plus", passes=PASSES, reference=REFERENCE + ": PCAM+")
def poly_cam_plus(view: View) -> Tensor:
    """Poly-CAM with the probability of the class on the image masked by the channel's map as weight."""
    return fused(_activations(view), [kept for kept, _ in _scores(view)])


@register_baseline("Poly-CAM-minus", passes=PASSES, reference=REFERENCE + ": PCAM−")
def poly_cam_minus(view: View) -> Tensor:
    """Poly-CAM with the drop of the probability where the channel's map is taken out of the image as weight, rectified."""
    return fused(_activations(view), [(view["p"] - out).relu() for _, out in _scores(view)])


@register_baseline("Poly-CAM", passes=PASSES, reference=REFERENCE + ": PCAM±")
def poly_cam(view: View) -> Tensor:
    """Poly-CAM with the sum of both weights, rectified.

    Layers: of each spatial size before the target layer's the last module that returns maps of it, then the target layer. From
    the coarsest on, each layer's weighted, rectified sum is divided by its own local mean (LNorm) and multiplied by the upsampled
    result so far; what comes out has the size of the finest layer.
    """
    weights = [(kept + view["p"] - out).relu() for kept, out in _scores(view)]
    return fused(_activations(view), weights)


def fused(activations: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Poly-CAM's fusion: P_l = LNorm((Σ_k w_k A_k)₊) · up(P_{l+1}), from the last layer to the first.

    Args:
        activations: of each layer, first to last, [N, K_l, h_l, w_l], sizes falling.
        weights: of each, [N, K_l].

    Returns:
        [N, h_1, w_1].
    """
    result: Tensor | None = None
    for A, w in zip(reversed(activations), reversed(weights), strict=True):
        layer = torch.einsum("nk,nkhw->nhw", w, A).relu()
        if result is None:
            result = layer
            continue
        size = (layer.shape[1], layer.shape[2])
        mean = upsample(upsample(layer, (result.shape[1], result.shape[2])), size)
        result = layer / mean.clamp(min=1e-12) * upsample(result, size)
    assert result is not None
    return result


def poly_layers(network: Network) -> list[Call]:
    """The calls of modules that Poly-CAM reads, first to last, the target layer's last; found once for a network."""
    if "poly_layers" not in network.memo:
        order: list[tuple[Call, torch.Size]] = []
        counts: dict[nn.Module, int] = {}

        def note(module: nn.Module, _inputs: Any, output: Any) -> None:
            call = module, counts.get(module, 0)
            counts[module] = call[1] + 1
            if isinstance(output, Tensor) and output.ndim == 4:
                order.append((call, output.shape[1:]))

        handles = [module.register_forward_hook(note) for module in network.model.modules()]
        side = network.preprocessing.size
        weight = next(network.model.parameters())
        try:
            network.logits(torch.zeros(1, len(network.preprocessing.mean), side, side, dtype=weight.dtype))
        finally:
            for handle in handles:
                handle.remove()
        target = network.model.get_submodule(network.layer)
        maps = (network.channels, *network.map_size)
        last = next((place for place, (call, shape) in enumerate(order) if call[0] is target and shape == maps), None)
        if last is None:  # tokens, or channels last
            raise Unavailable(f"Poly-CAM: layer {network.layer!r} of {network.name} returns no maps [N, K, h, w]")
        h, w = network.map_size
        finest = {tuple(s[1:]): call for call, s in order[:last] if s[1] > h and s[2] > w}  # the last call of each size
        calls = [finest[s] for s in sorted(finest, key=lambda s: -s[0] * s[1])]
        network.memo["poly_layers"] = [*calls, order[last][0]]
    return list(network.memo["poly_layers"])


@contextmanager
def _catching(calls: list[Call]) -> Iterator[dict[Call, Tensor]]:
    """Copies of what certain calls return inside the block."""
    caught: dict[Call, Tensor] = {}
    counts: dict[nn.Module, int] = {}

    def catch(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        call = module, counts.get(module, 0)
        counts[module] = call[1] + 1
        if call in calls:
            caught[call] = output.detach().clone(memory_format=torch.contiguous_format)

    handles = [module.register_forward_hook(catch) for module in {module for module, _ in calls}]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def _activations(view: View) -> list[Tensor]:
    if "poly activations" not in view.extra:
        calls = poly_layers(view.network)
        with _catching(calls) as caught:
            view.network.logits(view.images)
        view.extra["poly activations"] = tuple(caught[call] for call in calls)
    return list(view.extra["poly activations"])


@torch.no_grad()
def _scores(view: View) -> list[tuple[Tensor, Tensor]]:
    """Of each layer the probabilities of the class on images masked by each channel's map, and by its complement: [N, K] each."""
    if "poly scores" not in view.extra:
        found: list[Tensor] = []
        for A in _activations(view):
            found += _masked_scores(view, A)
        view.extra["poly scores"] = tuple(found)
    scores = view.extra["poly scores"]
    return list(zip(scores[::2], scores[1::2], strict=True))


def _masked_scores(view: View, A: Tensor) -> tuple[Tensor, Tensor]:
    images, network = view.images, view.network
    size = (images.shape[-2], images.shape[-1])
    kept, out = A.new_zeros(A.shape[:2]), A.new_zeros(A.shape[:2])
    jobs = torch.arange(kept.numel(), device=A.device)
    for part in jobs.split(min(view.chunk, images_at_once(network.device, *size))):
        of, k = part // A.shape[1], part % A.shape[1]
        mask = upsample(_scaled(A[of, k]), size)[:, None]  # [chunk, 1, H, W]
        for scores, masked in ((kept, mask), (out, 1 - mask)):
            probabilities = network.logits(images[of] * masked).softmax(1)
            scores[of, k] = probabilities.gather(1, view.classes[of, None])[:, 0]
    return kept, out


def _scaled(maps: Tensor) -> Tensor:
    """Each map less its 0.1% quantile, over its 99.9% quantile, within [0, 1]: the authors' scaling; [M, h, w]."""
    ends = maps.new_tensor([OUTLIERS, 1 - OUTLIERS])
    low, high = maps.flatten(1).quantile(ends, 1)[:, :, None, None]
    return ((maps - low) / high.clamp(min=1e-12)).clamp(0, 1)


KERNEL = ((1 / 16, 1 / 8, 1 / 16), (1 / 8, 1 / 4, 1 / 8), (1 / 16, 1 / 8, 1 / 16))


@register_baseline(
    "ReciproCAM",
    passes="1 forward, Z of the tail only",
    reference="Byun & Lee, ReciproCAM, CVPR-W 2024 (arXiv 2209.14074), with its 3×3 Gaussian",
)
@torch.no_grad()
def recipro_cam(view: View) -> Tensor:
    """Probability of the class where each pixel's activations alone are left, spread over its neighbours by a 3×3 Gaussian.

    No ReLU: the probabilities are scaled to [0, 1] at the layer's size, as the paper does, before upsampling.
    """
    A, network = view.A, view.network
    height, width = A.shape[2:]
    spread = _spread(height, width).to(A)  # [Z, h, w]
    pixels = A.flatten(2)
    found = A.new_zeros(len(A) * height * width)
    for jobs in torch.arange(len(found), device=A.device).split(view.chunk):
        of, at = jobs // (height * width), jobs % (height * width)
        left = pixels[of, :, at][:, :, None, None] * spread[at][:, None]  # [chunk, K, h, w]
        logits = network.tail(left, view.images[of] if network.needs_images else None)
        found[jobs] = logits.softmax(1).gather(1, view.classes[of, None])[:, 0]
    return minmax(found.view(len(A), height, width))


def _spread(height: int, width: int) -> Tensor:
    """For each pixel the map that its activations are multiplied by, cut off at the border: [Z, h, w]."""
    points = torch.eye(height * width).view(-1, 1, height, width)
    return torch.nn.functional.conv2d(points, torch.tensor(KERNEL)[None, None], padding=1)[:, 0]
