"""The loop: its answer is that of brute force, whatever the order of images and the batches."""

from __future__ import annotations

import os
import signal
import weakref

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import gathered, search, tiny_images, tiny_network

from sycam.errors import SycamError
from sycam.metrics.metric import Metric
from sycam.metrics.own.find import find_metric
from sycam.scoring import MetricOracle
from sycam.search import Budget
from sycam.search.groups import Witnesses, doubling
from sygus import Candidate


def brute_force(candidates, oracle):
    """Every candidate on every image, one after the other; the first of the best."""
    best = None
    for candidate in candidates:
        maps, finite = oracle.maps([candidate.term])
        if not finite.all():
            continue
        value = float(oracle.score(maps, torch.arange(len(oracle.cache))).mean())
        if best is None or (value > best[1] + 1e-12 if oracle.metric.direction == "high" else value < best[1] - 1e-12):
            best = candidate.term, value
    return best


@pytest.mark.parametrize("name", ["average-gain", "average-drop", "average-increase", "pointing", "energy-pointing", "iou"])
def test_the_answer_is_that_of_brute_force(candidates, name):
    cache = gathered(tiny_network(3), tiny_images(12, seed=3), ["A", "G", "y"])
    expected = brute_force(candidates, MetricOracle(cache, find_metric(name)))
    found = search(iter(candidates), MetricOracle(cache, find_metric(name), batch=16), None, Budget(), at_once=20, seed=5)
    assert found.incumbent.score == pytest.approx(expected[1], abs=1e-6)
    assert found.stopped_by == "every term of the bounded grammar was tried"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    network=st.integers(0, 5), images=st.integers(2, 15), seed=st.integers(0, 99), at_once=st.integers(1, 40),
    batch=st.integers(1, 40), name=st.sampled_from(["average-drop", "iou", "average-gain"]),
)  # fmt: skip
def test_batches_orders_and_seeds_change_no_answer(candidates, network, images, seed, at_once, batch, name):
    cache = gathered(tiny_network(network), tiny_images(images, seed=network), ["A", "G", "y"])
    some = candidates[:60]
    expected = brute_force(some, MetricOracle(cache, find_metric(name)))
    found = search(iter(some), MetricOracle(cache, find_metric(name), batch), None, Budget(), at_once=at_once, seed=seed)
    assert found.incumbent.score == pytest.approx(expected[1], abs=1e-5)


def test_exact_saves_passes_and_rejects_only_what_cannot_win(candidates):
    cache = gathered(tiny_network(3), tiny_images(40, seed=3), ["A", "G", "y"])
    oracle, tried = MetricOracle(cache, find_metric("iou")), []
    found = search(iter(candidates), oracle, None, Budget(), at_once=8, on_batch=lambda _, batch: tried.extend(batch))
    assert found.rejected_early > 10
    assert oracle.spent.asked < len(candidates) * 40
    assert [t.number for t in tried] == list(range(1, len(candidates) + 1))
    full = MetricOracle(cache, find_metric("iou"))
    for t in tried:
        if t.status == "rejected":
            maps, _ = full.maps([t.term])
            true = float(full.score(maps, torch.arange(40)).mean())
            assert true <= found.incumbent.score + 1e-9
            assert t.bound >= true - 1e-9
            assert (t.score is None) == (t.seen < 40)


def test_an_unbounded_metric_rejects_nothing_early(candidates):
    cache = gathered(tiny_network(), tiny_images(), ["A", "G", "y"])
    mine = Metric("mine", lambda query: query.o * 5 - 3, "high", (float("-inf"), float("inf")))
    found = search(iter(candidates[:40]), MetricOracle(cache, mine), None, Budget())
    assert found.rejected_early == 0


def test_a_start_is_only_replaced_by_something_better(candidates):
    cache = gathered(tiny_network(3), tiny_images(12, seed=3), ["A", "G", "y"])
    best = search(iter(candidates), MetricOracle(cache, find_metric("average-gain")), None, Budget()).incumbent
    again = search(iter(candidates), MetricOracle(cache, find_metric("average-gain")), best, Budget())
    assert again.incumbent is best
    assert again.history == [best]


def test_budgets_and_target_stop_it(candidates):
    cache = gathered(tiny_network(), tiny_images(), ["A", "G", "y"])

    def run(budget, **options):
        return search(iter(candidates), MetricOracle(cache, find_metric("average-drop")), None, budget, at_once=10, **options)

    assert run(Budget(candidates=25)).candidates == 25
    assert run(Budget(candidates=25)).stopped_by == "budget of 25 candidates"
    assert run(Budget(passes=50)).candidates < len(candidates)
    assert run(Budget(seconds=1e-9)).candidates == 0
    found = run(Budget(), target=0.99)
    assert found.stopped_by == "target 0.99 reached"
    assert found.incumbent.score <= 0.99


def test_an_interrupt_keeps_the_best_so_far(candidates):
    cache = gathered(tiny_network(), tiny_images(), ["A", "G", "y"])

    def learner():
        yield from candidates[:30]
        raise KeyboardInterrupt

    found = search(learner(), MetricOracle(cache, find_metric("average-drop")), None, Budget(), at_once=10)
    assert found.stopped_by == "interrupted"
    assert found.candidates == 30
    assert found.incumbent is not None


def test_terms_that_are_not_finite_and_terms_seen_before(candidates):
    from sycam.cams import cam_from_text

    cache = gathered(tiny_network(), tiny_images(), ["A", "G", "y"])
    texts = ["(exp (* 1000000.0 (gap A)))", "(gap G)", "(* 4.0 (gap G))", "(gap A)"]
    tried = []
    found = search(
        iter([Candidate(cam_from_text(t).term, 1) for t in texts]), MetricOracle(cache, find_metric("average-gain")), None, Budget(),
        on_batch=lambda _, batch: tried.extend(batch),
    )  # fmt: skip
    assert next(t.status for t in tried) == "invalid"
    assert tried[0].reason.startswith("NaN or infinite on image-")
    assert tried[2].status == "same-on-images"
    assert tried[2].reason == "heatmaps of candidate 2 on these images"
    assert (found.invalid, found.same_on_images, found.same_heatmap) == (1, 1, 0)


def test_witnesses_come_first_and_every_image_once():
    witnesses = Witnesses(20, seed=1, limit=3)
    for image, times in ((4, 2), (9, 5), (13, 1), (17, 3)):
        for _ in range(times):
            witnesses.add(image)
    assert witnesses.order()[:3].tolist() == [9, 17, 4]
    stages = doubling(witnesses.chosen(), witnesses.others(witnesses.chosen()))
    assert stages[0].tolist() == [9, 17, 4]
    assert sorted(torch.cat(stages).tolist()) == list(range(20))
    assert [len(s) for s in doubling(torch.tensor([]), torch.arange(50))] == [8, 16, 26]


@pytest.mark.parametrize("text", ["", "0", "-3", "ten", "1.5", "5 weeks", "1.5passes"])
def test_a_budget_that_makes_no_sense(text):
    with pytest.raises(SycamError, match="give candidates"):
        Budget.parse(text)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_in_a_weak_reference_s_callback_ends_the_search(candidates, request):
    """Where Python drops KeyboardInterrupt: it happened to runs, whose terms are held weakly."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    taken = []

    class Gone:
        pass

    def press(_):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(10_000))

    def learner():
        for candidate in candidates:
            taken.append(candidate)
            if len(taken) == 3:
                gone = Gone()
                watch = weakref.ref(gone, press)  # noqa: F841
                del gone
            yield candidate

    oracle = MetricOracle(gathered(tiny_network(3), tiny_images(6, seed=3), ["A", "G", "y"]), find_metric("average-drop"))
    found = search(learner(), oracle, None, Budget(), at_once=4)
    assert found.stopped_by == "interrupted"
    assert len(taken) < len(candidates)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
