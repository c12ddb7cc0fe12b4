"""The terminals of a set of images, computed once: what every candidate is evaluated from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from sycam.images import ImageSet
from sycam.network import Network
from sycam.store import TerminalStore
from sycam.store.keys import PREDICTED
from sycam.terminals import TerminalSettings, terminal
from sycam.theory import Evaluator
from sygus import Term

from .column import Column
from .gathering import Gathering
from .units import unit_of


class TerminalCache:
    """Terminals, classes and plain probabilities of images, on the network's device.

    Args:
        network: the CNN, read at its target layer.
        images: pixels, labels, masks.
        names: the terminals to compute; A always is.
        classes: [N] int64, the image class that is explained; None for the predicted one.
        batch: images per forward pass; None for what suits the device.
        chunk: masked images per pass for terminals that need many (`drop`, `score`).
        on_batch: told after each batch how many images are done.
        settings: samples, steps, orderings and the seed of the terminals that have such.
        optional: names of terminals that are left out, with the reason in `refused`, where they raise `Unavailable`.
        unit: [N] ascending, the unit of each image; None for `unit_of`. No batch holds images of two units.
        store: where values are looked up before they are computed, and kept; None for nowhere.
        resident: bytes of values that are held on the device (`Gathering`).

    Attributes:
        classes: [N]; p: [N] probability of the class on the plain image; predicted: [N] the network's own class; values:
            terminal name to tensor [N, ...], or to a `Column` whose rows are mapped, which is indexed as the tensor would be;
            refused: name of an optional terminal that could not be had to the reason; stored: what the store held of all that.

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
        store: TerminalStore | None = None,
        resident: int | None = None,
    ) -> None:
        self.network, self.images = network, images
        self.settings = settings or TerminalSettings()
        self.unit = unit_of(len(images)) if unit is None else unit
        wanted = list(dict.fromkeys(["A", *names]))
        for name in wanted:
            terminal(name)
        found = Gathering(
            network, images, wanted, classes, chunk=chunk, settings=self.settings, optional=optional,
            shelf=store.shelf(network) if store else None, resident=resident, unit=self.unit,
        )  # fmt: skip
        found.run(batch, on_batch)
        self.refused, self.stored = found.refused, found.stored
        self.values = {name: found.whole(name) for name in wanted if name not in self.refused}
        self.classes = found.classes.to(network.device)
        self.p = found.columns["p"][:][:, 0].double()
        self.predicted = found.columns[PREDICTED][:]

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
        part.settings, part.refused, part.stored, part.unit = self.settings, self.refused, self.stored, self.unit[places]
        on_device = places.to(self.classes.device)
        part.values = {
            name: value.select(places.cpu()) if isinstance(value, Column) else value[on_device]
            for name, value in self.values.items()
        }
        part.classes, part.p, part.predicted = self.classes[on_device], self.p[on_device], self.predicted[on_device]
        return part

    @property
    def bytes(self) -> int:
        """Memory that the cache holds, mapped files aside."""
        sizes = [v.bytes if isinstance(v, Column) else v.numel() * v.element_size() for v in self.values.values()]
        return sum(sizes)
