"""Baselines and controls: values by hand, slow twins straight from the papers, and the laws of a batch."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from worlds import tiny_images, tiny_network

from sycam.baselines import BASELINES, Baseline, register_baseline
from sycam.baselines.eigen import principal_projection
from sycam.baselines.polycam import fused, poly_layers
from sycam.cams import find_cams
from sycam.errors import SycamError
from sycam.heatmap import post
from sycam.network import Network, Preprocessing, load_network
from sycam.run.result import cam_heatmaps
from sycam.terminals import TerminalSettings, View

TOLERANCE = 1e-4  # on the heatmap


class Biased(nn.Module):
    """3×16×16: a convolution with a bias, batch normalisation, one in-place ReLU called twice, and a head of two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.pool, self.second = nn.MaxPool2d(2), nn.Conv2d(5, 7, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(7 * 64, 9), nn.Tanh(), nn.Linear(9, 4))
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.weight.normal_()
            self.norm.bias.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        return self.head(self.relu(self.second(self.pool(x))))


NETWORKS = {"tiny": tiny_network, "biased": lambda: Network(Biased(), Preprocessing(16, (0.5,) * 3, (0.25,) * 3), "second")}


def view_of(network: Network, count: int = 3) -> View:
    images = tiny_images(count, seed=1)
    return View(network, images.normalised(slice(None), network))


def heatmaps(name: str, network: Network, images: Tensor, classes: Tensor | None = None) -> Tensor:
    return cam_heatmaps([BASELINES[name]], network, images, classes)[0]


def off(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max())


# Slow twins: one image at a time, loops, the model itself instead of a tail. Each returns a map before ReLU and upsampling.


def layer_output(network: Network, image: Tensor, layer: str | None = None, call: int = 0) -> Tensor:
    caught: list[Tensor] = []
    module = network.model.get_submodule(layer or network.layer)
    handle = module.register_forward_hook(lambda _m, _i, output: caught.append(output.detach().clone()))
    with torch.no_grad():
        network.model(image[None])
    handle.remove()
    return caught[call][0]


def logits_with(network: Network, image: Tensor, A: Tensor) -> Tensor:
    """The whole model where the layer returns A [K, h, w]; differentiable in A."""
    handle = network.model.get_submodule(network.layer).register_forward_hook(lambda _m, _i, _o: A[None].clone())
    out = network.model(image[None])[0]
    handle.remove()
    return out


def slow_gradient(network: Network, image: Tensor, c: int) -> Tensor:
    A = layer_output(network, image).requires_grad_()
    logits_with(network, image, A)[c].backward()
    return A.grad


def probability(network: Network, image: Tensor, c: int) -> float:
    with torch.no_grad():
        return float(network.model(image[None])[0].softmax(0)[c])


def up(m: Tensor, size) -> Tensor:
    return F.interpolate(m[None, None], size=tuple(size), mode="bilinear", align_corners=False)[0, 0]


def scaled(m: Tensor) -> Tensor:
    span = m.max() - m.min()
    return torch.zeros_like(m) if span == 0 else (m - m.min()) / span


def slow_component(X: Tensor, centred: bool, towards: Tensor) -> Tensor:
    matrix = X.flatten(1).T.double().numpy()  # pixels × channels
    if centred:
        matrix = matrix - matrix.mean(0)
    _, _, vt = np.linalg.svd(matrix, full_matrices=True)
    projection = torch.from_numpy(matrix @ vt[0]).view(X.shape[1:])
    return -projection if float((projection * towards).sum()) < 0 else projection


def slow_eigen_cam(network, image, c):
    A = layer_output(network, image)
    return slow_component(A, False, torch.ones_like(A[0]))


def slow_eigen_cam_centred(network, image, c):
    A = layer_output(network, image)
    return slow_component(A, True, A.sum(0))


def slow_eigen_grad_cam(network, image, c):
    product = layer_output(network, image) * slow_gradient(network, image, c)
    return slow_component(product, True, product.sum(0))


def slow_recipro_cam(network, image, c):
    A = layer_output(network, image)
    _, h, w = A.shape
    scores = torch.zeros(h, w)
    for i in range(h):
        for j in range(w):
            left = torch.zeros_like(A)
            for di in (-1, 0, 1):
                for dj in (-1, 0, 1):
                    if 0 <= i + di < h and 0 <= j + dj < w:
                        left[:, i + di, j + dj] = A[:, i, j] * 2.0 ** -(2 + abs(di) + abs(dj))
            with torch.no_grad():
                scores[i, j] = logits_with(network, image, left).softmax(0)[c]
    return scaled(scores)


def reflected_blur(image: Tensor, radius: int, sigma: float) -> Tensor:
    """A Gaussian blur of 2·radius + 1 pixels, reflecting at the border, by its definition."""
    kernel = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-radius, radius + 1)]
    kernel = [k / sum(kernel) for k in kernel]

    def along(x: Tensor, axis: int) -> Tensor:
        size = x.shape[axis]
        out = torch.zeros_like(x)
        for d, k in zip(range(-radius, radius + 1), kernel, strict=True):
            at = [abs(p + d) if p + d < size else 2 * (size - 1) - (p + d) for p in range(size)]
            out += k * x.index_select(axis, torch.tensor(at))
        return out

    return along(along(image.double(), 1), 2).to(image.dtype)


def slow_group_cam(network, image, c, groups=32):
    A = layer_output(network, image)
    weights = slow_gradient(network, image, c).mean((1, 2))
    side = image.shape[-1]
    blurred = reflected_blur(image, min(25, side - 1), 50.0)
    plain = probability(network, blurred, c)
    total = torch.zeros(image.shape[1:])
    per_group = math.ceil(len(A) / groups)
    for start in range(0, len(A), per_group):
        mask = torch.zeros_like(A[0])
        for k in range(start, min(start + per_group, len(A))):
            mask += weights[k] * A[k]
        mask = mask.relu()
        mask[mask <= float(np.percentile(mask.numpy(), 70))] = 0
        if mask.max() == mask.min():
            continue
        mask = scaled(up(mask, image.shape[1:]))
        total += (probability(network, image * mask + blurred * (1 - mask), c) - plain) * mask
    return total


def slow_full_grad(network, image, c):
    """Input and every bias as leaves: the gradient of a bias at a pixel is the output's gradient there."""
    model, size = network.model, image.shape[1:]
    x = image[None].clone().requires_grad_()
    leaves = []

    def linear(module, inputs, output):
        if isinstance(module, nn.BatchNorm2d):
            sigma = (module.running_var + module.eps).sqrt()
            bias = module.bias - module.running_mean * module.weight / sigma
        else:
            bias = module.bias
        at_pixels = bias.detach()[None, :, None, None].expand_as(output).clone().requires_grad_()
        leaves.append(at_pixels)
        return output.detach() * 0 + (output - bias.detach()[None, :, None, None]) + at_pixels

    handles = [m.register_forward_hook(linear) for m in model.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    model(x)[0, c].backward()
    for handle in handles:
        handle.remove()
    total = torch.zeros(size)
    for channel in range(3):
        total += up(scaled((x.grad * x.detach()).abs()[0, channel]), size)
    for leaf in leaves:
        for channel in (leaf.grad * leaf.detach()).abs()[0]:
            total += up(scaled(channel), size)
    return total


def slow_integrated_grad_cam(network, image, c):
    zero = layer_output(network, torch.zeros_like(image))
    total = torch.zeros_like(zero[0])
    for step in range(1, 11):
        x = image * (step / 10)
        weights = slow_gradient(network, x, c).mean((1, 2))
        A = layer_output(network, x) - zero
        total += sum(w * a for w, a in zip(weights, A, strict=True)).relu() / 10
    return total


POLY = {"tiny": [("features.1", 0)], "biased": [("relu", 0), ("second", 0)]}
"""Of each network the layers that Poly-CAM reads, named by hand: the last before each pooling, then the target."""


def slow_poly_cam(network, image, c, form):
    layers = POLY["tiny" if network.layer == "features.1" else "biased"]
    size, plain = image.shape[1:], probability(network, image, c)
    result = None
    for layer, call in reversed(layers):
        A = layer_output(network, image, layer, call)
        total = torch.zeros_like(A[0])
        for map_ in A:
            low, high = np.percentile(map_.numpy(), 0.1), np.percentile(map_.numpy(), 99.9)
            mask = up(((map_ - low) / max(high, 1e-12)).clamp(0, 1).float(), size)
            kept, out = probability(network, image * mask, c), probability(network, image * (1 - mask), c)
            weight = {"+": kept, "-": max(plain - out, 0), "±": max(kept + plain - out, 0)}[form]
            total += weight * map_
        total = total.relu()
        if result is not None:
            mean = up(up(total, result.shape), total.shape).clamp(min=1e-12)
            total = total / mean * up(result, total.shape)
        result = total
    return result


def slow_fake_cam(network, image, c):
    return torch.tensor([[0.0 if (i, j) == (0, 0) else 1.0 for j in range(16)] for i in range(16)])


def slow_centre_gaussian(network, image, c):
    def at(i: int, j: int) -> float:
        return math.exp(-((i - 7.5) ** 2 + (j - 7.5) ** 2) / (2 * 4.0**2))

    return torch.tensor([[at(i, j) for j in range(16)] for i in range(16)])


TWINS = {
    "EigenCAM": slow_eigen_cam,
    "EigenCAM-centred": slow_eigen_cam_centred,
    "Eigen-Grad-CAM": slow_eigen_grad_cam,
    "ReciproCAM": slow_recipro_cam,
    "Group-CAM": slow_group_cam,
    "FullGrad": slow_full_grad,
    "Integrated-Grad-CAM-published": slow_integrated_grad_cam,
    "Poly-CAM-plus": lambda *a: slow_poly_cam(*a, "+"),
    "Poly-CAM-minus": lambda *a: slow_poly_cam(*a, "-"),
    "Poly-CAM": lambda *a: slow_poly_cam(*a, "±"),
    "Fake-CAM": slow_fake_cam,
    "Centre-Gaussian": slow_centre_gaussian,
}


def test_every_baseline_has_a_twin():
    assert set(TWINS) | {"Random-CAM"} == set(BASELINES)


@pytest.mark.parametrize("which", NETWORKS)
@pytest.mark.parametrize("name", TWINS)
def test_slow_twins(name, which):
    network = NETWORKS[which]()
    network.model.eval()
    images = tiny_images(3, seed=1).normalised(slice(None), network)
    classes = torch.tensor([2, 0, 3])
    found = heatmaps(name, network, images, classes)
    assert bool((found.flatten(1).amax(1) == 1).any())
    for n in range(3):
        expected = post(TWINS[name](network, images[n], int(classes[n]))[None].float(), (16, 16))[0]
        assert off(found[n], expected) < TOLERANCE, n


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
    from sycam.baselines.fullgrad import _adding_zeros

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
    with pytest.raises(ValueError, match="registered already"):
        register_baseline("EigenCAM", passes="none", reference="x")
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
