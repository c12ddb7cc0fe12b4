"""The CAMs of known.sy against pytorch-grad-cam 1.5.7 and torchcam 0.5.0, on real networks and real images.

Where the two disagree by more than 1e-4, the test names the other's deviation, removes that deviation and nothing else, and
shows that the difference goes with it. pytorch-grad-cam scales the rectified map to [0, 1] before its bilinear upsampling and
once more after it; ours is scaled after only. Upsampling commutes with the first scaling, which is affine: one heatmap.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sycam.cams import cam_from_text, known_cams
from sycam.heatmap import post
from sycam.images import ImageSet, load_images
from sycam.network import Network, Preprocessing
from sycam.run.result import cam_heatmaps
from sycam.terminals import View
from sycam.theory import Evaluator, localisation

grad_cam = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is in the extra `referee`")
torchcam = pytest.importorskip("torchcam.methods", reason="torchcam is in the extra `referee`")

from pytorch_grad_cam.ablation_layer import AblationLayer  # noqa: E402
from pytorch_grad_cam.utils.image import scale_cam_image  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget  # noqa: E402

NETWORKS = {"mobilenet_v2": "imagenet", "small_vgg_tiny20": "tiny-imagenet", "resnet20_cifar10": "cifar10/test",
            "tiny_darknet": "imagenet"}  # fmt: skip
IMAGES = 16
TOLERANCE = 1e-4
AGREEING = {"Grad-CAM": "GradCAM", "XGrad-CAM": "XGradCAM", "HiResCAM": "HiResCAM", "LayerCAM": "LayerCAM"}

Case = tuple[Network, nn.Module, nn.Module, Tensor]


@pytest.fixture(scope="module")
def case(data_folder, request) -> Callable[[str], Case]:
    """Of a network's name: ours, another instance for the referee with its target layer, and 16 normalised images."""
    spec = importlib.util.spec_from_file_location("sycam_referee_models", data_folder / "models.py")
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    made: dict[str, Case] = {}

    def make(name: str) -> Case:
        if name not in made:
            network = request.getfixturevalue(name)
            assert network.layer == models.MODELS[name].layer
            images: ImageSet = load_images(data_folder / NETWORKS[name], network.preprocessing, limit=IMAGES)
            model = models.load(name)
            made[name] = network, model, model.get_submodule(network.layer), images.normalised(slice(None), network)
        return made[name]

    return make


def ours(name: str, network: Network, images: Tensor) -> Tensor:
    """Heatmaps of a known CAM or of a term, for the predicted class."""
    return cam_heatmaps([known_cams().get(name) or cam_from_text(name)], network, images)[0]


def theirs(method: type, model: nn.Module, layer: nn.Module, images: Tensor, targets=None, **options) -> Tensor:
    with method(model, [layer], **options) as extractor:
        return torch.from_numpy(extractor(images, targets))


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("network", ["mobilenet_v2", "small_vgg_tiny20"])
@pytest.mark.parametrize("name", AGREEING)
def test_agrees_with_pytorch_grad_cam(case, network, name):
    own, model, layer, images = case(network)
    mine = ours(name, own, images)
    assert mine.shape == (IMAGES, *images.shape[2:]) and bool((mine.flatten(1).amax(1) == 1).all())
    assert off(mine, theirs(getattr(grad_cam, AGREEING[name]), model, layer, images)) < TOLERANCE


class WithoutEpsilon(grad_cam.GradCAMPlusPlus):
    """pytorch-grad-cam's Grad-CAM++, line by line, but for the 1e-6 that it adds to the denominator."""

    def get_cam_weights(self, input_tensor, target_layers, target_category, activations, grads):
        squares, cubes = grads**2, grads**3
        denominator = 2 * squares + activations.sum((2, 3), keepdims=True) * cubes
        with np.errstate(divide="ignore", invalid="ignore"):
            alpha = np.where(grads != 0, squares / denominator, 0)
        return np.sum(np.maximum(grads, 0) * alpha, axis=(2, 3))


@pytest.mark.parametrize(("network", "moved"), [("mobilenet_v2", 0.03), ("small_vgg_tiny20", 1e-3)])
def test_grad_cam_plus_plus_differs_by_their_epsilon_alone(case, network, moved):
    own, model, layer, images = case(network)
    mine = ours("Grad-CAM++", own, images)
    assert off(mine, theirs(WithoutEpsilon, model, layer, images)) < TOLERANCE
    difference = (mine - theirs(grad_cam.GradCAMPlusPlus, model, layer, images)).abs().flatten(1).amax(1)  # [B]
    assert float(difference.max()) > moved
    assert bool((difference > TOLERANCE).all())  # no image escapes


def weights_of(method: type, A: list, g: list) -> list[float]:
    """Their channel weights [K] for activations and gradients [K, h, w]."""
    batch = np.array([A], dtype=np.float32), np.array([g], dtype=np.float32)
    return method.get_cam_weights(None, None, None, None, *batch)[0].tolist()


def our_weights(name: str, A: list, g: list) -> list[float]:
    evaluator = Evaluator({"A": torch.tensor([A]), "G": torch.tensor([g])})
    return evaluator.value(known_cams()[name].term).flatten().tolist()


def test_grad_cam_plus_plus_by_hand_where_their_epsilon_matters():
    # One channel, A = 0, g = 1/1000 at both pixels. Equation 19: α = g²/(2g² + 0·g³) = 1/2 at each, w = 2·α·g = 1/1000.
    # With their 1e-6: α = 1e-6 / (2e-6 + 1e-6) = 1/3.
    A, g = [[[0.0, 0.0]]], [[[1e-3, 1e-3]]]
    assert our_weights("Grad-CAM++", A, g) == pytest.approx([1e-3], rel=1e-6)
    assert weights_of(WithoutEpsilon, A, g) == pytest.approx([1e-3], rel=1e-6)
    assert weights_of(grad_cam.GradCAMPlusPlus, A, g) == pytest.approx([2e-3 / 3], rel=1e-5)


def test_xgrad_cam_by_hand_where_their_epsilon_matters():
    # ΣA = 2 - 2 = 0: XGrad-CAM's weight has no value. Ours is 0, division being total; theirs is Σ(gA) / 1e-7 = 2 / 1e-7.
    A, g = [[[2.0, -2.0]]], [[[1.0, 0.0]]]
    assert our_weights("XGrad-CAM", A, g) == [0.0]
    assert weights_of(grad_cam.XGradCAM, A, g) == pytest.approx([2e7], rel=1e-5)


def test_their_scaling_is_ours_but_for_vanishing_maps():
    maps = torch.rand(6, 7, 7, generator=torch.Generator().manual_seed(0)) - 0.5
    maps[3] = 2.0  # constant

    def scaled(x: Tensor) -> Tensor:
        return torch.from_numpy(scale_cam_image(scale_cam_image(np.maximum(x.numpy(), 0), (224, 224))))

    for size in (1.0, 1e3, 1e-6):
        assert off(scaled(maps * size), post(maps * size, 224)) < 2e-6
    assert scaled(maps)[3].max() == post(maps, 224)[3].max() == 0
    # Their first scaling divides by max + 1e-7: a map of 1e-15 comes out at 1e-8, and 1e-8 / (1e-8 + 1e-7) is left of it.
    assert float(post(maps * 2e-15, 224)[0].max()) == 1.0
    assert 0.05 < float(scaled(maps * 2e-15)[0].max()) < 0.12


@pytest.mark.parametrize(("network", "count"), [("small_vgg_tiny20", 2), ("resnet20_cifar10", 8)])
def test_ablation_cam_agrees_where_activations_reach_zero(case, network, count):
    own, model, layer, images = case(network)
    images = images[:count]
    with grad_cam.AblationCAM(model, [layer], ablation_layer=AblationLayer()) as extractor:
        seen = []
        inner = extractor.get_cam_weights
        extractor.get_cam_weights = lambda *args: seen.append(inner(*args)) or seen[0]
        heatmaps = torch.from_numpy(extractor(images, None))
    view = View(own, images)
    assert bool((view["A"].flatten(1).amin(1) == 0).all())
    weights = Evaluator({name: view[name] for name in ("A", "drop", "y")}).value(known_cams()["Ablation-CAM"].term)
    torch.testing.assert_close(weights[:, :, 0].float(), torch.from_numpy(seen[0]), rtol=0, atol=2e-6)
    assert off(ours("Ablation-CAM", own, images), heatmaps) < TOLERANCE


class FillZero(AblationLayer):
    """Their ablation layer, filling an ablated channel with 0 as the paper does."""

    def __call__(self, x):
        for row, channel in enumerate(self.indices[: len(self.activations)]):
            self.activations[row, channel] = 0
        return self.activations


def test_ablation_cam_of_signed_activations_differs_by_their_fill_value_alone(case):
    own, model, layer, images = case("tiny_darknet")
    images = images[:1]
    mine = ours("Ablation-CAM", own, images)
    assert float(View(own, images)["A"].min()) < 0
    options = {"ablation_layer": FillZero(), "batch_size": 64}
    assert off(mine, theirs(grad_cam.AblationCAM, model, layer, images, **options)) < TOLERANCE
    options["ablation_layer"] = AblationLayer()
    assert off(mine, theirs(grad_cam.AblationCAM, model, layer, images, **options)) > 0.1


def test_their_fill_value_by_hand_depends_on_the_place_in_the_batch():
    # Two channels, 1 and 2, each ablated in a row of its own: min(A) is 1, so the first row gets 1 - 1e7; that is the minimum
    # when the second row is filled, which gets 1 - 2e7. The paper's value is 0 in both.
    layer = AblationLayer()
    layer.indices = [0, 1]
    layer.set_next_batch(0, torch.tensor([[[[1.0]], [[2.0]]]], dtype=torch.float64), 2)
    assert layer(None).flatten().tolist() == [1 - 1e7, 2.0, 1.0, 1 - 2e7]


def test_score_cam_differs_by_their_aligned_corners_alone(case, monkeypatch):
    own, model, layer, images = case("small_vgg_tiny20")
    images = images[:1]
    classes = own.activations(images)[1].argmax(1).tolist()
    logit = ours("(softmax score_logit)", own, images)
    probability = ours("Score-CAM-softmax", own, images)
    targets = [ClassifierOutputSoftmaxTarget(c) for c in classes]
    aligned = theirs(grad_cam.ScoreCAM, model, layer, images, [ClassifierOutputTarget(c) for c in classes])
    assert off(logit, aligned) > TOLERANCE  # their masks are upsampled with align_corners=True, their heatmaps without

    class Unaligned(nn.Upsample):
        def __init__(self, size) -> None:
            super().__init__(size, mode="bilinear", align_corners=False)

    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", Unaligned)
    assert off(logit, theirs(grad_cam.ScoreCAM, model, layer, images)) < TOLERANCE
    assert off(probability, theirs(grad_cam.ScoreCAM, model, layer, images, targets)) < TOLERANCE


def torchcam_maps(method: str, model: nn.Module, layer: str, images: Tensor) -> Tensor:
    """torchcam's rectified maps before normalisation, [B, h, w], for the predicted class."""
    with getattr(torchcam, method)(model, layer) as extractor:
        scores = model(images)
        return extractor(scores.argmax(1).tolist(), scores, normalized=False)[0].detach()


@pytest.mark.parametrize("network", ["mobilenet_v2", "small_vgg_tiny20"])
def test_agrees_with_torchcam(case, network):
    own, model, _, images = case(network)
    for name, method in (("Grad-CAM", "GradCAM"), ("XGrad-CAM", "XGradCAM"), ("LayerCAM", "LayerCAM")):
        # Its heatmaps keep the small map's size; ours are made of the same sums.
        small = torchcam_maps(method, model, own.layer, images)
        assert off(ours(name, own, images), post(small, tuple(images.shape[2:]))) < TOLERANCE, name


def test_torchcam_loses_the_denominator_of_grad_cam_plus_plus(case):
    own, model, _, images = case("small_vgg_tiny20")
    found = torchcam_maps("GradCAMpp", model, own.layer, images)
    view = View(own, images)
    evaluator = Evaluator({name: view[name] for name in ("A", "G")})
    # `alpha[idx][mask].div_(...)` divides a copy, so that α stays g²; the Σ(A·g³) in its denominator never comes to bear.
    undivided = cam_from_text("(sum (m* (m* G G) (mrelu G)))").term
    expected = localisation([undivided], evaluator)[0].relu()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6 * float(expected.max()))
    assert off(ours("Grad-CAM++", own, images), post(found, 64)) > 0.01


def test_predicted_class_is_theirs(case):
    """The comparisons above are of one image class: ours and the referee's argmax."""
    for name in ("mobilenet_v2", "small_vgg_tiny20"):
        own, model, _, images = case(name)
        assert isinstance(own.preprocessing, Preprocessing)
        with torch.no_grad():
            assert torch.equal(own.activations(images)[1].argmax(1), model(images).argmax(1))
