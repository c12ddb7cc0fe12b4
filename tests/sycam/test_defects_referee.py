"""Where pytorch-grad-cam 1.5.7 and torchcam 0.5.0 are wrong: by hand, on tiny networks with set weights.

The image is the activations: the target layer is a 1×1 convolution with the identity as weight, behind average pooling where maps
are smaller than the image. The head is y_c = Σ_k Σ_ij W_ckij·A_kij, so that ∂y_c/∂A_k is W_ck at every pixel, whatever the image.
Each test works the right answer out in its comment: ours has it, theirs has not.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sycam.cams import BASELINES, cam_from_text, known_cams
from sycam.heatmap import post
from sycam.job import TerminalSettings
from sycam.metrics.own.find import find_metric
from sycam.metrics.query import Query
from sycam.network import Network, Preprocessing
from sycam.run.result import cam_heatmaps
from sycam.terminals import View, masking, noise
from sycam.theory import Evaluator

grad_cam = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is in the extra `referee`")
torchcam = pytest.importorskip("torchcam.methods", reason="torchcam is in the extra `referee`")

from pytorch_grad_cam import ablation_cam_multilayer  # noqa: E402
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget  # noqa: E402

ZERO = [[0.0, 0.0], [0.0, 0.0]]
ONES = [[1.0, 1.0], [1.0, 1.0]]


class Tiny(nn.Module):
    """Three channels in, the same as maps (pooled by `pool`), and y = W·A, rectified above `threshold` where one is given."""

    def __init__(self, W: Tensor, pool: int = 1, threshold: float | None = None, bias: Tensor | None = None) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(pool)
        self.maps = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(W[0].numel(), len(W), bias=False)
        self.threshold = threshold
        with torch.no_grad():
            self.maps.weight.copy_(torch.eye(3)[:, :, None, None])
            self.maps.bias.copy_(torch.zeros(3) if bias is None else bias)
            self.head.weight.copy_(W.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.maps(self.pool(x)).flatten(1))
        return y if self.threshold is None else (y - self.threshold).relu()


class By:
    """One image in front of one tiny network: heatmaps of ours and theirs for class 0, at the image's size."""

    def __init__(self, x: list, W: list, **options) -> None:
        self.x = torch.tensor([x])
        weights = torch.tensor(W)
        weights = weights if len(W) > 1 else torch.cat([weights, torch.zeros_like(weights)])  # a class of logit 0
        self.model = Tiny(weights, **options).eval()
        self.network = Network(self.model, Preprocessing(len(x[0]), (0.0,) * 3, (1.0,) * 3), "maps")

    def ours(self, name: str, settings: TerminalSettings | None = None) -> Tensor:
        cam = known_cams().get(name) or BASELINES.get(name) or cam_from_text(name)
        return cam_heatmaps([cam], self.network, self.x, torch.tensor([0]), settings=settings)[0, 0]

    def theirs(self, method: type, target=None, **options) -> Tensor:
        layers = [] if method is grad_cam.FullGrad else [self.model.maps]
        with method(self.model, layers, **options) as extractor:
            targets = [target or (lambda logits: logits[0])]
            if method is grad_cam.FinerCAM:
                targets = None
            return torch.from_numpy(extractor(self.x.clone(), targets))[0]

    def torchcam(self, method: type, call: dict | None = None, noise: list | None = None, **options) -> Tensor:
        with method(self.model, "maps", **options) as extractor:
            if noise is not None:
                extractor._distrib = Fed(noise)
            given = call or {"class_idx": 0}
            maps = extractor(**{"scores": self.model(self.x), **given}, normalized=False)[0].detach()
        return post(maps, (self.x.shape[2], self.x.shape[3]))[0]


class Fed:
    """A distribution that gives out what it was fed."""

    def __init__(self, noise: list[Tensor]) -> None:
        self.noise = list(noise)

    def sample(self, size: torch.Size) -> Tensor:
        return self.noise.pop(0).expand(size)


def close(found: Tensor, expected: list, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found.float(), torch.tensor(expected, dtype=torch.float32), rtol=0, atol=tolerance)


def constant(*values: float) -> list:
    """A head [1, 3, 2, 2] that reads each channel by one weight: global sum pooling and a linear layer."""
    return [[[[v, v], [v, v]] for v in values]]


CORNERS = [[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]], ZERO]
"""Channel 0 sees the top left pixel, channel 1 the bottom right one: the heatmap holds n(w_0) and n(w_1) there."""


# Gradients.


def test_grad_cam_plus_plus_adds_to_its_denominator():
    # ΣA = 1, g constant, Z = 4: w = Σ α·g = 4g / (2 + g). g_0 = 1e-3, g_1 = 1e-4: w_1 / w_0 = 0.1·(2.001 / 2.0001) = 0.100045.
    # With 1e-6 added, α = g² / (2g² + g³ + 1e-6): α_0 = 1e-6 / 3.001e-6 = 0.33322, α_1 = 1e-8 / 1.020001e-6 = 0.0098039, and
    # w_1 / w_0 = 0.1·0.0098039 / 0.33322 = 0.0029422.
    by = By(CORNERS, constant(1e-3, 1e-4, 0))
    close(by.ours("Grad-CAM++"), [[1, 0], [0, 0.100045]])
    close(by.theirs(grad_cam.GradCAMPlusPlus), [[1, 0], [0, 0.0029422]])


def test_torchcam_grad_cam_plus_plus_does_not_divide():
    # As above, g_0 = 1, g_1 = 1/2: w = 4/3 and 2 / 2.5 = 0.8, whose ratio is 0.6. Without the division w = 4g³: 4 and 1/2.
    by = By(CORNERS, constant(1, 0.5, 0))
    close(by.ours("Grad-CAM++"), [[1, 0], [0, 0.6]])
    close(by.torchcam(torchcam.GradCAMpp), [[1, 0], [0, 0.125]])


def test_smooth_grad_cam_plus_plus_empties_a_map():
    # A = (5, 6), g = (1, -2), the rest 0, the head linear: noise changes no gradient. ΣA = 11, so at the first pixel, the only one
    # with g > 0, α = 1 / (2 + 11) and w = 1/13 > 0: the map is A. With Σ(A·g³) = 5 - 48, α = 1 / (2 - 43) < 0: an empty map, though
    # no activation is negative.
    by = By([[[5.0, 6.0], [0.0, 0.0]], ZERO, ZERO], [[[[1.0, -2.0], [0.0, 0.0]], ZERO, ZERO]])
    close(by.ours("Smooth-Grad-CAM++"), [[5 / 6, 1], [0, 0]])
    close(by.ours("Grad-CAM++"), [[5 / 6, 1], [0, 0]])
    close(by.torchcam(torchcam.SmoothGradCAMpp, noise=[torch.zeros(1)] * 4), ZERO)
    close(by.ours("Grad-CAM++-miswritten"), ZERO)


@pytest.mark.parametrize(
    ("last", "theirs"),
    [
        # y = (ΣA - 2)₊, A = (3, 1): g = 1. The last noisy image has ΣA = 1, so g = 0 there and w = α·0: an empty map.
        ([[-3.0, 0.0], [0.0, 0.0]], ZERO),
        # The last noisy image has A = (1, 3) and g = 1: right weights, but of its own maps.
        ([[-2.0, 2.0], [0.0, 0.0]], [[1 / 3, 1], [0, 0]]),
    ],
)
def test_smooth_grad_cam_plus_plus_keeps_the_last_noisy_image(monkeypatch, last, theirs):
    # Averages are over both images, one of them without noise: mean g > 0 at every pixel, one weight > 0, and the map is A.
    by = By([[[3.0, 1.0], [0.0, 0.0]], ZERO, ZERO], [[ONES, ZERO, ZERO]], threshold=2.0)
    noisy = [torch.zeros(1, 3, 2, 2), torch.tensor([[last, ZERO, ZERO]])]
    fed = [n[0] for n in noisy]
    monkeypatch.setattr(noise, "normal", lambda shape, key, purpose, sample: fed[sample])
    settings = TerminalSettings(noise_samples=2, noise_level=1 / 3)  # of a range of 3
    close(by.ours("Smooth-Grad-CAM++", settings), [[1, 1 / 3], [0, 0]])
    close(by.torchcam(torchcam.SmoothGradCAMpp, noise=noisy, num_samples=2), theirs)


def test_negative_weights_of_grad_cam_plus_plus_never_empty_a_map_alone():
    # α = 1/(2 + g·ΣA) where g > 0, so that a weight is negative only if ΣA < 0: then w·ΣA > 0, and the map has a positive pixel.
    # A = (-10, 1), g = 1/2, Z = 4: w = 2 / (2 - 4.5) = -0.8, and the map (8, -.8, 0, 0) is drawn where A is lowest. This is the
    # method on signed activations, no program's fault: both have it. With Σ(A·g³), weights may be negative where no activation is:
    # test_smooth_grad_cam_plus_plus_empties_a_map.
    by = By([[[-10.0, 1.0], [0.0, 0.0]], ZERO, ZERO], constant(0.5, 0, 0))
    close(by.ours("Grad-CAM++"), [[1, 0], [0, 0]])
    close(by.theirs(grad_cam.GradCAMPlusPlus), [[1, 0], [0, 0]])
    generator = torch.Generator().manual_seed(0)
    A, g = (torch.randn(2000, 1, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    weight = Evaluator({"A": A, "G": g}).value(known_cams()["Grad-CAM++"].term)[:, 0, 0]
    negative = weight < 0
    assert int(negative.sum()) > 50 and bool(((weight[:, None] * A.flatten(1)).amax(1)[negative] > 0).all())


def test_xgrad_cam_blows_up_where_a_sum_vanishes():
    # Channel 0: A = (2, -2), ΣA = 0, so Σ(gA)/ΣA has no value; ours leaves the channel out, division being total. Channel 1:
    # w = 1. Theirs have w_0 = 2 / 1e-7 and 2 / 1e-8, before which channel 1 vanishes.
    by = By([[[2.0, -2.0], [0.0, 0.0]], CORNERS[1], ZERO], [[[[1.0, 0.0], [0.0, 0.0]], ONES, ZERO]])
    close(by.ours("XGrad-CAM"), [[0, 0], [0, 1]])
    close(by.theirs(grad_cam.XGradCAM), [[1, 0], [0, 0]])
    close(by.torchcam(torchcam.XGradCAM), [[1, 0], [0, 0]])


def test_finer_cam_turns_over_on_a_sure_network():
    # Two classes, y = (20.7, 0), p_1 = 1e-9. The gradient of d = y_0 - y_1 has the means 1 for A_0 and -3/4 for A_1: A_0 is drawn, A_1
    # is not. Theirs differentiates s·d, s = p_1/(p_1 + 1e-9) = 1/2, which is s - d·s(1 - s) = 1/2 - 20.7/4 = -4.7 times that: A_1 is
    # drawn, A_0 is not.
    x = [[[20.723266, 0.0], [0.0, 0.0]], CORNERS[1], ZERO]
    by = By(x, [[ONES, ZERO, ZERO], [ZERO, [[1.0, 1.0], [1.0, 0.0]], ZERO]])
    assert by.model(by.x)[0].tolist() == pytest.approx([20.723266, 0])
    close(by.ours("FinerCAM"), [[1, 0], [0, 0]])
    close(by.theirs(grad_cam.FinerCAM), [[0, 0], [0, 1]])


def test_finer_cam_of_two_classes_takes_their_mean():
    # Class c reads channel c alone; y = (6, 1, 0). Theirs: y_0 - (y_1 + y_2)/2, weights (1, -1/2, -1/2). Ours: y_0 - q_1 y_1 - q_2
    # y_2 with q = softmax(1, 0) = (0.731059, 0.268941), q_1 q_2 = 0.196612: -(q_1 + q_1 q_2) = -0.927670, -(q_2 - q_1 q_2) =
    # -0.072330.
    x = [[[0.0, 1.0], [3.0, 2.0]], [[0.0, 0.0], [1.0, 0.0]], [[0.0, -1.0], [0.0, 1.0]]]
    W = [constant(1, 0, 0)[0], constant(0, 1, 0)[0], constant(0, 0, 1)[0]]
    by = By(x, W)
    assert by.model(by.x)[0].tolist() == [6.0, 1.0, 0.0]
    mine = TerminalSettings(finer_classes=2, finer_strength=1.0)
    top = 3 - 0.927670
    close(by.ours("FinerCAM", mine), [[0, (1 + 0.072330) / top], [1, (2 - 0.072330) / top]])
    close(by.torchcam(torchcam.FinerCAM, gamma=1.0, num_references=2), [[0, 1.5 / 2.5], [1, 1.5 / 2.5]])


# Activations alone.


def test_eigen_cam_takes_the_mean_off():
    # One channel that is not zero: the first principal component is that channel, A·v is A. Less its mean of 2 it is (2, 0, -2, 0),
    # and theirs draws its positive part or, by LAPACK's sign, its negative one.
    by = By([[[4.0, 2.0], [0.0, 2.0]], ZERO, ZERO], constant(1, 0, 0))
    close(by.ours("EigenCAM"), [[1, 0.5], [0, 0.5]])
    found = by.theirs(grad_cam.EigenCAM).round(decimals=5).tolist()
    assert found in ([[1, 0], [0, 0]], [[0, 0], [1, 0]])
    close(by.ours("EigenCAM-centred"), [[1, 0], [0, 0]])  # agrees with A


def test_fem_weighs_the_whole_map():
    # Nine pixels of channel 0, one of them 9: mean 1, σ = √8 = 2.83, and 9 > 6.66: one pixel of nine exceeds. The paper keeps the
    # mean there, 1. Theirs weighs all of the map by 1/9. Channel 1, (4, 1, 0, ...): mean 5/9, σ = 1.257, 4 > 3.07: the same share.
    x = [[[9.0, 0, 0], [0, 0, 0], [0, 0, 0]], [[0.0, 0, 0], [0, 0, 0], [0, 1, 4]], [[0.0] * 3] * 3]
    by = By(x, [[[[1.0] * 3] * 3] * 3])
    close(by.ours("FEM"), [[1, 0, 0], [0, 0, 0], [0, 0, 5 / 9]])
    close(by.theirs(grad_cam.FEM), [[1, 0, 0], [0, 0, 0], [0, 1 / 9, 4 / 9]])
    close(by.ours("FEM-share"), [[1, 0, 0], [0, 0, 0], [0, 1 / 9, 4 / 9]])


def test_full_grad_hides_small_biases():
    # y = x_0·(4, 2, 0, 2) + x_1·(0, 1, 0, 0), x_0 = 0, x_1 = 1: the input's term is n(|g·x|) = (0, 1, 0, 0). The bias 1e-8 of channel
    # 0 has the term n(1e-8·(4, 2, 0, 2)) = (1, .5, 0, .5). Sum (1, 1.5, 0, .5), scaled: (2/3, 1, 0, 1/3). Theirs divides the
    # bias's by 4e-8 + 1e-7: (2/7, 1/7, 0, 1/7), sum (2/7, 8/7, 0, 1/7), scaled (1/4, 1, 0, 1/8).
    W = [[[[4.0, 2.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 0.0]], ZERO]]
    by = By([ZERO, ONES, ZERO], W, bias=torch.tensor([1e-8, 0.0, 0.0]))
    close(by.ours("FullGrad"), [[2 / 3, 1], [0, 1 / 3]])
    close(by.theirs(grad_cam.FullGrad), [[1 / 4, 1], [0, 1 / 8]], 1e-4)


# Channels taken out.


def test_ablation_cam_does_not_fill_with_zero():
    # y = Σ_k mean(A_k) = 1 + 2 - 1 = 2: (y - y_k)/y = (1/2, 1, -1/2), and Σ w_k A_k = (2.5, .5, .5, 8.5), scaled (1/4, 0, 0, 1).
    # Theirs fills with min A - 1e7 = -1 - 1e7, from which the next row's minimum is taken: -1 - 2e7, -1 - 3e7. The weights are as
    # 1 : 2 : 3, and Σ k·A_k = (4 - 3, -3, -3, 16 - 3), rectified and scaled (1/13, 0, 0, 1).
    x = [[[4.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 8.0]], [[-1.0, -1.0], [-1.0, -1.0]]]
    by = By(x, constant(0.25, 0.25, 0.25))
    close(by.ours("Ablation-CAM"), [[1 / 4, 0], [0, 1]])
    close(by.theirs(grad_cam.AblationCAM, ablation_layer=grad_cam.AblationLayer()), [[1 / 13, 0], [0, 1]])
    # One channel at a time, each row is the first of its batch: equal fills, and Σ A_k = (3, -1, -1, 7), (3/7, 0, 0, 1).
    close(by.theirs(grad_cam.AblationCAM, ablation_layer=grad_cam.AblationLayer(), batch_size=1), [[3 / 7, 0], [0, 1]])


def test_ablation_layer_fills_by_the_place_in_the_batch():
    # Two channels, 1 and 2, each ablated in a row of its own: min(A) is 1, so the first row gets 1 - 1e7; that is the minimum
    # when the second row is filled, which gets 1 - 2e7. The paper's value is 0 in both.
    layer = grad_cam.AblationLayer()
    layer.indices = [0, 1]
    layer.set_next_batch(0, torch.tensor([[[[1.0]], [[2.0]]]], dtype=torch.float64), 2)
    assert layer(None).flatten().tolist() == [1 - 1e7, 2.0, 1.0, 1 - 2e7]


def test_ablation_cam_forgets_channels_after_one_ablated_twice():
    # More than half of the channels at each end of their order overlap. Of three channels with the ablated scores 1, 2 and 3,
    # channel 1 is done twice; right is (1, 2, 3). Theirs never gets past the second 1: channel 2 counts as not ablated.
    assemble = grad_cam.AblationCAM.assemble_ablation_scores
    assert assemble(None, [1, 2, 2, 3], 10.0, np.array([0, 1, 1, 2]), 3) == [1.0, 2.0, 10.0]


def test_the_multilayer_ablation_cam_does_not_run():
    by = By(CORNERS, constant(1, 1, 1))
    with pytest.raises(TypeError, match="positional argument"):
        by.theirs(ablation_cam_multilayer.AblationCAM)


# Masked images.

LEFT = [[1.0, 1.0, 0.0, 0.0]] * 2 + [[0.0] * 4] * 2  # the top left quarter of a 4×4 image
RIGHT = [[0.0, 0.0, 1.0, 1.0]] * 4  # its right half
BLACK = [[0.0] * 4] * 4
# Pooled by 2: A_0 = (0, 1; 0, 1), A_1 = (1, 0; 0, 0), A_2 = 0. Upsampled: columns (0, .25, .75, 1); rows and columns (1, .75, .25, 0).
# y = ΣA_0 + ΣA_1. Under the mask of A_0 the right half keeps (.75 + 1)/2 twice, the quarter (0 + .25)/2: y_0 = 1.75 + .125. Under
# that of A_1 the quarter keeps ((1 + .75)/2)², the half (.25 + 0)/2 in all: y_1 = .765625 + .125. The heatmap's corners hold w_1 at
# the top left, w_0 at the right, the larger.
Y0, Y1 = 1.875, 0.890625


def half_and_quarter(**options) -> By:
    return By([RIGHT, LEFT, BLACK], [[ONES, ONES, ZERO], [ZERO, ZERO, ZERO]], pool=2, **options)


def corner(heatmap: Tensor) -> float:
    assert float(heatmap[0, -1]) == pytest.approx(1, abs=1e-6)
    return float(heatmap[0, 0])


def sigmoid(y: float) -> float:
    return 1 / (1 + math.exp(-y))


def test_score_cam_aligns_the_corners_of_its_masks():
    # Aligned: (0, 1/3, 2/3, 1): y_0 = 5/3 + 1/6, y_1 = (5/6)² + 1/6. The masks no longer lie where the heatmap, not aligned, does.
    by = half_and_quarter()
    assert corner(by.ours("Score-CAM-softmax-logits")) == pytest.approx(math.exp(Y1 - Y0), abs=1e-5)  # 0.37367
    aligned = math.exp(25 / 36 + 1 / 6 - 5 / 3 - 1 / 6)  # 0.37824
    assert corner(by.theirs(grad_cam.ScoreCAM)) == pytest.approx(aligned, abs=1e-5)
    # torchcam's scaling before upsampling makes no difference here: the extremes lie in the corners.
    assert corner(by.torchcam(torchcam.ScoreCAM)) == pytest.approx(math.exp(Y1 - Y0), abs=1e-5)


def test_score_cam_masks_a_constant_map_by_rounding_noise():
    # A constant map masks everything: the network sees black, y = 0. Interpolating it leaves its rounding, some 1e-8,
    # which theirs scales by max - min + 1e-8: a mask of noise. (It was 0/0 once: pytorch-grad-cam #173, #214.)
    values = [0.1, 0.3, 0.7, 1.3, 1.9, 2.6]
    seen = []
    for value in values:
        flat = [[value] * 8] * 8
        by = By([flat, [[0.0] * 8] * 8, [[0.0] * 8] * 8], [[[[1.0] * 4] * 4] * 3], pool=2)
        assert float(View(by.network, by.x)["score_logit"][0, 0]) == 0
        inputs = []
        handle = by.model.register_forward_pre_hook(lambda _, given, inputs=inputs: inputs.append(given[0].detach().clone()))
        by.theirs(grad_cam.ScoreCAM)
        handle.remove()
        seen.append(float(inputs[-1][0].abs().max()) / value)  # the last batch: channel 0's masked image first
    assert max(seen) > 0.1


def test_torchcam_score_cam_dims_a_peak_inside_the_map():
    # 6×6 pooled to 3×3: A_0 has 1 at its centre, A_1 at its top left. Upsampled, 0 1 0 is (0, .25, .75, .75, .25, 0): up(A_0) peaks
    # at .75² = .5625. Scaled to [0, 1] after upsampling, as equation 4 has it, it is (0, 1/3, 1, 1, 1/3, 0) squared:
    # y_0 = 1 + (1/6)² = 1.027778 (the corner keeps a little). Scaled before, .5625 + (1/8)² = .578125. Both have
    # y_1 = (.875)² + (1/8)² = .78125: theirs ranks the corner first. The heatmap at (3, 3) is .5625·w_0/w_1.
    centre = [[float(i in (2, 3) and j in (2, 3)) for j in range(6)] for i in range(6)]
    left = [[float(i < 2 and j < 2) for j in range(6)] for i in range(6)]
    three = [[1.0] * 3] * 3
    by = By([centre, left, [[0.0] * 6] * 6], [[three, three, three]], pool=2)
    ours, theirs = by.ours("Score-CAM-softmax-logits"), by.torchcam(torchcam.ScoreCAM)
    assert float(ours[0, 0]) == float(theirs[0, 0]) == 1
    assert float(ours[3, 3]) == pytest.approx(0.5625 * math.exp(37 / 36 - 0.78125), abs=1e-5)  # 0.71976
    assert float(theirs[3, 3]) == pytest.approx(0.5625 * math.exp(0.578125 - 0.78125), abs=1e-5)  # 0.45910


OF_PROBABILITY = {"targets": [lambda logits: logits.softmax(-1)[0]]}


def test_is_cam_leaves_the_path():
    # Two classes, the other's logit 0: p = sigmoid(y), and the network is linear, y(i/n of the mask) = i/n·y(mask). Two steps: 1/2
    # and 1. Theirs are 1/2 and 1/2 + 1 = 3/2: an image brighter than the image.
    by = half_and_quarter()

    def ratio(steps: tuple[float, float]) -> float:
        s0, s1 = (sum(sigmoid(step * y) for step in steps) / 2 for y in (Y0, Y1))
        return math.exp(s1 - s0)

    right, wrong = ratio((0.5, 1.0)), ratio((0.5, 1.5))
    assert right == pytest.approx(0.87499, abs=1e-4) and abs(right - wrong) > 1e-3
    assert corner(by.ours("(softmax score_path)", TerminalSettings(path_steps=2))) == pytest.approx(right, abs=1e-5)
    assert corner(by.torchcam(torchcam.ISCAM, OF_PROBABILITY, num_samples=2)) == pytest.approx(wrong, abs=1e-5)


def test_ss_cam_brightens_the_image(monkeypatch):
    # Noise of 1 at every pixel: A + 1 scaled to [0, 1] is A scaled to [0, 1]. Nothing changes: sigmoid(y_k). Theirs adds it to the
    # scaled mask, which then runs from 1 to 2, and y is larger by y(x) = 2 + 1.
    by = half_and_quarter()
    right, wrong = math.exp(sigmoid(Y1) - sigmoid(Y0)), math.exp(sigmoid(Y1 + 3) - sigmoid(Y0 + 3))
    assert abs(right - wrong) > 0.1
    monkeypatch.setattr(masking, "normal", lambda shape, *_: torch.ones(shape))
    settings = TerminalSettings(noise_samples=1, noise_level=1.0)
    assert corner(by.ours("(softmax score_noise)", settings)) == pytest.approx(right, abs=1e-5)
    found = by.torchcam(torchcam.SSCAM, OF_PROBABILITY, [torch.ones(1)], num_samples=1)
    assert corner(found) == pytest.approx(wrong, abs=1e-5)
    # Score-CAM in two steps is SS-CAM without noise, theirs and ours.
    for method, options in ((torchcam.ScoreCAM, {}), (torchcam.SSCAM, {"noise": [torch.zeros(1)], "num_samples": 1})):
        assert corner(by.torchcam(method, OF_PROBABILITY, **options)) == pytest.approx(right, abs=1e-5)


# Metrics.


def test_drop_in_confidence_is_not_relative():
    # One channel, two classes, y = (2, 0): p = sigmoid(2) = 0.880797. The heatmap 1/2 halves the image: y = (1, 0), 0.731059. Average
    # drop is (p - o)/p = 0.170003; theirs is p - o = 0.149739.
    by = By([[[2.0, 0.0], [0.0, 0.0]], ZERO, ZERO], [constant(1, 0, 0)[0], constant(0, 0, 0)[0]])
    heatmap = torch.full((1, 2, 2), 0.5)
    p = by.model(by.x).softmax(-1)[:, 0].detach()
    with torch.no_grad():
        query = Query(heatmap, by.x, torch.tensor([0]), p, lambda masked: by.model(masked).softmax(-1))
        assert float(find_metric("average-drop")(query)[0]) == pytest.approx(0.170003, abs=1e-5)
        found = DropInConfidence()(by.x, heatmap.numpy(), [ClassifierOutputSoftmaxTarget(0)], by.model)
    assert float(found[0]) == pytest.approx(0.149739, abs=1e-5)
