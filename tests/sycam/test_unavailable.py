"""What a network, its images or an installation cannot give: left out of a group with the reason, an error where it was named."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from worlds import compared, tiny_images, tiny_network

from sycam.cams import BASELINES, find_cam, register_baseline
from sycam.errors import SycamError, Unavailable
from sycam.metrics.own.find import find_metric
from sycam.network import Network, Preprocessing
from sycam.terminals import TERMINALS, View, register_terminal

IOU = [find_metric("iou")]


@pytest.fixture
def failing():
    """A terminal and a baseline that fail for another reason than that they are unavailable."""

    @register_terminal("broken", source="a test")
    def broken(view):
        """Fails."""
        raise SycamError("no memory")

    @register_baseline("Broken", passes="none", reference="a test")
    def broken_baseline(view):
        """Fails."""
        raise SycamError("no memory")

    yield
    del TERMINALS["broken"], BASELINES["Broken"]


def test_what_is_unavailable_is_left_out_only_where_it_is_optional():
    network, images = tiny_network(), tiny_images(3)
    cams = [find_cam(name) for name in ("CAM", "Grad-CAM", "EigenCAM")]
    found = compared(cams, IOU, network, images, optional=cams)
    assert [cam.name for cam in found.cams] == ["Grad-CAM", "EigenCAM"]
    assert [(cam.name, reason.split(":")[0]) for cam, reason in found.skipped] == [("CAM", "terminal fc")]
    alone = compared(cams[1:], IOU, network, images).scores["iou"]
    assert torch.equal(found.scores["iou"], alone)
    with pytest.raises(Unavailable, match="terminal fc: no global average pooling"):
        compared(cams, IOU, network, images, optional=cams[1:])
    # One CAM that was named needs the terminal: that another one is optional does not matter.
    with pytest.raises(Unavailable, match="terminal fc"):
        compared([*cams, find_cam("(abs fc)")], IOU, network, images, optional=cams)


def test_what_is_not_finite_is_left_out():
    network, images = tiny_network(), tiny_images(3)
    overflow = find_cam("(exp (* 1000.0 (sum A)))")
    cams = [overflow, find_cam("Grad-CAM")]
    found = compared(cams, IOU, network, images, optional=[overflow])
    assert [cam.name for cam in found.cams] == ["Grad-CAM"]
    assert found.skipped[0][1].startswith("it is NaN or infinite on ")
    with pytest.raises(Unavailable, match="is NaN or infinite on"):
        compared(cams, IOU, network, images)


def test_no_other_error_is_swallowed(failing):
    network, images = tiny_network(), tiny_images(3)
    for name in ("(gap broken)", "Broken"):
        cams = [find_cam(name), find_cam("Grad-CAM")]
        with pytest.raises(SycamError, match="no memory"):
            compared(cams, IOU, network, images, optional=cams)


@pytest.mark.parametrize(
    ("name", "missing", "reason"),
    [("(gap lrp)", "zennit.rules", "need zennit"), ("Relevance-CAM", "zennit.composites", "need zennit")],
)
def test_a_missing_extra_is_a_reason(monkeypatch, name, missing, reason):
    monkeypatch.setitem(sys.modules, missing, None)
    cams = [find_cam(name), find_cam("Grad-CAM")]
    found = compared(cams, IOU, tiny_network(), tiny_images(3), optional=cams)
    assert [cam.name for cam in found.cams] == ["Grad-CAM"]
    assert reason in found.skipped[0][1]


class NoGradient(nn.Module):
    """Two convolutions, the second of them without history, behind a branch that torch.fx cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(20, 3)

    def forward(self, x):
        x = self.first(x).relu()
        with torch.no_grad():
            x = self.second(x).relu() if bool(x.isfinite().all()) else self.second(x)
        return self.fc(nn.functional.adaptive_max_pool2d(x, 2).flatten(1))


@pytest.mark.parametrize("name", ["G", "GP", "GR", "HA", "G_diff", "G_noise", "G_path", "opti", "FullGrad"])
def test_a_network_without_gradients_says_so(name):
    torch.manual_seed(0)
    network = Network(NoGradient().eval(), Preprocessing(16, (0.5,) * 3, (0.25,) * 3), "first")
    view = View(network, torch.randn(2, 3, 16, 16))
    with pytest.raises(Unavailable, match="no gradient reaches"):
        view[name] if name in TERMINALS else BASELINES[name].maps(view)
    assert view["drop"].abs().max() > 0  # what asks for none is there
