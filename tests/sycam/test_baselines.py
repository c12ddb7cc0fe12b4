"""Baselines and controls: values by hand, the laws of a batch, the page and the registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from drawings import NETWORKS, POLY, TOLERANCE, heatmaps, off
from torch import nn
from worlds import tiny_images, tiny_network

from sycam.cams import BASELINES, Baseline, find_cams, register_baseline
from sycam.cams.baselines.eigen import principal_projection
from sycam.cams.baselines.many_passes import fused, poly_layers
from sycam.errors import SycamError
from sycam.network import Network, load_network
from sycam.terminals import TerminalSettings, View

# By hand.


def test_eigen_projections_by_hand():
    # Two channels over two pixels, X = [[3, 4], [0, 0]]: v₁ = (3, 4)/5 and X·v₁ = (5, 0).
    maps = torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])
    assert off(principal_projection(maps), torch.tensor([[[5.0, 0.0]]])) < 1e-6
    # Centred: rows ±(1.5, 2), projections ±2.5, positive where Σ_k A_k = (7, 0) is.
    assert off(principal_projection(maps, centred=True), torch.tensor([[[2.5, -2.5]]])) < 1e-6
    # The sign does not come from the SVD. Not centred, the sum is positive; centred, it follows the maps.
    assert off(principal_projection(-maps), torch.tensor([[[5.0, 0.0]]])) < 1e-6
    assert off(principal_projection(-maps, centred=True), torch.tensor([[[-2.5, 2.5]]])) < 1e-6
    # Both Gram matrices: more channels than pixels above, fewer below.
    tall = torch.tensor([[[[3.0, 0.0, 4.0, 0.0]]]])
    assert off(principal_projection(tall), tall[:, 0]) < 1e-6
    assert float(principal_projection(torch.zeros(1, 3, 2, 2)).abs().max()) == 0


def test_poly_cam_fusion_by_hand():
    # The coarse layer is one pixel of 2·3 = 6. The fine layer is (1, 3), its mean at the coarse size 2: 6·(1/2, 3/2) = (3, 9).
    coarse, fine = torch.tensor([[[[2.0]]]]), torch.tensor([[[[1.0, 3.0]]]])
    found = fused([fine, coarse], [torch.tensor([[1.0]]), torch.tensor([[3.0]])])
    assert found.tolist() == [[[3.0, 9.0]]]
    # A negative weight is rectified away, and what is divided by no mean is 0, not NaN.
    assert fused([fine, coarse], [torch.tensor([[-1.0]]), torch.tensor([[3.0]])]).tolist() == [[[0.0, 0.0]]]


def test_poly_cam_reads_the_last_layer_of_each_size():
    embedded = load_network("embedded")
    names = {module: name for name, module in embedded.model.named_modules()}
    assert [(names[m], call) for m, call in poly_layers(embedded)] == [
        ("features.2", 0), ("features.6", 0), ("features.10", 0), ("features.14", 0)
    ]  # fmt: skip
    network = NETWORKS["biased"]()
    names = {module: name for name, module in network.model.named_modules()}
    # The one ReLU is called twice; only its first call is before the pooling.
    assert [(names[m], call) for m, call in poly_layers(network)] == POLY["biased"]


def test_full_grad_is_complete():
    # Input and biases together give the logit, if the head's own biases are added (Srinivas & Fleuret, proposition 1).
    network = NETWORKS["biased"]()
    model = network.model.eval()
    model.head[1].bias.data.zero_()
    model.head[2] = nn.ReLU()
    model.head[3].bias.data.zero_()
    from sycam.cams.baselines.fullgrad import _adding_zeros

    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with _adding_zeros(model) as found:
        y = model(x)[0, 1]
        grads = torch.autograd.grad(y, [x, *(zeros for _, zeros in found)])
    total = (grads[0] * x).sum() + sum((g * bias[:, None, None]).sum() for (bias, _), g in zip(found, grads[1:], strict=True))
    assert len(found) == 3
    assert float(total.detach()) == pytest.approx(float(y.detach()), rel=1e-4)
    assert not any(module._forward_hooks for module in model.modules())


def test_random_cam_is_drawn_for_each_image_alone():
    network = tiny_network()
    images = tiny_images(40).normalised(slice(None), network)
    view = View(network, images)
    maps = BASELINES["Random-CAM"].compute(view).double()
    # Recover the weights: 6 channels, 64 pixels.
    A = view.A.double().flatten(2).mT  # [N, 64, 6]
    weights = torch.linalg.lstsq(A, maps.flatten(1)[:, :, None]).solution[:, :, 0]
    assert off(torch.einsum("npk,nk->np", A, weights), maps.flatten(1)) < 1e-5
    live = view.A.flatten(2).amax(2) > 0
    drawn = weights[live]
    assert float(drawn.min()) < -0.8 and float(drawn.max()) > 0.8 and float(drawn.abs().max()) <= 1 + 1e-4
    assert abs(float(drawn.mean())) < 0.15 and abs(float(drawn.var()) - 1 / 3) < 0.08  # of the uniform: 0 and 1/3
    assert len({round(float(w), 6) for w in drawn}) == len(drawn)  # no two images share a draw


def test_random_cam_has_a_seed():
    network = tiny_network()
    images = tiny_images(2).normalised(slice(None), network)
    first, again, other = (
        BASELINES["Random-CAM"].heatmaps(View(network, images, settings=TerminalSettings(seed=seed))) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and off(first, other) > 0.1


# Laws.


@pytest.mark.parametrize("which", NETWORKS)
@pytest.mark.parametrize("name", BASELINES)
def test_a_batch_is_its_images(name, which):
    network = NETWORKS[which]()
    images = tiny_images(5, seed=2).normalised(slice(None), network)
    classes = torch.tensor([0, 1, 2, 3, 0])
    together = heatmaps(name, network, images, classes)
    order = torch.tensor([3, 0, 4, 2, 1])
    assert off(heatmaps(name, network, images[order], classes[order]), together[order]) < TOLERANCE
    alone = torch.cat([heatmaps(name, network, images[n : n + 1], classes[n : n + 1]) for n in range(5)])
    assert off(alone, together) < TOLERANCE


@pytest.mark.parametrize("name", BASELINES)
def test_chunks_change_nothing_and_the_model_comes_back(name):
    network = NETWORKS["biased"]()
    network.model.train()
    state = {key: value.clone() for key, value in network.model.state_dict().items()}
    images = tiny_images(3, seed=3).normalised(slice(None), network)
    before = images.clone()
    one, many = (BASELINES[name].heatmaps(View(network, images, chunk=chunk)) for chunk in (1, 64))
    assert off(one, many) < TOLERANCE
    assert torch.equal(images, before)
    assert all(module.training for module in network.model.modules())
    assert all(torch.equal(value, state[key]) for key, value in network.model.state_dict().items())
    assert all(p.grad is None for p in network.model.parameters())
    assert not any(module._forward_hooks for module in network.model.modules())


@pytest.mark.parametrize("name", ["EigenCAM", "EigenCAM-centred", "Fake-CAM", "Random-CAM", "Centre-Gaussian"])
def test_what_explains_no_class_is_the_same_for_every_class(name):
    network = tiny_network()
    images = tiny_images(2).normalised(slice(None), network)
    first, second = (heatmaps(name, network, images, torch.full((2,), c)) for c in (0, 3))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["Eigen-Grad-CAM", "ReciproCAM", "Group-CAM", "FullGrad", "Poly-CAM"])
def test_what_explains_a_class_differs_between_classes(name):
    network = tiny_network()
    images = tiny_images(2).normalised(slice(None), network)
    first, second = (heatmaps(name, network, images, torch.full((2,), c)) for c in (0, 3))
    assert off(first, second) > 1e-2


def test_a_black_image_breaks_nothing():
    network = tiny_network()
    images = torch.zeros(2, 3, 16, 16)
    for name in BASELINES:
        found = heatmaps(name, network, images)
        assert bool(found.isfinite().all()) and float(found.min()) >= 0 and float(found.max()) <= 1, name


# The page and the registry.


def view_of(network: Network, count: int = 3) -> View:
    images = tiny_images(count, seed=1)
    return View(network, images.normalised(slice(None), network))


def test_the_gallery_shows_every_cam():
    page = Path(__file__).parents[2] / "docs" / "cams.md"
    headings = {line[4:] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("### ")}
    assert headings == {cam.name for cam in find_cams("all")}  # else: python docs/build_gallery.py
    pictures = re.findall(r"\]\((cams/[^)]+)\)", page.read_text(encoding="utf-8"))
    assert len(pictures) == 1 + len(headings)  # the photograph itself
    assert all((page.parent / picture).is_file() for picture in pictures)


def test_a_baseline_says_what_it_is():
    for baseline in BASELINES.values():
        assert baseline.doc and baseline.reference and baseline.passes
        assert find_cams(baseline.name.upper().replace("-", "_")) == [baseline]


def test_what_is_wrong_is_refused():
    with pytest.raises(SycamError, match="already a baseline 'EigenCAM'"):
        register_baseline("EigenCAM", passes="none", reference="x")(Baseline.heatmaps)
    with pytest.raises(ValueError, match="no kind 'other'"):
        register_baseline("Other", kind="other", passes="none", reference="x")
    with pytest.raises(ValueError, match="needs a docstring"):
        register_baseline("Other", passes="none", reference="x")(lambda view: view.A)
    assert "Other" not in BASELINES
    wrong = Baseline("Wrong", "baseline", "none", "x", "x", lambda view: view.A)
    with pytest.raises(SycamError, match=r"Wrong must return maps \[3, h, w\]"):
        wrong.maps(view_of(tiny_network()))
    broken = Baseline("Broken", "baseline", "none", "x", "x", lambda view: view.A[:, 0] / 0)
    maps, finite = broken.maps(view_of(tiny_network()))
    assert not bool(finite.any()) and float(maps.abs().max()) == 0
