"""Identities of global average pooling and one linear layer: they hold on MobileNetV2 and break on a VGG's head.

On MobileNetV2 the terminals G and drop are closed forms, so what is compared here is asked of the network itself: the gradient
by a backward pass, the drop by running the tail once for each channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sycam.cams import cam_from_text, known_cams
from sycam.errors import SycamError
from sycam.images import ImageSet
from sycam.network import Network, linear_head
from sycam.run.result import cam_heatmaps
from sycam.terminals import View
from sycam.terminals.head import ablated
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
