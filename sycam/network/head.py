"""Whether global average pooling and one linear layer follow the target layer: then much has a closed form.

With logits = W·GAP(A) + b the gradient is W_c/Z at every pixel, and the logit without channel k is y − W_ck·mean(A_k):
no backward pass, no ablated pass. The head is found by what it computes, never by its modules' names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sycam.errors import SycamError
from sycam.network.network import Network, Passes

TOLERANCE = 1e-5  # relative to the largest logit of an image


@dataclass(frozen=True)
class LinearHead:
    """logits = mean over pixels of A · weightᵀ + bias.

    Attributes:
        weight: W, [C, K], on the network's device, without history.
        bias: b, [C]; zeros where the layer has none.
    """

    weight: Tensor
    bias: Tensor


def linear_head(network: Network) -> LinearHead | None:
    """The network's GAP + linear head, verified, or None; asked once, then remembered.

    Where a Linear or a 1x1 convolution of matching shape says what the tail computes, its own weights are taken. Else
    the weights are read off the tail, one channel at a time, if it is linear in the means (a batch norm before the
    pooling, two linear layers in a row); not where each such pass would run the whole model. Either way they count only
    if the tail returns mean(A)·Wᵀ + b to 1e-5 of the largest logit for random activations of several sizes, negative
    ones among them: a ReLU or a max-pooling before the linear layer, or a second layer after it, breaks that.

    >>> from sycam.network.preprocessing import Preprocessing
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    >>> linear_head(Network(net, Preprocessing(8, (0.5,) * 3, (0.5,) * 3))).weight.shape
    torch.Size([5, 4])
    """
    if "linear_head" not in network.memo:
        passes = Passes(**vars(network.passes))
        with torch.no_grad():
            network.memo["linear_head"] = _verified(network)
        network.passes = passes  # the verification is not the run's work
    return network.memo["linear_head"]


def _verified(network: Network) -> LinearHead | None:
    side, colours = network.preprocessing.size, network.preprocessing.channels
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([1e-2, 1.0, 1.0, 10.0, 100.0])[:, None, None, None]
    A = torch.randn(len(scales), network.channels, *network.map_size, generator=generator) * scales
    A[2] = A[2].abs()  # one as after a ReLU
    A = A.to(network.device, network.dtype)
    # Where the model could not be cut, other images must not change the logits either.
    images = None
    if network.needs_images:
        images = torch.randn(len(A), colours, side, side, generator=generator).to(A)
    try:
        found = network.tail(A, images)
    except SycamError:
        return None
    for head in _candidates(network):
        if _agrees(head, A, found):
            return head
    if images is not None or not _linear_in_means(network, A, found):
        return None
    head = _read_off(network)
    return head if _agrees(head, A, found) else None


def _candidates(network: Network) -> Iterator[LinearHead]:
    shape = (network.n_classes, network.channels)
    for module in reversed(list(network.model.modules())):
        if isinstance(module, nn.Linear | nn.Conv2d) and module.weight.flatten(1).shape == shape:
            weight = module.weight.detach().flatten(1)
            yield LinearHead(weight, torch.zeros_like(weight[:, 0]) if module.bias is None else module.bias.detach())


def _agrees(head: LinearHead, A: Tensor, found: Tensor) -> bool:
    """Whether the head gives the logits `found` [N, C] for activations A [N, K, h, w]."""
    return _same(A.mean((2, 3)) @ head.weight.T + head.bias, found)


def _same(expected: Tensor, found: Tensor) -> bool:
    error = (found - expected).abs().amax(1) / expected.abs().amax(1).clamp(min=1e-12)  # [N]
    return bool((error <= TOLERANCE).all())


def _linear_in_means(network: Network, A: Tensor, found: Tensor) -> bool:
    """A cheap necessary condition, so that a head such as VGG's is not run once a channel."""
    means = A.mean((2, 3), keepdim=True).expand_as(A)
    if not _same(network.tail(means.contiguous()), found):
        return False
    origin = network.tail(torch.zeros_like(A[:1]))
    return _same(found + found.roll(1, 0) - origin, network.tail(A + A.roll(1, 0)))


def _read_off(network: Network) -> LinearHead:
    """W and b from the logits of zero maps, and of maps with one channel constant and the others zero."""
    amplitude = 64.0  # a power of two; not 1, lest a large bias round the weights away
    zero = torch.zeros(1, network.channels, *network.map_size, device=network.device, dtype=network.dtype)
    bias = network.tail(zero)[0]
    columns = []
    for channels in torch.arange(network.channels, device=network.device).split(64):
        maps = zero.repeat(len(channels), 1, 1, 1)
        maps[torch.arange(len(channels), device=network.device), channels] = amplitude
        columns.append((network.tail(maps) - bias) / amplitude)  # [64, C]
    return LinearHead(torch.cat(columns).T.contiguous(), bias)
