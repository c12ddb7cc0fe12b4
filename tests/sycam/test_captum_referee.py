"""`lift` and `lift_map` against captum 0.9.0's DeepLift on what follows the target layer, written out for each real network.

Where captum's rule for max pooling is wrong: test_defects_referee.py. The small VGG's windows do not overlap, and no layer stands
between the maps and the pooling, so that captum is right there.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sycam.network import Network
from sycam.terminals import View
from sycam.terminals.deeplift import contributions

captum = pytest.importorskip("captum.attr", reason="captum is in the extra `referee`")

IMAGES = {"mobilenet_v2": "photos", "resnet20_cifar10": "cifar_photos", "small_vgg_tiny20": "tiny_photos"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches here are small: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tail_of(name: str, model: nn.Module) -> nn.Sequential:
    """What follows the target layer, each ReLU once and not in place."""
    if name == "small_vgg_tiny20":
        first, _, _, second, _, _, third = model.classifier
        return nn.Sequential(nn.MaxPool2d(2, 2), nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), third)
    linear = model.classifier[1] if name == "mobilenet_v2" else model.linear
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest value, of each image."""
    scale = expected.abs().flatten(1).amax(1)
    return float(((found - expected).abs().flatten(1).amax(1) / scale).max())


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
@pytest.mark.parametrize("name", IMAGES)
def test_lift_is_captum_on_the_tail(request, name):
    network: Network = request.getfixturevalue(name)
    view = View(network, request.getfixturevalue(IMAGES[name]).normalised(slice(3), network))
    tail = tail_of(name, network.model).eval()
    with torch.no_grad():
        torch.testing.assert_close(tail(view.A), view.logits, rtol=1e-4, atol=1e-4)  # it is the tail
    A = view.A.clone().requires_grad_()
    expected = captum.DeepLift(tail).attribute(A, torch.zeros_like(A), target=view.classes).detach()
    assert relative(view["lift_map"], expected) < 1e-4
    assert relative(view["lift"], expected.sum((2, 3))) < 1e-4
    # On a linear head the terminal is a closed form; what it runs elsewhere finds the same.
    assert relative(contributions(view), expected) < 1e-4
    nothing = tail(torch.zeros_like(view.A)).gather(1, view.classes[:, None])[:, 0].detach()
    torch.testing.assert_close(view["lift"].sum(1), view["y"][:, 0] - nothing, rtol=1e-4, atol=1e-4)
    if name == "small_vgg_tiny20":
        gradient_times_input = view["G"] * view.A
        assert relative(gradient_times_input, expected) > 0.1  # DeepLIFT is something else here
