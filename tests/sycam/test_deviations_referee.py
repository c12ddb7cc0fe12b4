"""Where pytorch-grad-cam 1.5.7 and torchcam 0.5.0 differ from ours on MobileNetV2, ResNet20 and the small VGG, real images.

Of rows of docs/agreement.md that say "differs" the deviation is shown by a hand-computed case in test_defects_referee.py; here it is
taken away, and nothing else, and what is left agrees on the real networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from referees import LINEAR, TOLERANCE, Case, make_case, off, same
from torch import Tensor, nn

from sycam.heatmap import minmax, post, upsample
from sycam.job import TerminalSettings
from sycam.terminals import View
from sycam.terminals.terminal import image_keys, normal

grad_cam = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is in the extra `referee`")
torchcam = pytest.importorskip("torchcam.methods", reason="torchcam is in the extra `referee`")

from pytorch_grad_cam import finer_cam, fullgrad_cam  # noqa: E402
from pytorch_grad_cam.utils.image import scale_cam_image  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget  # noqa: E402

SMALL = TerminalSettings(noise_samples=2, path_steps=1, finer_classes=1, finer_strength=0.6)
pytestmark = pytest.mark.usefixtures("one_thread")


class PlusPlusWithoutEpsilon(grad_cam.GradCAMPlusPlus):
    """pytorch-grad-cam's Grad-CAM++, line by line, but for the 1e-6 that it adds to the denominator."""

    def get_cam_weights(self, input_tensor, target_layers, target_category, activations, grads):
        squares, cubes = grads**2, grads**3
        denominator = 2 * squares + activations.sum((2, 3), keepdims=True) * cubes
        with np.errstate(divide="ignore", invalid="ignore"):
            alpha = np.where(grads != 0, squares / denominator, 0)
        return np.sum(np.maximum(grads, 0) * alpha, axis=(2, 3))


def test_grad_cam_plus_plus_differs_by_their_epsilon_alone(case):
    mine = case.ours("Grad-CAM++")
    assert same(mine, case.theirs(PlusPlusWithoutEpsilon))
    moved = off(mine, case.theirs(grad_cam.GradCAMPlusPlus))
    assert bool((moved > TOLERANCE).all())  # no image escapes
    assert float(moved.max()) > {"mobilenet_v2": 0.03}.get(case.name, 1e-3)


def test_torchcam_loses_the_denominator_of_grad_cam_plus_plus(case):
    # `alpha[idx][mask].div_(...)` divides a copy, so that α stays g²; the Σ(A·g³) in its denominator never comes to bear.
    undivided = "(sum (m* (m* G G) (mrelu G)))"
    found = case.torchcam(torchcam.GradCAMpp)
    assert same(case.ours(undivided), found)
    assert bool((off(case.ours("Grad-CAM++"), found) > 0.01).all())


@dataclass
class Fed:
    """A distribution that gives out what it was fed."""

    noise: list[Tensor]

    def sample(self, size: torch.Size) -> Tensor:
        noise = self.noise.pop(0)
        assert noise.shape == size
        return noise


def test_smooth_grad_cam_plus_plus_without_noise_is_the_miswritten_form(case):
    """With noise, theirs takes gradient and maps of the last noisy image: test_defects_referee.py. eps is an argument of theirs."""
    found = case.torchcam(torchcam.SmoothGradCAMpp, call={"class_idx": classes(case), "eps": 1e-30}, num_samples=2, std=1e-30)
    assert same(case.ours("Grad-CAM++-miswritten"), found)
    apart = off(case.ours("Smooth-Grad-CAM++", settings=TerminalSettings(noise_level=0.0)), found)
    if case.name in LINEAR:  # the gradient is constant over pixels: ΣA·g³ is Σ(A·g³)
        assert bool((apart < TOLERANCE).all())
    else:
        assert float(apart.max()) > 0.01


def classes(case: Case, images: Tensor | None = None) -> list[int]:
    return case.network.logits(case.images if images is None else images).argmax(1).tolist()


class Unaligned(nn.Upsample):
    """Upsampling of masks as they upsample heatmaps."""

    def __init__(self, size) -> None:
        super().__init__(size, mode="bilinear", align_corners=False)


def test_score_cam_differs_by_their_aligned_corners_alone(case, monkeypatch):
    """Of the logit, their default, and of the probability."""
    targets = [ClassifierOutputSoftmaxTarget(c) for c in classes(case, case.one)]
    mine = case.ours("Score-CAM-softmax-logits", case.one)
    if case.name != "mobilenet_v2":
        assert float(off(mine, case.theirs(grad_cam.ScoreCAM, case.one))) > 0.01
    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", Unaligned)
    assert same(mine, case.theirs(grad_cam.ScoreCAM, case.one))
    if case.name == "resnet20_cifar10":
        assert same(case.ours("Score-CAM-softmax", case.one), case.theirs(grad_cam.ScoreCAM, case.one, targets))


class Renormalised:
    """torchcam's masks scaled to [0, 1] once more after upsampling, as Score-CAM's equation 4 does."""

    def _upsample(self, activation: Tensor) -> Tensor:
        maps = super()._upsample(activation)
        flat = (activation.amax((2, 3)) == activation.amin((2, 3)))[:, :, None, None]
        return torch.where(flat, 0, minmax(maps))


def renormalised(method: type) -> type:
    return type(method.__name__, (Renormalised, method), {})


def test_torchcam_score_cam_differs_by_scaling_before_upsampling_alone(case):
    mine = case.ours("Score-CAM-softmax-logits", case.one)
    assert same(mine, case.torchcam(renormalised(torchcam.ScoreCAM), case.one, batch_size=64))
    if case.name != "mobilenet_v2":
        assert float(off(mine, case.torchcam(torchcam.ScoreCAM, case.one, batch_size=64))) > 1e-3


def of_probability(case: Case) -> dict:
    return {"targets": [lambda logits, c=c: logits.softmax(-1)[c] for c in classes(case, case.one)]}


SMALL_NETWORKS = pytest.mark.parametrize("name", ["resnet20_cifar10", "small_vgg_tiny20"])


@SMALL_NETWORKS
def test_is_cam_of_one_step_agrees(request, name):
    """Of more steps their masks leave the path: test_defects_referee.py."""
    case = make_case(request, name)
    call = of_probability(case)
    found = case.torchcam(renormalised(torchcam.ISCAM), case.one, call, num_samples=1, batch_size=64)
    assert same(case.ours("(softmax score_path)", case.one, SMALL), found)


@SMALL_NETWORKS
def test_ss_cam_agrees_on_our_noise(request, name):
    """Theirs adds noise to the upsampled, scaled map, ours to the map: theirs is fed the difference that ours makes."""
    case = make_case(request, name)
    view = View(case.network, case.one, settings=SMALL)
    A, key = view.A, image_keys(view)[0]
    size = (case.one.shape[2], case.one.shape[3])
    span = (A.amax((2, 3)) - A.amin((2, 3)))[:, :, None, None]
    plain = upsample(minmax(A), size)
    noise = []
    for i in range(SMALL.noise_samples):
        drawn = torch.stack([normal((A.shape[2], A.shape[3]), key, "noisy map", k, i) for k in range(A.shape[1])])
        noisy = minmax(upsample(A + SMALL.noise_level * span * drawn, size))
        noise.append(torch.where(span > 0, noisy, 0) - plain)

    class OnOurNoise(torchcam.SSCAM):
        def __init__(self, *args, **options) -> None:
            super().__init__(*args, **options)
            self._distrib = Fed(noise)

    found = case.torchcam(OnOurNoise, case.one, of_probability(case), num_samples=SMALL.noise_samples, batch_size=64)
    assert not noise
    mine = case.ours("(softmax score_noise)", case.one, SMALL)
    assert same(mine, found)
    assert float(off(mine, case.ours("Score-CAM-softmax", case.one))) > TOLERANCE  # the noise does something


class FinerWithoutEpsilon(finer_cam.FinerWeightedTarget):
    """Their target without the 1e-9 that it adds to the sum of probabilities, which a sure network makes as small as that."""

    def __call__(self, model_output):
        others = model_output[self.comparison_categories]
        return (others.softmax(0) * (model_output[self.main_category] - self.alpha * others)).sum()


def test_finer_cam_differs_by_their_epsilon_alone(case, monkeypatch):
    mine = case.ours("FinerCAM")
    raw = off(mine, case.theirs(grad_cam.FinerCAM))
    unsure = case.network.logits(case.images).softmax(1).amax(1) < 0.99
    assert bool(unsure.any()) and bool((raw[unsure] < TOLERANCE).all())
    monkeypatch.setattr(finer_cam, "FinerWeightedTarget", FinerWithoutEpsilon)
    assert same(mine, case.theirs(grad_cam.FinerCAM))


def test_finer_cam_of_one_class_agrees_with_torchcam(case):
    """Of more classes theirs subtracts the plain mean of their logits, ours weighs by probability: test_defects_referee.py."""
    found = case.torchcam(torchcam.FinerCAM, gamma=0.6, num_references=1)
    assert same(case.ours("FinerCAM", settings=SMALL), found)


class Uncentred(grad_cam.EigenCAM):
    """Their EigenCAM without the mean that it takes off, and with a positive sum: the paper's."""

    def get_cam_image(self, input_tensor, target_layer, target_category, activations, grads, eigen_smooth):
        found = []
        for A in activations:
            matrix = A.reshape(len(A), -1).T
            projection = (matrix @ np.linalg.svd(matrix, full_matrices=True)[2][0]).reshape(A.shape[1:])
            found.append(projection * (1 if projection.sum() >= 0 else -1))
        return np.float32(found)


def test_eigen_cam_differs_by_their_centring_alone(case):
    mine = case.ours("EigenCAM")
    assert same(mine, case.theirs(Uncentred))
    assert float(off(mine, case.theirs(grad_cam.EigenCAM)).max()) > 0.01


def without_epsilon(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Their `scale_accross_batch_and_channels`, but for the 1e-7 that it adds to each map's maximum."""
    found = upsample(minmax(torch.from_numpy(np.float32(maps)).flatten(0, 1)), size[::-1])
    return found.unflatten(0, maps.shape[:2]).numpy()


def test_full_grad_differs_by_their_epsilon_alone(case, monkeypatch):
    images = case.one if case.name == "mobilenet_v2" else case.images
    mine = case.ours("FullGrad", images)
    if case.name != "mobilenet_v2":
        assert float(off(mine, case.theirs(fullgrad_cam.FullGrad, images)).max()) > TOLERANCE
    monkeypatch.setattr(fullgrad_cam, "scale_accross_batch_and_channels", without_epsilon)
    assert same(mine, case.theirs(fullgrad_cam.FullGrad, images))


def test_their_scaling_is_ours_but_for_vanishing_maps():
    maps = torch.rand(6, 7, 7, generator=torch.Generator().manual_seed(0)) - 0.5
    maps[3] = 2.0  # constant

    def scaled(x: Tensor) -> Tensor:
        return torch.from_numpy(scale_cam_image(scale_cam_image(np.maximum(x.numpy(), 0), (224, 224))))

    for size in (1.0, 1e3, 1e-6):
        assert float(off(scaled(maps * size), post(maps * size, 224)).max()) < 2e-6
    assert scaled(maps)[3].max() == post(maps, 224)[3].max() == 0
    # Their first scaling divides by max + 1e-7: a map of 1e-15 comes out at 1e-8, and 1e-8 / (1e-8 + 1e-7) is left of it.
    assert float(post(maps * 2e-15, 224)[0].max()) == 1.0
    assert 0.05 < float(scaled(maps * 2e-15)[0].max()) < 0.12
