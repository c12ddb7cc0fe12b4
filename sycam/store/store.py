"""A store of terminals: a folder with a limit, in which each network at a layer has a shelf, which finds rows, and writes new
ones file by file."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.job.sizes import parse_size, size_text
from sycam.network import Network

from . import shard as files
from .keys import network_key
from .shard import SUFFIX, WRITING, DamagedError, Shard, write_through

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


ABOUT = "about.json"
LIMIT = 10 * 10**9
RESERVE = 10**9
"""So much of the disk, or a twentieth of it where that is less, is left free."""
ABANDONED = 600.0
"""Seconds without a change after which an unfinished file is what a killed process left."""


def default_folder() -> Path:
    """`SYCAM_CACHE`, or `sycam` in the user's cache folder (XDG_CACHE_HOME, ~/.cache; on Windows LOCALAPPDATA)."""
    named = os.environ.get("SYCAM_CACHE")
    if named:
        return Path(named).expanduser()
    system = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return (Path(system) if system else Path.home() / ".cache") / "sycam"


def default_limit() -> int:
    """`SYCAM_CACHE_LIMIT`, such as 20GB, or 10 GB."""
    named = os.environ.get("SYCAM_CACHE_LIMIT")
    return parse_size(named) if named else LIMIT


@dataclass(frozen=True)
class Entry:
    """What a store holds of one terminal of one network.

    Attributes:
        model, layer, device: of the network. terminal: its name. values: how many, one an image and settings. bytes: of
        them. used: last, seconds since 1970.
    """

    model: str
    layer: str
    device: str
    terminal: str
    values: int
    bytes: int
    used: float


class TerminalStore:
    """Values of terminals on disk, found by content; safe for several processes at once and against a kill at any time.

    Files are written under another name, synced and renamed, and never changed; one that is damaged is removed and its values are
    computed again; removing a file that a run has mapped takes nothing from the run. Above the limit the files that were not used
    for longest go first, never those of the run itself.

    Args:
        folder: None for `default_folder()`.
        limit: bytes; None for `default_limit()`.
        warn: told what the user should know; `warnings.warn` where None.

    Raises:
        SycamError: the folder cannot be made.

    >>> from tempfile import mkdtemp
    >>> store = TerminalStore(Path(mkdtemp()), 10**6)
    >>> store.bytes, store.entries()
    (0, [])
    """

    def __init__(
        self, folder: Path | str | None = None, limit: int | None = None, warn: Callable[[str], None] | None = None
    ) -> None:
        self.folder = Path(folder).expanduser() if folder is not None else default_folder()
        self.limit = default_limit() if limit is None else limit
        self.warn = warn or (lambda message: warnings.warn(message, stacklevel=3))
        self.used: set[Path] = set()
        self._shelves: dict[str, Shelf] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SycamError(
                f"cannot make the cache folder {self.folder}: {error.strerror}; name another as `cache`, or none"
            ) from None

    def shelf(self, network: Network) -> Shelf:
        """The shelf of a network at its layer."""
        about = {"model": network.name, "layer": network.layer, "device": str(network.device), "weights": str(network.weights)}
        key = network_key(network)
        if key in self._shelves:
            self._shelves[key].refresh()
        else:
            self._shelves[key] = Shelf(self, key, about)
        return self._shelves[key]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(size for _, size, _ in self._files())

    def entries(self) -> list[Entry]:
        """What is kept, by network and terminal. Damaged files are left out; the next run that meets one removes it."""
        rows: dict[tuple[str, str, str, str], Entry] = {}
        for path, _, changed in self._files():
            if path.suffix != SUFFIX:
                continue
            try:
                shard, about = Shard(path), self.about(path.parent)
            except DamagedError:
                continue
            for name, values in shard.values.items():
                key = (about["model"], about["layer"], about["device"], name)
                before = rows.get(key, Entry(*key, 0, 0, 0.0))
                size = values.numel() * values.element_size()
                rows[key] = Entry(*key, before.values + len(values), before.bytes + size, max(before.used, changed))
        return sorted(rows.values(), key=lambda row: (row.model, row.layer, row.device, -row.bytes, row.terminal))

    def clear(self, model: str | None = None, unused_for: float | None = None) -> int:
        """Removes files, and says how many bytes they had.

        Args:
            model: of this network only.
            unused_for: only those that were not used for so many seconds.
        """
        freed = 0
        for path, size, changed in list(self._files()):
            age = time.time() - changed
            if path.name.endswith(WRITING) and age < ABANDONED:
                continue  # a run is writing it
            if (unused_for is None or age >= unused_for) and (model is None or self.about(path.parent)["model"] == model):
                freed += size if self.remove(path) else 0
        for folder in [path for path in self.folder.glob("*") if path.is_dir()]:
            with contextlib.suppress(OSError):  # a run is writing there
                if {path.name for path in folder.iterdir()} <= {ABOUT}:
                    (folder / ABOUT).unlink(missing_ok=True)
                    folder.rmdir()
        return freed

    def make_room(self, size: int) -> str | None:
        """Removes what was not used for longest until `size` bytes more fit; None, or why they cannot.

        Files of this run stay; those of another run that has mapped them only leave the folder, and the disk when it ends.
        """
        listed = sorted(self._files(), key=lambda file: file[2])
        total = sum(entry[1] for entry in listed)
        for path, had, changed in listed:
            stale = path.name.endswith(WRITING) and time.time() - changed >= ABANDONED
            removable = stale or (path.suffix == SUFFIX and path not in self.used)
            if (stale or total + size > self.limit) and removable and self.remove(path):
                total -= had
        if total + size > self.limit:
            return f"its limit of {size_text(self.limit)} is reached by this run alone (`cache_limit` raises it)"
        disk = shutil.disk_usage(self.folder)
        if disk.free - size < min(RESERVE, disk.total // 20):
            return f"only {size_text(disk.free)} of the disk are free"
        return None

    def describe(self, folder: Path, about: dict[str, str]) -> None:
        """Writes what a shelf is about, once.

        Raises:
            OSError: it cannot be written.
        """
        if not (folder / ABOUT).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = folder / f"{uuid.uuid4().hex}{WRITING}"
            write_through(unfinished, json.dumps(about).encode())
            unfinished.replace(folder / ABOUT)

    def about(self, folder: Path) -> dict[str, str]:
        """Model, layer and device of a shelf; question marks where that is not known."""
        try:
            found = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        found = found if isinstance(found, dict) else {}
        return {name: str(found.get(name, "?")) for name in ("model", "layer", "device")}

    def remove(self, path: Path) -> bool:
        """Whether a file is gone."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # Windows keeps a file that is mapped, a folder of another user is not ours
            self.warn(f"cannot remove {path}: {error.strerror}")
            return False
        return True

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        """Path, bytes and time of last use of every file of rows."""
        for folder in self.folder.glob("*"):
            for path in folder.glob("*") if folder.is_dir() else ():
                if path.name.endswith((SUFFIX, WRITING)):
                    try:
                        status = path.stat()
                    except OSError:
                        continue  # removed meanwhile by another run
                    yield path, status.st_size, status.st_mtime
