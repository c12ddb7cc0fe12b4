"""Runs on grammars with constraints: what breaks a law is never scored, said why, and costs next to nothing."""

from __future__ import annotations

import sqlite3

import pytest
from worlds import gathered, tiny_images, tiny_network

import sycam
from sycam.cams import cam_from_text, known_cams
from sycam.errors import SycamError
from sycam.job.job import find_grammar
from sycam.run.problem import read_problem
from sygus import Solver, SygusError
from sygus.constraints import ConstraintOracle

TEXT = """(set-logic ALL)(declare-sort Map 0)(declare-fun gap (Map) Real)(declare-fun gmax (Map) Real)
(declare-fun m* (Map Map) Map)(declare-fun mrelu (Map) Map)(declare-fun mneg (Map) Map)(declare-fun scale (Real Map) Map)
(declare-fun nonneg (Map) Bool)(declare-var A Map)(declare-var G Map)(declare-var k Real)(assume (nonneg A))
(synth-fun weight ((A Map) (G Map)) Real ((W Real)(M Map))
  ((W Real ((gap M) (- W W) (/ W W))) (M Map (A G (m* M M) (mrelu M)))))
%s
(check-synth)
"""
HOMOGENEOUS = "(constraint (=> (> k 0.0) (= (weight A (scale k G)) (* k (weight A G)))))"


def grammar(tmp_path, constraints, text=TEXT):
    path = tmp_path / "laws.sy"
    path.write_text(text % constraints)
    return path


def rows(folder):
    query = "select number, status, score, seen, reason, term from candidate order by number"
    return sqlite3.connect(folder / "journal.sqlite").execute(query).fetchall()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return sycam.synthesize("laws", "average-drop", tiny_network(3), tiny_images(12, seed=3), budget=30, out=folder), folder


def test_only_lawful_candidates_are_scored(run):
    result, folder = run
    problem, tried = read_problem(find_grammar("laws")), rows(folder)
    unlawful = [row for row in tried if row[1] == "unlawful"]
    assert len(unlawful) == result.counts["unlawful"] > len(tried) / 2
    for _, _, score, seen, reason, _ in unlawful:
        assert (score, seen) == (None, 0)
        assert reason.startswith("breaks the constraint at ")
        assert "laws.sy:4" in reason
        assert " where " in reason
    with Solver() as solver:
        cache = gathered(tiny_network(3), tiny_images(12, seed=3), problem.terminals)
        again = ConstraintOracle(problem.laws, problem.verified([cache])[0], solver, seed=99)
        for _, status, *_, term in tried:
            if status == "accepted":
                assert again.verdict(cam_from_text(term).term).status == "lawful"
    assert result.counts["candidates"] == len(tried)
    assert [row[0] for row in tried] == list(range(1, len(tried) + 1))
    assert result.counts["laws_undecided"] == 0


def test_known_cams_that_break_a_law_are_not_in_the_grammar(run):
    result, _ = run
    assert not {row.cam.name: row.derived for row in result.rows[1:]}["Grad-CAM"]  # it may be negative
    assert result.search.history[0].candidate > 0  # and so λ starts with a candidate


def test_the_report_counts_them(run):
    result, folder = run
    text = (folder / "report.html").read_text()
    assert "not proved to obey the constraints" in text
    assert result.describe()["counts"]["law_claims"] > 0


def test_the_start_is_a_lawful_known_cam(tmp_path):
    path = grammar(tmp_path, HOMOGENEOUS)
    result = sycam.synthesize(path, "average-drop", tiny_network(3), tiny_images(12, seed=3), budget=10)
    assert {row.cam.name for row in result.rows[1:] if row.derived} == {"Grad-CAM", "XGrad-CAM"}
    assert result.search.history[0].name in ("Grad-CAM", "XGrad-CAM")


def test_a_run_is_repeated_to_the_letter(tmp_path):
    def once(name):
        sycam.synthesize("laws", "iou", tiny_network(), tiny_images(8), budget=15, seed=4, out=tmp_path / name)
        return rows(tmp_path / name)

    assert once("first") == once("second")


def test_a_law_that_nothing_obeys_ends_with_the_budget(tmp_path):
    path = grammar(tmp_path, "(constraint (> (weight A G) 1.0))")
    with pytest.raises(
        SycamError, match=r"no term of .*laws.sy .* unlawful\): raise `budget`, or look at the grammar's constraints"
    ):
        sycam.synthesize(path, "iou", tiny_network(), tiny_images(6), budget=3)


def test_an_unlawful_candidate_counts_a_hundredth(run):
    result, _ = run
    lawful = result.counts["candidates"] - result.counts["unlawful"]
    assert lawful + result.counts["unlawful"] // 100 >= 30 > lawful + result.counts["unlawful"] // 100 - 32


def test_what_is_undecided_is_not_scored_and_written(tmp_path):
    text = TEXT.replace("(W Real ((gap M)", "(W Real ((gmax M) (gap M)")
    path = grammar(tmp_path, HOMOGENEOUS, text)
    result = sycam.synthesize(
        path, "iou", tiny_network(), tiny_images(6), budget=6, out=tmp_path / "run", dump_smt2=tmp_path / "queries"
    )
    undecided = [row for row in rows(tmp_path / "run") if row[4].startswith("neither proved nor refuted: the constraint at ")]
    assert undecided[0][5] == "(gmax G)"  # true, and beyond the axioms about reductions
    assert undecided[0][1] == "law-undecided"
    files = sorted((tmp_path / "queries").glob("constraint-*.smt2"))
    # Known CAMs are asked too, for the table; they are no candidates.
    asked = [f.read_text() for f in files]
    asked = [text for text in asked if not any(f"; Does {cam.term}" in text for cam in known_cams().values())]
    assert len(asked) == result.counts["laws_undecided"] == len(undecided)
    assert "; Does (gmax G)" in asked[0]


def test_an_assumption_that_a_law_does_without_merges_nothing(tmp_path):
    """(gap A) and (gap (mrelu A)) are equal where A is not negative, and only the second obeys a law about all maps."""
    text = TEXT.replace("(assume (nonneg A))", "(assume (nonneg A))(declare-var B Map)")
    path = grammar(tmp_path, "(constraint (>= (weight B B) 0.0))", text)
    result = sycam.synthesize(path, "iou", tiny_network(), tiny_images(6), budget=8, out=tmp_path / "run")
    statuses = {row[5]: row[1] for row in rows(tmp_path / "run")}
    assert statuses["(gap A)"] == "unlawful"
    assert statuses["(gap (mrelu A))"] != "unlawful"
    assert "applies weight to B, of which (nonneg A) is not known" in result.warnings[0]


def test_an_assumption_that_fails_on_the_model_proves_no_law(tmp_path):
    path = grammar(tmp_path, "(constraint (>= (weight A G) 0.0))")
    before_relu = tiny_network(layer="features.0")
    result = sycam.synthesize(path, "iou", before_relu, tiny_images(6), budget=5, out=tmp_path / "run")
    assert "(nonneg A) does not hold" in result.warnings[0]
    assert {row[5]: row[1] for row in rows(tmp_path / "run")}["(gap A)"] == "unlawful"
    sycam.synthesize(path, "iou", tiny_network(), tiny_images(6), budget=5, out=tmp_path / "held")
    assert {row[5]: row[1] for row in rows(tmp_path / "held")}["(gap A)"] != "unlawful"


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("(declare-var y Map)(constraint (>= (weight A y) 0.0))", "terminal 'y' has sort Real, not Map"),
        ("(constraint (weight A G))", "Real"),
        ("(constraint (> (weight A) 0.0))", "weight"),
        ("(constraint (> (weigth A G) 0.0))", "did you mean 'weight'"),
    ],
)
def test_a_wrong_constraint_is_refused_with_its_place(tmp_path, constraint, message):
    with pytest.raises(SygusError) as raised:
        read_problem(grammar(tmp_path, constraint))
    assert message in str(raised.value)
    assert "laws.sy:6:" in str(raised.value)


def test_contributions_obey_laws_too(tmp_path):
    """A pixel at which the gradient is not negative adds nothing negative: so it is with HiResCAM, not with Grad-CAM."""
    law = "(declare-var G Map)(constraint (=> (nonneg G) (nonneg (contribution A G))))(check-synth)"
    path = tmp_path / "pixelwise.sy"
    path.write_text(find_grammar("pixelwise").read_text().replace("(check-synth)", law))
    result = sycam.synthesize(path, "iou", tiny_network(), tiny_images(8), budget=20)
    known = {row.cam.name: row.derived for row in result.rows[1:]}
    assert known["HiResCAM"]
    assert known["LayerCAM"]
    assert not known["Grad-CAM"]
    assert result.counts["unlawful"] > 0
