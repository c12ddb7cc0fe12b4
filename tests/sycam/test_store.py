"""Terminals on disk: a later run finds them, the oldest make room, and values are mapped."""

from __future__ import annotations

import gc
import os
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from stores import NAMES, NONE, files, gather, passes, same
from torch import nn
from worlds import gathered, tiny_images, tiny_network

import sycam
from sycam.errors import Unavailable
from sycam.metrics.own.find import find_metric
from sycam.network import Network, Preprocessing
from sycam.scoring import MetricOracle
from sycam.scoring.gathering import Column
from sycam.store import store as shelf
from sycam.terminals import TERMINALS, register_terminal
from sygus import read_term


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
        oracle = MetricOracle(cache, find_metric("average-gain"))
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
    assert "its limit of 20 KB is reached by this run alone (`cache_limit` raises it)" in message
    again = gather(open_store(20_000), batch=2, resident=0)
    assert 0 < again.stored.images_read < 12
    same(again, cache)


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
    gathered(wide, images, ["G"], store=open_store(), resident=0)
    gc.collect()
    before = anonymous()
    cache = gathered(wide, images, ["G"], store=open_store(), resident=0)
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
