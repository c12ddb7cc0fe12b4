"""Confidence intervals of means and of paired differences: the bootstrap against its slow twin, the normal law, and laws."""

import math

import numpy as np
import pytest
import torch

from sycam.errors import SycamError
from sycam.metrics import intervals
from sycam.metrics.intervals import bootstrap_interval, paired_difference_interval


def test_the_bootstrap_agrees_with_its_slow_twin():
    values = torch.rand(30, generator=torch.Generator().manual_seed(5))
    draws = torch.randint(30, (500, 30), generator=torch.Generator().manual_seed(9))
    means = sorted(sum(values[i].item() for i in row) / 30 for row in draws.tolist())
    lo, hi = bootstrap_interval(values, level=0.9, resamples=500, seed=9)
    assert (lo, hi) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])), abs=1e-9)


def test_the_bootstrap_is_near_the_normal_interval():
    values = torch.randn(400, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    half = 1.96 * (values.std() / 20).item()
    lo, hi = bootstrap_interval(values, resamples=4000)
    assert lo == pytest.approx(values.mean().item() - half, abs=0.15 * half)
    assert hi == pytest.approx(values.mean().item() + half, abs=0.15 * half)


def test_chunks_change_no_interval(monkeypatch):
    values = torch.rand(101)
    whole = bootstrap_interval(values, resamples=300)
    for at_once in (1, 101 * 7, 101 * 299):
        monkeypatch.setattr(intervals, "INDICES_AT_ONCE", at_once)
        assert bootstrap_interval(values, resamples=300) == whole
    monkeypatch.undo()
    assert bootstrap_interval(values, resamples=300, seed=1) != whole


def test_pairing_takes_the_difficulty_of_images_out():
    hard = torch.rand(200, generator=torch.Generator().manual_seed(7))
    noise = 0.01 * torch.randn(200, generator=torch.Generator().manual_seed(8))
    a, b = hard + 0.02 + noise, hard
    lo, hi = paired_difference_interval(a, b)
    assert 0.015 < lo < 0.02 < hi < 0.025
    assert bootstrap_interval(a)[0] < bootstrap_interval(b)[1]  # apart, the two intervals overlap
    back = paired_difference_interval(b, a)
    assert back == pytest.approx((-hi, -lo), abs=1e-4)


def test_intervals_of_little_and_of_much():
    assert bootstrap_interval(torch.tensor([0.25])) == (0.25, 0.25)
    lo, hi = bootstrap_interval(torch.rand(50_000, generator=torch.Generator().manual_seed(1)), resamples=100)
    assert 0.49 < lo < 0.5 < hi < 0.51


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(0),), r"N at least 1, not \[0\]"),
        ((torch.zeros(2, 2),), r"not \[2, 2\]"),
        ((torch.tensor([0.0, math.nan]),), "1 of 2 scores are not finite"),
        ((torch.zeros(2), 95), "between 0 and 1, such as 0.95, not 95"),
        ((torch.zeros(2), 0.95, 0), "at least one resample"),
    ],
)
def test_intervals_that_make_no_sense(arguments, message):
    with pytest.raises(SycamError, match=message):
        bootstrap_interval(*arguments)


def test_a_paired_interval_needs_pairs():
    with pytest.raises(SycamError, match=r"not \[2\] scores against \[3\]"):
        paired_difference_interval(torch.zeros(2), torch.zeros(3))
