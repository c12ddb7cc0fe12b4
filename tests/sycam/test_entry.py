"""Coalitions of channels through a tail's first linear layer: equal to running the tail, and taken only where that is so."""

from __future__ import annotations

import pytest
import torch
from heads import PREP, double, images
from torch import Tensor, nn

from sycam.images import ImageSet
from sycam.network import Network
from sycam.network.cut import Cut
from sycam.network.heads import linear_entry
from sycam.terminals import TerminalSettings, View


class ChannelsBehind(nn.Module):
    """Flattens pixel by pixel, so that a channel's features lie apart."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class Bypass(nn.Module):
    """The logits also see the maps past the linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.out = nn.Conv2d(3, 4, 3), nn.Linear(144, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return self.out(self.fc(x.flatten(1)).relu()) + x.mean((1, 2, 3), keepdim=True).flatten(1)


def made(*head: nn.Module) -> Network:
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    return Network(nn.Sequential(conv, *head, nn.Linear(5, 3)).eval(), PREP, "0")


HEADS = {
    "flattened": [nn.Flatten(), nn.Linear(144, 5), nn.ReLU(inplace=True)],
    "pooled": [nn.MaxPool2d(3, 2), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Flatten(1), nn.Dropout(), nn.Linear(16, 5), nn.Tanh()],
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["drop", "keep", "shap"])
def test_coalitions_through_the_layer_are_those_through_the_tail(head, name):
    network = double(made(*HEADS[head]))
    if head == "pooled":
        network.model[2].running_mean.uniform_(-1, 1)  # features of nothing that are not 0
    assert linear_entry(network) is not None
    x, classes = images(11), torch.arange(11) % 3
    found = View(network, x, classes, chunk=3)[name]
    passes = network.passes.tail
    network.memo["linear_entry"] = None
    network.passes.tail = 0
    slow = View(network, x, classes, chunk=7)[name]
    torch.testing.assert_close(found, slow, rtol=0, atol=1e-12 * float(slow.abs().max().clamp(min=1)))
    assert slow.abs().max() > 1e-3
    assert passes >= network.passes.tail - 1 > 0  # a pass of a job counts as one, however much of it was shared


def test_a_layer_is_taken_only_where_channels_enter_it_apart():
    torch.manual_seed(0)
    others = {
        "pixel by pixel": made(ChannelsBehind(), nn.Linear(144, 5), nn.ReLU()),
        "normalised over channels": made(nn.GroupNorm(1, 4), nn.Flatten(), nn.Linear(144, 5), nn.ReLU()),
        "mixed by a convolution": made(nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 5), nn.ReLU()),
        "one number a channel": made(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5), nn.ReLU()),
        "bypassed": Network(Bypass().eval(), PREP, "conv"),
    }
    assert {kind: linear_entry(network) for kind, network in others.items()} == dict.fromkeys(others)


class Statement(nn.Module):
    """Its ReLU after the layer is a statement whose result no one uses, before a max pooling that hides it on most maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.fc, self.out = nn.Conv2d(3, 4, 3), nn.MaxPool2d(3), nn.Linear(16, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        nn.functional.relu_(x)
        return self.out(self.fc(self.pool(x).flatten(1)).relu())


def test_a_statement_in_place_counts_in_every_coalition():
    torch.manual_seed(0)
    network = Network(Statement().eval(), PREP, "conv")
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 0.1 - 1  # maps of one sign
    view = View(network, x, settings=TerminalSettings(shap_orderings=3))
    values = {name: view[name] for name in ("G", "drop", "keep", "shap")}
    network._cut = Cut(None, "for the test")
    network.memo.clear()
    whole = View(network, x, settings=TerminalSettings(shap_orderings=3))
    for name, value in values.items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-6, msg=name)


def test_the_models_flags_and_the_counts_of_passes_stay():
    network = made(*HEADS["pooled"])
    network.model.train()
    A = torch.randn(2, 4, 6, 6)
    entry = linear_entry(network)
    start, added = entry.parts(A)
    everything = torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(entry.logits(start, added[0], everything), network.tail(A[:1]))  # no dropout
    assert all(part.training for part in network.model.modules())
    assert vars(network.passes) == {"full": 0, "tail": 1, "backward": 0}


def test_drop_of_the_small_vgg(small_vgg_tiny20: Network, tiny_photos: ImageSet):
    network = small_vgg_tiny20
    assert linear_entry(network) is not None
    x = tiny_photos.normalised([0, 3], network)
    found = View(network, x)["drop"]
    entry, network.memo["linear_entry"] = network.memo["linear_entry"], None
    slow = View(network, x)["drop"]
    network.memo["linear_entry"] = entry
    torch.testing.assert_close(found, slow, rtol=0, atol=1e-5 * float(View(network, x).logits.abs().max()))
