"""One file of a store: some rows of some terminals, as safetensors, mapped into memory.

For each terminal a file holds three tensors of n rows: its values `NAME` [n, ...], `NAME keys` uint8 [n, 16], and `NAME sums`
int64 [n], the CRC-32 of key, name, type, shape and bytes of each row. A file is complete from the moment it has its name, and is
never changed.
"""

from __future__ import annotations

import contextlib
import os
import uuid
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

SUFFIX = ".safetensors"
WRITING = ".writing"
"""Ends the name of a file that is not complete: one in the making, or what a killed process left."""

Rows = dict[str, tuple[list[bytes], Tensor]]
"""Terminal to keys and values, as many."""


class DamagedError(Exception):
    """The file is not what was written; the message says why."""


class Shard:
    """A complete file, mapped. Its pages are read when they are touched, and the system may drop them again.

    Attributes:
        values: terminal to rows [n, ...]. keys: terminal to their keys. notes: terminal to what its computation warned of.

    Raises:
        DamagedError: it is no whole safetensors file, or not one of a store.

    >>> from tempfile import mkdtemp
    >>> path = write(Path(mkdtemp()), {"G": ([bytes(16), bytes(15) + b"1"], torch.tensor([[1.0], [2.0]]))})
    >>> shard = Shard(path)
    >>> shard.verify("G", [0, 1])
    >>> shard.values["G"].tolist(), shard.keys["G"][0] == bytes(16)
    ([[1.0], [2.0]], True)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Tensor] = {}
        self.keys: dict[str, list[bytes]] = {}
        self._sums: dict[str, Tensor] = {}
        try:
            with safe_open(path, framework="pt") as file:
                self.notes: dict[str, str] = file.metadata() or {}
                names = list(file.keys())
                for name in names:
                    if f"{name} keys" not in names or f"{name} sums" not in names:
                        continue
                    values, keys = file.get_tensor(name), file.get_tensor(f"{name} keys")
                    sums = file.get_tensor(f"{name} sums")
                    fits = len(values) == len(keys) == len(sums) and keys.dtype == torch.uint8 and keys.shape[1:] == (16,)
                    if not fits or sums.dtype != torch.int64 or sums.dim() != 1:
                        raise DamagedError(f"the rows of {name} do not fit their keys")
                    self.values[name] = values
                    self.keys[name] = [row.tobytes() for row in keys.numpy()]
                    self._sums[name] = sums.clone()
        except (SafetensorError, OSError, RuntimeError, ValueError) as problem:
            raise DamagedError(str(problem)) from None
        if not self.values:
            raise DamagedError("it holds no rows")

    def verify(self, name: str, rows: list[int]) -> None:
        """Nothing, or

        Raises:
            DamagedError: a row is not what was written.
        """
        found = _sums(name, [self.keys[name][row] for row in rows], self.values[name], rows)
        if found != self._sums[name][rows].tolist():
            raise DamagedError(f"a checksum of {name} is wrong")

    def used(self) -> None:
        """Marks the file as used now, for `TerminalStore.make_room`; one that may not be marked is read all the same."""
        with contextlib.suppress(OSError):
            os.utime(self.path)


def write(folder: Path, rows: Rows, notes: dict[str, str] | None = None) -> Path:
    """A new file in `folder` with rows and notes, complete and on the disk when this returns.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    tensors: dict[str, Tensor] = {}
    for name, (keys, values) in rows.items():
        values = values.detach().cpu().contiguous()
        tensors[name] = values
        tensors[f"{name} keys"] = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(-1, 16)
        tensors[f"{name} sums"] = torch.tensor(_sums(name, keys, values, list(range(len(keys)))))
    folder.mkdir(parents=True, exist_ok=True)
    stem = uuid.uuid4().hex
    unfinished, path = folder / f"{stem}{WRITING}", folder / f"{stem}{SUFFIX}"
    try:
        write_through(unfinished, save(tensors, notes))
        unfinished.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    sync_folder(folder)
    return path


def write_through(path: Path, data: bytes) -> None:
    """Writes a file and waits until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until the disk has the folder's names, where the system can say so."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sums(name: str, keys: list[bytes], values: Tensor, rows: list[int]) -> list[int]:
    start = zlib.crc32(f"{name} {values.dtype} {list(values.shape[1:])}".encode())
    data: Any = values.reshape(len(values), -1).view(torch.uint8).numpy()
    return [zlib.crc32(data[row], zlib.crc32(key, start)) for key, row in zip(keys, rows, strict=True)]
