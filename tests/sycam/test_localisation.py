"""Heatmaps against boxes and masks: connected parts, boxes, crops, the saliency metric, F1 and its kin."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from queries import query_of

from sycam.errors import SycamError
from sycam.metrics.components import connected_parts, largest_boxes
from sycam.metrics.kinds.ground_truth import LEVELS, OVERLAPS, crop
from sycam.metrics.own.find import find_metric


def flood(mask):
    """8-connected components by flood fill, as lists of pixels."""
    todo, found = {tuple(place) for place in np.argwhere(mask)}, []
    for start in sorted(todo):
        if start not in todo:
            continue
        stack, here = [start], []
        todo.discard(start)
        while stack:
            i, j = stack.pop()
            here.append((i, j))
            near = {(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & todo
            todo -= near
            stack.extend(near)
        found.append(here)
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.4, 0.6]))
def test_connected_parts_and_largest_boxes_agree_with_a_flood_fill(seed, share):
    masks = torch.rand(2, 9, 14, generator=torch.Generator().manual_seed(seed)) < share
    found, boxes = connected_parts(masks), largest_boxes(masks)
    for n in range(2):
        expected = flood(masks[n].numpy())
        ends = [[(min(axis), max(axis) + 1) for axis in zip(*part, strict=True)] for part in expected]
        assert found == sorted(found, key=lambda part: part[0])
        assert [part[1:] for part in found if part[0] == n] == [
            (len(part), (x[0], y[0], x[1], y[1])) for part, (y, x) in zip(expected, ends, strict=True)
        ]
        if expected:
            rows, columns = zip(*max(expected, key=len), strict=True)
            assert boxes[n].tolist() == [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


def test_a_snake_is_one_component():
    snake = torch.zeros(1, 41, 41, dtype=torch.bool)
    snake[:, ::2] = True
    snake[:, 1::4, -1] = snake[:, 3::4, 0] = True
    assert connected_parts(snake) == [(0, int(snake.sum()), (0, 0, 41, 41))]


def test_boxes_by_hand():
    heat = torch.zeros(1, 10, 10)
    heat[:, 2:6, 2:6], heat[:, 8, 8] = 0.6, 1.0  # the largest blob, and a hotter speck
    boxes = [torch.tensor([[2.0, 2.0, 6.0, 4.0], [8.0, 8.0, 9.0, 9.0]])]
    masks = torch.zeros(1, 10, 10, dtype=torch.bool)
    query = query_of(1, 1, 10, heatmaps=heat, boxes=boxes, masks=masks, labels=torch.tensor([1]), predicted=torch.tensor([1]))
    assert find_metric("le")(query).item() == pytest.approx(0.5)  # half of the blob's box is the first object
    assert find_metric("om")(query).item() == pytest.approx(0.5)
    query._predicted = torch.tensor([2])
    assert find_metric("om")(query).item() == 1
    # At η of 0.6 and more only the speck is left, and its box is the second object: every δ is reached.
    parts = find_metric("ba")(query)[0].tolist()
    expected = [1.0 if level >= 0.6 else sum(d <= 0.5 for d in OVERLAPS) / 3 for level in LEVELS]
    assert parts == pytest.approx(
        [1.0 if float(np.float32(0.6)) <= level else e for level, e in zip(LEVELS, expected, strict=True)]
    )
    assert find_metric("ba").aggregate(find_metric("ba")(query)).item() == 1


def test_the_best_threshold_belongs_to_all_images():
    parts = torch.zeros(2, len(LEVELS))
    parts[0, 3], parts[1, 5] = 1, 1  # each image has its own best η: together none is better than half
    assert find_metric("ba").aggregate(parts).item() == 0.5


def test_the_crop_is_what_interpolate_makes_of_it():
    images = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[2.0, 3.0, 7.0, 10.0], [0.0, 0.0, 10.0, 12.0]])
    expected = torch.nn.functional.interpolate(images[:1, :, 3:10, 2:7], (12, 10), mode="bilinear", align_corners=False)
    torch.testing.assert_close(crop(images, boxes)[:1], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(crop(images, boxes)[1], images[1], rtol=0, atol=1e-5)


def test_the_saliency_metric_by_hand():
    heat = torch.zeros(1, 10, 10)
    heat[:, 0:5, 0:4] = 1  # a fifth of the image
    query = query_of(1, 1, 10, heatmaps=heat, classes=torch.tensor([0]), ask=lambda x: torch.tensor([[0.25, 0.5, 0.25]]))
    assert find_metric("sm")(query).item() == pytest.approx(math.log(0.2) - math.log(0.25))
    speck = torch.zeros(1, 10, 10)
    speck[:, 0, 0] = 1  # less than 0.05
    query = query_of(1, 1, 10, heatmaps=speck, classes=torch.tensor([1]), ask=lambda x: torch.tensor([[0.25, 0.5, 0.25]]))
    assert find_metric("sm")(query).item() == pytest.approx(math.log(0.05) - math.log(0.5))


def test_ground_truth_agrees_with_its_slow_twin():
    query = query_of(12)
    for job in range(12):
        S, U = query.heatmaps[job].double().numpy().ravel(), query.masks[job].numpy().ravel()
        for name, level in (("f1", S.mean()), ("f1@0.7", 0.7), ("iou@0.25", 0.25)):
            hot = level < S
            both = (hot & U).sum()
            slow = 2 * both / (hot.sum() + U.sum()) if name.startswith("f1") else both / (hot | U).sum()
            assert find_metric(name)(query)[job].item() == pytest.approx(slow, abs=1e-6)
        assert find_metric("mae")(query)[job].item() == pytest.approx(np.abs(S - U).mean(), abs=1e-6)
        assert find_metric("pearson")(query)[job].item() == pytest.approx(np.corrcoef(S, U)[0, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("iou@2", "from 0, below 1"),
        ("iou@x", "from 0, below 1"),
        ("pointing@0.5", "binarises no heatmap"),
        ("iuo@0.5", "did you mean"),
    ],
)
def test_levels_that_make_no_sense(name, message):
    with pytest.raises(SycamError, match=message):
        find_metric(name)
