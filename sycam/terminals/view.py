"""`View`: one batch of images as the terminals see it."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from sycam.job import TerminalSettings
from sycam.network.network import Network
from sycam.terminals.registry import terminal


class View:
    """A batch of images in front of a network; `view["G"]` computes a terminal at first use and keeps it.

    The forward pass that gives activations and logits runs once, at first use, whatever asks for it.

    Args:
        network: the CNN.
        images: normalised, [N, 3, H, W].
        classes: image class of each, [N]; the predicted ones where None.
        activations: A, with `logits`, if someone has them already.
        logits: of these images, [N, C].
        chunk: how many images one batch may hold at most when a terminal needs many passes for each image; it changes speed and
            memory, and results by rounding only.
        settings: samples, steps, orderings and the seed of the terminals that have such.

    Attributes:
        keys: of the images' random numbers, see `sycam.terminals.randomness`.
        extra: what several terminals share, under a name of their choosing.

    >>> from torch import nn
    >>> from sycam.network import Network, Preprocessing
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    >>> network = Network(net, Preprocessing(8, (0.5,) * 3, (0.5,) * 3))
    >>> view = View(network, torch.randn(2, 3, 8, 8), torch.tensor([0, 3]))
    >>> view["G"].shape, view["drop"].shape, view["y"].shape
    (torch.Size([2, 4, 6, 6]), torch.Size([2, 4]), torch.Size([2, 1]))
    """

    def __init__(
        self,
        network: Network,
        images: Tensor,
        classes: Tensor | None = None,
        *,
        activations: Tensor | None = None,
        logits: Tensor | None = None,
        chunk: int = 64,
        settings: TerminalSettings | None = None,
    ) -> None:
        self.network = network
        self.images = _ordinary(images.to(network.device, network.dtype))
        self.chunk = chunk
        self.settings = settings or TerminalSettings()
        self.keys: list[bytes] | None = None
        self._given_classes = None if classes is None else _ordinary(classes.to(network.device, torch.int64))
        self._given = None if activations is None or logits is None else (activations, logits)
        self._values: dict[str, Tensor] = {}
        self.extra: dict[str, tuple[Tensor, ...]] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._values:
            # A caller's inference mode would give tensors that may not enter the graphs that some terminals need.
            with torch.inference_mode(False), torch.no_grad():
                self._values[name] = terminal(name).compute(self)
        return self._values[name]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def _forward(self) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False):
            if self._given is None:
                return self.network.activations(self.images)
            return _ordinary(self._given[0]), _ordinary(self._given[1])

    @property
    def A(self) -> Tensor:
        """Activations of the target layer, [N, K, h, w]."""
        return self._forward[0]

    @property
    def logits(self) -> Tensor:
        """[N, C]."""
        return self._forward[1]

    @cached_property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, [N, C]."""
        with torch.inference_mode(False):
            return self.logits.softmax(1)

    @cached_property
    def classes(self) -> Tensor:
        """The image class that terminals speak of, int64 [N]: given, or predicted."""
        with torch.inference_mode(False):
            return self.logits.argmax(1) if self._given_classes is None else self._given_classes

    def of_class(self, values: Tensor) -> Tensor:
        """Each image's entry for its class: [N, C] to [N, 1]."""
        return values.gather(1, self.classes[:, None])


def _ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or a copy if it was born in inference mode and so could not enter a graph."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()
