"""By class: each image class has its own best, found with one score of a candidate on an image, and one term says them all."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import gathered, search, tiny_images, tiny_network

import sycam
from sycam.cams import by_class, cam_from_text, find_cam, of_class
from sycam.errors import OracleError, SycamError
from sycam.metrics.own.find import find_metric
from sycam.run.by_class import decomposed
from sycam.scoring import Failures, MetricOracle
from sycam.search import Budget
from sycam.search.goals import Cost, Ranking
from sycam.search.groups import image_classes
from sycam.search.racing import Racing
from sycam.search.stopping import Exact
from sygus import Candidate


@pytest.fixture(scope="module")
def bench():
    """benchmarks/racing.py, whose oracle looks scores up in a table, and counts here what it was asked."""
    spec = importlib.util.spec_from_file_location("bench_racing", Path(__file__).parents[2] / "benchmarks" / "racing.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Counting(module.Table):
        def __init__(self, scores, measured):
            super().__init__(scores, measured)
            self.times = torch.zeros(scores.shape, dtype=torch.int64)

        def score(self, maps, places, cams=None):
            self.times[maps[:, 0, 0, 0].long()[:, None], places] += 1
            return super().score(maps, places, cams)

    module.Counting = Counting
    return module


def table(seed, candidates, images, classes):
    """Scores in [0, 1] that depend on candidate, class and image, coarse, so that some tie; and each image's class."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (images,), generator=generator)
    liking = torch.rand(candidates, classes, generator=generator, dtype=torch.float64)
    noise = torch.rand(candidates, images, generator=generator, dtype=torch.float64)
    return ((0.6 * liking[:, label] + 0.4 * noise) * 8).round() / 8, label


def searched(bench, scores, label, name="average-gain", rule=None, least=3, seed=0, at_once=7):
    oracle = bench.Counting(scores, find_metric(name))
    candidates = (Candidate(row, row) for row in range(len(scores)))
    groups = image_classes(label, least, seed)
    return search(candidates, oracle, None, Budget(), rule=rule, seed=seed, at_once=at_once, groups=groups), oracle


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9999), candidates=st.integers(1, 30), images=st.integers(1, 60), classes=st.integers(1, 6),
    at_once=st.integers(1, 12), least=st.integers(1, 8), name=st.sampled_from(["average-gain", "average-drop"]),
)  # fmt: skip
def test_each_class_has_the_best_of_brute_force_and_each_score_is_asked_once(
    bench, seed, candidates, images, classes, at_once, least, name
):
    scores, label = table(seed, candidates, images, classes)
    found, oracle = searched(bench, scores, label, name, least=least, seed=seed, at_once=at_once)
    assert [g.image_class for g in found.groups[1:]] == [n for n in range(classes) if (label == n).sum() >= least]
    for group in found.groups:
        best = bench.exhaustive(scores[:, group.places], oracle.metric, list(range(candidates)))
        assert group.incumbent.term == best, group.image_class
        assert group.incumbent.score == pytest.approx(float(scores[best, group.places].mean()), abs=1e-12)
        assert group.history[-1] is group.incumbent
    assert int(oracle.times.max()) == 1
    assert found.asked == int(oracle.times.sum())


def test_a_candidate_is_dropped_for_a_class_where_it_cannot_win_and_ends_when_it_can_nowhere(bench):
    """Two classes of 30; candidate 0 is best on the first, 1 on the second and on all; 2 ties with 0 on the first and is hopeless
    on the second, so on all; 3 is hopeless everywhere."""
    label = torch.arange(60) // 30
    scores = torch.zeros(4, 60, dtype=torch.float64)
    scores[0, :30], scores[1], scores[2, :30] = 0.9, 0.8, 0.9
    found, oracle = searched(bench, scores, label, at_once=1)
    assert [g.incumbent.term for g in found.groups[1:]] == [0, 1]
    asked = torch.stack([oracle.times[:, :30].sum(1), oracle.times[:, 30:].sum(1)], 1).tolist()
    assert asked[0] == [30, 30]
    assert asked[2][0] == 30 > asked[2][1]
    assert sum(asked[3]) <= 32
    assert found.rejected_early == 2


def test_what_accepts_a_candidate_is_said(bench):
    label = torch.arange(20) // 10
    scores = torch.zeros(2, 20, dtype=torch.float64)
    scores[0], scores[1, 10:] = 0.5, 0.9
    tried = []
    oracle = bench.Counting(scores, find_metric("average-gain"))
    groups = image_classes(label, 5)
    candidates = (Candidate(row, row) for row in range(2))
    search(candidates, oracle, None, Budget(), groups=groups, at_once=1, on_batch=lambda _, batch: tried.extend(batch))
    assert [t.status for t in tried] == ["accepted", "accepted"]
    assert tried[0].reason == "best so far on all images, image class 0, image class 1"
    assert tried[1].reason == "best so far on image class 1"


def test_racing_errs_no_more_often_than_stated_and_never_ends_below_the_single_term(bench):
    wrong, asked, runs, error = 0, 0, 30, 0.2
    for seed in range(runs):
        scores, label = table(seed, 12, 90, 3)
        scores = bench.tied(scores, 0.4, seed % 12, 1e-9)
        found, oracle = searched(bench, scores, label, rule=Racing(error, seed), seed=seed, at_once=4)
        exact, _ = searched(bench, scores, label, rule=Exact(), seed=seed, at_once=4)
        wrong += [g.incumbent.term for g in found.groups] != [g.incumbent.term for g in exact.groups]
        asked += oracle.spent.asked
        values = found.values
        assert float(values.mean()) >= found.incumbent.score - 1e-12
    assert bench.wilson(wrong, runs)[0] <= error
    assert asked < runs * 12 * 90


def test_a_target_is_that_of_the_answer_by_class(bench):
    label = torch.arange(20) // 10
    scores = torch.zeros(3, 20, dtype=torch.float64)
    scores[0, :10], scores[1, 10:], scores[2] = 0.8, 0.8, 1.0
    oracle = bench.Counting(scores, find_metric("average-gain"))
    found = search(
        (Candidate(row, row) for row in range(3)), oracle, None, Budget(), groups=image_classes(label, 5), at_once=1, target=0.75
    )
    assert found.stopped_by == "target 0.75 reached"
    assert (found.candidates, found.incumbent.score, found.score(oracle.metric)) == (2, 0.4, 0.8)


TEXTS = ["(gap G)", "(gap A)", "(gap (m* A G))", "(gstd A)", "(* (gap G) (gap A))", "(gmax G)", "(- y (gap A))"]


@pytest.fixture(scope="module")
def world():
    """A cache of 24 images of four classes, and some terms."""
    images = tiny_images(24, seed=5)
    cache = gathered(tiny_network(3), images, ["A", "G", "y", "c"], images.labels)
    terms = [cam_from_text(text).term for text in TEXTS]
    return cache, [Candidate(term, term.size) for term in sorted(terms, key=lambda term: term.size)]


@pytest.mark.parametrize("order", ["iou then gain", "cost then iou", "increase then cost"])
def test_further_goals_decide_within_a_class(world, order):
    cache, candidates = world
    oracle = MetricOracle(cache, find_metric("average-increase" if order[:3] == "inc" else "iou"))
    other = MetricOracle(cache, find_metric("average-gain"))
    goals = {
        "iou then gain": [oracle.metric, other.metric], "cost then iou": [Cost("size"), oracle.metric],
        "increase then cost": [oracle.metric, Cost("size")],
    }[order]  # fmt: skip
    ranking = Ranking(goals, [oracle, other] if len([g for g in goals if g in (oracle.metric, other.metric)]) > 1 else [oracle])
    found = search(
        iter(candidates), oracle, None, Budget(), ranking=ranking, at_once=3, groups=image_classes(cache.classes, 3),
        failures=Failures(),
    )  # fmt: skip
    everywhere = torch.arange(len(cache))
    maps, _ = oracle.maps([c.term for c in candidates])
    values = {o.metric.name: o.score(maps, everywhere) for o in (oracle, other)}
    for group in found.groups:

        def key(row, group=group):
            keys = []
            for goal in goals:
                keys.append(
                    candidates[row].cost if isinstance(goal, Cost) else -float(values[goal.name][row][group.places].mean())
                )
            return [round(k, 9) for k in keys] + [row]

        best = candidates[min(range(len(candidates)), key=key)]
        assert group.incumbent.term is best.term, (order, group.image_class)


def test_an_oracle_that_fails_on_a_candidate_accepts_it_nowhere(world):
    cache, candidates = world

    class Broken(MetricOracle):
        def score(self, maps, places, cams=None):
            if cams is not None and candidates[1].term in cams:
                raise OracleError("mine: no", images=["image-0.png"])
            return super().score(maps, places, cams)

    tried = []
    found = search(
        iter(candidates), Broken(cache, find_metric("iou")), None, Budget(), groups=image_classes(cache.classes, 3),
        failures=Failures("skip"), on_batch=lambda _, batch: tried.extend(batch),
    )  # fmt: skip
    assert [t.status for t in tried].count("oracle-error") == found.oracle_errors == 1
    assert all(group.incumbent.term is not candidates[1].term for group in found.groups)
    assert all(not group.incumbent.values[group.places].isnan().any() for group in found.groups)


def test_an_interrupt_keeps_what_each_class_has(world):
    cache, candidates = world

    def learner():
        yield from candidates[:3]
        raise KeyboardInterrupt

    found = search(
        learner(), MetricOracle(cache, find_metric("iou")), None, Budget(), at_once=2, groups=image_classes(cache.classes, 3)
    )
    assert found.stopped_by == "interrupted"
    assert len(found.groups) == 5
    assert all(group.incumbent is not None for group in found.groups)


# One term


def test_a_term_by_class_draws_each_class_with_its_own_part():
    network, images = tiny_network(2), tiny_images(8)
    normalised = images.normalised(torch.arange(8), network)
    parts = {0: cam_from_text("(gap G)").term, 2: cam_from_text("(m* A (mrelu G))").term, 3: cam_from_text("(gap G)").term}
    otherwise = cam_from_text("(gap A)").term
    joined = by_class(parts, otherwise)
    assert str(joined.sort) == "Map"  # a contribution among weights
    again = cam_from_text(str(joined))
    assert again.term is joined
    drawn = sycam.heatmaps(again, network, normalised, classes=images.labels)
    for place, label in enumerate(images.labels.tolist()):
        own = sycam.heatmaps(
            str(parts.get(label, otherwise)), network, normalised[place : place + 1], classes=images.labels[place : place + 1]
        )
        assert torch.allclose(drawn[place], own[0], atol=1e-6)
    assert by_class({1: otherwise}, otherwise) is otherwise
    weights = by_class({0: parts[0]}, otherwise)
    assert str(weights.sort) == "Real"
    assert of_class(weights, 0) is parts[0]
    assert of_class(weights, 9) is otherwise
    assert of_class(parts[0], 4) is parts[0]
    open_term = cam_from_text("(ite (> (gap A) 0.0) (gap A) (gap G))").term
    assert of_class(open_term, 0) is open_term  # no branch on the class


def test_a_branch_that_is_not_taken_does_not_spoil_a_heatmap():
    """exp(10⁶ x) − exp(10⁶ x) is ∞ − ∞, of another class."""
    overflow = "(exp (* 1000000.0 (gap A)))"
    wild = cam_from_text(f"(ite (> (- {overflow} {overflow}) 0.0) (gap A) (gap G))").term
    joined = by_class({0: wild}, cam_from_text("(gap A)").term)
    images = tiny_images(8)
    cache = gathered(tiny_network(2), images, ["A", "G", "c"], images.labels)
    maps, finite = MetricOracle(cache, find_metric("iou")).maps([joined, wild])
    assert finite[0].tolist() == [bool(one) or label != 0 for one, label in zip(finite[1], images.labels.tolist(), strict=True)]
    assert not finite[1].any()
    assert (maps[0][images.labels != 0].flatten(1).amax(1) > 0).any()


# Whole runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("by_class") / "run"
    images = tiny_images(72, seed=11)
    result = sycam.synthesize(
        "gradient",
        "average-gain",
        tiny_network(4),
        images,
        budget=60,
        by_class=True,
        min_images=6,
        classes="labelled",
        out=folder,
    )
    return result, folder, images


def test_the_answer_scores_at_least_as_well_as_the_single_term_and_is_what_it_says(run):
    result, folder, images = run
    single = next(row for row in result.rows if row.kind == "single")
    assert result.score > result.search.incumbent.score  # here by class is better; it is never worse
    searched = set(result.manifest["images"]["search_names"])
    inside = torch.tensor([name in searched for name in images.names])
    for cam in (folder, result, result.answer.cam):
        values = sycam.score(cam, "average-gain", result.network, images, protocol="adcc", classes=images.labels)
        assert float(values[inside].mean()) == pytest.approx(result.score, abs=1e-6)
        assert torch.allclose(values[inside], result.answer.search, atol=1e-5)
        assert torch.allclose(values[~inside], result.answer.held_out, atol=1e-5)
    described = result.describe()["by_class"]
    for row in described["classes"]:
        term = find_cam(row["expression"])
        here = inside & (images.labels == row["class"])
        values = sycam.score(
            term, "average-gain", result.network, images.select(here.nonzero()[:, 0]), classes=images.labels[here]
        )
        assert float(values.mean()) == pytest.approx(row["search"]["score"], abs=1e-6)
        assert row["search"]["score"] >= row["search"]["single"] - 1e-9
        assert row["own"] == (row["search"]["score"] > row["search"]["single"] + 1e-12)
        assert str(of_class(result.term, row["class"])) == row["expression"]
    gain = described["difference"]
    assert gain["search"]["mean"] == pytest.approx(result.score - float(single.search.mean()), abs=1e-12)
    assert gain["held_out"]["mean"] == pytest.approx(float((result.answer.held_out - single.held_out).mean()), abs=1e-12)
    assert "terms by image class gain" in result.verdict


def test_the_single_term_is_that_of_an_ordinary_run(run):
    result, _, images = run
    ordinary = sycam.synthesize("gradient", "average-gain", tiny_network(4), images, budget=60, classes="labelled")
    assert ordinary.term is result.search.incumbent.term
    assert ordinary.score == pytest.approx(result.search.incumbent.score, abs=1e-7)
    assert result.counts["image_scores_of_search"] >= ordinary.counts["image_scores_of_search"]
    assert ordinary.describe()["by_class"] is None


def test_the_folder_shows_it(run):
    result, folder, _ = run
    report = (folder / "report.html").read_text()
    assert "By image class" in report
    assert "the best single term" in report
    assert "(ite " in (folder / "answer.sy").read_text()
    assert of_class(find_cam(str(folder)).term, 99) is result.search.incumbent.term  # a class that the search never saw


def test_few_images_leave_a_class_with_the_single_term():
    images = tiny_images(40, seed=11)
    images = images.select(((images.labels != 3) | (torch.arange(40) < 8)).nonzero()[:, 0])  # two of class 3
    result = sycam.synthesize(
        "gradient", "iou", tiny_network(4), images, budget=30, by_class=True, min_images=3, classes="labelled", held_out=0
    )
    rows = {row["class"]: row for row in result.by_class["classes"]}
    assert [rows[n]["searched"] for n in range(4)] == [True, True, True, False]
    assert not rows[3]["own"]
    assert rows[3]["search"]["score"] == rows[3]["search"]["single"]
    assert rows[3]["held_out"] is None
    assert "no image was held out" in result.verdict or "On no image class" in result.verdict


def test_a_class_on_which_nothing_is_better_gets_no_branch(bench):
    label = torch.arange(20) // 10
    scores = torch.full((3, 20), 0.5, dtype=torch.float64)
    scores[1, :10], scores[2, :10] = 0.6, 0.6 + 1e-14
    found, oracle = searched(bench, scores, label, at_once=1)
    found.groups[2].incumbent = None
    assert decomposed(found, oracle.metric)[1] == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "adcc-of-means"}, "by class: adcc-of-means is no mean over images"),
        ({"min_images": 20}, "no image class has 20 search images, the most is 3"),
        ({"min_images": 0}, "`min_images` must be a whole number, at least 1, not 0"),
    ],
)
def test_what_cannot_be_done_by_class_is_refused(change, message):
    given = {"metric": "iou", "budget": 5, "by_class": True, "classes": "labelled", **change}
    with pytest.raises(SycamError, match=message):
        sycam.synthesize("gradient", model=tiny_network(), images=tiny_images(24), **given)


def test_the_union_of_witnesses_keeps_each_once():
    from sycam.search.groups import Witnesses, doubling, union

    first, second = Witnesses(12), Witnesses(12)
    for image in (3, 4):
        first.add(image)
    for image in (4, 7):
        second.add(image)
    assert sorted(union([first, second]).tolist()) == [3, 4, 7]
    order = union([first, second])
    stages = doubling(order, first.others(order))
    assert sorted(itertools.chain(*(stage.tolist() for stage in stages))) == list(range(12))
