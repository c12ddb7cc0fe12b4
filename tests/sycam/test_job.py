"""A run as data: made from keywords, options and files, told all its mistakes at once, kept in the run's folder and made again."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from worlds import tiny_images, tiny_network

import sycam
from sycam.cli.options import ALL, PANELS
from sycam.errors import SycamError
from sycam.job import Job, read_job
from sycam.job.job import GROUPS, OPTIONS
from sycam.metrics.own.find import find_metric
from sygus import SygusError

ROOT = Path(__file__).parents[2]


def rows(folder):
    """Every candidate of a run with its exact score."""
    with sqlite3.connect(folder / "journal.sqlite") as journal:
        return journal.execute("select number, cost, status, score, bound, seen, term from candidate order by number").fetchall()


def test_keywords_make_the_job_that_a_file_says(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text('grammar = "gradient"\nmetric = "iou"\nbudget = "60s"\nlimit = 12\nmean = [0.5, 0.4, 0.3]\nby_class = true\n')
    given = {"metric": "iou", "budget": "60s", "limit": 12, "mean": (0.5, 0.4, 0.3), "by_class": True}
    assert read_job(path, {}) == Job.make("gradient", given)
    assert read_job(path, {"limit": 5, "by_class": False}).data.limit == 5
    assert read_job(path, {}, "pixelwise").grammar.name == "pixelwise"


def test_a_job_is_read_back_from_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    shutil.copy(ROOT / "grammars" / "gradient.sy", tmp_path / "mine.sy")
    (tmp_path / "net.py").write_text("")
    made = Job.make("mine.sy", {"images": "photos", "model": "net.py:build:small", "seed": 3, "std": 0.25, "path_steps": 4})
    path = tmp_path / "job.json"
    path.write_text(json.dumps(made.plain()))
    (tmp_path / "mine.sy").write_text("changed since")
    again = read_job(path, {})
    assert again.plain() == made.plain()
    assert again.grammar.text == made.grammar.text
    assert (again.terminals.seed, again.terminals.path_steps) == (3, 4)
    assert again.data.images == str(tmp_path / "photos")  # found from any folder
    assert again.network.model == f"{tmp_path / 'net.py'}:build:small"


def test_a_job_holds_every_option_but_where_things_go():
    plain = Job.make("gradient", {}).plain()
    assert {*plain} - {"sycam", "grammar", "brought"} == {*OPTIONS} - {*GROUPS["output"].options()}
    assert json.loads(json.dumps(plain)) == plain


def test_a_job_cannot_be_changed():
    job = Job.make("gradient", {})
    for record in (job, job.search, job.terminals):
        with pytest.raises(dataclasses.FrozenInstanceError):
            record.seed = 1


MISTAKES = {
    "max_size": (0, "`max_size` must be a whole number, at least 1, not 0"),
    "stopping": ("soon", "`stopping` must be 'exact' or 'racing', not 'soon'"),
    "held_out": (1.0, "`held_out` must be a share, at least 0 and below 1, not 1.0"),
    "mean": ((0.1, 0.2), "`mean` must be one number, or three with commas"),
    "mean_": (0.5, "no option 'mean_'; did you mean 'mean'?"),
    "seed": (True, "`seed` must be a whole number from 0 below 2^63, not True"),
    "workers": (0, "`workers` must be a number from 1, or 'auto', not 0"),
    "error": (0.1, "`error` is that of `stopping` racing: give both, or neither"),
    "masks": ("m", "`masks` belongs to images: name these with `images` or `dataset`"),
    "metric": ("iuo", "`metric`: no metric 'iuo'; did you mean 'iou'?"),
    "protocol": ("rice", "`protocol`: no protocol 'rice'; did you mean 'rise'?"),
    "learner": ("uniformly", "`learner`: no learner 'uniformly'; did you mean 'uniform'?"),
}


def test_all_mistakes_are_told_at_once_each_with_its_name(tmp_path):
    given = {name: value for name, (value, _) in MISTAKES.items()}
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"grammar": "gradient", **given}))
    with pytest.raises(SycamError) as told:
        sycam.synthesize("gradient", **given)
    for _, message in MISTAKES.values():
        assert message in str(told.value)
    assert f"{len(MISTAKES)} mistakes" in str(told.value)
    with pytest.raises(SycamError, match="has 9 mistakes"):  # the other three are found by who loads torch
        read_job(path, {})


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_a_single_mistake_is_told_alone(name):
    value, message = MISTAKES[name]
    with pytest.raises((SycamError, SygusError)) as told:
        sycam.synthesize("gradient", **{name: value})
    assert message.removeprefix(f"`{name}`: ") in str(told.value)


def test_a_run_is_made_again_from_its_job(sycam, tmp_path):
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    options = ["--budget", 40, "--limit", 24, "--stopping", "racing", "--seed", 5, "--cache", "none", "--json"]
    code, out, err = sycam("synth", "gradient", "--metric", "average-drop", *options, "--out", first)
    assert (code, err) == (0, "")
    again = sycam("synth", "--job", first / "job.json", "--cache", "none", "--json", "--out", second)
    assert again[0] == 0, again[2]
    one, two = json.loads(out), json.loads(again[1])
    for found in (one, two):
        found["counts"].pop("seconds")
    for key in ("answer", "table", "counts", "verdict", "stopped_by", "goals", "warnings"):
        assert one[key] == two[key], key
    assert rows(first) == rows(second)
    assert json.loads((first / "job.json").read_text()) == json.loads((second / "job.json").read_text())
    code, out, err = sycam("synth", "--job", first / "job.json", "--budget", 5, "--cache", "none", "--json", "--out", third)
    assert (code, err) == (0, "")
    assert rows(third) == rows(first)[:5]  # an option goes over the file's
    assert "holds a run already" in sycam("synth", "--job", first / "job.json", "--out", first)[2]


def test_what_python_brings_as_an_object_cannot_be_read_back(tmp_path):
    network, images = tiny_network(), tiny_images(8)
    result = sycam.synthesize("gradient", find_metric("iou"), network, images, budget=4, out=tmp_path / "run")
    assert result.job.brought == ("metric", "model", "images")
    described = json.loads((tmp_path / "run" / "job.json").read_text())
    assert (described["metric"], described["model"], described["images"]) == ("iou", network.name, None)
    with pytest.raises(SycamError, match="was made in Python, where `metric`, `model`, `images` came as an object: name it anew"):
        read_job(tmp_path / "run" / "job.json", {})
    job = read_job(tmp_path / "run" / "job.json", {"metric": "iou", "model": "embedded", "images": "photos"})
    assert job.search.budget == 4
    again = sycam.synthesize(Job.make("gradient", {"metric": "iou", "budget": 4, "limit": 8}))
    assert again.counts["candidates"] == 4
    with pytest.raises(SycamError, match="a Job says all that a run is"):
        sycam.synthesize(again.job, budget=5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grammar = [", "is no TOML"),
        ('metric = "iou"', "names no grammar"),
        ('grammar = "gradiant"', "did you mean 'gradient'"),
        ("grammar = 5", "a grammar is a path or a name, not 5"),
        ('grammar = "gradient"\ncache_limit = "big"', "`cache_limit` must be a number with KB, MB, GB or TB"),
        ('grammar = {file = "x.sy"}', "grammar must be a text, or have a file and a text"),
        ('grammar = "gradient"\nbudgett = 3', "no option 'budgett'; did you mean 'budget'"),
    ],
)
def test_files_that_are_no_jobs(tmp_path, text, said):
    path = tmp_path / "job.toml"
    path.write_text(text)
    with pytest.raises((SycamError, SygusError), match=said):
        read_job(path, {})
    with pytest.raises(SycamError, match="cannot read the job"):
        read_job(tmp_path / "nowhere.toml", {})


def test_a_run_of_an_older_sycam_is_refused_with_a_way_out(sycam, tmp_path):
    """Its folder has a manifest that says how the model was loaded, in other words than now."""
    old = tmp_path / "old"
    old.mkdir()
    (old / "answer.sy").write_text((ROOT / "grammars" / "known.sy").read_text().split("(define-fun ")[0])
    (old / "answer.sy").write_text(
        "(set-logic ALL)(declare-sort Map 0)(declare-fun gap (Map) Real)(define-fun weight ((G Map)) Real (gap G))"
    )
    (old / "manifest.json").write_text(json.dumps({"load": {"model": "os:system:true"}, "terminal_settings": {"seed": 3}}))
    picture = tmp_path / "x.png"
    from sycam.embedded import images_csv

    image = images_csv().parent / "000.png"
    code, out, err = sycam("explain", old, image, "--out", picture)
    assert (code, out) == (2, "")
    assert "was written by an older sycam" in err and "answer.sy, drawn with the --model that you name" in err
    assert sycam("explain", old / "answer.sy", image, "--model", "embedded", "--out", picture)[0] == 0
    assert "is no job" in sycam("synth", "--job", old / "manifest.json")[2]


def test_options_are_told_in_the_docs_as_they_are_declared():
    made = subprocess.run([sys.executable, ROOT / "docs" / "build_options.py", "--check"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


def test_commands_show_no_more_than_25_options_in_panels(sycam):
    for command in ("synth", "score", "explain"):
        code, out, _ = sycam(command, "--help")
        flags = [line.split()[1] for line in out.splitlines() if line.startswith(("│ --", "│ *  --"))]
        assert code == 0
        assert 5 < len(flags) <= 25, (command, len(flags))
        assert "Model" in out and "--set" in flags
        assert "[default: embedded]" in out  # square brackets are not eaten


def test_every_option_can_be_set_by_name_and_a_missing_flag_says_how(sycam, tmp_path):
    assert "--held-out is no flag: give --set held_out=VALUE" in " ".join(sycam("synth", "gradient", "--held-out", 0)[2].split())
    assert "No such option" in sycam("synth", "gradient", "--hold-out", 0)[2]
    assert "--set takes name=value" in sycam("synth", "gradient", "--set", "held_out")[2]
    code, out, _ = sycam("list", "options", "--json")
    listed = {one["name"]: one for one in json.loads(out)["options"]}
    assert code == 0 and {*listed} == {*ALL} == {*PANELS}
    assert listed["held_out"]["flag"] == "--set held_out=..."
    assert listed["budget"]["flag"] == "--budget"
    code, out, _ = sycam(
        "synth", "gradient", "--budget", 3, "--limit", 8, "--set", "held-out=0", "--out", tmp_path / "r", "--json"
    )
    assert (code, json.loads(out)["counts"]["images_held_out"]) == (0, 0)


def test_every_proved_claim_of_a_run_is_confirmed_by_another_solver(tmp_path):
    """`dump_smt2` exports what cvc5 proved, and z3 reads and proves it."""
    import z3

    result = sycam.synthesize("gradient", "iou", budget=15, limit=12, dump_smt2=str(tmp_path))
    files = sorted(tmp_path.glob("proved-*.smt2"))
    assert len(files) >= result.counts["merges"] > 5
    for file in files:
        solver = z3.Solver()
        solver.set("timeout", 20_000)
        solver.from_file(str(file))
        assert solver.check() == z3.unsat, file.read_text()
        assert "Proved: " in file.read_text()


LIGHT = """
import sys
from sycam.cli import main
sys.argv = ["sycam", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
print(code, [name for name in ("torch", "cvc5", "torchvision", "matplotlib") if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "--install-completion"),
        (["synth", "--help"], 0, "--budget"),
        (["score", "--help"], 0, "--metric"),
        (["explain", "--help"], 0, "--class"),
        (["check", "--help"], 0, "FILES"),
        (["list", "--help"], 0, "metrics"),
        (["cache", "--help"], 0, "clear"),
        (["compare", "--help"], 0, "--across-protocols"),
        (["synht"], 2, "synth"),
        (["list", "metrcs"], 2, "metrics"),
        (["synth", "gradient", "--metrik", "iou"], 2, "--metric"),
        (["synth", "gradiant"], 2, "did you mean 'gradient'"),
        (["synth", "gradient", "--set", "budgett=3"], 2, "did you mean 'budget'"),
    ],
)
def test_help_and_misspelt_names_answer_without_torch(tmp_path, arguments, code, said):
    made = subprocess.run(
        [sys.executable, "-c", LIGHT, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert said in made.stdout + made.stderr
    assert made.stderr.splitlines()[-1] == f"{code} []"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here: completion is installed for the shell that calls")
def test_completion_is_installed_at_the_root(tmp_path):
    made = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m sycam --install-completion; exit $?"], capture_output=True, text=True,
        env={**os.environ, "HOME": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    assert "bash completion installed" in made.stdout + made.stderr
    assert list((tmp_path / ".bash_completions").iterdir())


def test_a_metric_is_named_once(sycam, tmp_path):
    code, _, err = sycam("synth", "gradient", "--metric", "iou", "--oracle", "mine.py:f", "--out", tmp_path / "run")
    assert code == 2
    assert "--metric and --oracle name one thing: give one value" in " ".join(err.split())


def test_the_report_shows_the_options_of_the_run(tmp_path):
    sycam.synthesize("gradient", "iou", budget=7, limit=8, seed=41, path_steps=6, out=tmp_path / "run")
    page = re.sub(r"<[^>]+>", " ", (tmp_path / "run" / "report.html").read_text())
    words = " ".join(page.split())
    for shown in ("seed 41", "budget 7", "path steps 6", "max size 15", "held out 0.5"):
        assert shown in words, shown
