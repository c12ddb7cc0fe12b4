"""Every CAM of pytorch-grad-cam 1.5.7 and torchcam 0.5.0 against ours: MobileNetV2, ResNet20 and the small VGG, real images.

The table is docs/agreement.md, and this module holds it to account: no public class of theirs may be missing from it, and each
verdict names the tests that show it. Rows that say "agrees" are compared here as they are. For rows that say "differs" the
deviation is shown by a hand-computed case in test_defects_referee.py; here it is taken away, and nothing else, and what is left
agrees on the real networks.

pytorch-grad-cam scales the rectified map to [0, 1] before its bilinear upsampling and once more after it; ours is scaled after
only. Upsampling commutes with the first scaling, which is affine: one heatmap. torchcam's heatmaps keep the small map's size; ours
are made of the same sums. Methods that run the network once for each channel get one image, on MobileNetV2 at 64 pixels.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sycam.baselines import BASELINES
from sycam.cams import cam_from_text, known_cams
from sycam.heatmap import minmax, post, upsample
from sycam.network import Network, load_network
from sycam.run.result import cam_heatmaps
from sycam.terminals import View
from sycam.terminals.randomness import generator, image_keys, normal
from sycam.terminals.settings import TerminalSettings
from sycam.theory import Evaluator, localisation

grad_cam = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is in the extra `referee`")
torchcam = pytest.importorskip("torchcam.methods", reason="torchcam is in the extra `referee`")

from pytorch_grad_cam import finer_cam, fullgrad_cam  # noqa: E402
from pytorch_grad_cam.base_cam import BaseCAM  # noqa: E402
from pytorch_grad_cam.utils.image import scale_cam_image  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, ClassifierOutputSoftmaxTarget  # noqa: E402

PAGE = Path(__file__).resolve().parents[2] / "docs" / "agreement.md"
TOLERANCE = 1e-4
IMAGES = {"mobilenet_v2": "photos", "resnet20_cifar10": "cifar_photos", "small_vgg_tiny20": "tiny_photos"}
LINEAR = ("mobilenet_v2", "resnet20_cifar10")  # GAP + linear heads
SMALL = TerminalSettings(noise_samples=2, path_steps=1, finer_classes=1, finer_strength=0.6)


@dataclass
class Case:
    """A network, ours and as they see it, and images for it.

    Attributes:
        name: of the network.
        network: ours.
        model: a copy of its model, gradients on.
        images: normalised, four.
        one: the first of them, on MobileNetV2 at 64 pixels: for what runs the network once for each channel.
    """

    name: str
    network: Network
    model: nn.Module
    images: Tensor
    one: Tensor

    @property
    def layer(self) -> nn.Module:
        return self.model.get_submodule(self.network.layer)

    def ours(self, name: str, images: Tensor | None = None, settings: TerminalSettings | None = None) -> Tensor:
        """Heatmaps of a known CAM, a baseline or a term for the predicted class, [B, H, W]."""
        cam = known_cams().get(name) or BASELINES.get(name) or cam_from_text(name)
        return cam_heatmaps([cam], self.network, self.images if images is None else images, settings=settings)[0]

    def theirs(self, method: type, images: Tensor | None = None, targets: list | None = None, **options) -> Tensor:
        """Heatmaps of a class of pytorch-grad-cam, [B, H, W]."""
        layers = [] if issubclass(method, fullgrad_cam.FullGrad) else [self.layer]
        with method(self.model, layers, **options) as extractor:
            return torch.from_numpy(extractor((self.images if images is None else images).clone(), targets))

    def torchcam(self, method: type, images: Tensor | None = None, call: dict | None = None, **options) -> Tensor:
        """torchcam's rectified maps before normalisation, made heatmaps by `post`, [B, H, W]."""
        images = self.images if images is None else images
        with method(self.model, self.network.layer, **options) as extractor:
            scores = self.model(images)
            given = call or {"class_idx": scores.argmax(1).tolist()}
            maps = extractor(**{"scores": scores, **given}, normalized=False)[0].detach()
        return post(maps, (images.shape[2], images.shape[3]))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches here are small: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=IMAGES)
def case(request) -> Case:
    return make_case(request, request.param)


def make_case(request, name: str) -> Case:
    network: Network = request.getfixturevalue(name)
    key = f"referee case {name}"
    if not hasattr(request.session, "referee_cases"):
        request.session.referee_cases = {}
    cases: dict[str, Case] = request.session.referee_cases
    if key not in cases:
        images = request.getfixturevalue(IMAGES[name]).normalised(slice(4), network).contiguous()
        one = images[:1]
        if name == "mobilenet_v2":
            one = torch.nn.functional.interpolate(one, size=64, mode="area")
        # A copy, so that the weights lie in memory as ours do: rounding decides ties of max pooling, which gradients of the whole
        # network (FullGrad) go through.
        model = copy.deepcopy(network.model).requires_grad_(True)
        cases[key] = Case(name, network, model, images, one)
    return cases[key]


def off(a: Tensor, b: Tensor) -> Tensor:
    """The largest difference on each image, [B]."""
    assert a.shape == b.shape
    return (a - b).abs().flatten(1).amax(1)


def same(a: Tensor, b: Tensor) -> bool:
    """Heatmaps within the tolerance, and none of them empty."""
    return bool((off(a, b) < TOLERANCE).all()) and bool((b.flatten(1).amax(1) > 0.99).all())


# The table.


class Row(NamedTuple):
    """A line of docs/agreement.md."""

    theirs: str
    ours: str
    verdict: str
    tests: list[str]


def table() -> list[Row]:
    rows = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 4:
            tests = re.findall(r"`(test_\w+)`", cells[3])
            rows.append(Row(cells[0].strip("| `"), cells[1], cells[2], tests))
    return rows


def public_classes() -> set[str]:
    """Classes that their packages export, and every subclass of BaseCAM in a module of pytorch-grad-cam."""
    found = {f"pytorch_grad_cam.{name}" for name, value in vars(grad_cam).items() if inspect.isclass(value)}
    for module in pkgutil.iter_modules(grad_cam.__path__):
        for name, value in vars(importlib.import_module(f"pytorch_grad_cam.{module.name}")).items():
            if inspect.isclass(value) and issubclass(value, BaseCAM) and value is not vars(grad_cam).get(name):
                found.add(f"{value.__module__}.{name}")
    names = [*torchcam.activation.__all__, *torchcam.gradient.__all__]
    return found | {f"torchcam.methods.{name}" for name in names if inspect.isclass(getattr(torchcam, name))}


def test_no_class_of_theirs_is_forgotten():
    named = [row.theirs for row in table()]
    assert len(named) == len(set(named))
    assert set(named) == public_classes()


def test_the_table_names_what_exists():
    here = Path(__file__).parent
    modules = {path.stem: path.read_text(encoding="utf-8") for path in here.glob("test_*.py")}
    everywhere = "\n".join(modules.values())
    cams = {*known_cams(), *BASELINES}
    missing = [name for name in re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")) if f"def {name}(" not in everywhere]
    assert not missing
    for row in table():
        verdict = re.match(r"agrees\b|differs: |not ours: ", row.verdict)  # says why
        assert verdict, row
        kind = verdict[0].rstrip(": ")
        if kind == "not ours":
            assert row.ours == "—", row
            continue
        assert row.ours in cams, row
        assert row.tests, row
        if kind == "differs":
            assert any(f"def {name}(" in modules["test_defects_referee"] for name in row.tests), row
    agreeing = {row.theirs for row in table() if row.verdict.startswith("agrees")}
    compared = {f"pytorch_grad_cam.{name}" for name in GRAD_CAM} | {f"torchcam.methods.{name}" for name in TORCHCAM}
    assert agreeing == compared | {
        f"pytorch_grad_cam.{name}" for name in ("AblationCAM", "EigenGradCAM", "RandomCAM", "ShapleyCAM")
    }


# What agrees as it is.

GRAD_CAM = {
    "GradCAM": "Grad-CAM", "HiResCAM": "HiResCAM", "GradCAMElementWise": "Grad-CAM-elementwise", "XGradCAM": "XGrad-CAM",
    "LayerCAM": "LayerCAM", "FEM": "FEM-share",
}  # fmt: skip
TORCHCAM = {"CAM": "CAM", "GradCAM": "Grad-CAM", "XGradCAM": "XGrad-CAM", "LayerCAM": "LayerCAM"}


def test_the_predicted_class_is_theirs(case):
    """All comparisons are of one image class: ours and the referee's argmax."""
    with torch.no_grad():
        assert torch.equal(case.network.logits(case.images).argmax(1), case.model(case.images).argmax(1))


@pytest.mark.parametrize("method", GRAD_CAM)
def test_agrees_with_pytorch_grad_cam(case, method):
    assert same(case.ours(GRAD_CAM[method]), case.theirs(getattr(grad_cam, method)))


@pytest.mark.parametrize("method", TORCHCAM)
def test_agrees_with_torchcam(case, method):
    if method == "CAM" and case.name not in LINEAR:
        with pytest.raises(ValueError, match="multiple fully connected"):  # they refuse, and so do we: test_identities.py
            case.torchcam(torchcam.CAM)
        return
    assert same(case.ours(TORCHCAM[method]), case.torchcam(getattr(torchcam, method)))


def test_shapley_cam_agrees_for_its_target(case):
    targets = [ClassifierOutputReST(int(c)) for c in case.network.logits(case.images).argmax(1)]
    assert same(case.ours("ShapleyCAM"), case.theirs(grad_cam.ShapleyCAM, targets=targets))
    # Its default target is the logit, whose Hessian is 0 where the network is piecewise linear: Grad-CAM.
    assert same(case.ours("Grad-CAM"), case.theirs(grad_cam.ShapleyCAM))


def test_random_cam_agrees_on_the_same_draw(case, monkeypatch):
    view = View(case.network, case.images)
    K = view.A.shape[1]
    draws = [2 * torch.rand(K, generator=generator(key, "Random-CAM"), dtype=torch.float64) - 1 for key in image_keys(view)]

    def uniform(low: float, high: float, size: tuple[int, int]) -> np.ndarray:
        assert (low, high, size) == (-1, 1, (len(view), K))
        return torch.stack(draws).numpy()

    monkeypatch.setattr(np.random, "uniform", uniform)
    assert same(case.ours("Random-CAM"), case.theirs(grad_cam.RandomCAM))


def negated(method: type) -> type:
    class Negated(method):
        def get_cam_image(self, *args):
            return -super().get_cam_image(*args)

    return Negated


@pytest.mark.parametrize(("name", "method"), [("EigenCAM-centred", "EigenCAM"), ("Eigen-Grad-CAM", "EigenGradCAM")])
def test_centred_eigen_cams_agree_up_to_the_sign_of_their_singular_vectors(case, name, method):
    mine = case.ours(name)
    plain = off(mine, case.theirs(getattr(grad_cam, method)))
    turned = off(mine, case.theirs(negated(getattr(grad_cam, method))))
    assert bool((torch.minimum(plain, turned) < TOLERANCE).all())
    assert bool((torch.maximum(plain, turned) > 0.5).all())  # the wrong sign is another map altogether


def ablation_weights(case: Case, **options) -> tuple[Tensor, Tensor, np.ndarray]:
    """Their heatmap of the one image, their channel weights [1, K], and the channels that they ablated."""
    layer = grad_cam.AblationLayer()
    seen: dict[str, np.ndarray] = {}
    to_ablate = layer.activations_to_be_ablated
    layer.activations_to_be_ablated = lambda *args: seen.setdefault("channels", to_ablate(*args))
    with grad_cam.AblationCAM(case.model, [case.layer], ablation_layer=layer, batch_size=64, **options) as extractor:
        inner = extractor.get_cam_weights
        extractor.get_cam_weights = lambda *args: seen.setdefault("weights", inner(*args))
        heatmap = torch.from_numpy(extractor(case.one, None))
    return heatmap, torch.from_numpy(seen["weights"]), seen["channels"]


def test_ablation_cam_agrees_where_activations_reach_zero(case):
    view = View(case.network, case.one)
    assert bool((view["A"].flatten(1).amin(1) == 0).all())
    mine = (view["drop"] / view["y"]).float()
    heatmap, weights, _ = ablation_weights(case)
    # They take the drop as a difference of rounded logits.
    torch.testing.assert_close(mine, weights, rtol=0, atol=5e-6)
    assert same(case.ours("Ablation-CAM", case.one), heatmap)


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # dead channels have no score of theirs
def test_ablation_cam_of_some_channels_agrees_on_those(request):
    """Their fast form ablates the quarter of channels in front and the quarter at the end of an order of theirs; others get 0."""
    case = make_case(request, "resnet20_cifar10")
    view = View(case.network, case.one)
    mine = (view["drop"] / view["y"])[0].float()
    _, weights, channels = ablation_weights(case, ratio_channels_to_ablate=0.25)
    assert len(set(channels.tolist())) == len(channels) == 32
    kept = torch.zeros(64, dtype=torch.bool)
    kept[torch.from_numpy(channels).long()] = True
    torch.testing.assert_close(torch.where(kept, mine, 0), weights[0], rtol=0, atol=5e-6)
    assert float(mine[~kept].abs().max()) > 0.01  # what is left out does matter


class FillZero(grad_cam.AblationLayer):
    """Their ablation layer, filling an ablated channel with 0 as the paper does."""

    def __call__(self, x):
        for row, channel in enumerate(self.indices[: len(self.activations)]):
            self.activations[row, channel] = 0
        return self.activations


def test_ablation_cam_of_signed_activations_differs_by_their_fill_value_alone(data_folder, cifar_photos):
    """ResNet20 read before its last addition."""
    network = load_network(f"{data_folder}/models.py:load:resnet20_cifar10", size=32, layer="layer3.2.bn2")
    images = cifar_photos.normalised(slice(1), network).contiguous()
    case = Case("signed", network, copy.deepcopy(network.model).requires_grad_(True), images, images)
    assert float(View(network, images)["A"].min()) < 0
    mine = case.ours("Ablation-CAM")
    assert same(mine, case.theirs(grad_cam.AblationCAM, ablation_layer=FillZero(), batch_size=64))
    raw = case.theirs(grad_cam.AblationCAM, ablation_layer=grad_cam.AblationLayer(), batch_size=64)
    assert float(off(mine, raw)) > 0.01


# What differs, its deviation taken away.


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


def test_the_referee_would_see_a_wrong_weight(request):
    """The comparisons have teeth: one channel's weight off by a hundredth shows."""
    case = make_case(request, "small_vgg_tiny20")
    view = View(case.network, case.images)
    evaluator = Evaluator({"A": view.A, "G": view["G"]})
    maps = localisation([known_cams()["Grad-CAM"].term], evaluator)[0]
    top = view["G"].mean((2, 3)).abs().mul(view.A.amax((2, 3))).argmax(1)
    rows = torch.arange(len(view))
    wrong = maps + 0.01 * view["G"].mean((2, 3))[rows, top, None, None] * view.A[rows, top]
    found = case.theirs(grad_cam.GradCAM)
    assert same(post(maps.float(), 64), found) and not same(post(wrong.float(), 64), found)
