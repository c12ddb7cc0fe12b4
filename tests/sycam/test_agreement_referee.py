"""Every CAM of pytorch-grad-cam 1.5.7 and torchcam 0.5.0 against ours: MobileNetV2, ResNet20 and the small VGG, real images.

The table is docs/agreement.md, and this module holds it to account: no public class of theirs may be missing from it, and each
verdict names the tests that show it. Rows that say "agrees" are compared here as they are; of rows that say "differs" the deviation
is shown by a hand-computed case in test_defects_referee.py and taken away in test_deviations_referee.py.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from referees import LINEAR, TOLERANCE, Case, make_case, off, same
from torch import Tensor

from sycam.cams import BASELINES, known_cams
from sycam.heatmap import post
from sycam.network import load_network
from sycam.terminals import View
from sycam.terminals.terminal import generator, image_keys
from sycam.theory import Evaluator, localisation

grad_cam = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is in the extra `referee`")
torchcam = pytest.importorskip("torchcam.methods", reason="torchcam is in the extra `referee`")

from pytorch_grad_cam.base_cam import BaseCAM  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST  # noqa: E402

PAGE = Path(__file__).resolve().parents[2] / "docs" / "agreement.md"
pytestmark = pytest.mark.usefixtures("one_thread")


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
