"""A shelf: the part of a store that belongs to one network at one layer. Finds rows, and writes new ones file by file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from . import shard as files
from .shard import DamagedError, Shard

if TYPE_CHECKING:
    from .store import TerminalStore

FILE_BYTES = 64 << 20
FILE_SECONDS = 10.0
"""How much computing a kill may lose: rows are written after so many bytes, or so long."""


class Row(NamedTuple):
    """Where a value lies."""

    shard: Shard
    name: str
    row: int

    @property
    def values(self) -> Tensor:
        """All rows of its terminal in its file, mapped."""
        return self.shard.values[self.name]


class Written(NamedTuple):
    """Rows that were handed to `Shelf.add`: where they lie now, or their values where they could not be written."""

    name: str
    places: Tensor
    rows: list[Row] | None
    values: Tensor


@dataclass
class Stored:
    """What a store did for somebody.

    Attributes:
        rows_read, rows_computed: values of a terminal for an image.
        images_read: for which nothing had to be computed; images_computed: the others.
        bytes_read: of the rows that were found; bytes_written: of new files.
        folder: of the store; "" without one.
    """

    rows_read: int = 0
    rows_computed: int = 0
    images_read: int = 0
    images_computed: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    folder: str = ""

    def describe(self) -> dict[str, int | str]:
        """As plain data, for a manifest."""
        return asdict(self)

    def __add__(self, other: Stored) -> Stored:
        return Stored(
            self.rows_read + other.rows_read,
            self.rows_computed + other.rows_computed,
            self.images_read + other.images_read,
            self.images_computed + other.images_computed,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
            self.folder or other.folder,
        )


class Shelf:
    """Rows of one network, by key.

    Args:
        store: its limit, and whom it warns.
        key: `network_key` of the network.
        about: what `sycam cache` says of it.

    Attributes:
        notes: terminal to what its computation warned of. bytes_written: of all files. full: whether one could not be written, so
            that no other is tried. lost: damaged files.
    """

    def __init__(self, store: TerminalStore, key: str, about: dict[str, str]) -> None:
        self.store, self.folder, self.about = store, store.folder / key[:32], about
        self.bytes_written = 0
        self.full, self.lost = False, 0
        self.notes: dict[str, str] = {}
        self._shards: dict[str, Shard | None] = {}  # by file name; None for a damaged one that could not be removed
        self._index: dict[bytes, Row] = {}
        self._waiting: list[tuple[str, Tensor, list[bytes], Tensor]] = []
        self._waiting_bytes, self._since = 0, time.monotonic()
        self.refresh()

    def refresh(self) -> None:
        """Takes in files that were written since, by this run or another."""
        names = sorted(path.name for path in self.folder.glob(f"*{files.SUFFIX}")) if self.folder.is_dir() else []
        for name in names:
            if name not in self._shards:
                try:
                    self._take(Shard(self.folder / name))
                except DamagedError as problem:
                    self._discard(name, str(problem))

    def find(self, keys: Sequence[bytes]) -> list[Row | None]:
        """Where each row lies, its checksum verified; None where there is none. A damaged file is removed with a warning."""
        while True:
            found = [self._index.get(key) for key in keys]
            wanted: dict[tuple[str, str], list[int]] = {}
            for row in found:
                if row is not None:
                    wanted.setdefault((row.shard.path.name, row.name), []).append(row.row)
            bad = next((problem for (file, name), rows in wanted.items() if (problem := self._check(file, name, rows))), None)
            if bad is None:
                for file, _ in wanted:
                    shard = self._shards[file]
                    assert shard is not None
                    shard.used()
                return found
            self._discard(*bad)

    def add(self, name: str, places: Tensor, keys: list[bytes], values: Tensor) -> None:
        """Keeps rows for the next file: `values` [n, ...] of the images at `places` [n], under `keys`."""
        self._waiting.append((name, places, keys, values.detach().cpu()))
        self._waiting_bytes += values.numel() * values.element_size()

    @property
    def due(self) -> bool:
        """Whether so many rows wait, or for so long, that `flush` should write them."""
        return self._waiting_bytes >= FILE_BYTES or time.monotonic() - self._since >= FILE_SECONDS

    def flush(self) -> list[Written]:
        """Writes the rows that wait as one file, less those that another run has written meanwhile, and says where all lie."""
        waiting, self._waiting = self._waiting, []
        self._waiting_bytes = 0
        if waiting and not self.full:
            self.refresh()
            new = {name: part for name in dict.fromkeys(w[0] for w in waiting) if (part := self._new(name, waiting)) is not None}
            self._write(new)
        self._since = time.monotonic()
        done = []
        for name, places, keys, values in waiting:
            rows = self.find(keys)
            complete = [row for row in rows if row is not None]
            done.append(Written(name, places, complete if len(complete) == len(rows) else None, values))
        return done

    def _new(self, name: str, waiting: list[tuple[str, Tensor, list[bytes], Tensor]]) -> tuple[list[bytes], Tensor] | None:
        keys, parts, seen = [], [], set(self._index)
        for other, _, own, values in waiting:
            if other == name:
                fresh = [place for place, key in enumerate(own) if key not in seen and not seen.add(key)]  # type: ignore[func-returns-value]
                keys += [own[place] for place in fresh]
                parts.append(values[fresh])
        return (keys, torch.cat(parts)) if keys else None

    def _write(self, rows: files.Rows) -> None:
        size = sum(values.numel() * values.element_size() + 24 * len(keys) for keys, values in rows.values())
        if not rows:
            return
        for attempt in ("first", "last"):
            try:
                reason = self.store.make_room(size)
                if reason is None:
                    self.store.describe(self.folder, self.about)
                    path = files.write(self.folder, rows, {name: note for name, note in self.notes.items() if name in rows})
                    self.store.used.add(path)
                    self._take(Shard(path))
                    self.bytes_written += path.stat().st_size
                    return
            except FileNotFoundError as error:  # the folder was cleared meanwhile: once more
                reason = f"{error.strerror}"
                if attempt == "first":
                    continue
            except OSError as error:
                reason = f"{error.strerror or error}"
            except DamagedError as problem:  # removed, or worse, between writing and reading
                reason = str(problem)
            break
        self.full = True
        self.store.warn(f"terminals are not kept on disk from here on: cannot write to {self.store.folder}: {reason}")

    def _take(self, shard: Shard) -> None:
        self._shards[shard.path.name] = shard
        self.notes = {**shard.notes, **self.notes}
        for name, keys in shard.keys.items():
            for row, key in enumerate(keys):
                self._index.setdefault(key, Row(shard, name, row))

    def _check(self, file: str, name: str, rows: list[int]) -> tuple[str, str] | None:
        """The file and what is wrong with it, or None."""
        shard = self._shards[file]
        assert shard is not None
        try:
            shard.verify(name, rows)
        except DamagedError as problem:
            return file, str(problem)
        self.store.used.add(shard.path)
        return None

    def _discard(self, file: str, problem: str) -> None:
        path = self.folder / file
        self._shards[file] = None
        self.lost += 1
        self._index = {key: row for key, row in self._index.items() if row.shard.path.name != file}
        if not path.exists():
            return  # cleared meanwhile
        self.store.warn(f"the cached terminals in {path} are damaged ({problem}): removed, and computed again")
        self.store.remove(path)
