"""Terminals on disk are found by content and by nothing else: network, layer, preprocessing, pixels, settings, code."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest
import torch
from stores import gather, same
from torch import nn
from worlds import TinyVGG, tiny_images, tiny_network

from sycam.network import Network, Preprocessing
from sycam.store.keys import network_key
from sycam.terminals import TERMINALS, TerminalSettings, View, register_terminal

PREP = Preprocessing(16, (0.5,) * 3, (0.25,) * 3)


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
    # A shell has no files, and these helpers change no ordinary image: they show in the graph of the tail.
    assert len([key for source, key in keys if source == "<"]) == 3


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
