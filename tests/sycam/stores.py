"""Terminals of a small network gathered through a store: what was read, what was computed, and whether they are the same."""

from __future__ import annotations

import torch
from worlds import gathered, tiny_images, tiny_network

from sycam.store import shard

NAMES = ["G", "y", "drop"]
NONE = {"full": 0, "tail": 0, "backward": 0}


def gather(store, images=None, names=NAMES, network=None, **options):
    return gathered(network or tiny_network(), tiny_images() if images is None else images, names, store=store, **options)


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
