"""Objectives: what a file asks for, and that the loop finds the best by all goals in order, as brute force does."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import gathered, search, tiny_images, tiny_network

import sycam
from sycam.errors import SycamError
from sycam.job.job import Job, find_grammar
from sycam.metrics.metric import Metric
from sycam.metrics.own.find import find_metric
from sycam.run.bench import Plan
from sycam.run.problem import read_problem
from sycam.scoring import MetricOracle
from sycam.search import Budget
from sycam.search.goals import Cost, Drawn, Ranking, find_goals
from sycam.search.stopping import SLACK
from sycam.theory import CAM
from sygus import LEARNERS, Candidate, Enumerator, Equivalence, Learner, Solver, SygusError, read, register_learner

HEAD = """(set-logic ALL)(set-feature :oracles true)(set-feature :weights true)(declare-sort Map 0)(declare-fun gap (Map) Real)
(declare-weight effort)(declare-weight risk :default 2)
(synth-fun weight ((A Map) (G Map)) Real ((W Real)(M Map)) ((W Real ((gap M) (! (+ W W) :effort 3))) (M Map (A G))))
(declare-oracle-fun gain ((-> Map Map Real)) Real average-gain)(declare-oracle-fun drop ((-> Map Map Real)) Real average-drop)
(declare-oracle-fun best ((-> Map Map Real)) Real average-best)
"""


def goals(objective, metric=None, cost="size", head=HEAD):
    return find_goals(read(f"{head}{objective}", "goals.sy", CAM), metric, cost)


# What a file asks for ---------------------------------------------------------------------------------------------------


def test_one_metric():
    found = goals("(optimize-synth ((! (drop weight) :min)) :lexico)")
    assert found.order == (find_metric("average-drop"),)
    assert (found.cost, found.note) == ("size", "")


def test_metrics_and_a_weight_in_order():
    found = goals("(optimize-synth ((! (gain weight) :max)(! (_ effort weight) :min)(! (drop weight) :min)))", cost=None)
    assert found.order == (find_metric("average-gain"), Cost("effort"), find_metric("average-drop"))
    assert found.cost == "effort"
    assert [g.name for g in found.metrics] == ["average-gain", "average-drop"]


def test_a_metric_of_the_users_overrides_and_says_so():
    found = goals("(optimize-synth ((! (gain weight) :max)))", "iou")
    assert found.order == (find_metric("iou"),)
    assert found.note == "goals.sy:6:1: iou is searched for, instead of the file's objective"
    assert goals("(check-synth)", "iou").note == ""


def test_without_an_objective_it_is_average_gain():
    assert goals("(check-synth)").order == (find_metric("average-gain"),)


def test_what_orders_the_search():
    one = HEAD.replace("(declare-weight risk :default 2)", "")
    assert goals("(check-synth)", cost=None, head=one).cost == "effort"
    assert goals("(check-synth)", cost="size", head=one).cost == "size"
    assert goals("(check-synth)", cost="risk").cost == "risk"
    with pytest.raises(SycamError, match=r"several weights: choose one as `cost` \(effort, risk, size\)"):
        goals("(check-synth)", cost=None)
    with pytest.raises(SycamError, match="no weight 'efort' in goals.sy; did you mean 'effort'"):
        goals("(check-synth)", cost="efort")
    with pytest.raises(SycamError, match="goals.sy minimises effort, so it is enumerated in its order; take `cost` size out"):
        goals("(optimize-synth ((! (gain weight) :max)(! (_ effort weight) :min)))", cost="size")


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("((! (gain weight) :min))", "goals.sy:6:18: average-gain is better the higher it is: write :max"),
        ("((! (drop weight) :max))", "goals.sy:6:18: average-drop is better the lower it is: write :min"),
        ("((! (gain weight) :max)(! (drop weight) :min)) :pareto", "goals.sy:6:1: goals combine by :lexico only; :pareto needs"),
        ("((! (_ effort weight) :max))", "goals.sy:6:18: the weight effort is a cost: write :min"),
        ("((! (_ effort weight) :min))", "goals.sy:6:1: no goal is a metric"),
        ("((! (gain weight) :max)(! (gain weight) :max))", "goals.sy:6:40: the goal average-gain comes twice"),
        ("((! (gain weight) :max)(! (_ effort weight) :min)(! (_ risk weight) :min))", "goals.sy:6:66: a second weight"),
        ("((! (best weight) :max))", "goals.sy:5:51: no metric 'average-best'; did you mean"),
        ("((! 1.0 :max))", "goals.sy:6:18: a goal is an oracle function of weight or a weight of it"),
    ],
)
def test_an_objective_that_cannot_be_obeyed_is_refused_with_its_place(objective, message):
    with pytest.raises((SycamError, SygusError)) as raised:
        goals(f"(optimize-synth {objective})", cost=None)
    assert message in str(raised.value)


def test_a_constraint_on_an_oracle_is_refused(tmp_path):
    path = tmp_path / "law.sy"
    path.write_text(HEAD + "(constraint (> (gain weight) 0.5))\n(optimize-synth ((! (gain weight) :max)))")
    with pytest.raises(SygusError, match=r"law.sy:6:1: the constraint speaks of gain, which only an oracle can answer"):
        read_problem(path)


# Ties -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def candidates(candidates):
    return candidates[:120]


COARSE = Metric("coarse", lambda query: (find_metric("average-gain").compute(query) * 3).round() / 3, "high", (0.0, 1.0))
"""Ties often."""
COARSE_DROP = Metric("coarse-drop", lambda query: (find_metric("average-drop").compute(query) * 2).round() / 2, "low", (0.0, 1.0))
SETS = {
    "metric, metric": (COARSE, find_metric("average-drop")),
    "metric, metric, metric": (COARSE, COARSE_DROP, find_metric("iou")),
    "metric, cost": (COARSE, Cost("size")),
    "metric, metric, cost": (COARSE, COARSE_DROP, Cost("size")),
    "metric, cost, metric": (COARSE, Cost("size"), COARSE_DROP),
    "cost, metric": (Cost("size"), COARSE),
    "cost, metric, metric": (Cost("size"), COARSE, find_metric("average-drop")),
    "fine metric, metric": (find_metric("average-gain"), find_metric("iou")),
}


def brute_force(candidates, order, cache):
    """Every candidate by every goal on every image, one after the other: the first of those that none beats."""
    best = None
    for candidate in candidates:
        values = []
        for goal in order:
            if isinstance(goal, Cost):
                values.append(-candidate.cost)
                continue
            oracle = MetricOracle(cache, goal)
            maps, finite = oracle.maps([candidate.term])
            if not finite.all():
                break
            value = float(oracle.score(maps, torch.arange(len(cache))).mean())
            values.append(round(value if goal.direction == "high" else -value, 9))
        if len(values) == len(order) and (best is None or tuple(values) > best[1]):
            best = candidate, tuple(values)
    return best


def ranked(order, cache, batch=None):
    oracles = [MetricOracle(cache, goal, batch) for goal in order if isinstance(goal, Metric)]
    return oracles[0], Ranking(order, oracles)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("world", [3, 4])
def test_the_answer_is_the_lexicographic_best(candidates, name, world):
    cache = gathered(tiny_network(world), tiny_images(12, seed=world), ["A", "G", "y"])
    expected, values = brute_force(candidates, SETS[name], cache)
    oracle, ranking = ranked(SETS[name], cache)
    found = search(iter(candidates), oracle, None, Budget(), ranking=ranking, at_once=20, seed=5).incumbent
    goals = [-v if g.direction == "low" else v for g, v in zip(SETS[name], values, strict=True)]
    assert found.marks == pytest.approx(goals, abs=1e-6)
    assert found.term is expected.term


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=st.integers(0, 5), images=st.integers(2, 20), seed=st.integers(0, 99), at_once=st.integers(1, 40),
       name=st.sampled_from(sorted(SETS)))  # fmt: skip
def test_stopping_early_changes_no_tie(candidates, world, images, seed, at_once, name):
    cache = gathered(tiny_network(world), tiny_images(images, seed=world), ["A", "G", "y"])
    some = candidates[:50]
    expected, _ = brute_force(some, SETS[name], cache)
    oracle, ranking = ranked(SETS[name], cache)
    found = search(iter(some), oracle, None, Budget(), ranking=ranking, at_once=at_once, seed=seed)
    assert found.incumbent.term is expected.term


def test_some_are_still_rejected_early(candidates):
    cache = gathered(tiny_network(3), tiny_images(40, seed=3), ["A", "G", "y"])
    order = (find_metric("iou"), find_metric("average-drop"))
    expected, _ = brute_force(candidates, order, cache)
    oracle, ranking = ranked(order, cache)
    found = search(iter(candidates), oracle, None, Budget(), ranking=ranking, at_once=8)
    assert found.incumbent.term is expected.term
    assert found.rejected_early > 10


def test_a_cost_that_goes_first_ends_the_search(candidates):
    cache = gathered(tiny_network(3), tiny_images(8, seed=3), ["A", "G", "y"])
    oracle, ranking = ranked((Cost("size"), find_metric("iou")), cache)
    found = search(iter(candidates), oracle, None, Budget(), ranking=ranking, at_once=8)
    assert found.stopped_by == "every term that can win was tried"
    assert found.candidates <= 2 + 8
    assert found.incumbent.cost == candidates[0].cost


def test_a_cheaper_term_beats_a_better_start_where_the_cost_goes_first(candidates):
    cache = gathered(tiny_network(3), tiny_images(8, seed=3), ["A", "G", "y"])
    by_metric = search(iter(candidates), MetricOracle(cache, find_metric("iou")), None, Budget()).incumbent
    order = (Cost("size"), find_metric("iou"))
    oracle, ranking = ranked(order, cache)
    start = replace(by_metric, marks=(float(by_metric.cost), by_metric.score))
    assert start.cost > candidates[0].cost
    expected, _ = brute_force(candidates, order, cache)
    found = search(iter(candidates), oracle, start, Budget(), ranking=ranking, at_once=3).incumbent
    assert found.term is expected.term
    assert found.score < start.score


def test_ties_within_the_slack_do_not_add_up():
    cache = gathered(tiny_network(), tiny_images(2), ["A"])
    _, ranking = ranked((find_metric("average-gain"), Cost("size")), cache)
    maps, marks, cost = torch.zeros(1, 2, 8, 8), None, 100
    for step in range(50):
        outcome = ranking.compare(Drawn(None, cost - step, 0.5 - step * SLACK * 0.9, maps), marks)
        assert outcome.wins == (step < 2)  # the third is worse than the first by more than the slack
        marks = outcome.marks or marks
    assert marks == (0.5, 99.0)


def test_further_metrics_are_asked_only_where_those_before_tie(candidates):
    asked = []
    spy = Metric("spy", lambda query: asked.extend(query.names) or query.o, "high", (0.0, 1.0))
    cache = gathered(tiny_network(3), tiny_images(12, seed=3), ["A", "G", "y"])
    oracle, ranking = ranked((find_metric("average-drop"), spy), cache)
    tried = []
    search(iter(candidates), oracle, None, Budget(), ranking=ranking, on_batch=lambda _, batch: tried.extend(batch))
    assert len(asked) / 12 == sum(len(t.goals) == 2 for t in tried) < len(candidates) / 2  # 12 images


def test_a_start_is_compared_by_all_goals(candidates):
    cache = gathered(tiny_network(3), tiny_images(12, seed=3), ["A", "G", "y"])
    order = (COARSE, Cost("size"))
    oracle, ranking = ranked(order, cache)
    first = search(iter(candidates), oracle, None, Budget(), ranking=ranking).incumbent
    cheaper = [Candidate(first.term, first.cost - 1)]
    again = search(iter(cheaper), oracle, first, Budget(), ranking=ranking).incumbent
    assert again.cost == first.cost - 1


# Whole runs ---------------------------------------------------------------------------------------------------------------


def test_a_file_that_names_its_metric():
    result = sycam.synthesize("gain", None, tiny_network(), tiny_images(12), budget=40)
    assert result.metric.name == "average-gain"
    assert [goal["name"] for goal in result.goals] == ["average-gain"]
    assert result.goals[0]["search"] == pytest.approx(result.score)
    assert result.warnings == []


def test_a_file_with_goals_in_order(tmp_path):
    network, images = tiny_network(3), tiny_images(12, seed=3)
    result = sycam.synthesize("cheap-gain", None, network, images, budget=80, out=tmp_path / "run")
    described = result.describe()
    assert [(g["name"], g["direction"]) for g in described["goals"]] == [
        ("average-gain", "high"), ("average-drop", "low"), ("effort", "low"),
    ]  # fmt: skip
    assert described["manifest"]["goals"] == ["average-gain, high", "average-drop, low", "effort, low"]
    assert described["manifest"]["cost"] == "effort"
    assert described["counts"]["image_scores_of_search"] <= described["counts"]["image_scores_possible"]
    gain, drop, effort = described["goals"]
    for goal in (gain, drop):
        values = sycam.score(result, goal["name"], network, images)
        part = [images.names.index(name) for name in described["manifest"]["images"]["search_names"]]
        assert float(values[part].mean()) == pytest.approx(goal["search"], abs=1e-6)
        rest = [i for i in range(12) if i not in part]
        assert float(values[rest].mean()) == pytest.approx(goal["held_out"], abs=1e-6)
    assert effort["search"] >= 2
    rows = sqlite3.connect(tmp_path / "run" / "journal.sqlite").execute(
        "select status, cost, goals from candidate order by number"
    )
    accepted = [(cost, json.loads(values)) for status, cost, values in rows if status == "accepted"]
    assert all(len(values) == 3 and values[2] == cost for cost, values in accepted)
    report = (tmp_path / "run" / "report.html").read_text()
    assert "goal 2: average-drop" in report
    assert "goal 3: effort" in report


def test_costs_are_those_of_the_file():
    """A G costs 3 and a quotient 2, the rest 1: candidates come in that order."""
    problem = read_problem(find_grammar("cheap-gain"))
    grammar = find_goals(problem.problem).grammar(problem.problem)
    with Solver() as solver:
        learner = Enumerator(grammar, Equivalence(problem.context(), problem.inputs(), solver), 6)
        found = {str(c.term): c.cost for c in learner}
    assert (found["(gap A)"], found["(gap G)"], found["(+ (gap A) (gap A))"]) == (2, 4, 5)
    assert found["(/ (gap A) (gap A))"] == 6
    assert [*found.values()] == sorted(found.values())


def test_a_metric_on_the_command_line_overrides():
    warnings = []

    class Watch(sycam.Observer):
        def warn(self, message):
            warnings.append(message)

    result = sycam.synthesize("cheap-gain", "iou", tiny_network(), tiny_images(8), budget=10, observer=Watch())
    assert [goal["name"] for goal in result.goals] == ["iou"]
    assert "iou is searched for, instead of the file's objective" in warnings[0]
    assert result.manifest["cost"] == "effort"


def test_images_are_those_that_every_metric_can_be_asked_about(tmp_path):
    text = (
        find_grammar("gain")
        .read_text()
        .replace("average-gain", "iou")
        .replace(
            "(optimize-synth ((! (gain weight) :max))",
            "(declare-oracle-fun drop ((-> Map Map Real)) Real average-drop)(optimize-synth ((! (drop weight) :min)(! (gain weight) :max))",
        )
    )
    (tmp_path / "two.sy").write_text(text)
    images = tiny_images(12)
    images.masks[3] = False
    result = sycam.synthesize(tmp_path / "two.sy", None, tiny_network(), images, budget=10)
    assert result.counts["images_searched"] + result.counts["images_held_out"] == 11
    assert [goal["name"] for goal in result.goals] == ["average-drop", "iou"]


def test_a_cost_comes_first_for_a_learner_that_is_in_order_of_cost_whatever_its_name(tmp_path):
    path = tmp_path / "cheapest.sy"
    path.write_text(f"{HEAD}(optimize-synth ((! (_ effort weight) :min)(! (gain weight) :max)))")
    with pytest.raises(SycamError, match="the first goal is a cost, and the `learner` cvc5 is not in order of cost"):
        Plan.read(Job.make(str(path), {"learner": "cvc5"}))
    assert Plan.read(Job.make(str(path), {})).goals.order[0] == Cost("effort")

    @register_learner("steady")
    class Steady(Learner):
        in_order_of_cost = True

    try:
        assert Plan.read(Job.make(str(path), {"learner": "steady"})).goals.order[0] == Cost("effort")
        Steady.in_order_of_cost = False
        with pytest.raises(SycamError, match="the `learner` steady is not in order of cost"):
            Plan.read(Job.make(str(path), {"learner": "steady"}))
    finally:
        del LEARNERS["steady"]
