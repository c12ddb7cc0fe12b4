"""What changes the order of candidates, or spares a pass, changes no answer: lookalikes, sharing."""

from __future__ import annotations

import pytest
import torch
from worlds import first_candidates, gathered, search, tiny_images, tiny_network

import sycam
from sycam.cams import cam_from_text
from sycam.cli.console import asked_text
from sycam.errors import SycamError
from sycam.job import Job
from sycam.metrics.own.find import find_metric
from sycam.run.observe import Observer
from sycam.scoring import MetricOracle
from sycam.scoring.oracle import _leaders
from sycam.search import Budget, Exact, Policy, Racing, Similar
from sycam.search.candidates import Queue
from sygus import Candidate


def world(name="average-drop", network=3, images=12):
    cache = gathered(tiny_network(network), tiny_images(images, seed=network), ["A", "G", "y"])
    return MetricOracle(cache, find_metric(name), batch=16)


@pytest.fixture(scope="module")
def candidates():
    return first_candidates(world().cache, 120)


def first_of_the_best(candidates, oracle):
    """Every candidate on every image; the first of the best."""
    best = None
    for candidate in candidates:
        maps, finite = oracle.maps([candidate.term])
        score = float(oracle.score(maps, torch.arange(len(oracle.cache))).mean())
        better = best is None or (oracle.metric.better(score, best[1]) and abs(score - best[1]) > 1e-12)
        if finite.all() and better:
            best = candidate.term, score
    return best


@pytest.mark.parametrize("name", ["iou", "pointing"])  # without passes, so that equal scores are equal to the bit
@pytest.mark.parametrize("similar", [None, 0.0, 0.1])
def test_the_answer_stays_the_first_of_the_best_whatever_the_order(candidates, name, similar):
    oracle = world(name)
    term, score = first_of_the_best(candidates, oracle)
    put_last = None if similar is None else Similar(similar)
    found = search(candidates, oracle, similar=put_last, at_once=7)
    assert (str(found.incumbent.term), found.incumbent.score) == (str(term), pytest.approx(score, abs=1e-12))
    assert found.candidates == len(candidates)
    assert (found.similar > 20) == (similar is not None)


@pytest.mark.parametrize("name", ["average-drop", "average-gain"])
def test_exact_with_lookalikes_is_brute_force(candidates, name):
    _, score = first_of_the_best(candidates, world(name))
    oracle, tried = world(name), []
    found = search(candidates, oracle, similar=Similar(0.05), on_batch=lambda _, batch: tried.extend(batch))
    assert found.incumbent.score == pytest.approx(score, abs=1e-6)
    assert sorted(t.number for t in tried) == list(range(1, len(candidates) + 1))
    assert "similar" not in {t.status for t in tried}
    assert found.possible == 12 * (len(candidates) - found.invalid)
    assert found.asked == oracle.spent.asked < found.possible


def test_lookalikes_wait_and_are_told_of_when_the_budget_ends(candidates):
    oracle, tried = world(), []
    found = search(
        candidates, oracle, None, Budget(candidates=9), similar=Similar(0.1), at_once=5, on_batch=lambda _, batch: tried.extend(batch),
    )  # fmt: skip
    left = [t for t in tried if t.status == "similar"]
    assert len(left) == found.waiting == found.similar > 5
    assert len(tried) - len(left) + len(left) // 100 == 9
    assert all(t.reason.startswith("heatmaps like those of candidate ") for t in left)
    by_number = {t.number: t for t in tried}
    for t in left:
        like = by_number[int(t.reason.split()[-1])]
        assert like.status in ("accepted", "rejected", "same-on-images")
        maps = oracle.maps([t.term, like.term])[0]
        assert float((maps[0] - maps[1]).abs().mean()) < 0.25  # as sketches they differ by 0.1 at most


def test_what_waits_comes_out_at_the_end_in_the_learners_order():
    oracle = world()
    texts = ["(gap G)", "(* 2.0 (gap G))", "(gap A)", "(* 4.0 (gap G))"]
    learner = (Candidate(cam_from_text(text).term, 1) for text in texts)
    queue = Queue(learner, None, 2, None, Similar(0.01), oracle, 0)
    batches = []
    while not queue.empty:
        batch, _ = queue.take()
        batches.append([one.number for one in batch])
    assert [numbers for numbers in batches if numbers] == [[1], [3], [2], [4]]
    assert queue.similar == 2


def test_memory_of_sketches_is_bounded():
    similar = Similar(0.01, capacity=3)
    for number in range(10):
        similar.add([number], similar.sketch(torch.full((1, 2, 14, 14), number / 10)))
    assert similar._sketches.shape == (3, 2 * 4 * 4)
    assert similar.nearest(similar.sketch(torch.full((1, 2, 14, 14), 0.9))) == [9]
    assert similar.nearest(similar.sketch(torch.full((1, 2, 14, 14), 0.5))) == [None]


def test_heatmaps_that_agree_to_a_millionth_share_a_pass_under_racing():
    maps = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).repeat(4, 1, 1, 1)
    maps[1] += 5e-7
    maps[2] += 1.2e-6  # near to 1 and not to 0: 1 follows 0, so this one stands alone
    maps[3, :2] += 1e-3
    assert _leaders(maps, 1e-6).tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [2, 2, 2, 2], [3, 3, 0, 0]]
    oracle = world(images=4)
    apart = oracle.score(maps, torch.arange(4))
    assert oracle.spent.passes == 16 - 2
    oracle.agree = Racing().agree
    together = oracle.score(maps, torch.arange(4))
    assert oracle.spent.passes == 14 + 10
    assert torch.equal(together[0], together[1])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=0)


def test_racing_finds_what_exact_finds(candidates):
    scores, asked = [], []
    for rule in (Exact(), Racing(0.05, 1)):
        oracle = world("average-drop", images=60)
        found = search(candidates, oracle, rule=rule, at_once=10)
        scores.append(found.incumbent.score)
        assert oracle.agree == (0 if rule.name == "exact" else 1e-6)
        asked.append(found.asked)
    assert scores[1] == pytest.approx(scores[0], abs=1e-6)
    assert asked[1] < asked[0]


class Ears(Observer):
    def __init__(self):
        self.warned = []

    def warn(self, message):
        self.warned.append(message)


def test_a_run_says_how_little_it_asked(tmp_path):
    result = sycam.synthesize(
        "gradient", "average-drop", budget=20, limit=24, out=tmp_path / "run", stopping="racing", error=0.1, similar=0.001,
    )  # fmt: skip
    counts, manifest = result.counts, result.manifest
    assert 0 < counts["image_scores_of_search"] < counts["image_scores_possible"]
    assert counts["image_scores"] > counts["image_scores_of_search"]
    assert counts["similar"] > 0
    job = manifest["job"]
    assert (manifest["stopping_rule"], job["error"], job["similar"]) == ("racing", 0.1, 0.001)
    report = (tmp_path / "run" / "report.html").read_text()
    assert f"{counts['image_scores_of_search']:,}" in report
    assert "image scores asked" in asked_text(counts)


def test_racing_steps_back_where_it_is_no_rule():
    ears = Ears()
    result = sycam.synthesize("gradient", "adcc-of-means", budget=8, limit=12, stopping="racing", observer=ears, held_out=0)
    assert result.manifest["stopping_rule"] == "exact"
    assert any("adcc-of-means is no mean over images" in note for note in ears.warned)
    assert set(ears.warned) >= set(result.warnings)


def test_racing_on_a_metric_that_redraws(candidates):
    oracle = world("coherency", images=30)
    found = search(iter(candidates[:30]), oracle, None, Budget(), rule=Racing(0.05, 0), at_once=5)
    exact = search(iter(candidates[:30]), world("coherency", images=30), None, Budget(), at_once=5)
    assert found.incumbent.score == pytest.approx(exact.incumbent.score, abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"stopping": "race"}, "'exact' or 'racing'"), ({"error": 0.0}, "a probability"), ({"similar": 1.5}, "a distance")],
)  # fmt: skip
def test_settings_that_make_no_sense(wrong, said):
    with pytest.raises(SycamError, match=said):
        Job.make("gradient", {"stopping": "racing", **wrong})


def test_nothing_is_changed_where_nothing_is_asked_for():
    policy = Policy()
    assert (policy.rule.name, policy.similar, policy.laws) == ("exact", None, None)
