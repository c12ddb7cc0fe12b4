"""`DigitVGG`, the embedded classifier: a VGG in miniature, with fully connected layers after its last pooling.

Global pooling with one linear layer would make many methods coincide (CAM, Grad-CAM, XGrad-CAM, HiResCAM, Ablation-CAM,
LIFT-CAM: one heatmap). A head of three linear layers keeps them apart, as it does in VGG16.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sycam.errors import SycamError

SIZE = 64
"""Height and width of an image, in pixels."""

MEAN = (0.52, 0.52, 0.52)
"""About the mean of the composites' red, green and blue: what the network's input is centred by."""

STD = (0.26, 0.26, 0.26)
"""About the standard deviation of the same: what the network's input is divided by."""

CLASSES = tuple("0123456789")
"""Names of the ten image classes, in the order of the logits."""

LAYER = "features.14"
"""The target layer: the last ReLU, before the last max pooling; 8×8, not in place, called once a forward pass."""

WEIGHTS = Path(__file__).parent / "weights.safetensors"
"""The shipped weights."""


class DigitVGG(nn.Module):
    """A small VGG with batch normalisation: convolutions and max poolings, then three fully connected layers.

    The last two modules of `features` are a ReLU and a max pooling, as in VGG16; the ReLU is `LAYER`.

    >>> build().eval()(torch.zeros(2, 3, SIZE, SIZE)).shape
    torch.Size([2, 10])
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96), hidden: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 3
        for width in widths:
            blocks += [
                nn.Conv2d(channels, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            channels = width
        self.features = nn.Sequential(*blocks)
        side = SIZE // 2 ** len(widths)
        self.classifier = nn.Sequential(
            nn.Linear(channels * side * side, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 64),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(64, len(CLASSES)),
        )

    def forward(self, image: Tensor) -> Tensor:  # [B, 3, 64, 64], normalised by MEAN and STD -> [B, 10]
        """Logits of a batch of normalised images."""
        return self.classifier(self.features(image).flatten(1))


def build() -> DigitVGG:
    """The network with fresh random weights, in training mode."""
    return DigitVGG()


def load_network(device: str | torch.device = "cpu") -> DigitVGG:
    """The trained network, in evaluation mode, on `device`."""
    if not WEIGHTS.is_file():
        raise SycamError(f"{WEIGHTS} is missing: reinstall sycam, or rebuild it with benchmarks/build_embedded.py")
    network = build()
    network.load_state_dict(load_file(WEIGHTS), strict=True)
    return network.to(device).eval()
