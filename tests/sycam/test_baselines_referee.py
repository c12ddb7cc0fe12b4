"""Baselines, and the CAMs whose terminals came later, against pytorch-grad-cam 1.5.7 on real networks and real images.

Where the two disagree by more than 1e-4, the test names the other's deviation, removes it and nothing else, and shows that the
difference goes with it.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sycam.baselines import BASELINES
from sycam.cams import known_cams
from sycam.heatmap import minmax, upsample
from sycam.network import Network
from sycam.run.result import cam_heatmaps

grad_cam = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is in the extra `referee`")

from pytorch_grad_cam import finer_cam, fullgrad_cam  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST  # noqa: E402

TOLERANCE = 1e-4
NETWORKS = {"small_vgg_tiny20": "tiny_photos", "resnet20_cifar10": "cifar_photos"}

Case = tuple[Network, nn.Module, nn.Module, Tensor]


@pytest.fixture(params=NETWORKS)
def case(request) -> Case:
    """Our network, a copy of its model for the referee with its target layer, and 8 normalised images."""
    network: Network = request.getfixturevalue(request.param)
    images = request.getfixturevalue(NETWORKS[request.param]).normalised(slice(None), network)
    model = copy.deepcopy(network.model).requires_grad_(True)
    return network, model, model.get_submodule(network.layer), images.contiguous()


def ours(name: str, network: Network, images: Tensor) -> Tensor:
    return cam_heatmaps([known_cams().get(name) or BASELINES[name]], network, images)[0]


def theirs(method: type, model: nn.Module, layer: nn.Module, images: Tensor, targets=None, **options) -> Tensor:
    with method(model, [layer], **options) as extractor:
        return torch.from_numpy(extractor(images.clone(), targets))


def off(a: Tensor, b: Tensor) -> Tensor:
    """The largest difference on each image, [B]."""
    return (a - b).abs().flatten(1).amax(1)


@pytest.mark.parametrize(("name", "method"), [("Grad-CAM-elementwise", "GradCAMElementWise"), ("FEM-share", "FEM")])
def test_agrees(case, name, method):
    network, model, layer, images = case
    mine = ours(name, network, images)
    assert bool((mine.flatten(1).amax(1) == 1).all())
    assert float(off(mine, theirs(getattr(grad_cam, method), model, layer, images)).max()) < TOLERANCE


def test_shapley_cam_agrees_for_its_target(case):
    network, model, layer, images = case
    targets = [ClassifierOutputReST(int(c)) for c in network.logits(images).argmax(1)]
    found = theirs(grad_cam.ShapleyCAM, model, layer, images, targets)
    assert float(off(ours("ShapleyCAM", network, images), found).max()) < TOLERANCE


class WithoutEpsilon(finer_cam.FinerWeightedTarget):
    """Their target without the 1e-9 that it adds to the sum of probabilities, which a sure network makes as small as that."""

    def __call__(self, model_output):
        others = model_output[self.comparison_categories]
        return (others.softmax(0) * (model_output[self.main_category] - self.alpha * others)).sum()


def test_finer_cam_differs_by_their_epsilon_alone(case, monkeypatch):
    network, model, layer, images = case
    mine = ours("FinerCAM", network, images)
    raw = off(mine, theirs(grad_cam.FinerCAM, model, layer, images))
    agreeing = network.logits(images).softmax(1).amax(1) < 0.99
    assert bool(agreeing.any()) and float(raw[agreeing].max()) < TOLERANCE
    monkeypatch.setattr(finer_cam, "FinerWeightedTarget", WithoutEpsilon)
    assert float(off(mine, theirs(grad_cam.FinerCAM, model, layer, images)).max()) < TOLERANCE


def negated(method: type) -> type:
    class Negated(method):
        def get_cam_image(self, *args):
            return -super().get_cam_image(*args)

    return Negated


@pytest.mark.parametrize(("name", "method"), [("EigenCAM-centred", "EigenCAM"), ("Eigen-Grad-CAM", "EigenGradCAM")])
def test_centred_eigen_cams_agree_up_to_the_sign_of_their_singular_vectors(case, name, method):
    network, model, layer, images = case
    mine = ours(name, network, images)
    plain = off(mine, theirs(getattr(grad_cam, method), model, layer, images))
    turned = off(mine, theirs(negated(getattr(grad_cam, method)), model, layer, images))
    assert bool((torch.minimum(plain, turned) < TOLERANCE).all())
    assert bool((torch.maximum(plain, turned) > 0.5).all())  # the wrong sign is another map altogether


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
    network, model, layer, images = case
    mine = ours("EigenCAM", network, images)
    assert float(off(mine, theirs(Uncentred, model, layer, images)).max()) < TOLERANCE
    assert float(off(mine, theirs(grad_cam.EigenCAM, model, layer, images)).max()) > 0.01


def full_grad(model: nn.Module, images: Tensor) -> Tensor:
    with fullgrad_cam.FullGrad(model, []) as extractor:
        return torch.from_numpy(extractor(images.clone(), None))


def without_epsilon(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Their `scale_accross_batch_and_channels`, but for the 1e-7 that it adds to each map's maximum."""
    found = upsample(minmax(torch.from_numpy(np.float32(maps)).flatten(0, 1)), size[::-1])
    return found.unflatten(0, maps.shape[:2]).numpy()


def test_full_grad_differs_by_their_epsilon_alone(case, monkeypatch):
    network, model, _, images = case
    mine = ours("FullGrad", network, images)
    raw = off(mine, full_grad(model, images))
    assert float(raw.max()) > TOLERANCE
    monkeypatch.setattr(fullgrad_cam, "scale_accross_batch_and_channels", without_epsilon)
    assert float(off(mine, full_grad(model, images)).max()) < TOLERANCE
