"""Gathers the terminals of images: what a store holds is mapped; the rest is computed batch by batch, and kept in the store."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sycam.errors import Unavailable
from sycam.images import ImageSet
from sycam.network import Network
from sycam.network.batching import images_at_once
from sycam.store import Shelf, Stored
from sycam.store.keys import LOGITS, OF_IMAGE, PREDICTED, image_keys, of_class, row_keys
from sycam.terminals import TerminalSettings, View

from .blocks import within_blocks

RESIDENT_ON_CPU = 256 << 20
"""Values of a run below this are held in memory although a store has them; above it they stay mapped."""
SAID: dict = {}
"""Warnings of terminals that were handed on, so that each is said once as Python does."""


@dataclass(frozen=True)
class Wanted:
    """Which terminals of images are wanted, and how they are computed.

    Attributes:
        names: of terminals; A always is one of them.
        classes: [N] int64, the image class that is explained; None for the predicted one.
        settings: samples, steps, orderings and the seed of the terminals that have such.
        optional: names of terminals that are left out, with the reason, where they raise `Unavailable`.
    """

    names: Sequence[str]
    classes: Tensor | None = None
    settings: TerminalSettings = field(default_factory=TerminalSettings)
    optional: Collection[str] = ()


@dataclass(frozen=True)
class Batches:
    """How terminals are computed together.

    Attributes:
        images: per forward pass; None for what suits the device.
        chunk: masked images per pass for terminals that need many (`drop`, `score`).
        resident: bytes of values that are held on the device; None for 256 MiB on a CPU with a store, all of them without, and
            two fifths of what is free on a GPU. What does not fit stays mapped, or in the host's memory.
        block: [N] ascending, the block of each image; None for `block_of`. No batch holds images of two blocks.
    """

    images: int | None = None
    chunk: int = 64
    resident: int | None = None
    block: Tensor | None = None


class Column:
    """N rows, each somewhere; indexing gathers some of them into one tensor on the device.

    Args:
        count: N.
        device: where what is gathered lies.

    Attributes:
        bytes: of the parts in memory; those of mapped files are not counted.

    >>> column = Column(3, torch.device("cpu"))
    >>> column.put(torch.tensor([2, 0]), torch.tensor([[5.0], [6.0]]))
    >>> column.present.tolist(), column[torch.tensor([0, 2])].tolist()
    ([True, False, True], [[6.0], [5.0]])
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self.device = device
        self.bytes = 0
        self._parts: list[Tensor] = []
        self._part = torch.full((count,), -1, dtype=torch.int32)
        self._row = torch.zeros(count, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._part)

    @property
    def shape(self) -> torch.Size:
        """[N, ...]."""
        return torch.Size([len(self), *self._parts[0].shape[1:]])

    @property
    def dtype(self) -> torch.dtype:
        """Of every row."""
        return self._parts[0].dtype

    @property
    def present(self) -> Tensor:
        """Which rows are there yet, bool [N]."""
        return self._part >= 0

    def put(self, places: Tensor, part: Tensor, rows: Tensor | None = None, mapped: bool = False) -> None:
        """The rows at `places` [n] are those of `part` at `rows` [n], its first n where None."""
        self._part[places] = len(self._parts)
        self._row[places] = torch.arange(len(places)) if rows is None else rows
        self._parts.append(part)
        self.bytes += 0 if mapped else part.numel() * part.element_size()

    def __getitem__(self, places: int | slice | Tensor) -> Tensor:
        if isinstance(places, int):
            return self._parts[int(self._part[places])][int(self._row[places])].to(self.device)
        if isinstance(places, Tensor):
            places = places.cpu()
        of, rows = self._part[places], self._row[places]
        present = of.unique().tolist()
        if len(present) == 1:
            return _rows(self._parts[present[0]], rows).to(self.device)
        gathered = torch.empty(len(of), *self.shape[1:], dtype=self.dtype, device=self.device)
        for part in present:
            here = (of == part).nonzero()[:, 0]
            gathered[here.to(self.device)] = _rows(self._parts[part], rows[here]).to(self.device)
        return gathered

    def select(self, places: Tensor) -> Column:
        """Some of the rows, without copying any."""
        chosen = Column(len(places), self.device)
        chosen.bytes, chosen._parts = self.bytes, self._parts
        chosen._part, chosen._row = self._part[places], self._row[places]
        return chosen


def _rows(part: Tensor, rows: Tensor) -> Tensor:
    """Rows of a tensor; a view where they follow one another."""
    first = int(rows[0]) if len(rows) else 0
    if torch.equal(rows, torch.arange(first, first + len(rows))):
        return part[first : first + len(rows)]
    return part[rows.to(part.device)]


class Gathering:
    """The terminals of some images, as they come together.

    Args:
        network, images: of which.
        wanted: the terminals, and how they are computed.
        batches: how many images at once, and what is held on the device.
        shelf: of a store; None to compute everything and keep it in memory.
        block: [N], of each image; no batch holds images of two blocks.

    Attributes:
        columns: name, and `LOGITS` and `PREDICTED`, to rows.
        classes: [N] int64 on the CPU.
        refused: name of an optional terminal that could not be had to the reason.
        stored: what was found and what was computed.
    """

    def __init__(
        self, network: Network, images: ImageSet, wanted: Wanted, batches: Batches, shelf: Shelf | None, block: Tensor
    ) -> None:
        self.network, self.images, self.settings, self.chunk = network, images, wanted.settings, batches.chunk
        self.optional, self.shelf, self.block = wanted.optional, shelf, block
        names, classes, resident = wanted.names, wanted.classes, batches.resident
        self.wanted = list(dict.fromkeys(["A", LOGITS, PREDICTED, "p", *names]))
        self.columns = {name: Column(len(images), network.device) for name in self.wanted}
        self.refused: dict[str, str] = {}
        self.stored = Stored(folder=str(shelf.store.folder) if shelf else "")
        self.classes = torch.full((len(images),), -1) if classes is None else classes.cpu().clone()
        self._given = classes is not None
        self._keys = image_keys(images) if shelf else []
        self._room = _room(network.device, shelf is not None) if resident is None else resident
        self._on_device: dict[str, bool] = {}
        self._written = shelf.bytes_written if shelf else 0

    def run(self, batch: int | None, on_batch: Callable[[int], None] | None) -> None:
        """Fills every column.

        Raises:
            Unavailable: a terminal that is not optional cannot be had.
        """
        self._find()
        groups = self._missing()
        done = len(self.images) - sum(len(places) for _, places in groups)
        if done and on_batch:
            on_batch(done)
        batch = batch or min(128, images_at_once(self.network.device, *self.images.pixels.shape[-2:]))
        try:
            for missing, group in groups:
                for together in within_blocks(self.block[group], batch):
                    places = group[together]
                    computed = self._compute([name for name in missing if name not in self.refused], places)
                    self.stored.images_computed += len(places) if computed else 0
                    done += len(places)
                    if on_batch:
                        on_batch(done)
        finally:  # what was computed before an error or Ctrl-C is kept
            self._flush()
            self.stored.images_read = len(self.images) - self.stored.images_computed
            if self.shelf:
                self.stored.bytes_written = self.shelf.bytes_written - self._written

    def whole(self, name: str) -> Tensor | Column:
        """A column that is held as one tensor on the device, or the column where its rows stay where they are."""
        column = self.columns[name]
        return column[:] if self._on_device.get(name, True) else column

    def _find(self) -> None:
        """Rows of the store, none of them of a file that turns out damaged, so that all rows of that one are written again."""
        lost = None
        while self.shelf and self.shelf.lost != lost:
            lost = self.shelf.lost
            self.columns = {name: Column(len(self.images), self.network.device) for name in self.wanted}
            self.stored.rows_read = self.stored.bytes_read = 0
            self._find_once()

    def _find_once(self) -> None:
        """First what depends on the image alone, for the predicted class is among it."""
        everywhere = torch.arange(len(self.images))
        free = [name for name in self.wanted if not of_class(name)]
        for name in free:
            self._take(name, everywhere)
        predicted = self.columns[PREDICTED]
        known = everywhere if self._given else predicted.present.nonzero()[:, 0]
        if not self._given and len(known):
            self.classes[known] = predicted[known].cpu()
        for name in self.wanted:
            if name not in free:
                self._take(name, known)

    def _take(self, name: str, places: Tensor) -> None:
        assert self.shelf is not None
        rows = self.shelf.find(self._row_keys(name, places))
        found = [(place, row) for place, row in zip(places.tolist(), rows, strict=True) if row is not None]
        if found:
            self._put(name, torch.tensor([place for place, _ in found]), [row for _, row in found])
            self.stored.rows_read += len(found)
            if name in self.shelf.notes:
                warnings.warn(self.shelf.notes[name], stacklevel=6)
            one = found[0][1].values[0]
            self.stored.bytes_read += len(found) * one.numel() * one.element_size()

    def _put(self, name: str, places: Tensor, rows: list) -> None:
        """Mapped rows of a store into the column."""
        by_file: dict[int, list[int]] = {}
        for position, row in enumerate(rows):
            by_file.setdefault(id(row.shard), []).append(position)
        for positions in by_file.values():
            at = torch.tensor([rows[position].row for position in positions])
            self.columns[name].put(places[positions], rows[positions[0]].values, at, mapped=True)
        self._decide(name, rows[0].values[:1])

    def _missing(self) -> list[tuple[list[str], Tensor]]:
        """Images by what they lack, in order of their first."""
        lacks = torch.stack([~self.columns[name].present for name in self.wanted], 1)  # [N, names]
        groups: dict[tuple[bool, ...], list[int]] = {}
        for place in lacks.any(1).nonzero()[:, 0].tolist():
            groups.setdefault(tuple(lacks[place].tolist()), []).append(place)
        return [
            ([name for name, lack in zip(self.wanted, pattern, strict=True) if lack], torch.tensor(places))
            for pattern, places in groups.items()
        ]

    def _compute(self, missing: list[str], places: Tensor) -> bool:
        """Values of the terminals that are missing for the images at `places`; whether any could be had."""
        if not missing:
            return False
        A, logits = (None if name in missing else self.columns[name][places] for name in ("A", LOGITS))
        classes = self.classes[places] if self._given or PREDICTED not in missing else None
        view = View(
            self.network, self.images.normalised(places, self.network), classes, activations=A, logits=logits,
            chunk=self.chunk, settings=self.settings,
        )  # fmt: skip
        if PREDICTED in missing and not self._given:
            self.classes[places] = view.classes.cpu()
        for name in missing:
            try:
                value = self._value(view, name, places)
            except Unavailable as problem:
                if name not in self.optional:
                    raise
                self.refused[name] = str(problem)
                continue
            self.stored.rows_computed += len(places)
            if self._decide(name, value) or self.shelf is None:
                self.columns[name].put(places, value if self._on_device[name] else value.cpu())
            if self.shelf:
                self.shelf.add(name, places, self._row_keys(name, places), value)
        if self.shelf and self.shelf.due:
            self._flush()
        return not self.refused.keys() >= set(missing)

    def _value(self, view: View, name: str, places: Tensor) -> Tensor:
        if name in OF_IMAGE:
            return view.logits if name == LOGITS else view.logits.argmax(1)
        with warnings.catch_warnings(record=True) as caught:
            value = view[name]
        for warning in caught:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno, registry=SAID)
            if self.shelf and warning.category is UserWarning:
                self.shelf.notes.setdefault(name, str(warning.message))
        bad = ~value.isfinite().flatten(1).all(1) if value.is_floating_point() else None
        if bad is not None and bool(bad.any()):
            image = self.images.names[int(places[int(bad.nonzero()[0, 0])])]
            raise Unavailable(f"terminal {name!r} is NaN or infinite on {image}: look at the image and the model's weights")
        return value

    def _decide(self, name: str, example: Tensor) -> bool:
        """Whether a column is held on the device, which its first rows decide: [n, ...] of them."""
        if name not in self._on_device:
            size = len(self.images) * example[0].numel() * example.element_size()
            self._on_device[name] = size <= self._room
            self._room -= size if self._on_device[name] else 0
        return self._on_device[name]

    def _flush(self) -> None:
        """Writes what waits. Columns that are not held on the device take the mapped rows, or what could not be written."""
        for written in self.shelf.flush() if self.shelf else ():
            if not self._on_device[written.name]:
                if written.rows is None:
                    self.columns[written.name].put(written.places, written.values)
                else:
                    self._put(written.name, written.places, written.rows)

    def _row_keys(self, name: str, places: Tensor) -> list[bytes]:
        return row_keys(name, [self._keys[i] for i in places.tolist()], self.classes[places].tolist(), self.settings)


def _room(device: torch.device, stored: bool) -> int:
    if device.type == "cuda":
        return int(0.4 * torch.cuda.mem_get_info(device)[0])
    return RESIDENT_ON_CPU if stored else 1 << 62
