"""Each terminal against a slow twin straight from its paper, in double precision, and against its closed form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from heads import images, network, without_closed_forms
from torch import Tensor

from sycam.network import Network
from sycam.network.cut import Cut
from sycam.terminals import TerminalSettings, View
from sycam.terminals.shapley import sampled_shapley, shapley
from sycam.terminals.terminal import generator, image_keys, normal

KINDS = ["linear", "layered", "residual"]
CLASSES = torch.tensor([3, 0, 1, 1])
FEW = TerminalSettings(noise_samples=3, path_steps=4, shap_orderings=5, opti_steps=12)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    scale = max(float(expected.abs().max()), 1e-30)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


def through_hook(made: Network, image: Tensor, maps: Tensor) -> Tensor:
    """Logits [C] of the whole model where its layer returns `maps` [K, h, w]: no tail."""
    module = made.model.get_submodule(made.layer)
    handle = module.register_forward_hook(lambda *_: maps[None].clone())
    try:
        return made.model(image[None])[0]
    finally:
        handle.remove()


def slow_gradient(made: Network, image: Tensor, of) -> Tensor:
    """Gradient of `of(logits)` at the layer, of one image, [K, h, w]."""
    leaf = made.activations(image[None])[0][0].requires_grad_()
    return torch.autograd.grad(of(through_hook(made, image, leaf)), leaf)[0]


def masked(made: Network, image: Tensor, mask: Tensor) -> Tensor:
    with torch.no_grad():
        return made.model((image * mask)[None])[0]


def slow_mask(maps: Tensor) -> Tensor:
    """n(up(A_k)), [8, 8]; zeros where constant."""
    if maps.max() == maps.min():
        return torch.zeros(8, 8, dtype=maps.dtype)
    up = F.interpolate(maps[None, None], (8, 8), mode="bilinear", align_corners=False)[0, 0]
    return (up - up.min()) / (up.max() - up.min())


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_class_difference(kind):
    """Finer-CAM: the gradient of Σ_d p_d (y_c − γ y_d) / Σ_d p_d over the classes nearest in logit."""
    made, x = network(kind), images()
    for settings in (TerminalSettings(), TerminalSettings(finer_classes=1, finer_strength=0.6)):
        view = View(made, x, CLASSES, settings=settings)
        for n, c in enumerate(CLASSES.tolist()):

            def difference(y: Tensor, c: int = c, settings: TerminalSettings = settings) -> Tensor:
                others = sorted((d for d in range(4) if d != c), key=lambda d: abs(float((y[d] - y[c]).detach())))[
                    : settings.finer_classes
                ]
                p = y.softmax(0)
                return sum(p[d] * (y[c] - settings.finer_strength * y[d]) for d in others) / sum(p[d] for d in others)

            close(view["G_diff"][n], slow_gradient(made, x[n], difference))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_and_hessian_of_the_shapley_cam(kind):
    """ShapleyCAM: the whole Hessian of y + log p by rows, times A."""
    made, x = network(kind, channels=3), images(2)
    view = View(made, x, torch.tensor([2, 0]))
    for n, c in enumerate([2, 0]):
        A = view.A[n]

        def utility(flat: Tensor, n: int = n, c: int = c, A: Tensor = A) -> Tensor:
            y = through_hook(made, x[n], flat.reshape(A.shape))
            return y[c] + y.softmax(0)[c].log()

        hessian = torch.autograd.functional.hessian(utility, A.flatten())
        close(view["GR"][n].flatten(), torch.autograd.functional.jacobian(utility, A.flatten()))
        close(view["HA"][n].flatten(), hessian @ A.flatten())
        assert view["HA"][n].abs().max() > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_noisy_and_path_gradients(kind):
    made, x = network(kind), images()
    view = View(made, x, CLASSES, settings=FEW)
    for n, c in enumerate(CLASSES.tolist()):
        spread = FEW.noise_level * (x[n].max() - x[n].min())
        noises = [normal((3, 8, 8), image_keys(view)[n], "noisy image", i).double() for i in range(3)]
        gradients = torch.stack([slow_gradient(made, x[n] + spread * noise, lambda y, c=c: y[c]) for noise in noises])
        for power, name in enumerate(("G_noise", "G2_noise", "G3_noise"), 1):
            close(view[name][n], (gradients**power).mean(0))
        path = [slow_gradient(made, x[n] * i / 4, lambda y, c=c: y[c]) for i in (1, 2, 3, 4)]
        close(view["G_path"][n], sum(path) / 4)
    if kind == "layered":
        assert (view["G_noise"] - view["G"]).abs().max() > 1e-3 * view["G"].abs().max()
        assert (view["G_path"] - view["G"]).abs().max() > 1e-3 * view["G"].abs().max()


def test_no_noise_is_the_gradient_and_seeds_differ():
    made, x = network("layered"), images()
    silent = View(made, x, CLASSES, settings=TerminalSettings(noise_level=0.0, noise_samples=2))
    close(silent["G_noise"], silent["G"], 1e-12)
    close(silent["score_noise"], silent["score"], 1e-12)
    one, same, other = (View(made, x, CLASSES, settings=TerminalSettings(seed=s, noise_samples=2)) for s in (1, 1, 2))
    for name in ("G_noise", "score_noise", "shap"):
        assert torch.equal(one[name], same[name]), name
        assert not torch.allclose(one[name], other[name], rtol=1e-3), name


def test_noise_belongs_to_the_image_and_not_to_its_place():
    made, x = network("layered"), images()
    few = TerminalSettings(noise_samples=2, shap_orderings=3)
    whole = View(made, x, CLASSES, settings=few)
    for name in ("G_noise", "G3_noise", "score_noise", "shap"):
        for n in (0, 3):
            alone = View(made, x[n : n + 1], CLASSES[n : n + 1], settings=few)
            close(alone[name][0], whole[name][n], 1e-10)
    twice = View(made, x[[1, 1]], CLASSES[[1, 1]], settings=few)
    close(twice["G_noise"][0], twice["G_noise"][1], 1e-12)
    single = View(made, x.float(), CLASSES, settings=few)
    assert image_keys(single) == image_keys(View(made, x.float().double(), CLASSES, settings=few))
    # Standard normal: the mean of 64·3·40 numbers is within five standard errors, and their variance too.
    key = image_keys(whole)[0]
    drawn = torch.stack([normal((3, 8, 8), key, "noisy image", i) for i in range(40)])
    assert abs(float(drawn.mean())) < 5 / drawn.numel() ** 0.5
    assert abs(float(drawn.var()) - 1) < 5 * (2 / drawn.numel()) ** 0.5


@pytest.mark.parametrize("kind", ["linear", "layered"])
def test_masked_scores(kind):
    made, x = network(kind), images(2)
    classes = torch.tensor([2, 0])
    view = View(made, x, classes, settings=FEW, chunk=3)
    keys = image_keys(view)
    for n, c in enumerate([2, 0]):
        for k in range(7):
            maps = view.A[n, k]
            whole = slow_mask(maps)
            plain = masked(made, x[n], torch.ones(8, 8)).softmax(0)[c]
            close(view["score_out"][n, k], plain - masked(made, x[n], 1 - whole).softmax(0)[c], 1e-7)
            spread = FEW.noise_level * (maps.max() - maps.min())
            noisy = [slow_mask(maps + spread * normal((6, 6), keys[n], "noisy map", k, i).double()) for i in range(3)]
            close(view["score_noise"][n, k], sum(masked(made, x[n], mask).softmax(0)[c] for mask in noisy) / 3)
            path = [masked(made, x[n], i / 4 * whole).softmax(0)[c] for i in (1, 2, 3, 4)]
            close(view["score_path"][n, k], sum(path) / 4)
    assert view["score_out"][:, 2].tolist() == [0.0, 0.0]  # the dead channel takes nothing out
    assert torch.equal(view["score_noise"][:, 2], view["score"][:, 2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuttable", [True, False])
def test_keep(kind, cuttable):
    made, x = network(kind), images(2)
    if not cuttable:
        made._cut = Cut(None, "for the test")
    view = View(made, x, CLASSES[:2], chunk=3)
    for n, c in enumerate(CLASSES[:2].tolist()):
        none = through_hook(made, x[n], torch.zeros_like(view.A[n]))[c]
        for k in range(7):
            only = torch.zeros_like(view.A[n])
            only[k] = view.A[n, k]
            close(view["keep"][n, k], (through_hook(made, x[n], only)[c] - none).detach(), 1e-7)
    assert view["keep"][:, 2].tolist() == [0.0, 0.0]


def exact_shapley(view: View, n: int) -> Tensor:
    """Over all coalitions: Σ_S |S|! (K − |S| − 1)! / K! (v(S ∪ k) − v(S))."""
    K, c = view.A.shape[1], int(view.classes[n])
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=K)), dtype=torch.float64)  # [2^K, K]
    with torch.no_grad():
        worth = view.network.tail(view.A[n] * masks[:, :, None, None])[:, c]
    place = 2 ** torch.arange(K - 1, -1, -1)
    value = torch.zeros(K, dtype=torch.float64)
    for row, mask in enumerate(masks):
        for k in range(K):
            if not mask[k]:
                s = int(mask.sum())
                weight = math.factorial(s) * math.factorial(K - s - 1) / math.factorial(K)
                value[k] += weight * (worth[row + place[k]] - worth[row])
    return value


@pytest.mark.parametrize("kind", ["layered", "residual"])
def test_sampled_shapley_against_the_exact_value_of_ten_channels(kind):
    made, x = network(kind, channels=10), images(2)
    view = View(made, x, CLASSES[:2], settings=TerminalSettings(shap_orderings=400))
    value, error = shapley(view)
    exact = torch.stack([exact_shapley(view, n) for n in range(2)])
    again = View(made, x, CLASSES[:2], settings=TerminalSettings(shap_orderings=400))
    assert torch.equal(again["shap"], value)
    assert bool(((value - exact).abs() <= 4.5 * error + 1e-12).all())
    live = error > 1e-12
    assert 0.5 < float(((value - exact)[live] / error[live]).square().mean()) < 2  # the error is neither too small nor too large
    assert not torch.allclose(exact, view["drop"], rtol=0.05)
    # Efficiency: whatever the sample, they sum to y − y(nothing).
    nothing = made.tail(torch.zeros_like(view.A)).gather(1, view.classes[:, None])[:, 0]
    close(value.sum(1), (view["y"][:, 0] - nothing).detach())


def test_shapley_of_the_orderings_one_at_a_time():
    made, x = network("layered"), images(2)
    view = View(made, x, CLASSES[:2], settings=FEW, chunk=4)
    for n, c in enumerate(CLASSES[:2].tolist()):
        random = generator(image_keys(view)[n], "orderings")
        gains = torch.zeros(5, 7, dtype=torch.float64)
        for r in range(5):
            present = torch.zeros_like(view.A[n])
            before = through_hook(made, x[n], present)[c]
            for k in torch.randperm(7, generator=random).tolist():
                present[k] = view.A[n, k]
                after = through_hook(made, x[n], present)[c]
                gains[r, k] = (after - before).detach()
                before = after
        close(view["shap"][n], gains.mean(0))
        close(view["shap_error"][n], gains.std(0) / 5**0.5)
    assert shapley(view)[0][:, 2].tolist() == [0.0, 0.0]


def test_an_image_without_a_live_channel():
    made = network("layered")
    view = View(made, images(2), activations=torch.zeros(2, 7, 6, 6).double(), logits=made.tail(torch.zeros(2, 7, 6, 6).double()))
    for name in ("drop", "keep", "shap", "lift", "area"):
        assert view[name].abs().max() == 0, name
    assert torch.allclose(view["opti"], torch.full((2, 7), 1 / 7).double())  # nothing to gain: stops where it starts


@pytest.mark.parametrize("name", ["G", "GP", "drop", "keep", "lift", "lift_map", "shap", "lrp", "G_diff", "GR", "HA", "G_noise",
                                  "G2_noise", "G3_noise", "G_path"])  # fmt: skip
def test_a_closed_form_equals_the_general_path(name):
    made, x = network("linear"), images()
    closed, general = (View(m, x, CLASSES, settings=FEW) for m in (made, without_closed_forms(made)))
    tolerance = {"lrp": 1e-4}.get(name, 1e-9)  # ε is 0 in the closed form and 1e-6 in zennit
    close(closed[name], general[name], tolerance)
    with pytest.raises(AssertionError):
        close(closed[name] * 1.001, general[name], tolerance)


def test_closed_forms_take_no_pass():
    made = network("linear")
    view = View(made, images(), CLASSES, settings=FEW)
    view["A"]
    before = dict(vars(made.passes))
    for name in ("G", "GP", "drop", "keep", "lift", "lift_map", "shap", "shap_error", "lrp", "G_diff", "GR", "HA", "G_noise", "G2_noise",
                 "G3_noise", "G_path", "fc", "entropy", "area"):  # fmt: skip
        view[name]
    assert vars(made.passes) == before


def test_sampled_shapley_of_a_linear_head_has_no_variance():
    made = network("linear")
    view = View(made, images(2), CLASSES[:2], settings=FEW)
    value, error = sampled_shapley(view)
    close(value, view["shap"])
    assert float(error.max()) < 1e-12


@pytest.mark.parametrize("kind", ["linear", "layered"])
def test_optimised_weights(kind):
    """Opti-CAM: torch's Adam, one image at a time, the mask on the image before normalisation."""
    made, x = network(kind), images(3)
    view = View(made, x, CLASSES[:3], settings=FEW)
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (made.preprocessing.mean, made.preprocessing.std))
    for n, c in enumerate(CLASSES[:3].tolist()):
        u = torch.zeros(7, dtype=torch.float64, requires_grad=True)
        adam, previous = torch.optim.Adam([u], lr=0.1), None
        for _ in range(12):
            S = (u.softmax(0)[:, None, None] * view.A[n]).sum(0)
            up = F.interpolate(S[None, None], (8, 8), mode="bilinear", align_corners=False)[0, 0]
            mask = (up - up.min()) / (up.max() - up.min())
            raw = x[n] * std + mean
            loss = -made.model(((raw * mask - mean) / std)[None])[0, c]
            if previous is not None and abs(loss.item() - previous) < 1e-10:
                break
            previous = loss.item()
            (u.grad,) = torch.autograd.grad(loss, u)
            adam.step()
        close(view["opti"][n], u.softmax(0).detach(), 1e-7)


def test_an_image_stops_on_its_own():
    """The second image's maps are constant: its loss never changes, and its weights stay uniform while the first one's move."""
    made, x = network("layered"), images(2)
    A, logits = made.activations(x)
    A[1] = 1.5
    view = View(made, x, activations=A, logits=logits, settings=FEW)
    before = made.passes.backward
    assert torch.equal(view["opti"][1], torch.full((7,), 1 / 7).double().exp().log().softmax(0))
    assert (view["opti"][0] - 1 / 7).abs().max() > 0.01
    assert made.passes.backward - before == 12 + 2


def test_entropy_and_area_by_hand():
    view = View(network("layered"), images(1))
    view.probabilities = torch.tensor([[0.5, 0.25, 0.25, 0.0]], dtype=torch.float64)
    assert view["entropy"].item() == pytest.approx(1.5 * math.log(2))
    A = torch.tensor([[[[0.0, 0.0], [0.0, 4.0]], [[3.0, 3.0], [1.0, 0.0]], [[0.1, 0.1], [0.1, 0.1]]]])
    view = View(view.network, images(1), activations=A, logits=torch.zeros(1, 4))
    assert view["area"].tolist() == [[0.25, 0.5, 0.0]]
    assert view["entropy"].item() == pytest.approx(math.log(4))
