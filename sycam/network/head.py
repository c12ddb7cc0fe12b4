"""Whether global average pooling and one linear layer follow the target layer: then much has a closed form.

With logits = W·GAP(A) + b the gradient is W_c/Z at every pixel, and the logit without channel k is y − W_ck·mean(A_k):
no backward pass, no ablated pass. The head is found by what it computes, never by its modules' names.
"""

from __future__ import annotations

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

    The candidate is the last Linear or 1x1 convolution of matching shape. It counts if the tail returns
    mean(A)·Wᵀ + b to 1e-5 of the largest logit for random activations of several sizes, negative ones among them: a
    ReLU or a max-pooling before the linear layer, or a second layer after it, breaks that.

    >>> from sycam.network.preprocessing import Preprocessing
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    >>> linear_head(Network(net, Preprocessing(8, (0.5,) * 3, (0.5,) * 3))).weight.shape
    torch.Size([5, 4])
    """
    if "linear_head" not in network.memo:
        passes = Passes(**vars(network.passes))
        network.memo["linear_head"] = _verified(network)
        network.passes = passes  # the verification is not the run's work
    return network.memo["linear_head"]


def _verified(network: Network) -> LinearHead | None:
    head = _candidate(network)
    if head is None:
        return None
    side = network.preprocessing.size
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([1e-2, 1.0, 1.0, 10.0, 100.0])[:, None, None, None]
    A = torch.randn(len(scales), network.channels, *network.map_size, generator=generator) * scales
    A[2] = A[2].abs()  # one as after a ReLU
    A = A.to(network.device)
    # Where the model could not be cut, other images must not change the logits either.
    images = torch.randn(len(A), 3, side, side, generator=generator).to(network.device) if network.needs_images else None
    with torch.no_grad():
        try:
            found = network.tail(A, images)
        except SycamError:
            return None
        expected = A.mean((2, 3)) @ head.weight.T + head.bias
    error = (found - expected).abs().amax(1) / expected.abs().amax(1).clamp(min=1e-12)  # [5]
    return head if bool((error <= TOLERANCE).all()) else None


def _candidate(network: Network) -> LinearHead | None:
    shape = (network.n_classes, network.channels)
    for module in reversed(list(network.model.modules())):
        if isinstance(module, nn.Linear | nn.Conv2d) and module.weight.flatten(1).shape == shape:
            weight = module.weight.detach().flatten(1)
            bias = torch.zeros_like(weight[:, 0]) if module.bias is None else module.bias.detach()
            return LinearHead(weight, bias)
    return None
