"""The whole table of metrics: laws that every metric that ships obeys, and weighted sums of them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from queries import query_of

from sycam.errors import SycamError
from sycam.metrics.metric import METRICS
from sycam.metrics.own.find import find_metric
from sycam.metrics.query import probe
from sycam.metrics.sums import weighted_sum

ALL = sorted(METRICS)


# Laws of every metric that ships


@pytest.mark.parametrize("name", ALL)
def test_batch_size_and_order_change_nothing(name):
    jobs = 3 if name == "road" else 9  # each job of which is 18 systems to solve
    whole = find_metric(name)(query_of(jobs, batch=64))
    for batch in (1, 5):
        torch.testing.assert_close(find_metric(name)(query_of(jobs, batch=batch)), whole, rtol=0, atol=2e-5)
    order = torch.randperm(jobs, generator=torch.Generator().manual_seed(1))
    base = query_of(jobs)
    shuffled = query_of(jobs, heatmaps=base.heatmaps[order], image_index=base.image_index[order], batch=7)
    torch.testing.assert_close(find_metric(name)(shuffled), whole[order], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ALL)
def test_double_precision_changes_nothing(name):
    single, double = find_metric(name)(query_of()), find_metric(name)(query_of(dtype=torch.float64))
    torch.testing.assert_close(single.double(), double.double(), rtol=1e-3, atol=2e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["noise", "empty", "full", "binary", "half empty"]))
def test_values_are_finite_and_within_bounds_on_any_heatmap(seed, kind):
    heat = torch.rand(5, 6, 6, generator=torch.Generator().manual_seed(seed))
    heat = {"noise": heat, "empty": 0 * heat, "full": 0 * heat + 1, "binary": (heat > 0.5).float(), "half empty": heat}[kind]
    if kind == "half empty":
        heat[:, :3] = 0
    masks = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(seed)) > 0.5
    masks[0] = False  # an empty mask
    query = query_of(5, 3, 6, seed=seed, heatmaps=heat, masks=masks)
    for name in ALL:
        raw = find_metric(name).compute(query)
        for column, (low, high) in zip(raw.view(5, -1).T, find_metric(name).bounds_of_parts, strict=True):
            assert ((column >= low - 1e-6) & (column <= high + 1e-6) & column.isfinite()).all(), (name, kind)


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_mutated(name):
    query = query_of()
    before = query._images.clone(), query.heatmaps.clone(), query._masks.clone()
    find_metric(name)(query)
    after = query._images, query.heatmaps, query._masks
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_certain_and_hopeless_images_are_defined():
    S = [[[0.0, 1.0], [0.0, 1.0]]] * 3
    query = probe(S, p=[1.0, 0.0, 1.0], o=[1.0, 0.5, 0.0], masked=S)
    assert find_metric("adcc")(query).tolist() == pytest.approx([3 / (1 + 2 + 1), 0.75, 0])  # the last lost everything
    crop_of_nothing = probe(S[:1], ask=lambda images: torch.tensor([[0.0, 1.0]]))
    assert find_metric("sm")(crop_of_nothing).item() == pytest.approx(math.log(0.5) - math.log(torch.finfo(torch.float32).tiny))


# Sums


def test_a_sum_is_the_sum_and_shares_passes():
    both = weighted_sum("(average-gain - average-drop) * 0.5 + 2/4*adcc", find_metric)
    query = query_of()
    parts = {name: find_metric(name)(query_of()) for name in ("average-gain", "average-drop", "adcc")}
    expected = 0.5 * parts["average-gain"] - 0.5 * parts["average-drop"] + 0.5 * parts["adcc"]
    torch.testing.assert_close(both(query), expected)
    assert (both.direction, both.bounds, both.redraws) == ("high", (-0.5, 1.0), True)
    assert weighted_sum("average-drop - 2*iou + 1", find_metric).bounds == (-1, 2)
    assert weighted_sum("average-drop - 2*iou + 1", find_metric).direction == "low"
    assert weighted_sum("0.5*iou@0.5-0.5*mae", find_metric).name == "0.5*iou@0.5-0.5*mae"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("iou + average-drop", "opposite directions"),
        ("iou * f1", "not multiplied"),
        ("1 / iou", "no divisor"),
        ("iou / 0", "divided by 0"),
        ("2 + 3", "at least one"),
        ("iou - iou", "at least one"),
        ("iou + + ", r"\^"),
        ("iou + io", "did you mean 'iou'"),
        ("2*adcc-of-means", "not a mean over images"),
        ("__import__('os')", r"\^"),
        ("1e999*iou", "not finite"),
    ],
)
def test_sums_that_make_no_sense(text, message):
    with pytest.raises(SycamError, match=message):
        weighted_sum(text, find_metric)
