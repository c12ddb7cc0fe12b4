"""The command line as its users meet it: what it prints and what it writes."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from worlds import some_images

from sycam.cams import find_cams
from sycam.cli.app import COMMANDS, load
from sycam.embedded import images_csv
from sycam.job.job import grammar_folder


def test_synth_prints_the_table_and_writes_the_run(sycam, tmp_path):
    code, out, err = sycam("synth", "gradient", "--metric", "iou", "--budget", 40, "--limit", 40, "--out", tmp_path / "run")
    assert code == 0
    for name in ("weight", "Grad-CAM ✓", "Grad-CAM++", "XGrad-CAM ✓", "HiResCAM", "LayerCAM"):
        assert name in out
    assert "held-out images" in out
    assert "(define-fun weight (" in out
    assert "Stopped by: budget of 40 candidates." in out
    assert "λ (iou)" in err
    assert (tmp_path / "run" / "report.html").exists()
    code, _, err = sycam("synth", "gradient", "--budget", 5, "--out", tmp_path / "run")
    assert code == 2
    assert "holds a run already" in err


def test_json_is_all_there_is_on_stdout(sycam, tmp_path):
    code, out, err = sycam(
        "synth", "gradient", "--metric", "iou", "--budget", 20, "--limit", 20, "--out", tmp_path / "r", "--json"
    )
    assert code == 0
    assert err == ""
    document = json.loads(out)
    assert document["answer"]["define_fun"].startswith("(define-fun weight (")
    assert document["counts"]["candidates"] == 20
    assert document["folder"] == str(tmp_path / "r")
    for command in (["score", "gradcam", "--limit", 6], ["check", grammar_folder() / "gradient.sy"], ["list", "metrics"]):
        code, out, err = sycam(*command, "--json")
        assert (code, err) == (0, "")
        json.loads(out)


def test_score_puts_cams_and_terms_side_by_side(sycam):
    code, out, _ = sycam("score", "gradcam", "LayerCAM", "(gap (m* A G))", "--metric", "average-drop", "--metric", "iou",
                         "--limit", 20)  # fmt: skip
    assert code == 0
    for text in (
        "Grad-CAM",
        "LayerCAM",
        "(gap (m* A G))",
        "average-drop ↓",
        "iou ↑",
        "20 images; ",
        "protocol adcc: masked pixels mean colour; predicted class",
    ):
        assert text in out
    code, out, _ = sycam("score", "gradcam", "(gap G)", "--metric", "iou", "--limit", 20, "--json")
    first, second = json.loads(out)["scores"]
    assert first["iou"] == second["iou"]


def test_score_all_skips_what_the_network_cannot_give(sycam):
    code, out, err = sycam("score", "all", "--metric", "iou", "--limit", 2, "--set", f"shap_orderings={2}", "--set", f"opti_steps={2}",
                           "--set", f"noise_samples={1}", "--set", f"path_steps={1}", "--json")  # fmt: skip
    assert code == 0
    assert "CAM is skipped: terminal fc: no global average pooling with one linear layer" in err
    document = json.loads(out)
    assert [skipped["name"] for skipped in document["skipped"]] == ["CAM"]
    rows = {row["name"]: row for row in document["scores"]}
    assert set(rows) == {cam.name for cam in find_cams("all")} - {"CAM"}
    assert (rows["Grad-CAM"]["kind"], rows["Grad-CAM"]["passes"]) == ("known", "1 forward, 1 backward")
    assert (rows["EigenCAM"]["kind"], rows["EigenCAM"]["expression"]) == ("baseline", "Python")
    assert rows["Fake-CAM"]["kind"] == "control" and 0 < rows["Fake-CAM"]["iou"]["mean"] < 1
    code, _, err = sycam("score", "cam", "--limit", 4)
    assert code == 2
    assert "fc" in err
    code, _, err = sycam("score", "controls", "cam", "--limit", 4)  # named, though in the company of a group
    assert code == 2
    assert "fc" in err


def test_score_baselines_and_controls_by_group_and_by_name(sycam):
    code, out, _ = sycam("score", "controls", "eigencam", "--metric", "iou", "--metric", "average-drop", "--limit", 4, "--json")
    assert code == 0
    rows = json.loads(out)["scores"]
    assert [row["name"] for row in rows] == ["Fake-CAM", "Random-CAM", "Centre-Gaussian", "EigenCAM"]
    code, out, _ = sycam("score", "eigencam", "gradcam", "--metric", "iou", "--limit", 4)
    assert code == 0
    for text in ("EigenCAM", "baseline", "known", "1 forward"):
        assert text in out
    # Alone or in company, a baseline has one score.
    code, out, _ = sycam("score", "eigencam", "--metric", "iou", "--limit", 4, "--json")
    assert json.loads(out)["scores"][0]["iou"] == rows[3]["iou"]


def test_explain_draws_a_baseline(sycam, tmp_path):
    image = images_csv().parent / "005.png"
    code, out, _ = sycam("explain", "eigencam", image, "--out", tmp_path / "x.png", "--json")
    assert code == 0
    assert (json.loads(out)["cam"], json.loads(out)["expression"]) == ("EigenCAM", "Python")
    assert Image.open(tmp_path / "x.png").size[0] > 1000


def test_list_cams_shows_references_and_baselines(sycam):
    code, out, _ = sycam("list", "cams", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)["cams"]}
    assert rows["XGrad-CAM"]["source"] == "Fu et al., Axiom-based Grad-CAM, BMVC 2020, eq. 8."
    assert (rows["XGrad-CAM"]["sort"], rows["XGrad-CAM"]["passes"]) == ("Real", "1 forward, 1 backward")
    assert (rows["FullGrad"]["kind"], rows["FullGrad"]["sort"]) == ("baseline", "Python")
    assert all(row["source"] and row["passes"] and row["meaning"] for row in rows.values())


def test_an_oracle_of_ones_own(sycam, tmp_path):
    oracle = tmp_path / "mine.py"
    oracle.write_text("def coolness(query, direction='high', bounds=(0, 1)):\n    return 1 - query.heatmaps.mean((1, 2))\n")
    code, out, _ = sycam(
        "synth", "pixelwise", "--oracle", f"{oracle}:coolness", "--budget", 15, "--limit", 16, "--out", tmp_path / "r"
    )
    assert code == 0
    assert "coolness" in out
    code, _, err = sycam("synth", "pixelwise", "--oracle", f"{oracle}:hotness", "--budget", 5)
    assert code == 2
    assert "hotness" in err


def test_explain_draws_one_image(sycam, tmp_path):
    image = images_csv().parent / "005.png"
    code, out, _ = sycam("explain", "gradcam", image, "--out", tmp_path / "x.png")
    assert code == 0
    assert out.startswith("5, p = ")
    assert Image.open(tmp_path / "x.png").size[0] > 1000
    code, out, _ = sycam("explain", "(gap G)", image, "--class", 3, "--out", tmp_path / "y.png", "--json")
    assert json.loads(out)["class_name"] == "3"
    assert (tmp_path / "x.png").read_bytes() != (tmp_path / "y.png").read_bytes()
    code, _, err = sycam("explain", "gradcam", image, "--class", 10, "--out", tmp_path / "z.png")
    assert code == 2
    assert "has the classes 0 to 9" in err


def test_explain_draws_a_run_with_the_network_of_the_run(sycam, tmp_path):
    factory = tmp_path / "net.py"
    factory.write_text(
        "import torch\nfrom torch import nn\n\ndef net():\n    torch.manual_seed(1)\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))\n"
    )
    images = some_images(tmp_path / "images", 6)
    code, _, err = sycam("synth", "gradient", "--model", f"{factory}:net", "--size", 32, "--set", "mean=0.4,0.5,0.6", "--set", "std=0.2",
                         "--images", images, "--budget", 5, "--out", tmp_path / "run")  # fmt: skip
    assert code == 0, err
    code, out, _ = sycam("explain", tmp_path / "run", images / "003.png", "--out", tmp_path / "x.png", "--json")
    document = json.loads(out)
    assert document["network"]["classes"] == 7
    assert document["network"]["preprocessing"]["size"] == 32
    assert document["network"]["preprocessing"]["mean"] == [0.4, 0.5, 0.6]
    code, out, _ = sycam(
        "explain", tmp_path / "run", images / "003.png", "--model", "embedded", "--out", tmp_path / "y.png", "--json"
    )
    assert json.loads(out)["network"]["classes"] == 10


@pytest.mark.parametrize("what", ["metrics", "terminals", "operators", "cams", "models"])
def test_list(sycam, what):
    code, out, _ = sycam("list", what)
    assert code == 0
    names = {"metrics": "average-gain", "terminals": "drop", "operators": "gap", "cams": "Grad-CAM++", "models": "resnet50"}
    assert names[what] in out


def test_check_says_what_synth_would_say(sycam, tmp_path):
    files = sorted(grammar_folder().glob("*.sy"))
    code, out, _ = sycam("check", *files)
    assert code == 0
    assert out.count("ok") == len(files) == 5
    bad = tmp_path / "bad.sy"
    bad.write_text(files[0].read_text().replace("(check-synth)", "(constraint (> (weight A G y) 0))\n(check-synth)", 1))
    code, out, err = sycam("check", bad, files[0])
    assert code == 2
    assert "ok" in out
    assert "bad.sy" in err


def test_check_shows_constraints_and_objective(sycam):
    laws, goals = (grammar_folder() / name for name in ("laws.sy", "objectives/cheap-gain.sy"))
    code, out, _ = sycam("check", laws, goals)
    assert code == 0
    assert "constraint at line 42: (>= (weight A G y) 0.0)" in out
    assert "weights effort; objective average-gain (max), then average-drop (min), then effort (min), in order of effort" in out


def test_synth_obeys_the_file_and_its_laws(sycam, tmp_path):
    code, out, err = sycam("synth", "cheap-gain", "--budget", 10, "--limit", 12, "--out", tmp_path / "goals")
    assert code == 0, err
    assert "λ (average-gain)" in err
    assert "Goals, in order: average-gain " in out
    assert "; effort " in out
    code, out, err = sycam("synth", "cheap-gain", "--metric", "iou", "--set", "cost=size", "--budget", 5, "--limit", 12, "--out",
                           tmp_path / "metric")  # fmt: skip
    assert code == 0, err
    assert "iou is searched for, instead of the file's objective" in err
    assert "Goals, in order" not in out
    code, out, err = sycam("synth", "laws", "--budget", 5, "--limit", 12, "--out", tmp_path / "laws")
    assert code == 0, err
    assert "not proved to obey the constraints (0 of them undecided)" in " ".join(out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_list_says_of_a_command_is_what_its_help_says(name):
    loaded = load(name)
    assert loaded.name == name
    said = " ".join(loaded.help.split("\n\n")[0].split())
    assert said.startswith(COMMANDS[name][1].rstrip("."))


def test_by_class_from_the_search_to_one_image(sycam, tmp_path):
    code, _, err = sycam("synth", "gradient", "--by-class", "--set", f"min_images={90}", "--limit", 24, "--out", tmp_path / "0")
    assert code == 2
    assert "no image class has 90 search images" in err
    more = ("--limit", 24, "--budget", 20, "--metric", "iou", "--out", tmp_path / "1")
    code, out, _ = sycam("synth", "gradient", "--by-class", "--set", f"min_images={1}", *more)
    assert code == 0
    assert "the single term" in out
    assert "(ite " in out
    image = next((tmp_path / "1" / "overlays").iterdir())
    code, out, _ = sycam("explain", tmp_path / "1", image, "--class", 3, "--out", tmp_path / "explained.png")
    assert code == 0
    assert "(= c" not in out  # the part of class 3
    code, out, _ = sycam("score", tmp_path / "1", "gradcam", "--limit", 8)
    assert code == 0
    assert "(= c" in out


def test_terminals_are_kept_between_runs_shown_and_cleared(sycam, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    scored = ["score", "gradcam", "--limit", 4, "--cache", kept]
    documents = []
    for said in ("0 values read from the cache, 20 computed;", "20 values read from the cache, 0 computed; 0 B written to"):
        code, out, _ = sycam(*scored)
        assert code == 0
        assert f"Terminals of 4 images: {said}" in out
        assert str(kept) in out
    for more in ([], ["--cache", "none"]):
        code, out, _ = sycam(*(scored if not more else scored[:-2]), *more, "--json")
        documents.append(json.loads(out))
    assert documents[0]["scores"] == documents[1]["scores"]
    assert [d["network"]["passes"]["backward"] for d in documents] == [0, 4]
    assert [d["cache"]["folder"] for d in documents] == [str(kept), ""]
    monkeypatch.setenv("SYCAM_CACHE", str(kept))
    code, out, _ = sycam("synth", "gradient", "--budget", 3, "--limit", 4, "--seed", 0, "--out", tmp_path / "run")
    assert "Terminals of 4 images: 20 values read from the cache, 4 computed;" in out  # of y

    code, out, _ = sycam("cache")
    assert code == 0
    assert "embedded, layer features.14, cpu" in out
    assert "of at most 10 GB in" in out
    code, out, _ = sycam("cache", "--json")
    shown = json.loads(out)
    assert {row["terminal"]: row["values"] for row in shown["entries"]}["G"] == 4
    assert (
        sycam("cache", "clear", "--model", "resnet50")[2] == "error: nothing is kept of a model 'resnet50'; there are embedded\n"
    )
    assert "0 B removed" in sycam("cache", "clear", "--older-than", "1d")[1]
    assert sycam("cache", "clear", "--older-than", "soon")[0] == 2
    assert shown["bytes"] == json.loads(sycam("cache", "clear", "--model", "embedded", "--json")[1])["freed"]
    assert "0 B of at most 10 GB in" in sycam("cache")[1]
    assert list(kept.iterdir()) == []


def test_where_terminals_are_kept(sycam, tmp_path, monkeypatch):
    scored = ["score", "gradcam", "--limit", 2]
    monkeypatch.setenv("SYCAM_CACHE", "none")
    assert "Terminals" not in sycam(*scored)[1]
    assert sycam("cache")[0] == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYCAM_CACHE", str(tmp_path / "file" / "cache"))
    assert sycam(*scored)[0] == 2  # named, and not possible
    monkeypatch.delenv("SYCAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, _, err = sycam(*scored)  # the usual place, and not possible
    assert code == 0
    assert "warning: terminals are not kept between runs: cannot make the cache folder" in err
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    sycam("cache")
    assert not (tmp_path / "mine").exists()  # to look at it makes nothing
    monkeypatch.setenv("SYCAM_CACHE_LIMIT", "1KB")
    err = sycam(*scored)[2]
    assert "its limit of 1 KB is reached" in err
    assert sycam(*scored, "--set", "cache_limit=1MB")[2] == ""
    assert (tmp_path / "mine" / "sycam").is_dir()
