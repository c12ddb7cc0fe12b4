"""Heatmaps of baselines on two small networks, and how far apart they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from worlds import tiny_network

from sycam.cams import BASELINES
from sycam.network import Network, Preprocessing
from sycam.run.result import cam_heatmaps

TOLERANCE = 1e-4  # on the heatmap


class Biased(nn.Module):
    """3×16×16: a convolution with a bias, batch normalisation, one in-place ReLU called twice, and a head of two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.pool, self.second = nn.MaxPool2d(2), nn.Conv2d(5, 7, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(7 * 64, 9), nn.Tanh(), nn.Linear(9, 4))
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.weight.normal_()
            self.norm.bias.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        return self.head(self.relu(self.second(self.pool(x))))


NETWORKS = {"tiny": tiny_network, "biased": lambda: Network(Biased(), Preprocessing(16, (0.5,) * 3, (0.25,) * 3), "second")}

POLY = {"tiny": [("features.1", 0)], "biased": [("relu", 0), ("second", 0)]}
"""Of each network the layers that Poly-CAM reads, named by hand: the last before each pooling, then the target."""


def heatmaps(name: str, network: Network, images: Tensor, classes: Tensor | None = None) -> Tensor:
    return cam_heatmaps([BASELINES[name]], network, images, classes)[0]


def off(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max())
