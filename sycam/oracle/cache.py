"""The terminals of a set of images, computed once: what every candidate is evaluated from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from sycam.errors import Unavailable
from sycam.images import ImageSet
from sycam.network import Network
from sycam.network.batching import images_at_once
from sycam.terminals import TerminalSettings, View, terminal
from sycam.theory import Evaluator
from sygus import Term

from .units import unit_of, within_units


class TerminalCache:
    """Terminals, classes and plain probabilities of images, on the network's device.

    Args:
        network: the CNN, read at its target layer.
        images: pixels, labels, masks.
        names: the terminals to compute; A always is.
        classes: [N] int64, the image class that is explained; None for the predicted one.
        batch: images per forward pass; None for what suits the device.
        chunk: masked images per pass for terminals that need many (`drop`, `score`).
        settings: samples, steps, orderings and the seed of the terminals that have such.
        on_batch: told after each batch how many images are done.
        optional: names of terminals that are left out, with the reason in `refused`, where they raise `Unavailable`.
        unit: [N] ascending, the unit of each image; None for `unit_of`. No batch holds images of two units.

    Attributes:
        classes: [N]; p: [N] probability of the class on the plain image; predicted: [N] the network's own class; values:
            terminal name to tensor [N, ...]; refused: name of an optional terminal that could not be had to the reason.

    Raises:
        SycamError: an unknown terminal.
        Unavailable: one, not optional, that the network cannot give or that is not finite on an image.
    """

    def __init__(
        self,
        network: Network,
        images: ImageSet,
        names: Sequence[str],
        classes: Tensor | None = None,
        batch: int | None = None,
        chunk: int = 64,
        on_batch: Callable[[int], None] | None = None,
        settings: TerminalSettings | None = None,
        optional: Collection[str] = (),
        unit: Tensor | None = None,
    ) -> None:
        self.network, self.images = network, images
        self.settings = settings or TerminalSettings()
        self.refused: dict[str, str] = {}
        self.unit = unit_of(len(images)) if unit is None else unit
        wanted = list(dict.fromkeys(["A", *names]))
        for name in wanted:
            terminal(name)
        parts: dict[str, list[Tensor]] = {name: [] for name in wanted}
        found_classes, probabilities, predicted = [], [], []
        batch = batch or min(128, images_at_once(network.device, *images.pixels.shape[-2:]))
        for together in within_units(self.unit, batch):
            places = slice(int(together[0]), int(together[-1]) + 1)
            given = None if classes is None else classes[places]
            view = View(network, images.normalised(places, network), given, chunk=chunk, settings=self.settings)
            for name in list(parts):
                try:
                    value = view[name]
                    self._check(value, name, images.names[places])
                except Unavailable as problem:
                    if name not in optional:
                        raise
                    self.refused[name] = str(problem)
                    del parts[name]
                    continue
                parts[name].append(value)
            found_classes.append(view.classes)
            probabilities.append(view["p"][:, 0])
            predicted.append(view.logits.argmax(1))
            if on_batch:
                on_batch(places.stop)
        self.values = {name: torch.cat(tensors) for name, tensors in parts.items()}
        self.classes = torch.cat(found_classes)
        self.p = torch.cat(probabilities).double()
        self.predicted = torch.cat(predicted)

    @staticmethod
    def _check(value: Tensor, name: str, names: list[str]) -> None:
        bad = ~value.isfinite().flatten(1).all(1) if value.is_floating_point() else None
        if bad is not None and bool(bad.any()):
            image = names[int(bad.nonzero()[0, 0])]
            raise Unavailable(f"terminal {name!r} is NaN or infinite on {image}: look at the image and the model's weights")

    def __len__(self) -> int:
        return len(self.images)

    def evaluator(self, places: Tensor | slice) -> Evaluator:
        """Terms over the images at `places`."""
        return Evaluator({name: value[places] for name, value in self.values.items()})

    def failing(self, assumption: Term) -> int | None:
        """The place of the first image on which an assumption, `(uniform terminal)` or a term of sort Bool, fails, or None."""
        for start in range(0, len(self), 64):
            evaluator = self.evaluator(slice(start, start + 64))
            if assumption.name == "uniform":
                value = evaluator.value(assumption.args[0])
                holds = value.amax(2) == value.amin(2)  # [B, K]
            else:
                holds = evaluator.value(assumption).flatten(1)
            failing = (~holds.all(1)).nonzero()
            if len(failing):
                return start + int(failing[0, 0])
        return None

    def labels_or_classes(self) -> Tensor:
        """The label of each image, or the class that is explained where it has none: [N] on the CPU."""
        labels = self.images.labels
        return torch.where(labels >= 0, labels, self.classes.cpu())

    def select(self, places: Tensor) -> TerminalCache:
        """The cache of some of the images, without computing anything again."""
        part = object.__new__(TerminalCache)
        part.network, part.images = self.network, self.images.select(places)
        part.settings, part.refused, part.unit = self.settings, self.refused, self.unit[places]
        on_device = places.to(self.classes.device)
        part.values = {name: value[on_device] for name, value in self.values.items()}
        part.classes, part.p, part.predicted = self.classes[on_device], self.p[on_device], self.predicted[on_device]
        return part

    @property
    def bytes(self) -> int:
        """Memory that the cache holds."""
        return sum(value.numel() * value.element_size() for value in self.values.values())
