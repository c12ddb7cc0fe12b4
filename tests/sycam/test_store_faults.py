"""Terminals on disk are whole or not there: damaged files, killed and parallel writers, a full disk."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
import types

import pytest
import torch
from safetensors.torch import load, save
from stores import NAMES, NONE, files, gather, passes, same
from worlds import gathered, tiny_images, tiny_network

from sycam.errors import SycamError
from sycam.store import TerminalStore, shard
from sycam.store import store as shelf
from sycam.store import store as store_module


def spoil(path, name, change):
    """Replaces the first row of a tensor by what `change` makes of all its rows."""
    content = bytearray(path.read_bytes())
    rows = [row.numpy().tobytes() for row in load(bytes(content))[name]]
    at = content.index(rows[0])
    content[at : at + len(rows[0])] = change(rows)
    path.write_bytes(content)


def spoil_data(path):
    """One bit."""
    spoil(path, "A", lambda rows: bytes([rows[0][0] ^ 1]) + rows[0][1:])


def spoil_rows(path):
    """An image's activations under another's key: nothing but the checksum tells."""
    spoil(path, "A", lambda rows: rows[1])


def spoil_header(path):
    content = bytearray(path.read_bytes())
    content[20] = 0
    path.write_bytes(content)


DAMAGE = {
    "data": spoil_data,
    "rows": spoil_rows,
    "header": spoil_header,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "another file": lambda path: path.write_bytes(b"not a tensor in sight"),
    "no rows": lambda path: shard.write_through(path, save({"A": torch.zeros(3)})),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_found_and_made_again(open_store, folder, warned, damage):
    first = gather(open_store())
    (path,) = files(folder)
    damage(path)
    second = gather(open_store())
    same(second, first)
    assert second.stored.rows_read == 0
    assert len(warned) == 1
    assert f"{path} are damaged" in warned[0]
    assert not path.exists()
    assert passes(gather(open_store())) == NONE
    assert len(warned) == 1


def test_a_damaged_key_is_a_row_that_is_not_there(open_store, folder, warned):
    first = gather(open_store())
    (path,) = files(folder)
    spoil(path, "G keys", lambda rows: bytes([rows[0][0] ^ 1]) + rows[0][1:])
    second = gather(open_store())
    torch.testing.assert_close(second.values["G"], first.values["G"])  # another batch rounds otherwise
    assert (second.stored.rows_read, second.stored.rows_computed) == (83, 1)
    assert passes(gather(open_store())) == NONE
    assert not warned


def computing(folder, ready, images, seed=0):
    """A process of its own that fills the store, in small files; one image a batch, for larger ones round each in its own way."""
    torch.set_num_threads(1)
    shelf.FILE_BYTES = 2000
    cache = gathered(tiny_network(seed), images, NAMES, store=TerminalStore(folder, 10**9), batch=1, resident=0)
    same(cache, gathered(tiny_network(seed), images, NAMES, batch=1))
    ready.set()


def dying(folder, ready, images):
    """Killed in the middle of its third file, of which half is written."""
    write, count = shard.write_through, []

    def half(path, data):
        count.append(path)
        if len(count) < 4:  # about.json and two files
            write(path, data)
            return
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            ready.set()
            time.sleep(60)

    shard.write_through = half
    store_module.write_through = half
    computing(folder, multiprocessing.get_context("fork").Event(), images)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that share what is loaded")
def test_killed_while_writing(open_store, folder, warned, monkeypatch):
    fork = multiprocessing.get_context("fork")
    ready, images = fork.Event(), tiny_images(12)
    process = fork.Process(target=dying, args=(folder, ready, images))
    process.start()
    assert ready.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert len(files(folder)) == 2
    (left,) = folder.glob(f"*/*{shard.WRITING}")
    cache = gather(open_store(), images, batch=2)
    assert 0 < cache.stored.images_read < 12
    same(cache, gather(None, images, batch=2))
    assert not warned
    assert left.exists()  # it may be in the making
    os.utime(left, (time.time() - 2 * store_module.ABANDONED,) * 2)
    open_store().make_room(0)
    assert not left.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that share what is loaded")
def test_two_runs_at_once(open_store, folder, warned):
    fork, images = multiprocessing.get_context("fork"), tiny_images(40)
    events = [fork.Event(), fork.Event()]
    parts = [images.select(torch.arange(30)), images.select(torch.arange(39, 9, -1))]
    processes = [fork.Process(target=computing, args=(folder, e, part)) for e, part in zip(events, parts, strict=True)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert all(event.is_set() for event in events)
    found = gather(open_store(), images)
    assert passes(found) == NONE
    torch.testing.assert_close(found.values["G"], gather(None, images).values["G"])
    assert not warned


@pytest.mark.parametrize("resident", [None, 0])
@pytest.mark.parametrize("after", [0, 2])
def test_a_full_disk_is_said_once_and_costs_nothing(open_store, folder, warned, monkeypatch, resident, after):
    monkeypatch.setattr(shelf, "FILE_BYTES", 4000)
    write, written = shard.write_through, []

    def full(path, data):
        if len(written) >= after:
            path.write_bytes(data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        write(path, data)

    monkeypatch.setattr(shard, "write_through", full)
    cache = gather(open_store(), batch=2, resident=resident)
    same(cache, gather(None, batch=2))
    (message,) = warned
    assert "terminals are not kept on disk from here on" in message
    assert "No space left on device" in message
    assert len(files(folder)) == after
    assert not list(folder.glob(f"*/*{shard.WRITING}"))
    monkeypatch.undo()
    assert (gather(open_store(), batch=2).stored.images_read > 0) == (after > 0)


def test_the_disk_is_never_filled_to_the_brim(open_store, warned, monkeypatch):
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=3 * 10**6, total=10**8))
    assert gather(open_store()).stored.bytes_written == 0
    assert "only 3 MB of the disk are free" in warned[0]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SycamError, match="cannot make the cache folder .*name another as `cache`, or none"):
        TerminalStore(tmp_path / "file" / "cache")
