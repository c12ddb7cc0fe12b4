"""`lift` and `lift_map` against captum 0.9.0's DeepLift on what follows the target layer, written out for each real network.

Where captum's rule for max pooling is wrong is shown by hand. The small VGG's windows do not overlap, and no layer stands between the
maps and the pooling, so that captum is right there.
"""

from __future__ import annotations

import pytest
import torch
from referees import IMAGES
from torch import Tensor, nn

from sycam.network import Network, Preprocessing
from sycam.terminals import View
from sycam.terminals.deeplift import contributions

captum = pytest.importorskip("captum.attr", reason="captum is in the extra `referee`")

pytestmark = pytest.mark.usefixtures("one_thread")


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


# captum's DeepLift through max pooling.


class Pooling(nn.Module):
    """Maps as the image has them; a 1×1 convolution where weights are given; max pooling; the sum of what is left."""

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int], mix: list[float] | None = None) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 3, 1, bias=False)
        self.mix = nn.Conv2d(3, 1, 1, bias=False) if mix else nn.Identity()
        self.pool = nn.MaxPool2d(kernel, stride)
        with torch.no_grad():
            self.maps.weight.copy_(torch.eye(3)[:, :, None, None])
            if mix:
                self.mix.weight.copy_(torch.tensor(mix)[None, :, None, None])

    def tail(self, A: Tensor) -> Tensor:
        y = self.pool(self.mix(A)).sum((1, 2, 3))[:, None]
        return torch.cat([y, -y], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.maps(x))


class Tail(nn.Module):
    """What follows the maps, as captum is given it."""

    def __init__(self, model: Pooling) -> None:
        super().__init__()
        self.mix, self.pool = model.mix, model.pool

    def forward(self, A: Tensor) -> Tensor:
        return self.pool(self.mix(A)).sum((1, 2, 3))[:, None]


def lifts(model: Pooling, x: Tensor) -> tuple[Tensor, Tensor]:
    """`lift_map` and captum's contributions, [N, 3, h, w] each."""
    network = Network(model.eval(), Preprocessing(x.shape[2], (0.0,) * 3, (1.0,) * 3), "maps")
    mine = View(network, x, torch.zeros(len(x), dtype=torch.int64))["lift_map"]
    return mine, captum.DeepLift(Tail(model)).attribute(x.clone().requires_grad_(), torch.zeros_like(x), target=0).detach()


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
def test_captum_loses_what_overlapping_windows_share():
    # Windows of 1×2 by steps of 1 on the row (1, 3, 2): both have 3 as their maximum, y = 3 + 3, and the middle pixel contributes 6,
    # which is all that y gained. captum writes the second window's share over the first's: 3.
    x = torch.zeros(1, 3, 3, 3)
    x[0, 0, 1] = torch.tensor([1.0, 3.0, 2.0])
    mine, theirs = lifts(Pooling((1, 2), (1, 1)), x)
    assert mine[0, 0, 1].tolist() == [0, 6, 0] and float(mine.sum()) == 6
    assert theirs[0, 0, 1].tolist() == [0, 3, 0] and float(theirs.sum()) == 3


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
def test_captum_takes_slopes_from_the_first_image():
    # z = a_0 - a_1, pooled over the row (1×2). Second image: z = (0, 1) with a_0 = a_1 = 1 at the first pixel. The window gained 1
    # by its second pixel: a_0 there contributes 1, the first pixel nothing. In captum the first pixel, z = 0 as in the reference,
    # takes the slope of the batch's first image, whose maximum it is: its a_0 contributes 1 and its a_1 -1, which cancel in the sum.
    x = torch.zeros(2, 3, 2, 2)
    x[0, 0, 0, 0] = 1  # the first image: z = (1, 0)
    x[1, 0, 0] = torch.tensor([1.0, 1.0])
    x[1, 1, 0, 0] = 1
    mine, theirs = lifts(Pooling((1, 2), (1, 2), mix=[1.0, -1.0, 0.0]), x)
    assert mine[1, 0, 0].tolist() == [0, 1] and mine[1, 1, 0].tolist() == [0, 0]
    assert theirs[1, 0, 0].tolist() == [1, 1] and theirs[1, 1, 0].tolist() == [-1, 0]
    alone, theirs_alone = lifts(Pooling((1, 2), (1, 2), mix=[1.0, -1.0, 0.0]), x[1:])
    assert torch.equal(alone[0], mine[1])
    assert not torch.equal(theirs_alone[0], theirs[1])  # its answer depends on the batch
