"""The terminals of a set of images, computed once: what every candidate is evaluated from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from sycam.images import ImageSet
from sycam.network import Network
from sycam.store import Stored, TerminalStore
from sycam.store.keys import PREDICTED
from sycam.terminals import TerminalSettings, terminal
from sycam.theory import Evaluator
from sygus import Term

from .blocks import block_of
from .gathering import Batches, Column, Gathering, Wanted


@dataclass(frozen=True)
class TerminalCache:
    """The terminals of images, on the network's device; `gather` fills it.

    Attributes:
        network: read at its target layer. images: pixels, labels, masks. settings: of terminals.
        block: [N], of each image (`block_of`).
        values: terminal name to tensor [N, ...], or to a `Column` whose rows are mapped, which is indexed as the tensor would be.
        classes: [N] the image class that is explained; p: [N] probability of that class on the plain image; predicted: [N] the
            network's own class.
        refused: name of an optional terminal that could not be had to the reason. stored: what the store held of all that.
    """

    network: Network
    images: ImageSet
    settings: TerminalSettings
    block: Tensor
    values: Mapping[str, Tensor | Column]
    classes: Tensor
    p: Tensor
    predicted: Tensor
    refused: Mapping[str, str] = field(default_factory=dict)
    stored: Stored = field(default_factory=Stored)

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

    def select(self, places: Tensor) -> TerminalCache:
        """Those of some of the images, without computing anything again."""
        on_device = places.to(self.classes.device)
        values = {
            name: value.select(places.cpu()) if isinstance(value, Column) else value[on_device]
            for name, value in self.values.items()
        }
        rows = {name: getattr(self, name)[on_device] for name in ("classes", "p", "predicted")}
        return replace(self, images=self.images.select(places), block=self.block[places], values=values, **rows)

    @property
    def bytes(self) -> int:
        """Memory that is held, mapped files aside."""
        sizes = [v.bytes if isinstance(v, Column) else v.numel() * v.element_size() for v in self.values.values()]
        return sum(sizes)


def gather(
    network: Network, images: ImageSet, wanted: Wanted, batches: Batches = Batches(), store: TerminalStore | None = None,  # noqa: B008
    on_batch: Callable[[int], None] | None = None,
) -> TerminalCache:  # fmt: skip
    """Computes the terminals of images, but for those that a store has.

    Args:
        network: the CNN, read at its target layer.
        images: pixels, labels, masks.
        wanted: which terminals, of which class, with which settings.
        batches: how many images at once, and what is held on the device.
        store: where values are looked up before they are computed, and kept; None for nowhere.
        on_batch: told after each batch how many images are done.

    Raises:
        SycamError: an unknown terminal.
        Unavailable: one, not optional, that the network cannot give or that is not finite on an image.
    """
    names = list(dict.fromkeys(["A", *wanted.names]))
    for name in names:
        terminal(name)
    block = block_of(len(images)) if batches.block is None else batches.block
    found = Gathering(network, images, replace(wanted, names=names), batches, store.shelf(network) if store else None, block)
    found.run(batches.images, on_batch)
    return TerminalCache(
        network, images, wanted.settings, block, {name: found.whole(name) for name in names if name not in found.refused},
        found.classes.to(network.device), found.columns["p"][:][:, 0].double(), found.columns[PREDICTED][:],
        refused=found.refused, stored=found.stored,
    )  # fmt: skip
