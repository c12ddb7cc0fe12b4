"""Metrics: hand-computed values on a network with set weights, slow twins from the papers, and laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sycam.errors import SycamError
from sycam.metrics.metric import METRICS, Metric, register_metric, registering_into
from sycam.metrics.own.find import find_metric, list_metrics
from sycam.metrics.query import Query, probe

MASKING = ["average-drop", "average-increase", "average-gain", "drop-in-deletion"]
GROUND_TRUTH = ["iou", "pointing", "energy-pointing"]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


class Network:
    """Two classes; the logit of class 1 is 4 × the mean of the red channel, that of class 0 is 0. Counts its images."""

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        red = 4 * images[:, 0].mean((-2, -1))
        return torch.stack([torch.zeros_like(red), red], 1).softmax(1)


def random_query(jobs=13, unique=5, size=6, seed=0, batch=64, network=None, **more):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(unique, 3, size, size, generator=generator)
    ask = network or Network()
    classes = torch.randint(0, 2, (unique,), generator=generator)
    given = {
        "heatmaps": torch.rand(jobs, size, size, generator=generator),
        "images": images,
        "classes": classes,
        "p": ask(images).gather(1, classes[:, None])[:, 0],
        "image_index": torch.randint(0, unique, (jobs,), generator=generator),
        "masks": torch.rand(unique, size, size, generator=generator) > 0.6,
        "names": [f"{row}.png" for row in range(unique)],
    } | more
    return Query(ask=ask, batch=batch, **given)


# By hand


def test_masking_by_hand():
    # A red image: p = sigmoid(4). Its left quarter is kept: o = sigmoid(1), d = sigmoid(3).
    red = torch.zeros(1, 3, 2, 4)
    red[:, 0] = 1
    quarter = torch.tensor([[[1.0, 0, 0, 0], [1, 0, 0, 0]]])
    p, o, d = sigmoid(4), sigmoid(1), sigmoid(3)
    query = Query(quarter, red, torch.tensor([1]), torch.tensor([p]), Network())
    assert find_metric("average-drop")(query).item() == pytest.approx((p - o) / p, abs=1e-6)
    assert find_metric("average-increase")(query).item() == 0
    assert find_metric("average-gain")(query).item() == 0
    assert find_metric("drop-in-deletion")(query).item() == pytest.approx((p - d) / p, abs=1e-6)
    # Of class 0 the same mask is good news: 1 - p = sigmoid(-4), and so on.
    p, o, d = sigmoid(-4), sigmoid(-1), sigmoid(-3)
    query = Query(quarter, red, torch.tensor([0]), torch.tensor([p]), Network())
    assert find_metric("average-drop")(query).item() == 0
    assert find_metric("average-increase")(query).item() == 1
    assert find_metric("average-gain")(query).item() == pytest.approx((o - p) / (1 - p), abs=1e-6)
    assert find_metric("drop-in-deletion")(query).item() == pytest.approx((p - d) / p, abs=1e-5)


def test_certain_and_hopeless_images():
    query = probe(p=[1.0, 1.0, 0.0, 0.0], o=[1.0, 0.25, 0.0, 0.5], d=[0.0, 1.0, 0.0, 0.5])
    assert find_metric("average-drop")(query).tolist() == [0, 0.75, 0, 0]
    assert find_metric("average-increase")(query).tolist() == [0, 0, 0, 1]
    assert find_metric("average-gain")(query).tolist() == [0, 0, 0, 0.5]
    assert find_metric("drop-in-deletion")(query).tolist() == [1, 0, 0, 0]


def test_deletion_of_a_vanishing_probability_is_finite():
    tiny = torch.finfo(torch.float32).tiny
    values = find_metric("drop-in-deletion")(probe(p=[tiny, tiny / 2, 1e-45], d=[1.0, 1.0, 1.0]))
    assert values[0] < -1e37
    assert values[1:].tolist() == [0, 0]


def test_ground_truth_by_hand():
    heat = [[0.0, 0.2, 0.0], [0.0, 1.0, 0.8], [0.0, 0.0, 0.0]]  # mean 2/9: hot are (1, 1) and (1, 2)
    two_boxes = [[1, 1, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    union = torch.tensor(two_boxes).bool().any(0)
    query = probe([heat], masks=union[None])
    assert find_metric("iou")(query).item() == pytest.approx(2 / 6)
    assert find_metric("pointing")(query).item() == 1
    assert find_metric("energy-pointing")(query).item() == pytest.approx(1)
    left = probe([heat], masks=torch.tensor(two_boxes[0]).bool()[None])
    assert find_metric("iou")(left).item() == 0
    assert find_metric("pointing")(left).item() == 0
    assert find_metric("energy-pointing")(left).item() == pytest.approx(0.2 / 2)


def test_ties_go_to_the_first_pixel_in_row_major_order():
    heat = torch.zeros(1, 40, 50)
    heat[0, 3, 40] = heat[0, 4, 2] = heat[0, 30, 0] = 0.7
    for (row, column), hit in {(3, 40): 1, (4, 2): 0, (30, 0): 0}.items():
        mask = torch.zeros(1, 40, 50, dtype=torch.bool)
        mask[0, row, column] = True
        assert find_metric("pointing")(probe(heat, masks=mask)).item() == hit


@pytest.mark.parametrize("level", [0.0, 0.1, 0.3, 1 / 3, 0.7, 1.0])
def test_a_constant_heatmap_says_nothing(level):
    mask = torch.zeros(2, 37, 53, dtype=torch.bool)
    mask[0, 0, 0] = mask[1, 5, 5] = True
    query = probe(torch.full((2, 37, 53), level), masks=mask)
    assert find_metric("iou")(query).tolist() == [0, 0]
    assert find_metric("pointing")(query).tolist() == [1, 0]  # both point at the first pixel
    expected = 1 / (37 * 53) if level else 0
    assert find_metric("energy-pointing")(query).tolist() == pytest.approx([expected] * 2, rel=1e-5)


def test_an_empty_heatmap_asks_about_the_empty_image():
    query = random_query(heatmaps=torch.zeros(13, 6, 6))
    assert query.o.tolist() == pytest.approx([0.5] * 13)  # logits 0 and 0
    torch.testing.assert_close(query.d, query.p)


# Slow twins: one job at a time, from the papers' formulae


def test_masking_agrees_with_its_slow_twin():
    query = random_query(40, batch=7)
    network = Network()
    for job in range(40):
        image, heat, of = query.images[job], query.heatmaps[job].double(), int(query.classes[job])
        p = network(image[None].double())[0, of].item()
        o = network((image * heat)[None])[0, of].item()
        d = network((image * (1 - heat))[None])[0, of].item()
        slow = [max(0, p - o) / p, float(p < o), max(0, o - p) / (1 - p), (p - d) / p]
        for name, value in zip(MASKING, slow, strict=True):
            assert find_metric(name)(query)[job].item() == pytest.approx(value, abs=2e-6), name


def test_ground_truth_agrees_with_its_slow_twin():
    query = random_query(40)
    for job in range(40):
        heat, truth = query.heatmaps[job].double().numpy(), query.masks[job].numpy()
        mean, both, either, inside, hottest = heat.mean(), 0, 0, 0.0, (0, 0)
        for row, column in np.ndindex(heat.shape):
            hot = heat[row, column] > mean
            both += hot and truth[row, column]
            either += hot or truth[row, column]
            inside += heat[row, column] * truth[row, column]
            if heat[row, column] > heat[hottest]:
                hottest = (row, column)
        slow = [both / either, float(truth[hottest]), inside / heat.sum()]
        for name, value in zip(GROUND_TRUTH, slow, strict=True):
            assert find_metric(name)(query)[job].item() == pytest.approx(value, abs=1e-6), name


# Laws


@pytest.mark.parametrize("name", MASKING + GROUND_TRUTH)
def test_batch_size_and_order_change_nothing(name):
    reference = find_metric(name)(random_query(batch=64))
    for batch in (1, 4, 13):
        torch.testing.assert_close(find_metric(name)(random_query(batch=batch)), reference, rtol=0, atol=1e-6)
    query = random_query()
    order = torch.randperm(13, generator=torch.Generator().manual_seed(3))
    shuffled = random_query(heatmaps=query.heatmaps[order], image_index=query.image_index[order])
    torch.testing.assert_close(find_metric(name)(shuffled), reference[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", MASKING + GROUND_TRUTH)
def test_shared_images_are_as_good_as_repeated_ones(name):
    shared = random_query()
    rows = shared.image_index
    repeated = random_query(
        images=shared.images,
        classes=shared.classes,
        p=shared.p,
        masks=shared.masks,
        names=shared.names,
        image_index=None,
    )
    assert repeated.names == [f"{row}.png" for row in rows.tolist()]
    torch.testing.assert_close(find_metric(name)(shared), find_metric(name)(repeated), rtol=0, atol=0)


def test_drop_increase_and_gain_cost_one_pass_together():
    network = Network()
    query = random_query(13, batch=4, network=network)
    network.batches.clear()
    for name in ("average-drop", "average-increase", "average-gain"):
        find_metric(name)(query)
    assert network.batches == [4, 4, 4, 1]  # and never more than the batch at once
    find_metric("drop-in-deletion")(query)
    assert sum(network.batches) == 26
    for name in GROUND_TRUTH:
        find_metric(name)(query)
    assert sum(network.batches) == 26


@pytest.mark.parametrize("name", MASKING)
def test_passes_are_stated_truly(name):
    network = Network()
    query = random_query(13, network=network)
    network.batches.clear()
    find_metric(name)(query)
    assert sum(network.batches) == 13 * find_metric(name).passes


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 5]), st.sampled_from([torch.float32, torch.float64]))
def test_values_stay_within_bounds(seed, power, dtype):
    query = random_query(8, seed=seed)
    query.heatmaps = query.heatmaps.to(dtype) ** power * (query.heatmaps > 0.3)
    for name in MASKING + GROUND_TRUTH:
        low, high = find_metric(name).bounds
        raw = find_metric(name).compute(query)
        assert ((raw >= low - 1e-6) & (raw <= high + 1e-6)).all(), name
        checked = find_metric(name)(query)
        assert ((checked >= low) & (checked <= high)).all(), name


def test_nothing_is_mutated():
    query = random_query()
    before = query._images.clone(), query.heatmaps.clone()
    for name in MASKING + GROUND_TRUTH:
        find_metric(name)(query)
    assert torch.equal(before[0], query._images)
    assert torch.equal(before[1], query.heatmaps)


def test_black_masking_masks_the_raw_image():
    mean, std = torch.tensor([0.4, 0.5, 0.6])[:, None, None], torch.tensor([0.2, 0.3, 0.25])[:, None, None]
    raw = torch.rand(3, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    heat = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(2))
    classes = torch.ones(3, dtype=torch.long)
    query = Query(heat, (raw - mean) / std, classes, torch.rand(3), Network(), fill=(-mean / std).flatten(), batch=2)
    for probabilities, weights in ((query.o, heat), (query.d, 1 - heat)):
        expected = Network()((raw * weights[:, None] - mean) / std)[:, 1]
        torch.testing.assert_close(probabilities, expected)


def test_an_edit_of_ones_own():
    query = random_query(batch=4)
    flipped = query.probability_after(lambda images, heatmaps: images.flip(-1) * (heatmaps > 0.5))
    expected = query.probability(query.images.flip(-1) * (query.heatmaps[:, None] > 0.5))
    torch.testing.assert_close(flipped, expected)


def test_half_precision_networks_are_widened_and_no_jobs_are_no_error():
    def half(images):
        return Network()(images).half()

    assert random_query(network=half).o.dtype == torch.float32
    empty = random_query(heatmaps=torch.zeros(0, 6, 6), image_index=torch.zeros(0, dtype=torch.long))
    assert find_metric("average-gain")(empty).shape == (0,)
    assert find_metric("iou")(empty).shape == (0,)


# Errors


def test_a_network_that_answers_with_logits_or_nan_is_named_with_the_images():
    def logits(images):
        return Network()(images) * 7

    with pytest.raises(SycamError, match=r"answered .* where a probability in \[0, 1\] was expected"):
        _ = random_query(network=logits, p=torch.rand(5)).o

    def broken(images):
        answer = Network()(images)
        answer[2] = torch.nan
        return answer

    query = random_query(13, network=broken, p=torch.rand(5))
    with pytest.raises(SycamError, match=f"answered NaN on {query.names[2]}"):
        find_metric("average-increase")(query)
    with pytest.raises(SycamError, match=r"answered NaN on 3.png"):
        find_metric("average-drop")(random_query(p=torch.tensor([0.1, 0.2, 0.3, torch.nan, 0.5])))


def test_masks_are_asked_for():
    with pytest.raises(SycamError, match=r"'iou' compares heatmaps with ground truth.*have no masks"):
        find_metric("iou")(random_query(masks=None))
    with pytest.raises(SycamError, match="needs_masks=True"):
        _ = random_query(masks=None).masks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heatmaps": torch.zeros(13, 1, 6, 6)}, r"heatmaps must have the shape \[N, H, W\]"),
        ({"heatmaps": torch.zeros(13, 7, 6)}, r"images must have the shape \[B, 3, 7, 6\]"),
        ({"image_index": None}, r"13 heatmaps on 5 images: say with image_index \[13\]"),
        ({"image_index": torch.zeros(12, dtype=torch.long)}, r"image_index must have the shape \[13\].*not \[12\]"),
        ({"classes": torch.zeros(13, dtype=torch.long)}, r"classes must have the shape \[5\], not \[13\]"),
        ({"p": torch.zeros(5, 1)}, r"p must have the shape \[5\], not \[5, 1\]"),
        ({"masks": torch.zeros(5, 6, 6)}, "masks must be boolean, not torch.float32"),
        ({"names": ["a"]}, "1 names for 5 images"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"fill": torch.zeros(1)}, r"fill must have the shape \[3\], not \[1\]"),
    ],
)
def test_a_query_that_does_not_fit_together(change, message):
    with pytest.raises(SycamError, match=message):
        random_query(**change)


def made(compute, **more):
    return Metric("mine", compute, **({"direction": "high"} | more))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda q: q.heatmaps.mean(), r"'mine' must return one number per job, shape \[13\], not \[\]; take the mean"),
        (lambda q: q.p[:4], r"shape \[13\], not \[4\]"),
        (lambda q: q.classes, "must return floating-point numbers, not torch.int64: end with .float()"),
        (lambda q: 0.5, "must return a tensor .* not a float"),
        (lambda q: q.p * 0 + 1.5, r"'mine' returned 1.5 on .*\.png.* and 10 more; it states the bounds \[0, 1\]"),
        (lambda q: q.p / 0, r"returned inf on .* must be finite"),
        (lambda q: torch.where(q.image_index == 3, torch.nan, q.p), r"returned nan on 3\.png"),
    ],
)
def test_a_wrong_answer_is_refused(answer, message):
    with pytest.raises(SycamError, match=message):
        made(answer)(random_query())


def test_rounding_is_moved_back_onto_the_bounds():
    answer = torch.tensor([-5e-7, 0.5, 1 + 5e-7])
    assert made(lambda q: answer)(probe(p=[0.5] * 3)).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction": "up"}, "direction must be 'high' or 'low'"),
        ({"bounds": (1, 0)}, "bounds must be two numbers"),
        ({"bounds": (0, math.nan)}, "bounds must be two numbers"),
        ({"bounds": 1}, "bounds must be two numbers"),
        ({"passes": -1}, "passes must be"),
        ({"passes": 1.5}, "passes must be"),
        ({"name": "my metric"}, "must be one word"),
    ],
)
def test_a_metric_that_makes_no_sense(change, message):
    with pytest.raises(SycamError, match=message):
        Metric(**({"name": "mine", "compute": len, "direction": "high"} | change))


# The register


def test_the_register():
    assert {*MASKING, *GROUND_TRUTH} <= set(METRICS)
    assert list_metrics("*gain*") == ["average-gain"]
    assert list_metrics() == sorted(METRICS)
    with pytest.raises(SycamError, match=r"no metric 'average-dorp'; did you mean 'average-drop'?"):
        find_metric("average-dorp")
    with (
        registering_into({"average-drop": find_metric("average-drop")}),
        pytest.raises(SycamError, match="already a metric 'average-drop'"),
    ):
        register_metric("average-drop", direction="low")(lambda query: query.p)
    for found in METRICS.values():
        assert found.doc, found.name
        assert found.source, found.name


def test_better_perfect_and_worst():
    drop, gain = find_metric("average-drop"), find_metric("average-gain")
    assert (drop.perfect, drop.worst, gain.perfect, gain.worst) == (0, 1, 1, 0)
    assert find_metric("drop-in-deletion").perfect == 1
    assert find_metric("drop-in-deletion").worst == -math.inf
    assert drop.better(0.1, 0.2)
    assert not drop.better(0.2, 0.2)
    assert not gain.better(math.nan, 0.2)
    assert gain.better(torch.tensor([0.1, 0.3]), torch.tensor([0.2, 0.2])).tolist() == [False, True]
