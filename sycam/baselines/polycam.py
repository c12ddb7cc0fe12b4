"""Poly-CAM: maps of several layers, weighted by masking the image, multiplied from coarse to fine.

Its three forms share their passes where they are asked for together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sycam.baselines.registry import register_baseline
from sycam.errors import Unavailable
from sycam.heatmap import upsample
from sycam.network.batching import images_at_once
from sycam.network.network import Network
from sycam.terminals.view import View

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
