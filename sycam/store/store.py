"""A store of terminals: a folder with a limit, in which each network at a layer has a shelf."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sycam.errors import SycamError
from sycam.network import Network

from .keys import network_key
from .shard import SUFFIX, WRITING, DamagedError, Shard, write_through
from .shelf import Shelf
from .sizes import parse_size, size_text

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
                f"cannot make the cache folder {self.folder}: {error.strerror}; name another with --cache, or give --no-cache"
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
            return f"its limit of {size_text(self.limit)} is reached by this run alone (--cache-limit raises it)"
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
