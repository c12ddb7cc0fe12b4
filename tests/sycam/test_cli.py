"""The command line as its users meet it: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sycam.cams import find_cams, grammar_folder
from sycam.cli import main
from sycam.cli.app import COMMANDS, load
from sycam.embedded import images_csv


@pytest.fixture
def sycam(monkeypatch, capsys):
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sycam", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "100")
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


def some_images(folder, count=12):
    """A folder with a few of the embedded images."""
    folder.mkdir()
    for i in range(count):
        Image.open(images_csv().parent / f"{i:03}.png").save(folder / f"{i:03}.png")
    return folder


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
    code, out, err = sycam("score", "all", "--metric", "iou", "--limit", 2, "--shap-orderings", 2, "--opti-steps", 2,
                           "--noise-samples", 1, "--path-steps", 1, "--json")  # fmt: skip
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
    code, _, err = sycam("synth", "gradient", "--model", f"{factory}:net", "--size", 32, "--mean", "0.4,0.5,0.6", "--std", "0.2",
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
    code, out, err = sycam("synth", "cheap-gain", "--metric", "iou", "--cost", "size", "--budget", 5, "--limit", 12, "--out",
                           tmp_path / "metric")  # fmt: skip
    assert code == 0, err
    assert "iou is searched for, instead of the file's objective" in err
    assert "Goals, in order" not in out
    code, out, err = sycam("synth", "laws", "--budget", 5, "--limit", 12, "--out", tmp_path / "laws")
    assert code == 0, err
    assert "not proved to obey the constraints (0 of them undecided)" in " ".join(out.split())


BROKEN = {
    "a missing parenthesis": ("(check-synth)", "(check-synth", r"where ')' is expected"),
    "an unknown terminal": ("(G Map)", "(G Map) (Grad Map)", "unknown terminal 'Grad'"),
    "a wrong sort": ("(G Map)", "(G Real)", "Real"),
    "an empty grammar": (
        "(M Map (A\n           G\n           (m* M M)\n           (mrelu M))",
        "(M Map ()",
        "the rule of 'M' is empty",
    ),
    "an undeclared operator": ("(declare-fun gap (Map) Real)", "", "declare it first with (declare-fun gap (Map) Real)"),
    "an integer where a real belongs": ("(ite (> x 0.0) x 0.0)", "(ite (> x 0) x 0.0)", "write 0.0"),
    "a constraint that is no Bool": ("(check-synth)", "(declare-var G Map)(constraint (weight A G y))\n(check-synth)", "Real"),
    "a command that is not acted on": (
        "(check-synth)",
        "(oracle-constraint-io weight mine)\n(check-synth)",
        "oracle-constraint-io",
    ),
    "an oracle without the feature": (
        "(check-synth)",
        "(declare-oracle-fun f (Real) Real f)\n(check-synth)",
        "set-feature :oracles",
    ),
    "a metric in the wrong direction": (
        "(check-synth)",
        "(set-feature :oracles true)(declare-oracle-fun f ((-> Map Map Real Real)) Real average-drop)\n"
        "(optimize-synth ((! (f weight) :max)))",
        "average-drop is better the lower it is: write :min",
    ),
    "a front of goals": (
        "(check-synth)",
        "(set-feature :oracles true)(declare-oracle-fun f ((-> Map Map Real Real)) Real average-drop)\n"
        "(optimize-synth ((! (f weight) :min)) :pareto)",
        "goals combine by :lexico only",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_grammars_are_refused_with_their_place(sycam, tmp_path, name):
    old, new, message = BROKEN[name]
    path = tmp_path / "broken.sy"
    text = (grammar_folder() / "gradient.sy").read_text()
    head, _, tail = text.rpartition(old) if old == "(check-synth)" else text.partition(old)
    path.write_text(head + new + tail)
    code, out, err = sycam("synth", path, "--budget", 5, "--out", tmp_path / "run")
    assert code == 2
    assert out == ""
    assert message in err
    assert f"{path}:" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cache", "clear", "--cache", ""], "--cache is empty"),  # not the usual folder, which it would clear
        (["synth", "gradient", "--cache", ""], "--cache is empty"),
        (["synth", "gradient", "--metric", ""], "no metric ''"),
        (["synth", "gradient", "--ray", "", "--limit", 4], "the address of the Ray cluster is empty"),
    ],
)
def test_an_empty_name_is_refused(sycam, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = sycam(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_bad_images_models_layers_and_weights(sycam, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    images = some_images(tmp_path / "images")
    cut = images / "000.png"
    whole = cut.read_bytes()
    photo = tmp_path / "photos"
    photo.mkdir()
    Image.open(cut).convert("RGB").resize((200, 200)).save(photo / "a.jpg")
    (photo / "a.jpg").write_bytes((photo / "a.jpg").read_bytes()[:1500])
    other = tmp_path / "other.safetensors"
    save_file({"something.weight": torch.zeros(3, 3)}, other)
    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"not weights at all")
    cases = [
        (["--images", empty], "no image"),
        (["--images", photo], "a.jpg"),
        (["--layer", "features.99"], "features.99"),
        (["--layer", "classifier.0"], "classifier.0"),
        (["--model", "resnet18", "--weights", other, "--images", images], "something.weight"),
        (["--model", "resnet18", "--weights", junk, "--images", images], "junk.pt"),
        (["--model", "resnet81", "--images", images], "resnet18"),
        (["--model", "nothing.py:net", "--images", images], "nothing.py"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--metric", "iou", "--images", images], "mask"),
        (["--mean", "a,b"], "--mean"),
        (["--metric", "iuo"], "did you mean 'iou'"),
        (["--seed", "-1"], "seed must be a whole number"),
        (["--target", "nan"], "target must be a finite score"),
    ]
    for arguments, message in cases:
        code, out, err = sycam("synth", "gradient", "--budget", 5, "--out", tmp_path / "run", *arguments)
        assert code == 2, (arguments, err)
        assert out == "", arguments
        assert message in err, (arguments, err)
        assert "Traceback" not in err, arguments
    cut.write_bytes(whole)


def test_a_network_that_gives_nan_is_named(sycam, tmp_path):
    factory = tmp_path / "broken_net.py"
    factory.write_text(
        "import torch\nfrom torch import nn\n\ndef net():\n"
        "    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))\n"
        "    model[0].weight.data[:] = float('nan')\n    return model\n"
    )
    images = some_images(tmp_path / "images", 4)
    code, _, err = sycam(
        "synth", "gradient", "--model", f"{factory}:net", "--size", 64, "--images", images, "--out", tmp_path / "r"
    )
    assert code == 2
    assert "NaN" in err
    assert "Traceback" not in err


def start(tmp_path, *arguments):
    # Ctrl-C works here even where the tests themselves run in the background, where shells have it ignored
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from sycam.cli import main; main()"
    command = [sys.executable, "-c", code, "synth", "gradient", "--metric", "average-drop",
               "--budget", "100000", "--out", str(tmp_path / "run"), *arguments]  # fmt: skip
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "100"}
    )


def tried(tmp_path):
    path = tmp_path / "run" / "journal.sqlite"
    if not path.exists():
        return 0
    try:
        return sqlite3.connect(path, timeout=5).execute("select count(*) from candidate").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def wait_for_candidates(tmp_path, process, count=64):
    until = time.monotonic() + 120
    while tried(tmp_path) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_killed_run_keeps_what_was_scored(tmp_path):
    process = start(tmp_path, "--limit", "40")
    wait_for_candidates(tmp_path, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert tried(tmp_path) >= 64
    file = sqlite3.connect(tmp_path / "run" / "journal.sqlite")
    assert file.execute("pragma integrity_check").fetchone() == ("ok",)
    assert file.execute("select count(*) from candidate where status = 'accepted'").fetchone()[0] >= 1


def test_an_interrupted_run_ends_with_its_best(tmp_path):
    process = start(tmp_path, "--limit", "40")
    wait_for_candidates(tmp_path, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Stopped by: interrupted." in out
    assert (tmp_path / "run" / "answer.sy").exists()


def test_the_list_of_commands_does_without_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise AssertionError('torch loads for seconds')")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    for arguments, says in (["--help"], "grammar goes in"), ([], "grammar goes in"), (["scor"], "Did you mean 'score'?"):
        command = [sys.executable, "-c", "from sycam.cli import main; main()", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path, "COLUMNS": "99"})
        assert says in done.stdout + done.stderr
        assert "torch loads" not in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_list_says_of_a_command_is_what_its_help_says(name):
    loaded = load(name)
    assert loaded.name == name
    said = " ".join(loaded.help.split("\n\n")[0].split())
    assert said.startswith(COMMANDS[name][1].rstrip("."))


def test_ctrl_c_while_torch_is_loading(tmp_path):
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")  # what pressing it during the import does
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    command = [sys.executable, "-c", "from sycam.cli import main; main()", "list", "metrics"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted: there is no answer yet\n")


def test_by_class_from_the_search_to_one_image(sycam, tmp_path):
    code, _, err = sycam("synth", "gradient", "--by-class", "--min-images", 90, "--limit", 24, "--out", tmp_path / "0")
    assert code == 2
    assert "no image class has 90 search images" in err
    more = ("--limit", 24, "--budget", 20, "--metric", "iou", "--out", tmp_path / "1")
    code, out, _ = sycam("synth", "gradient", "--by-class", "--min-images", 1, *more)
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


def test_everything_public_is_found_where_it_lives():
    code = (
        "import sycam; print(all(getattr(sycam, n) is not None for n in sycam.__all__), sycam.network.Network is sycam.Network)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True True\n", done.stderr


def test_a_full_disk_is_said_plainly(tmp_path):
    from sycam.errors import SycamError
    from sycam.run.journal import Journal
    from sycam.synthesis import Tried
    from sygus.terms import real

    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.candidates([Tried(1, real(1), 1, "accepted", 0.5)])
        journal._file.execute("pragma max_page_count = 5")  # what a full disk looks like to sqlite
        with pytest.raises(SycamError, match="cannot write the run's journal.*free the disk"):
            journal.candidates(Tried(n, real(1), 1, "rejected", reason="x" * 500) for n in range(2, 200))
    assert sqlite3.connect(tmp_path / "journal.sqlite").execute("select count(*) from candidate").fetchone() == (1,)


def test_terminals_are_kept_between_runs_shown_and_cleared(sycam, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    scored = ["score", "gradcam", "--limit", 4, "--cache", kept]
    documents = []
    for said in ("0 values read from the cache, 20 computed;", "20 values read from the cache, 0 computed; 0 B written to"):
        code, out, _ = sycam(*scored)
        assert code == 0
        assert f"Terminals of 4 images: {said}" in out
        assert str(kept) in out
    for more in ([], ["--no-cache"]):
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
    code, _, err = sycam(*scored, "--no-cache", "--cache", tmp_path)
    assert (code, err) == (2, f"error: --no-cache and --cache {tmp_path} contradict each other: give one\n")
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
    assert sycam(*scored, "--cache-limit", "1MB")[2] == ""
    assert (tmp_path / "mine" / "sycam").is_dir()
