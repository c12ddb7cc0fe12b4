"""Identities of global average pooling and one linear layer: they hold on MobileNetV2 and break on a VGG's head.

On MobileNetV2 the terminals G and drop are closed forms, so what is compared here is asked of the network itself: the gradient
by a backward pass, the drop by running the tail once for each channel.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from heads import double
from torch import Tensor, nn

from sycam.cams import cam_from_text, known_cams
from sycam.errors import SycamError
from sycam.images import ImageSet
from sycam.job import TerminalSettings
from sycam.network import Network, Preprocessing, linear_head
from sycam.run.result import cam_heatmaps
from sycam.terminals import View
from sycam.terminals.deeplift import contributions
from sycam.terminals.head import ablated, kept
from sycam.terminals.shapley import sampled_shapley, shapley
from sycam.theory import Evaluator, heatmaps_of

ULP = 2.0**-23  # of float32, the network's precision
ALIKE = ("Grad-CAM", "HiResCAM", "XGrad-CAM", "CAM")


@dataclass
class Seen:
    """Terminals of real images, none by a closed form, in float64: A, g [B, K, h, w], w [B, K] or None, drop [B, K]."""

    view: View
    A: Tensor
    g: Tensor
    w: Tensor | None
    drop: Tensor

    @property
    def pixels(self) -> int:
        return self.A[0, 0].numel()

    def weights(self, text: str) -> Tensor:
        """Of a known CAM or a term, [B, K]."""
        return self.evaluator().value((known_cams().get(text) or cam_from_text(text)).term)[:, :, 0]

    def heatmap(self, text: str) -> Tensor:
        """Of a known CAM or a term, [B, H, W]."""
        term = (known_cams().get(text) or cam_from_text(text)).term
        size = self.view.images.shape[2:]
        return heatmaps_of([term], self.evaluator(), (size[0], size[1]))[0][0]

    def evaluator(self) -> Evaluator:
        given = {"A": self.A, "G": self.g, "drop": self.drop, "y": self.view["y"], "Z": self.view["Z"]}
        return Evaluator(given if self.w is None else {**given, "fc": self.w})


def seen(network: Network, images: Tensor) -> Seen:
    view = View(network, images, chunk=128)
    g = network.gradient(view.A, images, view.classes)
    head = linear_head(network)
    weight = None if head is None else head.weight[view.classes].double()
    return Seen(view, view.A.double(), g.double(), weight, ablated(view).double())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches here are small: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def linear(mobilenet_v2: Network, photos: ImageSet) -> Seen:
    """MobileNetV2 on four ImageNet photographs."""
    return seen(mobilenet_v2, photos.normalised(slice(4), mobilenet_v2))


@pytest.fixture(scope="module")
def layered(small_vgg_tiny20: Network, tiny_photos: ImageSet) -> Seen:
    """The small VGG on eight photographs of Tiny ImageNet."""
    return seen(small_vgg_tiny20, tiny_photos.normalised(slice(None), small_vgg_tiny20))


def relative(a: Tensor, b: Tensor) -> float:
    """Largest difference, as a share of the largest value, of each image."""
    scale = b.abs().flatten(1).amax(1)
    return float(((a - b).abs().flatten(1).amax(1) / scale).max())


def test_the_gradient_is_the_weight_over_the_pixels(linear: Seen, layered: Seen):
    constant = (linear.w / linear.pixels)[:, :, None, None].expand_as(linear.g)
    assert relative(linear.g, constant) <= ULP
    assert torch.equal(linear.g.amax((2, 3)), linear.g.amin((2, 3)))
    assert relative(linear.view["G"].double(), linear.g) <= ULP  # and so the terminal's closed form

    spread = layered.g.amax((2, 3)) - layered.g.amin((2, 3))
    assert bool((spread > 0.1 * layered.g.abs().amax((2, 3))).any(1).all())


def test_four_cams_are_one_heatmap(linear: Seen, layered: Seen):
    maps = {name: linear.heatmap(name) for name in ALIKE}
    for name in ALIKE:
        assert float((maps[name] - maps["CAM"]).abs().max()) < 1e-5, name
    # XGrad-CAM's weight is 0 on a dead channel, and Grad-CAM's elsewhere.
    dead = (linear.A == 0).flatten(2).all(2)
    assert bool(dead.any())
    xgrad, grad = linear.weights("XGrad-CAM"), linear.weights("Grad-CAM")
    assert bool((xgrad[dead] == 0).all()) and bool((grad[dead] != 0).any())
    torch.testing.assert_close(xgrad[~dead], grad[~dead], rtol=1e-6, atol=0)
    torch.testing.assert_close(grad * linear.pixels, linear.w, rtol=1e-6, atol=0)

    with pytest.raises(SycamError, match="no global average pooling"):
        layered.view["fc"]
    for other in ("HiResCAM", "XGrad-CAM"):
        apart = (layered.heatmap("Grad-CAM") - layered.heatmap(other)).abs().flatten(1).amax(1)  # [B]
        assert bool((apart > 0.01).all()), (other, apart)


def test_layer_cam_keeps_the_positive_weights(linear: Seen, layered: Seen):
    positive = linear.heatmap("(relu fc)")
    assert float((linear.heatmap("LayerCAM") - positive).abs().max()) < 1e-5
    contributions = linear.evaluator().value(known_cams()["LayerCAM"].term)
    expected = (linear.w.relu()[:, :, None, None] * linear.A / linear.pixels).flatten(2)
    assert relative(contributions, expected) <= 2 * ULP

    apart = (layered.heatmap("LayerCAM") - layered.heatmap("(relu (gap G))")).abs().flatten(1).amax(1)
    assert bool((apart > 0.01).all()), apart


def test_grad_cam_plus_plus_has_a_closed_weight(linear: Seen, layered: Seen):
    found = linear.weights("Grad-CAM++")
    g = linear.w / linear.pixels
    closed = linear.pixels * g.relu() / (2 + g * linear.A.sum((2, 3)))
    assert relative(found, closed) <= 2 * ULP
    term = "(/ (* Z (relu (gap G))) (+ 2.0 (* (gap G) (sum A))))"
    assert relative(linear.weights(term), found) <= 1e-12

    assert relative(layered.weights(term), layered.weights("Grad-CAM++")) > 0.01


def test_lift_shap_and_ablation_cam_are_one_heatmap(linear: Seen, layered: Seen):
    names = ("LIFT-CAM", "SHAP-CAM", "Ablation-CAM")
    images, network = linear.view.images, linear.view.network
    assert float(linear.view["y"].min()) > 0  # Ablation-CAM divides by y, a positive factor
    maps = cam_heatmaps([known_cams()[name] for name in names], network, images)
    assert float((maps - maps[2]).abs().max()) < 1e-5
    other = cam_heatmaps([known_cams()[name] for name in ("LIFT-CAM", "Ablation-CAM")], layered.view.network, layered.view.images)
    assert bool(((other[0] - other[1]).abs().flatten(1).amax(1) > 0.01).all())
    # Nor is it Grad-CAM, on either head: the map is quadratic in A.
    assert bool(((maps[0] - linear.heatmap("Grad-CAM")).abs().flatten(1).amax(1) > 0.01).all())


def test_drop_is_the_sum_of_gradient_times_activation(linear: Seen, layered: Seen):
    y = float(linear.view["y"].max())
    products = (linear.g * linear.A).sum((2, 3))  # [B, K]
    closed = linear.view["drop"].double()
    assert relative(closed, products) <= 4 * ULP
    assert relative(closed, linear.w * linear.A.mean((2, 3))) <= 4 * ULP
    # A channel's pass rounds the logit, not the drop: a few units in the last place of y.
    assert float((linear.drop - closed).abs().max()) <= 16 * ULP * y
    assert relative(linear.weights("Ablation-CAM"), linear.weights("(/ (sum (m* A G)) y)")) < 1e-3

    other = (layered.g * layered.A).sum((2, 3))
    assert relative(layered.drop, other) > 0.1
    assert torch.equal(layered.view["drop"].double(), layered.drop)  # where no closed form is, the terminal runs the passes


def test_lift_shap_keep_and_drop_are_the_weight_times_the_mean(linear: Seen, layered: Seen):
    """Each by its own general way, the head unknown to it: captum's DeepLIFT, sampled orderings, one channel left, one taken out."""
    pytest.importorskip("captum")

    def by_running(seen: Seen, count: int, orderings: int) -> dict[str, Tensor]:
        view = View(seen.view.network, seen.view.images[:count], chunk=256, settings=TerminalSettings(shap_orderings=orderings))
        found = {
            "lift": contributions(view).sum((2, 3)),
            "shap": sampled_shapley(view)[0],
            "keep": kept(view),
            "drop": ablated(view),
        }
        return {name: value.double() for name, value in found.items()}

    products = (linear.g * linear.A).sum((2, 3))[:2]  # [B, K]
    weighted = (linear.w * linear.A.mean((2, 3)))[:2]
    y = float(linear.view["y"].max())
    for name, value in by_running(linear, 2, 2).items():
        for expected in (products, weighted):
            # A pass rounds the logit, not the difference: a few units in the last place of y.
            assert float((value - expected).abs().max()) <= 16 * ULP * y, name

    found = by_running(layered, 2, 16)
    found["Σ gA"] = (layered.g * layered.A).sum((2, 3))[:2]
    for a, b in itertools.combinations(found, 2):
        assert relative(found[a], found[b]) > 0.02, (a, b)


class Highest(nn.Module):
    """Ten channels, each one of the twelve numbers in a block of 2×2 pixels; y is the largest of them (and 0): the airport game."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 10, 2, stride=2, bias=False)
        with torch.no_grad():
            self.maps.weight.copy_(torch.eye(12)[:10].view(10, 3, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.maps(x).flatten(1).amax(1, keepdim=True).relu()
        return torch.cat([y, -y], 1)


def highest() -> tuple[Network, Tensor, Tensor]:
    """The network, two images of ten channels, and their exact Shapley values [2, 10].

    Littlechild and Owen 1973: of costs v_1 <= ... <= v_n whose dearest is paid, each step v_j - v_(j-1) is shared by the n - j + 1
    players who need it. For 1, 2, ..., 10 that is 1/10, 1/10 + 1/9, ..., 1/10 + 1/9 + ... + 1.
    """
    network = double(Network(Highest().eval(), Preprocessing(4, (0.0,) * 3, (1.0,) * 3), "maps"))
    values = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10], [5, 0.5, 5, 1, 8, 2, 2, 0.25, 3, 6]], dtype=torch.float64)
    images = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    images[:, :, :2, 2:] = nn.functional.pad(values, (0, 2)).view(2, 3, 2, 2)
    ordered, order = values.sort(1)
    steps = ordered.diff(dim=1, prepend=torch.zeros(2, 1)) / torch.arange(10, 0, -1)
    return network, images, torch.zeros_like(values).scatter_(1, order, steps.cumsum(1))


def test_shapley_values_of_ten_channels_by_hand():
    network, images, exact = highest()
    shares = [0.1, 0.211111, 0.336111, 0.478968, 0.645635, 0.845635, 1.095635, 1.428968, 1.928968, 2.928968]
    assert exact[0].tolist() == pytest.approx(shares, abs=1e-6)
    # And by the definition, over all 1024 coalitions.
    coalitions = torch.tensor(list(itertools.product([0.0, 1.0], repeat=10)), dtype=torch.float64)
    maps = network.activations(images)[0][1]
    worth = network.tail(maps * coalitions[:, :, None, None])[:, 0].detach()
    for k in range(10):
        without = coalitions[:, k] == 0
        size = coalitions[without].sum(1).long()
        weight = torch.tensor([math.factorial(s) * math.factorial(9 - s) / math.factorial(10) for s in range(10)])[size]
        assert float((weight * (worth[without.nonzero()[:, 0] + 2 ** (9 - k)] - worth[without])).sum()) == pytest.approx(
            float(exact[1, k]), abs=1e-6
        )


def test_sampled_shapley_is_unbiased_and_knows_its_error():
    network, images, exact = highest()
    classes, seeds = torch.zeros(2, dtype=torch.int64), 100
    runs = []
    for seed in range(seeds):
        view = View(network, images, classes, settings=TerminalSettings(seed=seed, shap_orderings=64), chunk=4096)
        runs.append(torch.stack(shapley(view)))
    value, error = torch.stack(runs).unbind(1)  # [seeds, 2, 10] each
    # Runs lie within twice their own stated error as often as Student's t with 63 degrees of freedom does, 95.0%; skewed marginal
    # contributions cost a little.
    within = ((value - exact).abs() <= 2 * error).double().mean(0)  # [2, 10]
    assert bool((within > 0.8).all()) and 0.91 < float(within.mean()) < 0.98
    # The mean of all runs, of an error ten times smaller, is the exact value: no bias of even half of one run's error.
    spread = value.std(0) / seeds**0.5
    assert bool(((value.mean(0) - exact).abs() <= 4 * spread).all())
    assert bool((4 * spread < 0.6 * error.mean(0)).all())
    # The stated variance is the variance of runs.
    ratio = (error**2).mean(0) / value.var(0)
    assert bool(((ratio > 0.6) & (ratio < 1.6)).all()), ratio
    # Whatever the sample, the values share out what the network gained.
    torch.testing.assert_close(value.sum(2), images.flatten(1).amax(1).expand(seeds, 2), rtol=0, atol=1e-12)
