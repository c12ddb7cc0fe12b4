"""The CAMs of known.sy: values by hand, slow twins straight from the papers, and the ways to name a CAM."""

from __future__ import annotations

import math
from fractions import Fraction as F
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sycam.cams import BASELINES, cam_from_text, cams_in, file_text, find_cam, find_cams, known_cams
from sycam.errors import SycamError
from sycam.terminals import TERMINALS
from sycam.theory import MAP, Evaluator, heatmaps_of, localisation
from sygus import SygusError

# Two channels of 2×2 pixels.
#   A₁ = 1 2   ΣA₁ = 4     g₁ = 1  0     A₂ = 0 4   ΣA₂ = 8     g₂ = -1  1/2
#        1 0                    2 -1          2 2                     0 -1/2
A = [[[1.0, 2.0], [1.0, 0.0]], [[0.0, 4.0], [2.0, 2.0]]]
G = [[[1.0, 0.0], [2.0, -1.0]], [[-1.0, 0.5], [0.0, -0.5]]]
HAND = {
    "A": [A], "G": [G], "y": [[4.0]], "fc": [[2.0, -1.0]], "drop": [[3.0, -1.0]], "score": [[0.9, 0.4]],
    "score_logit": [[1.0, 1.0 + math.log(3)]], "score_noise": [[0.5, 0.25]], "score_path": [[0.2, 0.6]],
    "lift": [[2.0, 3.0]], "shap": [[1.0, -2.0]], "opti": [[0.75, 0.25]], "G_noise": [G],
    "G2_noise": [[[[2.0, 1.0], [4.0, 1.0]], [[1.0, 0.5], [0.0, 0.5]]]],
    "G3_noise": [[[[1.0, 0.0], [8.0, -1.0]], [[-1.0, 0.25], [0.0, -0.25]]]],
    "G_path": [[[[2.0, 1.0], [0.0, 1.0]], [[1.0, -1.0], [1.0, 0.0]]]],
    "GR": [[[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 4.0]]]],
    "HA": [[[[0.0, 2.0], [0.0, 2.0]], [[0.0, 0.0], [0.0, -8.0]]]],
    "G_diff": [[[[1.0, 2.0], [3.0, 2.0]], [[-4.0, 0.0], [0.0, 0.0]]]],
    "lrp": [[[[0.0, 4.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]]],
    "lrp_contrast": [[[[0.0, 8.0], [0.0, 0.0]], [[-2.0, -2.0], [0.0, 0.0]]]],
}  # fmt: skip
TINY = {name: torch.tensor(value, dtype=torch.float64) for name, value in HAND.items()}
SOFT = 1 / (1 + math.exp(-0.5))  # softmax of (0.9, 0.4) at the first

WEIGHTS = {
    "CAM": [2.0, -1.0],
    # (1 + 0 + 2 - 1) / 4 and (-1 + 1/2 + 0 - 1/2) / 4
    "Grad-CAM": [F(1, 2), F(-1, 4)],
    # g²/(2g² + ΣA·g³)·g₊ is g/(2 + ΣA·g) where g > 0: 1/6 + 2/10 for g = 1, 2 and ΣA = 4; (1/2)/6 for g = 1/2 and ΣA = 8
    "Grad-CAM++": [F(11, 30), F(1, 12)],
    # (1·1 + 0·2 + 2·1 - 1·0) / 4 and (-1·0 + 4/2 + 0·2 - 2/2) / 8
    "XGrad-CAM": [F(3, 4), F(1, 8)],
    "Ablation-CAM": [F(3, 4), F(-1, 4)],
    "Score-CAM": [0.9, 0.4],
    "Score-CAM-softmax": [SOFT, 1 - SOFT],
    "Score-CAM-softmax-logits": [F(1, 4), F(3, 4)],  # e and 3e
    "SS-CAM": [0.5, 0.25],
    "IS-CAM": [0.2, 0.6],
    # Σ(A·g³) is 1 + 8 = 9 and 4/8 - 2/8 = 1/4: 1/(2 + 9) + 4/(8 + 9)·2, and 1/4/(1/2 + 1/4)·1/2
    "Grad-CAM++-miswritten": [F(105, 187), F(1, 6)],
    # 2/(4 + 4·1)·1 + 4/(8 + 4·8)·2, and 1/2/(1 + 8/4)·1/2
    "Smooth-Grad-CAM++": [F(9, 20), F(1, 12)],
    "Integrated-Grad-CAM": [1, F(-1, 2)],  # (2·1 + 1·2)/4 and (-1·4 + 1·2)/4
    "ShapleyCAM": [F(1, 2), 2],  # (1 + 0 + 1 + 0)/4 and (4 + 4)/4
    "FinerCAM": [2, -1],
    "Relevance-CAM": [1, F(1, 2)],
    "Relevance-CAM-contrastive": [2, -1],  # 8/4 and (-2 - 2)/4
    "Ablation-CAM-slope": [3 / math.sqrt(6), -1 / math.sqrt(24)],  # ‖A₁‖² = 1 + 4 + 1, ‖A₂‖² = 16 + 4 + 4
    "LIFT-CAM": [2, 3],
    "SHAP-CAM": [1, -2],
    "Opti-CAM": [F(3, 4), F(1, 4)],
    "FEM-share": [0, 0],  # of four pixels none can exceed the mean by 2σ: at most by √3·σ; see below
}  # fmt: skip
CONTRIBUTIONS = {
    "HiResCAM": [[[1, 0], [2, 0]], [[0, 2], [0, -1]]],  # g·A
    "LayerCAM": [[[1, 0], [2, 0]], [[0, 2], [0, 0]]],  # g₊·A
    "Grad-CAM-elementwise": [[[1, 0], [2, 0]], [[0, 2], [0, 0]]],  # (g·A)₊
    "FEM": [[[0, 0], [0, 0]], [[0, 0], [0, 0]]],
}
SUMS = {
    "CAM": [[2, 0], [0, -2]],  # 2·A₁ - A₂
    "Grad-CAM": [[F(1, 2), 0], [0, F(-1, 2)]],  # A₁/2 - A₂/4
    "Grad-CAM++": [[F(11, 30), F(32, 30)], [F(16, 30), F(5, 30)]],  # 11·A₁/30 + A₂/12
    "XGrad-CAM": [[F(3, 4), 2], [1, F(1, 4)]],
    "Ablation-CAM": [[F(3, 4), F(1, 2)], [F(1, 4), F(-1, 2)]],
    "Score-CAM": [[0.9, 3.4], [1.7, 0.8]],
    "Score-CAM-softmax": [[SOFT, 4 - 2 * SOFT], [2 - SOFT, 2 - 2 * SOFT]],
    "HiResCAM": [[1, 2], [2, -1]],
    "LayerCAM": [[1, 2], [2, 0]],
    "Grad-CAM-elementwise": [[1, 2], [2, 0]],
    "Grad-CAM++-miswritten": [[F(105, 187), F(210, 187) + F(2, 3)], [F(105, 187) + F(1, 3), F(1, 3)]],
    "Smooth-Grad-CAM++": [[F(9, 20), F(37, 30)], [F(37, 60), F(1, 6)]],
    "Integrated-Grad-CAM": [[1, 0], [0, -1]],
    "ShapleyCAM": [[F(1, 2), 9], [F(9, 2), 4]],
    "FinerCAM": [[2, 0], [0, -2]],
    "Relevance-CAM": [[1, 4], [2, 1]],
    "Relevance-CAM-contrastive": [[2, 0], [0, -2]],  # 2·A₁ - A₂
    "Ablation-CAM-slope": [
        [3 / math.sqrt(6), 6 / math.sqrt(6) - 4 / math.sqrt(24)],
        [3 / math.sqrt(6) - 2 / math.sqrt(24), -2 / math.sqrt(24)],
    ],
    "LIFT-CAM": [[2, 16], [8, 6]],
    "SHAP-CAM": [[1, -6], [-3, -4]],
    "Score-CAM-softmax-logits": [[F(1, 4), F(7, 2)], [F(7, 4), F(3, 2)]],
    "SS-CAM": [[0.5, 2], [1, 0.5]],
    "IS-CAM": [[0.2, 2.8], [1.4, 1.2]],
    "Opti-CAM": [[F(3, 4), F(5, 2)], [F(5, 4), F(1, 2)]],
    "FEM": [[0, 0], [0, 0]],
    "FEM-share": [[0, 0], [0, 0]],
}


def tensor(values: list) -> Tensor:
    return torch.tensor([[float(x) for x in row] for row in values], dtype=torch.float64)


def test_every_known_cam_has_hand_values():
    assert set(known_cams()) == set(SUMS) == {*WEIGHTS, *CONTRIBUTIONS}


@pytest.mark.parametrize("name", SUMS)
def test_values_by_hand(name):
    evaluator, term = Evaluator(TINY), known_cams()[name].term
    value = evaluator.value(term)
    if name in WEIGHTS:
        assert value.shape == (1, 2, 1)
        assert value.flatten().tolist() == pytest.approx([float(w) for w in WEIGHTS[name]], rel=1e-14)
    else:
        assert term.sort == MAP
        assert value.unflatten(2, (2, 2))[0].tolist() == CONTRIBUTIONS[name]
    torch.testing.assert_close(localisation([term], evaluator)[0, 0], tensor(SUMS[name]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", SUMS)
def test_heatmaps_by_hand(name):
    # At the map's own size, upsampling changes nothing: min-max of the positive part is left.
    kept = [[max(float(x), 0.0) for x in row] for row in SUMS[name]]
    low, high = min(map(min, kept)), max(map(max, kept))
    maps, finite = heatmaps_of([known_cams()[name].term], Evaluator(TINY), (2, 2))
    assert finite.tolist() == [[True]]
    expected = tensor([[(x - low) / (high - low) if high > low else 0.0 for x in row] for row in kept])
    torch.testing.assert_close(maps[0, 0].double(), expected, rtol=0, atol=1e-6)


def test_both_forms_of_fem_by_hand():
    # One pixel of 6 among five of 0: mean 1, σ = √((25 + 5)/6) = √5, and 6 > 1 + 2·√5 = 5.47. The second channel is flat.
    peak, flat = [[6.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[7.0] * 3] * 2
    evaluator = Evaluator({"A": torch.tensor([[peak, flat]], dtype=torch.float64)})
    paper, share = known_cams()["FEM"].term, known_cams()["FEM-share"].term
    # The paper draws the mean where the map stands out; pytorch-grad-cam weighs the map by the share of such pixels, 1/6.
    assert evaluator.value(paper).flatten(2).tolist() == [[[1.0] + [0.0] * 5, [0.0] * 6]]
    assert evaluator.value(share).flatten().tolist() == pytest.approx([1 / 6, 0])
    assert localisation([paper, share], evaluator)[:, 0, 0, 0].tolist() == pytest.approx([1.0, 1.0])


# The papers' formulas in plain loops: A and g are lists [K][P], the result is what a pixel of the map is made of, before ReLU.


def weighted(A, weights):
    return [sum(weights[k] * A[k][p] for k in range(len(A))) for p in range(len(A[0]))]


def slow_grad_cam(A, g, **_):
    weights = []
    for k in range(len(A)):
        total = 0.0
        for p in range(len(A[k])):
            total += g[k][p]
        weights.append(total / len(A[k]))  # equation 1
    return weighted(A, weights)


def slow_grad_cam_plus_plus(A, g, **_):
    weights = []
    for k in range(len(A)):
        weight = 0.0
        for p in range(len(A[k])):
            if g[k][p] == 0:
                continue  # the paper: α is 0 where the gradient is
            second, third = g[k][p] ** 2, g[k][p] ** 3  # up to exp(y), which cancels
            denominator = 2 * second + sum(A[k]) * third
            if denominator != 0:
                weight += second / denominator * max(g[k][p], 0.0)  # equations 19 and 10
        weights.append(weight)
    return weighted(A, weights)


def slow_xgrad_cam(A, g, **_):
    weights = []
    for k in range(len(A)):
        weight = 0.0
        for p in range(len(A[k])):
            if sum(A[k]) != 0:  # a dead channel adds nothing, whatever its weight
                weight += A[k][p] / sum(A[k]) * g[k][p]  # equation 8
        weights.append(weight)
    return weighted(A, weights)


def slow_hires_cam(A, g, **_):
    return [sum(g[k][p] * A[k][p] for k in range(len(A))) for p in range(len(A[0]))]


def slow_layer_cam(A, g, **_):
    return [sum(max(g[k][p], 0.0) * A[k][p] for k in range(len(A))) for p in range(len(A[0]))]


def slow_ablation_cam(A, y, drop, **_):
    return weighted(A, [(y - (y - d)) / y for d in drop])  # (y - y_k)/y, drop being y - y_k


def slow_score_cam(A, score, **_):
    return weighted(A, score)


def slow_score_cam_softmax(A, score, **_):
    return weighted(A, [math.exp(s) / sum(math.exp(other) for other in score) for s in score])


def slow_score_cam_softmax_logits(A, score_logit, **_):
    return weighted(A, [math.exp(s) / sum(math.exp(other) for other in score_logit) for s in score_logit])


def slow_cam(A, fc, **_):
    return weighted(A, fc)


def slow_grad_cam_elementwise(A, g, **_):
    return [sum(max(g[k][p] * A[k][p], 0.0) for k in range(len(A))) for p in range(len(A[0]))]


def slow_grad_cam_plus_plus_miswritten(A, g, **_):
    weights = []
    for k in range(len(A)):
        third = sum(A[k][p] * g[k][p] ** 3 for p in range(len(A[k])))
        weights.append(sum(g**2 / (2 * g**2 + third) * max(g, 0.0) for g in g[k] if 2 * g**2 + third != 0))
    return weighted(A, weights)


def slow_smooth_grad_cam_plus_plus(A, G_noise, G2_noise, G3_noise, **_):
    weights = []
    for k in range(len(A)):
        weight = 0.0
        for first, second, third in zip(G_noise[k], G2_noise[k], G3_noise[k], strict=True):
            denominator = 2 * second + sum(A[k]) * third
            weight += second / denominator * max(first, 0.0) if denominator else 0.0
        weights.append(weight)
    return weighted(A, weights)


def slow_integrated_grad_cam(A, G_path, **_):
    return weighted(A, [sum(g * a for g, a in zip(G_path[k], A[k], strict=True)) / len(A[k]) for k in range(len(A))])


def slow_shapley_cam(A, GR, HA, **_):
    return weighted(A, [sum(g - h / 2 for g, h in zip(GR[k], HA[k], strict=True)) / len(A[k]) for k in range(len(A))])


def mean_of(name):
    return lambda A, **given: weighted(A, [sum(channel) / len(channel) for channel in given[name]])


def weights_of(name):
    return lambda A, **given: weighted(A, given[name])


def slow_ablation_cam_slope(A, drop, **_):
    norms = [math.sqrt(sum(a * a for a in channel)) for channel in A]
    return weighted(A, [d / n if n else 0.0 for d, n in zip(drop, norms, strict=True)])


def standing_out(channel):
    mean = sum(channel) / len(channel)
    sigma = math.sqrt(sum((a - mean) ** 2 for a in channel) / len(channel))
    return [1.0 if a > mean + 2 * sigma else 0.0 for a in channel]


def slow_fem(A, **_):
    masks, means = [standing_out(channel) for channel in A], [sum(channel) / len(channel) for channel in A]
    assert any(map(any, masks))  # or the comparison would say nothing
    return weighted(masks, means)


def slow_fem_share(A, **_):
    return weighted(A, [sum(standing_out(channel)) / len(channel) for channel in A])


TWINS = {
    "CAM": slow_cam, "Grad-CAM": slow_grad_cam, "Grad-CAM++": slow_grad_cam_plus_plus, "XGrad-CAM": slow_xgrad_cam,
    "HiResCAM": slow_hires_cam, "LayerCAM": slow_layer_cam, "Ablation-CAM": slow_ablation_cam, "Score-CAM": slow_score_cam,
    "Score-CAM-softmax": slow_score_cam_softmax, "Score-CAM-softmax-logits": slow_score_cam_softmax_logits,
    "Grad-CAM-elementwise": slow_grad_cam_elementwise, "Grad-CAM++-miswritten": slow_grad_cam_plus_plus_miswritten,
    "Smooth-Grad-CAM++": slow_smooth_grad_cam_plus_plus, "Integrated-Grad-CAM": slow_integrated_grad_cam,
    "ShapleyCAM": slow_shapley_cam, "FinerCAM": mean_of("G_diff"), "Relevance-CAM": mean_of("lrp"),
    "Relevance-CAM-contrastive": mean_of("lrp_contrast"),
    "Ablation-CAM-slope": slow_ablation_cam_slope, "LIFT-CAM": weights_of("lift"), "SHAP-CAM": weights_of("shap"),
    "SS-CAM": weights_of("score_noise"), "IS-CAM": weights_of("score_path"), "Opti-CAM": weights_of("opti"),
    "FEM": slow_fem, "FEM-share": slow_fem_share,
}  # fmt: skip


def drawn(seed: int, signed: bool) -> dict[str, Tensor]:
    """Random terminals of 3 images, 5 channels, 2×3 pixels; channel 1 is dead, a third of the gradients are zero."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    maps = normal(3, 5, 2, 3) if signed else normal(3, 5, 2, 3).relu()
    maps[:, 0, 0, 0] = 9  # stands out by more than 2σ
    maps[:, 1] = 0
    gradients = normal(3, 5, 2, 3) * (torch.rand(3, 5, 2, 3, generator=generator) > 1 / 3)
    gradients[:, 2] = 0
    weights = ("fc", "drop", "score_logit", "score_noise", "score_path", "lift", "shap", "opti")
    pixels = ("G_noise", "G3_noise", "G_path", "GR", "HA", "G_diff", "lrp", "lrp_contrast")
    return {
        "A": maps, "G": gradients, "y": normal(3, 1) + 5, "score": normal(3, 5).sigmoid(), "G2_noise": normal(3, 5, 2, 3) ** 2,
        **{name: normal(3, 5) for name in weights}, **{name: normal(3, 5, 2, 3) for name in pixels},
    }  # fmt: skip


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", TWINS)
def test_slow_twins(name, signed):
    assert set(TWINS) == set(known_cams())
    for seed in range(3):
        terminals = drawn(seed, signed)
        found = localisation([known_cams()[name].term], Evaluator(terminals))[0]  # [B, h, w]
        for image in range(3):
            one = {key: value[image] for key, value in terminals.items()}
            given = {key: (value.flatten(1) if value.ndim == 3 else value).tolist() for key, value in one.items()}
            expected = TWINS[name](**given | {"g": given["G"], "y": given["y"][0]})
            assert found[image].flatten().tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_all_known_cams_at_once_are_each_alone():
    terms, terminals = [cam.term for cam in known_cams().values()], drawn(0, signed=False)
    together = localisation(terms, Evaluator(terminals))
    for i, term in enumerate(terms):
        torch.testing.assert_close(together[i], localisation([term], Evaluator(terminals))[0], rtol=1e-13, atol=1e-14)


# How a CAM is named.


@pytest.mark.parametrize("spec", ["Grad-CAM", "gradcam", "GRAD_CAM", "grad cam", "G-r-a-d-CAM"])
def test_a_name_ignores_case_and_dashes(spec):
    assert [cam.name for cam in find_cams(spec)] == ["Grad-CAM"]
    assert find_cams("gradcam++")[0].name == "Grad-CAM++"
    assert find_cams("score_cam_softmax")[0].name == "Score-CAM-softmax"


def test_all_names_every_known_cam():
    assert {cam.name for cam in find_cams("known")} == set(known_cams())
    assert {cam.name for cam in find_cams("baselines")} | {cam.name for cam in find_cams("controls")} == set(BASELINES)
    assert [cam.name for cam in find_cams("all")] == [
        cam.name for group in ("known", "baselines", "controls") for cam in find_cams(group)
    ]
    with pytest.raises(SycamError, match=r"'known' names \d+ CAMs \(CAM, Grad-CAM.*one is needed"):
        find_cam("known")


def test_a_term_is_a_cam():
    (cam,) = find_cams(" (relu (gap (m* A G)))")
    assert cam.terminals == ["A", "G"]
    assert find_cams("fc")[0].term is known_cams()["CAM"].term  # a terminal alone is a term
    assert cam_from_text("(gap G)").term is known_cams()["Grad-CAM"].term
    value = Evaluator(TINY).value(cam.term).flatten().tolist()  # (1 + 2)/4 and (2 - 1)/4
    assert value == [0.75, 0.25]


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("grad-cma", SycamError, r"no CAM, file or run 'grad-cma'; did you mean 'Grad-CAM'\? Give a name of"),
        ("xgradcan", SycamError, r"did you mean 'XGrad-CAM'\?"),
        ("zzz", SycamError, r"no CAM, file or run 'zzz': give a name of `sycam list cams`"),
        ("(gap H)", SygusError, r"H"),
        ("(gpa G)", SygusError, r"gpa.*did you mean.*gap"),
        ("(gap y)", SygusError, r"gap"),
        ("(gap G", SygusError, r"1:"),
        ("(> y 0.0)", SycamError, r"sort Real or Map; .* is Bool"),
        ("c", SycamError, r"sort Real or Map; c is Int"),
        ("missing.sy", SygusError, r"missing\.sy"),
    ],
)
def test_what_names_nothing_is_refused(spec, error, message):
    with pytest.raises(error, match=message):
        find_cams(spec)


def test_a_file_and_a_run_folder(tmp_path: Path):
    text = "(/ (gap (m* A (mrelu G))) (gap A))"
    answer = tmp_path / "answer.sy"
    answer.write_text(file_text("weight", cam_from_text(text).term, "the answer\nof a run"), encoding="utf-8")
    for spec in (answer, tmp_path):
        (cam,) = find_cams(str(spec))
        assert (cam.name, str(cam.term), cam.origin) == ("weight", text, str(answer))
    assert answer.read_text().startswith("; the answer\n; of a run\n")

    several = tmp_path / "mine.sy"
    several.write_text(
        "(set-logic ALL) (declare-sort Map 0) (declare-fun gap (Map) Real) (declare-fun m* (Map Map) Map)\n"
        "(define-fun square ((x Real)) Real (* x x))\n"  # no terminal: no CAM
        "(define-fun one ((A Map)) Real (square (gap A)))\n(define-fun two ((A Map) (G Map)) Map (m* A G))\n"
    )
    assert [cam.name for cam in find_cams(str(several))] == ["one", "two"]
    assert Evaluator(TINY).value(cams_in(several)[0].term).flatten().tolist() == [1.0, 4.0]
    with pytest.raises(SycamError, match="names 2 CAMs"):
        find_cam(str(several))

    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SycamError, match=r"is no run: it holds no answer\.sy"):
        find_cams(str(empty))
    none = tmp_path / "none.sy"
    none.write_text("(set-logic ALL)\n(define-fun square ((x Real)) Real (* x x))\n")
    with pytest.raises(SycamError, match="defines no CAM"):
        find_cams(str(none))


@pytest.mark.parametrize("name", SUMS)
def test_a_known_cam_written_as_a_file_is_read_back(name, tmp_path: Path):
    cam = known_cams()[name]
    path = tmp_path / "one.sy"
    path.write_text(file_text(cam.name, cam.term, "known"), encoding="utf-8")
    assert find_cam(str(path)).term is cam.term
    assert cam.define_fun().startswith(f"(define-fun {name} (")
    assert set(cam.terminals) <= set(TERMINALS)
