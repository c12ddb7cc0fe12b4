"""Candidates proved to draw one heatmap: scored once, named in the run, and known CAMs told by it."""

from __future__ import annotations

import json
import sqlite3

import pytest
import torch
from torch import nn
from worlds import gathered, search, tiny_images, tiny_network

import sycam
from sycam.cams import cam_from_text, find_cam
from sycam.heatmap import NORMS, SCALE_FREE, post
from sycam.job.job import find_grammar
from sycam.metrics.own.find import find_metric
from sycam.network import Network, Preprocessing
from sycam.run.problem import read_problem
from sycam.scoring import MetricOracle
from sycam.search import Budget
from sycam.search.candidates import SameHeatmap
from sygus import Candidate, Equivalence, Solver

HUGE = "1" + "0" * 200 + ".0"


@pytest.fixture(scope="module")
def cache():
    return gathered(tiny_network(3), tiny_images(12, seed=3), ["A", "G", "y"])


@pytest.fixture
def same(cache):
    problem = read_problem(find_grammar("gradient"))
    with Solver() as solver:
        context, _ = problem.verified([cache])
        yield SameHeatmap(Equivalence(context, problem.inputs(), solver), [find_cam("gradcam"), find_cam("xgradcam")])


def run(terms, cache, same, name="average-gain", **options):
    tried = []
    learner = iter([Candidate(cam_from_text(t).term if isinstance(t, str) else t, 1) for t in terms])
    oracle, asked = MetricOracle(cache, find_metric(name)), []
    maps = oracle.maps
    oracle.maps = lambda terms, places=None: asked.extend(map(str, terms)) or maps(terms, places)
    found = search(learner, oracle, None, Budget(), heatmaps=same, on_batch=lambda _, new: tried.extend(new), **options)
    return found, tried, asked


@pytest.mark.parametrize("at_once", [1, 2, 32])
def test_a_proved_heatmap_is_not_scored_again(cache, same, at_once):
    found, tried, _ = run(["(gap G)", "(gap A)", "(* 4.0 (gap G))", "(/ (gap G) 3.0)"], cache, same, at_once=at_once)
    assert [(t.status, t.reason) for t in tried[2:]] == [("same-heatmap", "heatmap of candidate 1, proved")] * 2
    assert (found.same_heatmap, found.same_on_images, found.candidates) == (2, 0, 4)
    assert all(t.seen == 0 and t.score is None for t in tried[2:])


def test_what_is_known_of_earlier_batches_is_not_even_drawn(cache, same):
    _, _, asked = run(["(gap G)", "(gap A)", "(* 4.0 (gap G))", "(/ (gap G) 3.0)"], cache, same, at_once=2)
    assert asked == ["(gap G)", "(gap A)"]


def test_maps_that_agree_on_the_images_alone_are_called_so(cache, same):
    terms = ["(gap A)", "(ite (> (gap A) (- 1.0)) (gap A) (* (gap A) (gap A)))", "(ite (< y 1000000.0) (gap A) (gap G))"]
    found, tried, _ = run(terms, cache, same)
    # A mean of A is never below -1; y may be a million, though not on these images.
    assert [t.status for t in tried[1:]] == ["same-heatmap", "same-on-images"]
    assert tried[2].reason == "heatmaps of candidate 1 on these images"
    assert (found.same_heatmap, found.same_on_images) == (1, 1)


@pytest.mark.parametrize("at_once", [1, 32])
def test_a_candidate_that_overflows_stands_for_nothing(cache, same, at_once):
    """Proportional in exact arithmetic, and not finite in float64: the one that is finite must still be scored."""
    found, tried, _ = run([f"(* {HUGE} (* {HUGE} (gap G)))", "(gap G)", "(* 2.0 (gap G))"], cache, same, at_once=at_once)
    assert [t.status for t in tried] == ["invalid", "accepted", "same-heatmap"]
    assert tried[2].reason == "heatmap of candidate 2, proved"
    assert found.incumbent.candidate == 2


@pytest.mark.parametrize("name", ["average-drop", "iou"])
def test_it_changes_no_answer(candidates, cache, same, name):
    terms = [candidate.term for candidate in candidates]
    plain, _, every = run(terms, cache, None, name)
    found, tried, asked = run(terms, cache, same, name)
    assert found.incumbent.term is plain.incumbent.term
    assert found.incumbent.score == plain.incumbent.score
    assert found.same_heatmap > 40
    assert found.same_heatmap + found.same_on_images >= plain.same_on_images > found.same_on_images
    assert len(asked) < len(every) - 20
    assert [t.number for t in tried] == list(range(1, len(terms) + 1))


def test_every_proved_pair_draws_one_heatmap_on_real_tensors(candidates, cache, same):
    """Up to rounding: float64, and a ReLU near zero."""
    oracle = MetricOracle(cache, find_metric("iou"))
    terms = [candidate.term for candidate in candidates]
    representatives = same.classes.representatives(terms)
    pairs = [(t, r) for t, r in zip(terms, representatives, strict=True) if t is not r]
    (left, ok), (right, _) = (oracle.maps(side) for side in zip(*pairs, strict=True))
    assert len(pairs) > 40
    assert bool(ok.all())
    torch.testing.assert_close(left, right, atol=2e-6, rtol=0)


def test_the_norms_that_a_factor_does_not_change():
    combined = torch.randn(5, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for norm in NORMS:
        alike = torch.allclose(post(combined, 8, norm=norm), post(combined * 3.7, 8, norm=norm), atol=1e-12)
        assert alike == (norm in SCALE_FREE)


def test_it_is_off_where_a_factor_shows(monkeypatch):
    monkeypatch.setattr(MetricOracle, "norm", "sigmoid")
    result = sycam.synthesize("gradient", "average-gain", tiny_network(), tiny_images(8), budget=40)
    assert result.counts["same_heatmap"] == 0
    assert result.counts["same_on_images"] > 0
    assert not any(row.same_heatmap for row in result.rows)


# Whole runs --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pooled():
    """Four maps 8×8 after a ReLU, global average pooling, one linear layer: G is constant over pixels."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU()))
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flat", nn.Flatten())
    model.add_module("classifier", nn.Linear(4, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return Network(model.eval(), Preprocessing(16, (0.5,) * 3, (0.25,) * 3), "features")


HEAD = """(set-logic ALL) (declare-sort Map 0) (declare-fun gap (Map) Real) (declare-fun sum (Map) Real)
(declare-fun m* (Map Map) Map) (declare-fun nonneg (Map) Bool) (declare-fun uniform (Map) Bool)
(declare-var A Map) (declare-var G Map) (assume (nonneg A)) {uniform}
"""
ONE = "(synth-fun w ((G Map)) Real ((W Real) (M Map)) ((W Real ({start})) (M Map (G)))) (check-synth)"


@pytest.mark.parametrize(("uniform", "alike"), [(True, {"Grad-CAM", "HiResCAM", "XGrad-CAM"}), (False, {"Grad-CAM"})])
def test_a_known_cam_is_told_by_its_heatmap(pooled, tmp_path, uniform, alike):
    path = tmp_path / "one.sy"
    path.write_text(HEAD.format(uniform="(assume (uniform G))" if uniform else "") + ONE.format(start="(sum M)"))
    result = sycam.synthesize(path, "average-gain", pooled, tiny_images(12), out=tmp_path / "run")
    assert str(result.term) == "(sum G)"
    assert {row.cam.name for row in result.rows if row.same_heatmap} == alike
    assert {row.cam.name for row in result.rows[1:] if row.derived} == alike  # Z times Grad-CAM's weight, one heatmap
    assert result.verdict.startswith(
        "The answer has the heatmaps of Grad-CAM, XGrad-CAM and HiResCAM: proved" if uniform else
        "The answer has the heatmaps of Grad-CAM: proved"
    )  # fmt: skip
    assert result.verdict.endswith("The grammar derives no other known CAM.")
    table = json.loads((tmp_path / "run" / "result.json").read_text())["table"]
    assert {row["name"] for row in table if row["same_heatmap"]} == alike
    assert "proved to have the answer&#39;s heatmap" in (tmp_path / "run" / "report.html").read_text()
    answer = torch.stack([row.search for row in result.rows if row.same_heatmap or row.kind == "answer"])
    torch.testing.assert_close(answer, answer[:1].expand_as(answer), atol=1e-5, rtol=0)


def test_an_answer_that_is_a_known_cam_names_its_twins(pooled, tmp_path):
    path = tmp_path / "one.sy"
    path.write_text(HEAD.format(uniform="(assume (uniform G))") + ONE.format(start="(gap M)"))
    result = sycam.synthesize(path, "average-gain", pooled, tiny_images(12))
    assert result.answer.cam.origin == "known.sy"
    assert result.verdict == (
        f"The answer has the heatmaps of XGrad-CAM and HiResCAM: proved for all tensors under the assumptions that hold here. "
        f"No term tried beats {result.answer.cam.name} on the search images: the answer is {result.answer.cam.name} itself."
    )


def test_the_three_relations_are_in_the_journal_with_their_counts(tmp_path):
    result = sycam.synthesize("gradient", "average-drop", budget=150, limit=20, out=tmp_path / "run")
    file = sqlite3.connect(tmp_path / "run" / "journal.sqlite")
    statuses = dict(file.execute("select status, count(*) from candidate group by status").fetchall())
    assert statuses["same-heatmap"] == result.counts["same_heatmap"] > 30
    assert statuses["same-on-images"] == result.counts["same_on_images"] > 0
    relations = dict(file.execute("select relation, count(*) from merge group by relation").fetchall())
    assert relations["equal"] == result.counts["merges"]
    assert relations["same heatmap"] >= statuses["same-heatmap"]
    for (reason,) in file.execute("select reason from candidate where status = 'same-heatmap'"):
        number = int(reason.split()[3].rstrip(","))
        (status,) = file.execute("select status from candidate where number = ?", [number]).fetchone()
        assert status in ("accepted", "rejected", "same-on-images")


def test_A_is_an_input_of_the_relation_though_no_grammar_names_it(tmp_path):
    path = tmp_path / "one.sy"
    path.write_text(HEAD.format(uniform="") + ONE.format(start="(gap M)"))
    problem = read_problem(path)
    assert problem.terminals == ["G"]
    cache = gathered(tiny_network(), tiny_images(4), problem.terminals)
    context, warnings = problem.verified([cache])
    assert [v.name for v in problem.inputs()] == ["G", "A"]
    assert context.inputs["A"].level == 2
    assert context.nonneg == {"A"}
    assert warnings == []
