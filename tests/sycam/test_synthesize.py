"""The main job as a whole, on the embedded default and on small worlds."""

from __future__ import annotations

import json
import sqlite3

import cvc5
import pytest
import torch
from worlds import gathered, tiny_images, tiny_network

import sycam
from sycam.cams import find_cams
from sycam.errors import SycamError
from sycam.metrics.own.find import find_metric
from sycam.scoring import MetricOracle
from sygus import SygusError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return sycam.synthesize("gradient", "average-drop", budget=120, limit=40, out=folder), folder


def test_the_answer_is_the_best_of_all_candidates_on_the_search_images(run):
    result, folder = run
    rows = sqlite3.connect(folder / "journal.sqlite").execute("select status, score, term from candidate").fetchall()
    assert len(rows) == result.counts["candidates"] == 120
    scored = [score for _, score, _ in rows if score is not None]
    assert result.score <= min(scored) + 1e-9
    assert result.score == pytest.approx(float(result.answer.search.mean()))
    again = sycam.score(result, "average-drop", result.network, _part(result))
    assert float(again.mean()) == pytest.approx(result.score, abs=1e-6)


def _part(result):
    """The search images again, found by the names in the manifest."""
    from sycam.embedded import images_csv

    images = sycam.load_images(images_csv(), result.network.preprocessing)
    places = [images.names.index(name) for name in result.manifest["images"]["search_names"]]
    return images.select(places)


def test_the_folder_holds_everything_and_the_answer_can_be_used_again(run):
    result, folder = run
    assert {p.name for p in folder.iterdir()} == {
        "answer.sy", "job.json", "journal.sqlite", "result.json", "manifest.json", "report.html", "gallery.png", "overlays",
    }  # fmt: skip
    assert len(list((folder / "overlays").glob("*.png"))) == 6
    (cam,) = find_cams(str(folder))
    assert str(cam.term) == str(result.term)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(sycam.heatmaps(str(folder), result.network, images), result.cam(images))
    solver = cvc5.Solver()
    solver.setOption("sygus", "true")
    parser = cvc5.InputParser(solver)
    parser.setFileInput(cvc5.InputLanguage.SYGUS_2_1, str(folder / "answer.sy"))
    while not (command := parser.nextCommand()).isNull():
        assert "error" not in command.invoke(solver, parser.getSymbolManager())
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["network"]["weights_sha256"] == result.network.weights_digest()
    job = json.loads((folder / "job.json").read_text())
    assert job["seed"] == 0
    assert "(synth-fun weight" in job["grammar"]["text"]
    assert manifest["job"] == job
    report = (folder / "report.html").read_text()
    assert result.answer.cam.name in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_every_merge_is_in_the_journal(run):
    result, folder = run
    file = sqlite3.connect(folder / "journal.sqlite")
    merges = file.execute("select term, representative, relation, proof from merge where relation = 'equal'").fetchall()
    assert len(merges) == result.counts["merges"] > 20
    assert {m[2] for m in merges} == {"equal"}
    assert {m[3] for m in merges} <= {"cvc5", "identical", "instance"}
    assert all(term != representative for term, representative, *_ in merges)


def test_passes_are_counted_and_bounded(run):
    result, _ = run
    counts, known = result.counts, len(result.rows) - 1
    images = counts["images_searched"]
    assert counts["masked_passes"] <= (counts["candidates"] + known) * images
    assert counts["masked_passes"] + counts["image_scores_shared"] == counts["image_scores"]
    whole = counts["masked_passes"] + counts["masked_passes_held_out"] + images + counts["images_held_out"]
    assert counts["network_passes"]["full"] == whole
    assert counts["network_passes"]["backward"] == images + counts["images_held_out"]


def test_rows_are_the_known_cams_of_the_same_terminals(run):
    result, _ = run
    names = {row.cam.name: row for row in result.rows[1:]}
    assert set(names) == {
        "Grad-CAM", "Grad-CAM-elementwise", "Grad-CAM++", "Grad-CAM++-miswritten", "XGrad-CAM", "HiResCAM", "LayerCAM", "FEM",
        "FEM-share",
    }  # fmt: skip
    assert names["Grad-CAM"].derived
    assert names["XGrad-CAM"].derived
    assert not names["HiResCAM"].derived  # the grammar returns Real
    described = result.describe()
    for row in described["table"]:
        for part in ("search", "held_out"):
            assert row[part]["lo"] <= row[part]["mean"] <= row[part]["hi"]
    assert described["table"][0]["difference"] is None
    assert result.verdict.startswith("On 20 held-out images the answer ")


def test_one_seed_one_result():
    first, second = (sycam.synthesize("pixelwise", "iou", budget=60, limit=30, seed=7) for _ in range(2))
    assert first.term is second.term
    assert torch.equal(first.answer.search, second.answer.search)
    assert [i.score for i in first.search.history] == [i.score for i in second.search.history]
    other = sycam.synthesize("pixelwise", "iou", budget=60, limit=30, seed=8)
    assert other.manifest["images"]["search_names"] != first.manifest["images"]["search_names"]


@pytest.mark.parametrize("grammar", ["gradient", "perturbation", "pixelwise"])
def test_every_shipped_grammar_runs(grammar):
    network, images = tiny_network(), tiny_images(16)
    result = sycam.synthesize(grammar, "average-gain", network, images, budget=40)
    assert result.counts["candidates"] == 40
    known = {row.cam.name: row.derived for row in result.rows[1:]}
    assert known["Grad-CAM"]
    if grammar == "perturbation":
        assert known["Score-CAM"]
        assert known["Ablation-CAM"]
    if grammar == "pixelwise":
        assert known["HiResCAM"]
        assert known["LayerCAM"]


def test_an_assumption_that_does_not_hold_is_dropped_with_a_warning():
    network, images = tiny_network(layer="features.0"), tiny_images(16)  # before the ReLU: A has negative entries
    result = sycam.synthesize("gradient", "average-gain", network, images, budget=10)
    assert any("(nonneg A) does not hold on image-" in warning for warning in result.warnings)
    held = sycam.synthesize("gradient", "average-gain", tiny_network(), images, budget=10)
    assert not any("nonneg" in warning for warning in held.warnings)
    # relu of a map is not the map any more: fewer merges
    assert result.counts["merges"] <= held.counts["merges"]


def test_a_grammar_that_reaches_a_known_cam_by_another_road_derives_it(tmp_path):
    text = """(set-logic ALL) (declare-sort Map 0) (declare-fun sum (Map) Real) (declare-fun m* (Map Map) Map)
    (synth-fun w ((A Map) (G Map)) Real ((W Real) (M Map))
      ((W Real ((sum M) (/ W W))) (M Map (A G (m* M M))))) (check-synth)"""
    path = tmp_path / "sums.sy"
    path.write_text(text)
    result = sycam.synthesize(path, "average-gain", tiny_network(), tiny_images(8), budget=200, max_size=7)
    known = {row.cam.name: row.derived for row in result.rows[1:]}
    assert known["XGrad-CAM"]  # (/ (sum (m* A G)) (sum A)), proved equal to the quotient of means
    assert known["Grad-CAM"]  # the sum is Z times the mean: another function, and the same heatmap
    assert not known["HiResCAM"]


def test_no_held_out_images_is_said_plainly():
    result = sycam.synthesize("gradient", "average-gain", tiny_network(), tiny_images(8), budget=20, held_out=0)
    assert result.rows[0].held_out is None
    assert "No image was held out" in result.verdict or "no term tried beats" in result.verdict.lower()


def test_images_without_a_mask_are_left_out_of_metrics_that_need_one():
    images = tiny_images(12)
    images.masks[3] = False
    warnings = []

    class Watch(sycam.Observer):
        def warn(self, message):
            warnings.append(message)

    result = sycam.synthesize("gradient", "iou", tiny_network(), images, budget=10, observer=Watch())
    assert result.counts["images_searched"] + result.counts["images_held_out"] == 11
    assert warnings[0] == "1 of 12 images have no mask and are left out of iou"
    with pytest.raises(SycamError, match="no image has any"):
        sycam.synthesize("gradient", "iou", tiny_network(), tiny_images(4, masks=False), budget=10)


def test_undecided_queries_can_be_written(tmp_path):
    from pysmt.smtlib.parser import SmtLibParser

    path = tmp_path / "maxima.sy"
    path.write_text(  # that the square of the maximum is the maximum of the square is beyond the axioms about reductions
        """(set-logic ALL) (declare-sort Map 0) (declare-fun gmax (Map) Real) (declare-fun m* (Map Map) Map)
        (declare-fun nonneg (Map) Bool) (declare-var A Map) (assume (nonneg A))
        (synth-fun w ((A Map)) Real ((W Real) (M Map)) ((W Real ((gmax M) (* W W))) (M Map (A (m* M M))))) (check-synth)"""
    )
    result = sycam.synthesize(path, "iou", tiny_network(), tiny_images(6), max_size=7, dump_smt2=tmp_path / "queries")
    files = sorted((tmp_path / "queries").glob("*.smt2"))
    assert sum(file.name.startswith("undecided-") for file in files) == result.counts["undecided"] > 0
    assert sum(file.name.startswith("heatmap-") for file in files) == result.counts["undecided_heatmaps"] > 0
    for file in files:
        with file.open() as text:
            assert SmtLibParser().get_script(text).get_last_formula() is not None


def test_a_labelled_class_is_explained_when_asked():
    network, images = tiny_network(), tiny_images(12)
    cam = find_cams("gradcam")
    cache = gathered(network, images, ["G"], images.labels)
    expected = MetricOracle(cache, find_metric("average-gain"))
    values = sycam.score(cam[0], "average-gain", network, images, classes=images.labels)
    torch.testing.assert_close(values, expected.score(expected.maps([cam[0].term])[0], torch.arange(12))[0])
    assert torch.equal(cache.classes, images.labels)
    images.labels[5] = 9
    with pytest.raises(SycamError, match=r"image-5.png has the label 9, not one of the 4 classes"):
        sycam.synthesize("gradient", "average-gain", network, images, budget=5, classes="labelled")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"grammar": "nowhere.sy"}, SygusError, "no grammar file nowhere.sy"),
        ({"grammar": "gradiant"}, SygusError, "did you mean 'gradient'"),
        ({"metric": "average-gian"}, SycamError, "did you mean 'average-gain'"),
        ({"budget": "soon"}, SycamError, "`budget` must be candidates \\(2000\\), time"),
        ({"held_out": 1.0}, SycamError, "`held_out` must be a share, at least 0 and below 1"),
        ({"classes": "all"}, SycamError, "'predicted' or 'labelled'"),
        ({"images": "nowhere"}, SycamError, "no such file or folder: nowhere"),
        ({"images": [1, 2]}, SycamError, "`images` must be a text, not \\[1, 2\\]"),
        ({"seed": -1}, SycamError, "`seed` must be a whole number from 0"),
        ({"target": float("nan")}, SycamError, "`target` must be a number, not nan"),
        ({"max_size": 0}, SycamError, "`max_size` must be a whole number, at least 1"),
        ({"budgett": 5}, SycamError, "no option 'budgett'; did you mean 'budget'"),
        ({"size": 32}, SycamError, "a Network is used as it is"),
        ({"metric": len}, SycamError, "`metric` must be a text, not <built-in"),
    ],
)
def test_bad_requests_say_what_is_wrong(change, error, message):
    options = {"grammar": "gradient", "metric": "average-gain", "model": tiny_network(), "images": tiny_images(4), "budget": 5}
    with pytest.raises(error, match=message):
        sycam.synthesize(**{**options, **change})


def test_a_limit_draws_from_an_image_set_too():
    result = sycam.synthesize("gradient", "iou", tiny_network(), tiny_images(12), budget=5, limit=8)
    assert result.counts["images_searched"] == result.counts["images_held_out"] == 4


def test_an_answer_that_draws_nothing_is_said(tmp_path):
    path = tmp_path / "nothing.sy"
    path.write_text("(set-logic ALL) (synth-fun w ((y Real)) Real ((W Real)) ((W Real ((- y y))))) (check-synth)")
    result = sycam.synthesize(path, "average-gain", tiny_network(), tiny_images(8), budget=3)
    assert result.warnings[-1].startswith("the answer's heatmap is empty on 4 of 4 held-out images")


def test_images_of_one_name_in_two_folders_get_two_overlays(tmp_path):
    images = tiny_images(12)
    images.names[:] = [f"{'ab'[i % 2]}/{i // 2}.png" for i in range(12)]
    sycam.synthesize("gradient", "iou", tiny_network(), images, budget=5, out=tmp_path / "run")
    assert len(list((tmp_path / "run" / "overlays").glob("*.png"))) == 6


def test_a_run_that_fails_early_leaves_no_folder(tmp_path):
    with pytest.raises(SycamError):
        sycam.synthesize("gradient", "iou", tiny_network(), tiny_images(4, masks=False), budget=5, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tie_and_a_loss_are_called_what_they_are():
    from sycam.cams import Cam, find_cam
    from sycam.run.result import Row
    from sycam.run.verdict import verdict

    def rows(answer, known):
        gradcam = find_cam("gradcam")
        return [
            Row(Cam("w", gradcam.term, "synthesised"), "answer", True, answer, answer),
            Row(gradcam, "known", True, known, known),
        ]

    seeded = torch.Generator().manual_seed(1)
    values = torch.rand(50, dtype=torch.float64, generator=seeded)
    assert "scores as Grad-CAM does" in verdict(rows(values, values), find_metric("average-gain"))
    assert "is worse by 10.00 points" in verdict(rows(values, values + 0.1), find_metric("average-gain"))
    assert "within the noise" not in verdict(rows(values, values + 0.1), find_metric("average-gain"))
    assert "beats every known CAM" in verdict(rows(values, values + 0.1), find_metric("average-drop"))
    noisy = values + torch.randn(50, dtype=torch.float64, generator=seeded) + 0.01
    assert "within the noise" in verdict(rows(values, noisy), find_metric("average-gain"))


def test_heatmaps_of_a_plain_module_and_bad_shapes():
    model = tiny_network().model
    images = torch.randn(5, 3, 16, 16)
    given = sycam.heatmaps("grad_cam", model, images, layer="features.1")
    assert given.shape == (5, 16, 16)
    assert float(given.min()) >= 0
    assert float(given.max()) <= 1
    torch.testing.assert_close(sycam.heatmaps("(gap G)", model, images, layer="features.1"), given)
    one = sycam.heatmaps("gradcam", model, images, layer="features.1", classes=torch.full((5,), 2))
    assert not torch.equal(one, given)
    with pytest.raises(SycamError, match="normalised tensor"):
        sycam.heatmaps("gradcam", model, images[0])
    with pytest.raises(SycamError, match="one integer for each of the 5 images"):
        sycam.heatmaps("gradcam", model, images, layer="features.1", classes=torch.zeros(3))


@pytest.mark.parametrize("learner", ["cvc5", "uniform"])
def test_every_learner_finds_what_the_enumerator_finds(learner, tmp_path):
    """The same bounded grammar, tried to its end: the best score is the same; uniform gives the terms of one size only."""
    grammar = tmp_path / "small.sy"
    grammar.write_text(
        "(set-logic ALL)(declare-sort Map 0)(declare-fun gap (Map) Real)(declare-fun m* (Map Map) Map)\n"
        "(synth-fun weight ((A Map) (G Map)) Real ((W Real) (M Map)) ((W Real ((gap M) (* W W))) (M Map (A G (m* M M)))))(check-synth)"
    )
    options = {"budget": 200, "max_size": 4, "held_out": 0.0, "limit": 8}
    expected = sycam.synthesize(grammar, "average-gain", **options)
    other = sycam.synthesize(grammar, "average-gain", **options, learner=learner)
    assert other.counts["classes"] > 3
    if learner == "cvc5":
        assert other.score == pytest.approx(expected.score)
    else:
        assert other.counts["largest_cost"] == 4 and expected.score >= other.score - 1e-6  # other batches


def test_an_unknown_learner_is_refused():
    with pytest.raises(SygusError, match="no learner 'random'.* bottom-up, cvc5, uniform"):
        sycam.synthesize("gradient", "average-gain", learner="random")
