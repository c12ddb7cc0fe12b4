"""Small networks whose heads differ, and helpers for the tests of terminals."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sycam.network import Network, Preprocessing, linear_head
from sycam.network.heads import LinearHead

PREP = Preprocessing(8, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))


class Residual(nn.Module):
    """Maps after a ReLU that the network uses three times, in place; then a residual block, functional pooling, one linear layer."""

    def __init__(self, channels: int = 5, classes: int = 4) -> None:
        super().__init__()
        self.first, self.relu = nn.Conv2d(3, channels, 3), nn.ReLU(inplace=True)
        self.stem = nn.Sequential(self.first, self.relu)
        self.a, self.norm = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.relu(self.norm(self.a(x)) + x)
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        x = nn.functional.avg_pool2d(x, x.size(3))
        return self.fc(self.relu(x.view(x.size(0), -1)))


def network(kind: str, seed: int = 0, channels: int = 7) -> Network:
    """`linear`, `layered` (max pooling, two linear layers) or `residual`: random, in double precision, channel 2 dead."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(3, channels, 3)
    relu = nn.ReLU(inplace=True)
    if kind == "residual":
        model: nn.Module = Residual(channels)
        conv, layer = model.first, "stem"  # type: ignore[assignment,union-attr]
    else:
        stem = nn.Sequential(nn.Conv2d(3, 3, 1), relu, conv, relu)
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4)]
        if kind == "layered":
            head = [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(9 * channels, 5), relu, nn.Linear(5, 4)]
        model, layer = nn.Sequential(stem, *head), "0"
    with torch.no_grad():
        conv.bias[2] = -1e3
        for parameter in list(model.parameters())[-2:]:
            parameter.mul_(3)  # probabilities that differ
    return double(Network(model.eval(), PREP, layer))


def double(made: Network) -> Network:
    """The network in double precision."""
    head = linear_head(made)
    if head is not None:
        made.memo["linear_head"] = LinearHead(head.weight.double(), head.bias.double())
    made.model.double()
    if made.tail_graph is not None:
        made.tail_graph.double()
    if hasattr(made, "dtype"):
        made.dtype = torch.float64
    return made


def without_closed_forms(made: Network) -> Network:
    """The same model, its linear head not found."""
    other = copy.copy(made)
    other.memo = {"linear_head": None}
    return other


def images(count: int = 4, seed: int = 1) -> Tensor:
    """[count, 3, 8, 8] float64."""
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
