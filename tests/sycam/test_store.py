"""Terminals on disk: found by content and by nothing else, whole or not at all, and mapped."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import signal
import sys
import time
import types
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from worlds import TinyVGG, tiny_images, tiny_network

import sycam
from sycam.errors import SycamError, Unavailable
from sycam.metrics.registry import metric
from sycam.network import Network, Preprocessing
from sycam.oracle import MetricOracle, TerminalCache
from sycam.oracle.column import Column
from sycam.store import TerminalStore, shard, shelf
from sycam.store import store as store_module
from sycam.store.keys import network_key
from sycam.terminals import TERMINALS, TerminalSettings, View, register_terminal
from sygus import read_term

NAMES = ["G", "y", "drop"]
PREP = Preprocessing(16, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def warned():
    return []


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def open_store(folder, warned):
    """A store as another process would open it."""
    return lambda limit=10**9: TerminalStore(folder, limit, warned.append)


def gather(store, images=None, names=NAMES, network=None, **options):
    return TerminalCache(network or tiny_network(), tiny_images() if images is None else images, names, store=store, **options)


def same(cache, other, places=slice(None)):
    """Bit for bit the same values, classes and probabilities."""
    for name in other.values:
        assert torch.equal(cache.values[name][:], other.values[name][places]), name
    for name in ("classes", "p", "predicted"):
        assert torch.equal(getattr(cache, name), getattr(other, name)[places]), name


def files(folder):
    return sorted(folder.glob(f"*/*{shard.SUFFIX}"))


def passes(cache):
    return vars(cache.network.passes)


NONE = {"full": 0, "tail": 0, "backward": 0}


@pytest.mark.parametrize("resident", [None, 0])
def test_a_second_run_makes_no_pass_and_gives_the_same_bits(open_store, resident):
    first = gather(open_store(), resident=resident)
    assert (first.stored.images_read, first.stored.images_computed) == (0, 12)
    assert passes(first)["full"] == 12
    second = gather(open_store(), resident=resident)
    assert passes(second) == NONE
    assert (second.stored.images_read, second.stored.rows_computed, second.stored.bytes_written) == (12, 0, 0)
    same(second, first)
    plain = gather(None)
    same(second, plain)
    assert isinstance(second.values["A"], Column) == (resident == 0)
    term = read_term("(* (gap G) y)", *_symbols())
    scores = []
    for cache in (first, second, plain):
        oracle = MetricOracle(cache, metric("average-gain"))
        scores.append(oracle.score(oracle.maps([term])[0], torch.arange(12), [term]))
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])
    places = torch.tensor([5, 0, 7])
    same(second.select(places), first, places)


def _symbols():
    from sycam.cams import terminal_variable
    from sycam.theory import CAM

    return [terminal_variable(name) for name in ("G", "y")], {}, CAM


def test_other_orders_subsets_and_terminals_use_what_is_there(open_store):
    images = tiny_images(16)
    first = gather(open_store(), images.select(torch.arange(10)))
    order = torch.tensor([7, 2, 2, 9])
    same(gather(open_store(), images.select(order)), first, order)
    more = gather(open_store(), images.select(torch.arange(16).flip(0)))
    assert passes(more)["full"] == 6
    assert (more.stored.images_read, more.stored.images_computed) == (10, 6)
    another = gather(open_store(), images, [*NAMES, "GP", "entropy"])
    assert passes(another) == {"full": 0, "tail": 16, "backward": 16}  # of GP alone: A and the logits are there
    torch.testing.assert_close(another.values["GP"], gather(None, images, ["GP"]).values["GP"])
    # Classes are part of the key only of what speaks of a class: A and logits serve the labels too.
    labelled = gather(open_store(), images, ["G", "area"], classes=images.labels)
    assert passes(labelled)["full"] == 0
    same(labelled, gather(None, images, ["G", "area"], classes=images.labels))


class Scaled(TinyVGG):
    """As `TinyVGG`, with what no state dict holds."""

    def __init__(self, seed=0, scale=1.0, buffer=1.0):
        super().__init__(seed)
        self.scale = scale
        self.register_buffer("mine", torch.tensor(buffer), persistent=False)

    def forward(self, x):
        return super().forward(x) * self.scale * self.mine


class Clamped(Scaled):
    """Other code, and the same numbers on any ordinary image."""

    def forward(self, x):
        return super().forward(x).clamp(-1e9, 1e9)


def network(model, layer="features.1", prep=PREP, **options):
    return Network(model.eval(), prep, layer, **options)


def test_whatever_a_value_follows_from_is_in_its_key():
    base = network(Scaled())
    assert network_key(base) == network_key(network(Scaled()))
    others = {
        "weights": network(Scaled(seed=1)),
        "an attribute": network(Scaled(scale=1.0 + 1e-9)),
        "a buffer that is not saved": network(Scaled(buffer=0.5)),
        "code": network(Clamped()),
        "layer": network(Scaled(), "features.0"),
        "preprocessing": network(Scaled(), prep=replace(PREP, mean=(0.4,) * 3)),
        "precision": network(Scaled().double()),
        "output": network(Tuple(Scaled()), "net.features.1", output="1"),
        "another output": network(Tuple(Scaled()), "net.features.1", output="0"),
    }
    keys = {name: network_key(other) for name, other in others.items()}
    assert len({network_key(base), *keys.values()}) == 1 + len(keys), keys


class Tuple(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        y = self.net(x)
        return y, y


def test_code_without_a_file_and_a_helper_beside_it(tmp_path, monkeypatch):
    text = """
import torch
from worlds import TinyVGG
def helper(y):
    return {0}
class Model(TinyVGG):
    def forward(self, x):
        return helper(super().forward(x))
"""
    keys = set()
    for number, body in enumerate(["y", "y.relu() - (-y).relu()", "y.clamp(max=1e6)"]):
        file = tmp_path / f"{number}" / "mine.py"
        file.parent.mkdir()
        file.write_text(text.format(body))
        for source in (str(file), "<shell>"):
            module = types.ModuleType("mine")
            exec(compile(file.read_text(), source, "exec"), vars(module))
            keys.add((source[0], network_key(network(module.Model()))))
    assert len([key for source, key in keys if source == "/"]) == 3  # the helper stands in the model's file
    # A shell has no files: there the helper shows in the model's probe, or not at all where it changes no ordinary image.
    assert len([key for source, key in keys if source == "<"]) >= 1


def test_a_model_that_was_trained_further_or_other_pixels_miss(open_store):
    model = TinyVGG().eval()
    first = gather(open_store(), network=network(model))
    with torch.no_grad():
        model.classifier[2].bias.data += 0.25  # past autograd's counters too
    second = gather(open_store(), network=network(model))
    assert second.stored.rows_read == 0
    store, caller = open_store(), network(model)
    gather(store, network=caller)
    with torch.no_grad():
        model.features[0].weight *= 2
    third = gather(store, network=caller)  # one Network all along
    assert third.stored.rows_read == 0
    assert not torch.equal(third.values["A"], first.values["A"])
    images = tiny_images()
    images.pixels[3, 0, 0, 0] += 1
    assert gather(open_store(), images, network=caller).stored.images_computed == 1


def test_settings_count_where_they_are_read(open_store):
    names = ["shap", "G_path", "G"]
    settings = TerminalSettings(1, path_steps=2, shap_orderings=2)
    gather(open_store(), names=names, settings=settings)
    unread = gather(open_store(), names=names, settings=replace(settings, noise_samples=3, opti_steps=7, finer_classes=1))
    assert unread.stored.rows_computed == 0
    seed = gather(open_store(), names=names, settings=replace(settings, seed=2))
    assert seed.stored.rows_computed == 12  # shap; the others draw nothing
    steps = gather(open_store(), names=names, settings=replace(settings, path_steps=3))
    assert steps.stored.rows_computed == 12
    same(steps, gather(None, names=names, settings=replace(settings, path_steps=3)))


class Watched:
    """Settings that note what is read of them."""

    def __init__(self, settings):
        self._settings, self.read = settings, set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self._settings, name)


@pytest.mark.parametrize("head", ["linear", "deep"])
def test_terminals_read_no_setting_and_no_class_that_they_do_not_declare(head):
    pytest.importorskip("zennit")
    if head == "deep":
        at = tiny_network()
    else:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
        at = network(model, "1")
    images = tiny_images(2).normalised(slice(None), at)
    for name, entry in TERMINALS.items():
        if name == "fc" and head == "deep":
            continue
        watched = Watched(TerminalSettings(noise_samples=2, path_steps=2, shap_orderings=2, opti_steps=2))
        view = View(at, images, settings=watched)
        view[name]
        assert entry.settings is not None, name
        assert watched.read <= {*entry.settings}, name
        if not entry.of_class:
            found = [View(at, images, torch.full((2,), c))[name] for c in (0, 1)]
            assert torch.equal(*found), name
    with pytest.raises(ValueError, match="no setting \\['speed'\\]"):
        register_terminal("quick", settings=["speed"])


def test_a_terminal_of_the_users_own_is_kept_by_its_code(open_store):
    def register(factor):
        @register_terminal("mine", sort="Real", level="channel")
        def mine(view):
            """A multiple of the mean."""
            return factor * view.A.mean((2, 3))

    try:
        register(2.0)
        first = gather(open_store(), names=["mine"])
        assert gather(open_store(), names=["mine"]).stored.rows_computed == 0
        # Nobody said what it reads, so every setting counts.
        assert gather(open_store(), names=["mine"], settings=TerminalSettings(finer_classes=2)).stored.rows_computed == 12
        del TERMINALS["mine"]
        register(3.0)
        second = gather(open_store(), names=["mine"])
        assert second.stored.rows_computed == 12
        assert torch.equal(second.values["mine"], 1.5 * first.values["mine"])
    finally:
        TERMINALS.pop("mine", None)


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
    cache = TerminalCache(tiny_network(seed), images, NAMES, store=TerminalStore(folder, 10**9), batch=1, resident=0)
    same(cache, TerminalCache(tiny_network(seed), images, NAMES, batch=1))
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


def test_what_was_not_used_for_longest_goes_first(open_store, folder, warned):
    sizes = []
    for seed in range(3):
        gather(open_store(), network=tiny_network(seed))
        sizes.append(open_store().bytes)
    own = sizes[0]
    gather(open_store(), network=tiny_network(0))  # the first is used again
    for path in files(folder):
        age = 100 if time.time() - path.stat().st_mtime > 1e6 else 0
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    ages = {path: path.stat().st_mtime for path in files(folder)}
    oldest = min(ages, key=ages.__getitem__)
    limit = int(3.5 * own)
    gather(open_store(limit), network=tiny_network(3))
    assert not oldest.exists()
    assert len(files(folder)) == 3
    assert open_store().bytes <= limit
    assert passes(gather(open_store(limit), network=tiny_network(0))) == NONE
    assert passes(gather(open_store(limit), network=tiny_network(1)))["full"] == 12  # it was the oldest
    assert not warned


def test_a_run_above_the_limit_keeps_the_rest_in_memory(open_store, folder, warned, monkeypatch):
    monkeypatch.setattr(shelf, "FILE_BYTES", 4000)
    cache = gather(open_store(20_000), batch=2, resident=0)
    same(cache, gather(None, batch=2))
    assert 0 < open_store().bytes <= 20_000
    (message,) = warned
    assert "its limit of 20 KB is reached by this run alone (--cache-limit raises it)" in message
    again = gather(open_store(20_000), batch=2, resident=0)
    assert 0 < again.stored.images_read < 12
    same(again, cache)


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


def test_clearing_takes_nothing_from_a_run(open_store, folder):
    cache = gather(open_store(), resident=0)
    expected = gather(None)
    assert open_store().clear() > 0
    assert list(folder.iterdir()) == []
    same(cache, expected)
    store = open_store()
    before = gather(store, names=["G"], resident=0)
    open_store().clear()
    after = gather(store, resident=0)  # the same process goes on and writes again
    same(after, expected)
    assert torch.equal(before.values["G"][:], expected.values["G"])


CALLS = []  # not in the function's closure, which is part of its key


def test_an_error_keeps_what_was_computed_before(open_store):
    CALLS.clear()

    @register_terminal("fragile", sort="Real", level="scalar", settings=(), of_class=False)
    def fragile(view):
        """Not finite on the images of a later batch."""
        CALLS.append(len(view))
        return view.A.new_full((len(view), 1), torch.nan if len(CALLS) > 2 else 1.0)

    try:
        with pytest.raises(Unavailable, match="'fragile' is NaN or infinite on image-8.png"):
            gather(open_store(), names=["G", "fragile"], batch=4, unit=torch.zeros(12, dtype=torch.int64))
        left = gather(open_store(), names=["G", "fragile"], batch=4, optional={"fragile"})
        assert passes(left) == NONE
        assert (left.stored.images_read, left.stored.rows_computed) == (12, 0)
        assert "NaN or infinite on image-8.png" in left.refused["fragile"]
        assert "fragile" not in left.values
        again = gather(open_store(), names=["G", "fc"], batch=4, optional={"fc"})
        assert passes(again) == NONE
        assert again.stored.images_read == 12
        assert again.refused == gather(None, names=["G", "fc"], optional={"fc"}).refused
    finally:
        del TERMINALS["fragile"]


def test_warnings_are_kept_with_what_they_are_about(open_store):
    @register_terminal("doubtful", sort="Real", level="scalar", settings=())
    def doubtful(view):
        """A zero, said once for a network."""
        if "said" not in view.network.memo:
            view.network.memo["said"] = True
            warnings.warn("doubtful: nobody knows", stacklevel=2)
        return view.A.new_zeros(len(view), 1)

    try:
        for _ in range(3):
            with pytest.warns(UserWarning, match="doubtful: nobody knows"):
                gather(open_store(), names=["doubtful"], batch=4)
            with warnings.catch_warnings(record=True) as caught:
                gather(open_store(), names=["G"])
            assert not caught
    finally:
        del TERMINALS["doubtful"]


def anonymous():
    """Memory of this process that no file backs, bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_values_are_mapped_and_not_loaded(open_store):
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 4))
    prep = Preprocessing(48, (0.5,) * 3, (0.5,) * 3)
    wide = Network(model.eval(), prep, "1")
    pixels = torch.randint(0, 256, (80, 3, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = sycam.ImageSet([f"{i}" for i in range(80)], pixels, torch.zeros(80, dtype=torch.int64))
    whole = 2 * 80 * 64 * 48 * 48 * 4  # A and G: 94 MB
    TerminalCache(wide, images, ["G"], store=open_store(), resident=0)
    gc.collect()
    before = anonymous()
    cache = TerminalCache(wide, images, ["G"], store=open_store(), resident=0)
    sums = [float(cache.values[name][start : start + 8].sum()) for name in ("A", "G") for start in range(0, 80, 8)]
    shuffled = float(cache.values["A"][torch.arange(0, 80, 9)].sum())
    assert anonymous() - before < whole / 8
    assert cache.stored.images_read == 80
    assert len(sums) == 20 and shuffled > 0
    assert cache.bytes < 1e6


def test_a_synthesis_starts_from_it(open_store):
    runs = []
    for _ in range(2):
        world = tiny_network(3)
        runs.append(sycam.synthesize("gradient", "iou", world, tiny_images(12, seed=3), budget=40, store=open_store()))
    first, second = (run.counts["network_passes"] for run in runs)
    assert first["full"] - second["full"] == 12
    assert second["backward"] == 0
    assert [run.manifest["cache"]["images_computed"] for run in runs] == [12, 0]
    assert runs[0].term == runs[1].term and runs[0].score == runs[1].score
    assert torch.equal(runs[0].rows[0].held_out, runs[1].rows[0].held_out)
    without = sycam.synthesize("gradient", "iou", tiny_network(3), tiny_images(12, seed=3), budget=40)
    assert (without.term, without.score, without.manifest["cache"]["folder"]) == (runs[0].term, runs[0].score, "")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SycamError, match="cannot make the cache folder .*name another with --cache, or give --no-cache"):
        TerminalStore(tmp_path / "file" / "cache")
