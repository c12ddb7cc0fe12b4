"""The metric oracle against one candidate on one image at a time, and what it may cost."""

from __future__ import annotations

import pytest
import torch
from worlds import gathered, tiny_images, tiny_network

from sycam.cams import cam_from_text
from sycam.errors import SycamError
from sycam.heatmap import post
from sycam.metrics.metric import METRICS, Metric
from sycam.metrics.own.find import find_metric
from sycam.scoring import MetricOracle, signatures
from sycam.terminals import View

TEXTS = ["(gap G)", "(gap (m* A G))", "(m* A (mrelu G))", "(m* A G)", "(/ (gap (m* A G)) (gap A))", "(softmax (gap G))", "drop"]


def make(names=("A", "G", "drop"), count=12, **options):
    network, images = tiny_network(), tiny_images(count)
    cache = gathered(network, images, names, batch=5)
    return network, images, cache, options


def slow_score(network, images, text, name, place):
    """One image, one candidate, one pass, written out."""
    x = images.normalised([place], network)
    view = View(network, x)
    A, G = view["A"][0].double(), view["G"][0].double()
    w = {
        "(gap G)": lambda: G.mean((1, 2)),
        "(gap (m* A G))": lambda: (A * G).mean((1, 2)),
        "(/ (gap (m* A G)) (gap A))": lambda: torch.nan_to_num((A * G).mean((1, 2)) / A.mean((1, 2)), 0.0, 0.0, 0.0),
        "(softmax (gap G))": lambda: G.mean((1, 2)).softmax(0),
        "drop": lambda: torch.stack([view["y"][0, 0] - without(network, A, k, view.classes[0]) for k in range(len(A))]).double(),
    }
    if text in w:
        combined = (w[text]()[:, None, None] * A).sum(0)
    else:
        combined = (A * (G.relu() if "mrelu" in text else G)).sum(0)
    heatmap = post(combined[None].float(), 16)[0]
    c = int(view.classes[0])
    p = float(network.logits(x).softmax(1)[0, c])
    o = float(network.logits(x * heatmap).softmax(1)[0, c])
    U = images.masks[place]
    return {
        "average-gain": max(o - p, 0) / (1 - p),
        "average-drop": max(p - o, 0) / p,
        "average-increase": float(o > p),
        "pointing": float(U.flatten()[heatmap.flatten().argmax()]),
        "energy-pointing": float(heatmap[U].sum() / heatmap.sum()) if heatmap.sum() > 0 else 0.0,
        "iou": float(((heatmap > heatmap.mean()) & U).sum() / ((heatmap > heatmap.mean()) | U).sum()),
    }[name]


def without(network, A, k, c):
    changed = A.float().clone()
    changed[k] = 0
    return network.tail(changed[None])[0, c].detach()


@pytest.mark.parametrize("name", ["average-gain", "average-drop", "average-increase", "pointing", "energy-pointing", "iou"])
def test_scores_equal_one_at_a_time(name):
    network, images, cache, _ = make()
    oracle = MetricOracle(cache, find_metric(name), batch=7)
    terms = [cam_from_text(text).term for text in TEXTS]
    maps, finite = oracle.maps(terms)
    assert finite.all()
    values = oracle.score(maps, torch.arange(12))
    for i, text in enumerate(TEXTS):
        for place in range(12):
            assert values[i, place] == pytest.approx(slow_score(network, images, text, name, place), abs=2e-5), (text, place)


def test_batch_order_and_subset_change_nothing():
    _, _, cache, _ = make()
    terms = [cam_from_text(text).term for text in TEXTS]
    oracle = MetricOracle(cache, find_metric("average-gain"), batch=64)
    maps, _ = oracle.maps(terms)
    whole = oracle.score(maps, torch.arange(12))
    other = MetricOracle(cache, find_metric("average-gain"), batch=3)
    order = torch.tensor([7, 2, 11, 0])
    part_maps, _ = other.maps(list(reversed(terms)), order)
    part = other.score(part_maps, order)
    torch.testing.assert_close(part.flip(0), whole[:, order], atol=1e-6, rtol=0)


def test_equal_heatmaps_of_an_image_share_one_pass():
    _, _, cache, _ = make()
    oracle = MetricOracle(cache, find_metric("average-gain"))
    terms = [cam_from_text(t).term for t in ("(gap G)", "(* 2.0 (gap G))", "(+ (gap G) (gap G))", "(/ (gap G) 8.0)", "(gap A)")]
    maps, _ = oracle.maps(terms)
    before = oracle.spent.passes
    values = oracle.score(maps, torch.arange(12))
    assert oracle.spent.passes - before <= 2 * 12
    assert oracle.spent.asked == 60
    assert oracle.spent.shared >= 36
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[3])
    keys = signatures(maps)
    assert len(set(keys[:4])) == 1
    assert keys[4] != keys[0]


def test_never_more_passes_than_candidates_times_images():
    _, _, cache, _ = make()
    oracle = MetricOracle(cache, find_metric("average-drop"), batch=16)
    terms = [cam_from_text(text).term for text in TEXTS]
    before = cache.network.passes.full
    oracle.score(oracle.maps(terms)[0], torch.arange(12))
    assert oracle.spent.passes <= len(terms) * 12
    assert cache.network.passes.full - before == oracle.spent.passes


def test_a_term_that_is_not_finite_is_told_and_draws_nothing():
    _, _, cache, _ = make()
    oracle = MetricOracle(cache, find_metric("average-gain"))
    maps, finite = oracle.maps([cam_from_text("(exp (* 1000000.0 (gap A)))").term, cam_from_text("(gap G)").term])
    assert not finite[0].any()
    assert finite[1].all()
    assert not maps[0].any()


def test_out_of_memory_halves_the_batch_and_loses_nothing(monkeypatch):
    network, _, cache, _ = make()
    terms = [cam_from_text(text).term for text in TEXTS]
    expected = MetricOracle(cache, find_metric("average-gain"), batch=8).score(
        MetricOracle(cache, find_metric("average-gain")).maps(terms)[0], torch.arange(12)
    )
    logits = network.logits

    def small(images):
        if len(images) > 5:
            raise torch.OutOfMemoryError("no memory")
        return logits(images)

    monkeypatch.setattr(network, "logits", small)
    oracle = MetricOracle(cache, find_metric("average-gain"), batch=32)
    values = oracle.score(oracle.maps(terms)[0], torch.arange(12))
    torch.testing.assert_close(values, expected, atol=1e-6, rtol=0)
    assert oracle.batch == 4
    assert oracle.spent.halvings == 3
    monkeypatch.setattr(network, "logits", lambda images: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all")))
    with pytest.raises(SycamError, match="too little memory for one image"):
        oracle.score(oracle.maps(terms)[0], torch.arange(12))


def test_masks_are_asked_for():
    cache = gathered(tiny_network(), tiny_images(4, masks=False), ["A"])
    with pytest.raises(SycamError, match=r"'iou' needs a mask or boxes on every image; 4 of 4 have none, first image-0.png"):
        MetricOracle(cache, find_metric("iou"))


def test_a_metric_of_the_users_own_is_asked_the_same_way():
    _, _, cache, _ = make()
    mine = Metric("mine", lambda query: query.o * query.heatmaps.mean((1, 2)), "high", (0.0, 1.0))
    oracle = MetricOracle(cache, mine)
    values = oracle.score(oracle.maps([cam_from_text("(gap G)").term])[0], torch.arange(12))
    assert values.shape == (1, 12)
    assert (values > 0).any()
    assert "mine" not in METRICS


def test_a_cache_of_some_images_is_the_cache_of_those_images():
    network, images, cache, _ = make()
    places = torch.tensor([3, 8])
    part, direct = cache.select(places), gathered(network, images.select(places), ["A", "G", "drop"])
    for name in ("A", "G", "drop"):
        torch.testing.assert_close(part.values[name], direct.values[name])
    assert torch.equal(part.classes, direct.classes)


def test_terminals_that_are_not_finite_name_the_image():
    network, images = tiny_network(), tiny_images(3)
    with torch.no_grad():
        network.model.classifier[2].weight[:] = 1e38
    with pytest.raises(SycamError, match="NaN|infinite"):
        gathered(network, images, ["G"])
