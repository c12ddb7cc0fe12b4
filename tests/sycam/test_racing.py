"""Racing: the capital is the martingale that the proof needs, the stated error holds, and nothing else is rejected."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path

import pytest
import torch

from sycam.metrics.metric import METRICS, Metric
from sycam.metrics.own.find import find_metric
from sycam.search.groups import all_images
from sycam.search.racing import PAIRED, SHARES, Race, Racing, SumTest, why_not
from sycam.search.stopping import Exact


@pytest.fixture(scope="module")
def bench():
    """benchmarks/racing.py, whose oracle looks scores up in a table."""
    spec = importlib.util.spec_from_file_location("bench_racing", Path(__file__).parents[2] / "benchmarks" / "racing.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def slow_capitals(numbers, highest, least, shares=SHARES):
    """The capitals after each number, one after the other, from the formula."""
    capitals, path = [1.0] * len(shares), []
    for t, number in enumerate(numbers):
        mean = (least - sum(numbers[:t])) / (len(numbers) - t)
        room = max(highest[t:]) - mean
        if room > 0:
            capitals = [c * (1 + f * max((mean - number) / room, -1)) for c, f in zip(capitals, shares, strict=True)]
        path.append(sum(capitals) / len(shares))
    return path


def test_a_capital_by_hand():
    test = SumTest(torch.tensor([1.0]), torch.tensor([1.0, 1.0]), error=0.5, shares=(0.5,))
    # m = 1/2, room 1/2: 1 + 0.5 · (0.5 − 0) / 0.5 = 1.5; then m = 1 and no number can be higher: no stake
    assert not test.rejects(torch.tensor([0]), torch.tensor([[0.0]]))
    assert float(test._capital.exp()) == pytest.approx(1.5)
    assert not test.rejects(torch.tensor([0]), torch.tensor([[0.0]]))
    assert float(test._capital.exp()) == pytest.approx(1.5)


@pytest.mark.parametrize("parts", [[20], [1] * 20, [3, 7, 10]])
def test_many_populations_at_once_are_those_one_after_the_other(parts):
    generator = torch.Generator().manual_seed(1)
    numbers = torch.rand(9, 20, generator=generator, dtype=torch.float64) - 0.5
    highest = numbers.amax(0) + torch.rand(20, generator=generator, dtype=torch.float64)
    least = numbers.sum(1) + torch.linspace(0, 8, 9, dtype=torch.float64)
    test, start, alive = SumTest(least, highest, error=0.1), 0, torch.arange(9)
    rejected = {}
    for size in parts:
        out = test.rejects(alive, numbers[alive, start : start + size])
        start += size
        rejected |= dict.fromkeys(alive[out].tolist(), start)
        alive = alive[~out]
    for row in range(9):
        path = slow_capitals(numbers[row].tolist(), highest.tolist(), float(least[row]))
        first = next((t + 1 for t, capital in enumerate(path) if capital >= 10), None)
        assert (first is None) == (row not in rejected), row
        if first is not None:
            assert rejected[row] >= first
            assert rejected[row] == next(end for end in itertools.accumulate(parts) if end >= first)
    assert 2 <= len(rejected) <= 8


@pytest.mark.parametrize(
    "numbers", [[-0.2, -0.2, -0.2, -0.2, -0.2, 1.0], [0.4, -0.4, 0.1, -0.1, 0.3, -0.3], [0, 0, 0, -1, 0.5, 0.5]]
)
def test_over_all_orders_no_capital_gains_and_few_reject(numbers):
    """Of a population that reaches the sum exactly, over all 720 orders: means of capitals, and how many orders reject."""
    highest, orders = [1.0] * 6, list(itertools.permutations(range(6)))
    paths = [slow_capitals([numbers[i] for i in order], highest, sum(numbers)) for order in orders]
    paths = torch.tensor(paths, dtype=torch.float64)
    assert (paths.mean(0) <= 1 + 1e-9).all()
    assert float(paths[:, 0].mean()) == pytest.approx(1)
    for error in (0.9, 0.75, 0.5, 0.25):
        rejected = 0
        for order in orders:
            test = SumTest(torch.tensor([sum(numbers)], dtype=torch.float64), torch.ones(6), error)
            rejected += bool(test.rejects(torch.tensor([0]), torch.tensor([[numbers[i] for i in order]], dtype=torch.float64)))
        assert rejected / len(orders) <= error
    assert (paths.amax(1) >= 1 / 0.75).any()  # a test that never rejects would show nothing


def test_each_images_own_bound_is_used():
    """Where what is left can only be low, room is small and stakes are high; the order of bounds is that of images."""
    numbers = torch.full((1, 6), -0.1, dtype=torch.float64)
    wide, narrow = (SumTest(torch.tensor([0.0]), torch.full((10,), high), 0.05) for high in (1.0, 0.1))
    assert not wide.rejects(torch.tensor([0]), numbers)
    assert narrow.rejects(torch.tensor([0]), numbers)


def test_witnesses_are_a_stratum_of_their_own():
    """What witnesses say enters the sum; nothing is staked on it."""
    incumbent = torch.full((30,), 0.5, dtype=torch.float64)
    others = torch.arange(2, 30)
    every, first = torch.arange(30), torch.arange(2)
    race = Race(find_metric("average-gain"), every, first, others, incumbent, 0.5, 1, error=0.05)
    assert not race.rejects(torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([[0.0, 0.0]], dtype=torch.float64))
    assert float(race._test._capital.exp().mean()) == pytest.approx(1)
    # Σ d ≥ N λ − β Σ b = 15 − 7.5, the witnesses give 2 (0 − β ½)
    assert float(race._test._left) == pytest.approx(7.5 + 2 * PAIRED * 0.5, abs=1e-9)
    rows, worse = torch.tensor([0]), torch.full((1, 28), 0.2, dtype=torch.float64)
    assert race.rejects(rows, others, worse)
    low = Race(find_metric("average-drop"), every, first[:0], others, incumbent, 0.5, 1, error=0.05)
    assert not low.rejects(rows, others, worse)  # there low is good


def test_orders_are_drawn_anew_and_independently_of_witnesses():
    racing, again = Racing(seed=3), Racing(seed=3)
    none, some = all_images(40), all_images(40)
    for image in (5, 6, 7):
        some.witnesses.add(image)
    first = torch.cat(racing.plan(find_metric("iou"), [none], [None], 4).stages)
    second = torch.cat(racing.plan(find_metric("iou"), [some], [None], 4).stages)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(40))
    assert set(second[:3].tolist()) == {5, 6, 7}
    assert not torch.equal(first[torch.isin(first, second[:3], invert=True)], second[3:])
    again.plan(find_metric("iou"), [some], [None], 4)
    assert torch.equal(torch.cat(again.plan(find_metric("iou"), [some], [None], 4).stages), second)


def test_every_order_of_the_others_is_as_likely():
    group = all_images(4)
    group.witnesses.add(2)
    racing, counts = Racing(seed=0), {}
    for _ in range(1200):
        plan = racing.plan(find_metric("iou"), [group], [None], 1)
        order = tuple(torch.cat(plan.stages).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6  # 2 first, then the orders of 0, 1, 3
    assert all(order[0] == 2 and 150 < count < 250 for order, count in counts.items())


@pytest.mark.parametrize("kind", ["coins", "rare gains", "narrow"])
def test_the_stated_error_holds_where_every_candidate_ties(bench, kind):
    """Runs of 8 candidates that all have the same mean but one that is better by a hair: the hardest case there is."""
    generator, measured = torch.Generator().manual_seed(0), find_metric("average-gain")
    wrong, early, error, runs = 0, 0, 0.3, 120
    for seed in range(runs):
        table = bench.hard(kind, 8, 60, generator)
        best = seed % 8
        table = bench.tied(table, 0.3, best, 1e-9)
        assert bench.exhaustive(table, measured, list(range(8))) == best
        answer, asked = bench.run(table, measured, Racing(error, seed), list(range(8)), None, seed, at_once=3)
        wrong += answer != best
        early += asked < 8 * 60
    assert bench.wilson(wrong, runs)[0] <= error
    assert early > 0 or kind == "narrow"  # of differences this small no bet is worth it


def test_racing_asks_less_than_exact_and_finds_the_same(bench):
    generator = torch.Generator().manual_seed(2)
    quality = torch.rand(60, 1, generator=generator, dtype=torch.float64)
    table = (torch.rand(60, 400, generator=generator, dtype=torch.float64) * 0.5 + 0.5 * quality).clamp(0, 1)
    for name, scores in (("average-gain", table), ("average-drop", 1 - table)):
        best = bench.exhaustive(scores, find_metric(name), list(range(60)))
        exact, all_of_exact = bench.run(scores, find_metric(name), Exact(), list(range(60)), 0, 0)
        racing, all_of_racing = bench.run(scores, find_metric(name), Racing(0.05, 0), list(range(60)), 0, 0)
        assert exact == racing == best
        assert all_of_racing * 5 < all_of_exact


def test_where_racing_is_no_rule():
    assert {name for name, one in METRICS.items() if why_not(one)} == {"adcc-of-means", "ba"}
    endless = Metric("endless", lambda query: query.o, "high", (0.0, math.inf))
    assert why_not(endless) == "endless has no best value"
    assert not why_not(Metric("below", lambda query: query.o, "high", (-math.inf, 1.0)))
