"""Every way to plug in an oracle, each with the worked example of `examples/`, and every way in which one fails."""

import json
import re
import shlex
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from worlds import tiny_images, tiny_network

from sycam import synthesize
from sycam.cams import find_cam
from sycam.cli import main
from sycam.comparison import compare
from sycam.errors import OracleError, SycamError
from sycam.metrics.plugin import load_oracle
from sycam.metrics.probe import probe
from sycam.metrics.query import Query
from sycam.metrics.registry import metric
from sycam.oracle import Failures, MetricOracle, TerminalCache
from sycam.plugins.limit import OutOfTime, time_limit
from sycam.synthesis.goals import find_metric, find_metrics

EXAMPLES = Path(__file__).parents[2] / "examples"
DOCS = Path(__file__).parents[2] / "docs" / "oracles.md"


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        if path.suffix != ".py":
            path.chmod(0o755)
        return path

    return write_file


def bright_query(batch=64):
    """Two images, one dark and one bright, three jobs; the network believes in class 1 as much as an image is bright."""
    images = torch.stack([torch.zeros(3, 4, 6), torch.full((3, 4, 6), 0.5)])

    def ask(x):
        mean = x.mean((1, 2, 3)).clamp(0, 1)
        return torch.stack([1 - mean, mean], 1)

    heat = torch.zeros(3, 4, 6)
    heat[0, 0], heat[1, :, :3], heat[2] = 1, 0.5, 1
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, 0], masks[1, :, :2] = True, True
    return Query(
        heat, images, torch.tensor([0, 1]), torch.tensor([1.0, 0.5]), ask, image_index=torch.tensor([0, 1, 1]), masks=masks,
        names=["dark.png", "bright.png"], batch=batch,
    )  # fmt: skip


# --- a program ------------------------------------------------------------------------------------------------------------


def test_the_example_program_by_hand():
    oracle = load_oracle(str(EXAMPLES / "cold_background.sh"))
    assert (oracle.name, oracle.direction, oracle.bounds) == ("cold-background", "low", (0, 1))
    assert (oracle.passes, oracle.needs_masks) == (0, True)
    # Job 0: hot in the mask's row alone. Job 1: half hot in one of the four columns outside. Job 2: hot everywhere.
    assert oracle(bright_query()).tolist() == pytest.approx([0, 4 * 0.5 / 16, 1])
    with pytest.raises(SycamError, match="'cold-background' compares heatmaps with ground truth"):
        oracle(probe([[[1.0]]]))


ASKING = f"""\
#!{sys.executable}
import json, sys
import numpy as np
if sys.argv[1] == "describe":
    print(json.dumps({{"needs": ["heatmaps", "images", "o", "d", "boxes"], "bounds": [None, 2], "percent": False}}))
    sys.exit()
query = json.load(open(sys.argv[1]))
heat, images = (np.fromfile(query["files"][k]["path"], "<f4").reshape(query["files"][k]["shape"]) for k in ("heatmaps", "images"))
edited = images[query["image_index"]] * heat[:, None]
edited.astype("<f4").tofile(query["files"]["images"]["path"] + ".asked")
print("ask", query["files"]["images"]["path"] + ".asked", flush=True)
path, count, classes = input().split()
found = np.fromfile(path, "<f4").reshape(int(count), int(classes))[range(query["jobs"]), query["classes"]]
assert np.allclose(found, query["o"], atol=1e-6), (found, query["o"])
assert query["boxes"] == [[[0, 0, 6, 1]], [[0, 0, 2, 4]]] and query["labels"] == query["predicted"] == [0, 1, 1], query
assert query["names"] == ["dark.png", "bright.png", "bright.png"] and query["p"] == [1.0, 0.5, 0.5]
print("(" + " ".join(f"(- {{x}} )" if x > 0.4 else str(x) for x in found) + ")")
"""


def test_a_program_asks_the_network(write):
    oracle = load_oracle(str(write(ASKING, "asking")))
    assert (oracle.name, oracle.passes, oracle.bounds) == ("asking", 2, (-float("inf"), 2))
    assert (oracle.needs_masks, oracle.percent) == (True, False)
    query = bright_query()
    expected = [value if value <= 0.4 else -value for value in query.o.tolist()]
    assert oracle(query).tolist() == pytest.approx(expected)
    assert query.o.tolist() == pytest.approx([1, 0.125, 0.5])


def program(body, describe="{}"):
    return f"#!/bin/sh\nif [ \"$1\" = describe ]; then echo '{describe}'; exit; fi\n{body}\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo no luck >&2; exit 3", r"mine exited with code 3: no luck; asked about dark.png, bright.png$"),
        ("kill -9 $$", r"was ended by SIGKILL: it wrote nothing to stderr"),
        ("echo 0.5 0.5", r"metric 'mine' must return one number per job, shape \[3\], not \[2\].*; asked about dark.png"),
        ("echo 0.5 nan 0.5", r"metric 'mine' returned nan on bright.png; a score must be finite"),
        ("echo 0.5 7 0.5", r"metric 'mine' returned 7 on bright.png; it states the bounds"),
        ("echo good bad ugly", r"answered 'good' where a number was expected; asked about"),
        ("echo '(0.5 0.5 0.5'", r"answered with a list that does not end"),
        ("echo '((/ 1 0) 0 0)'", r"answered a division by zero"),
        ("echo '((* 1 2) 0 0)'", r"answered \(\* \.\.\.\) where a number was expected"),
        ("echo ask /nowhere; read x; echo 0 0 0", r"asks about images in /nowhere, which cannot be read"),
        ('printf 1234 > "$SYCAM_FOLDER/a"; echo ask "$SYCAM_FOLDER/a"; read x', r"1 numbers are no images of 3x4x6"),
        ("yes 123456789", r"printed more than 64 MiB and was ended"),
    ],
)
def test_a_program_that_fails(write, body, message):
    oracle = load_oracle(str(write(program(body), "mine")))
    with pytest.raises(OracleError, match=message) as info:
        oracle(bright_query())
    assert "\n" not in str(info.value)


def test_a_program_that_hangs_is_ended_with_all_it_started(write, tmp_path):
    oracle = load_oracle(str(write(program(f"sleep 300 & echo $! > {tmp_path}/pid; wait"), "mine")), timeout=0.5)
    start = time.monotonic()
    with pytest.raises(
        OracleError, match=r"mine gave no answer within 0.5 s and was ended; asked about dark.png, bright.png"
    ) as info:
        oracle(bright_query())
    assert info.value.timed_out
    assert time.monotonic() - start < 10
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("what the program started still runs")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (program("", "hello"), r"`mine describe` must print one JSON object.*it printed 'hello'"),
        (program("", "[1]"), r"`mine describe` must print one JSON object"),
        (program("", '{"need": []}'), r"accepted are bounds, direction, .*needs"),
        (program("", '{"needs": ["gradients"]}'), r"needs is a list of some of heatmaps, images, masks, o, d, boxes"),
        (program("", '{"direction": "up"}'), r"direction must be 'high' or 'low'"),
        (program("", '{"timeout": -1}'), r"its timeout must be a number of seconds, not -1"),
        (program("", '{"bounds": [1]}'), r"bounds are two numbers"),
        (program("", '{"name": "iou"}'), r"is called 'iou', as a metric that ships with sycam is"),
        ("#!/nowhere/at/all\n", r"mine cannot be run: No such file"),
        ("echo no shebang\n", r"mine cannot be run: its first line must name an interpreter"),
    ],
)
def test_a_program_that_is_none(write, text, message):
    with pytest.raises(SycamError, match=message):
        load_oracle(str(write(text, "mine")))
    path = write(text, "mine")
    path.chmod(0o644)
    with pytest.raises(SycamError, match="mine cannot be run: Permission denied"):
        load_oracle(str(path))


# --- a process of its own -------------------------------------------------------------------------------------------------


def test_the_example_in_its_own_process_is_that_in_this_one():
    spec = f"{EXAMPLES / 'own_process_oracle.py'}:BoxBlur"
    apart, here = load_oracle(spec), load_oracle(spec, isolate=False)
    assert (apart.name, apart.direction, apart.passes) == ("kept-when-blurred", "high", 1)
    for batch in (2, 64):
        query = bright_query(batch)
        assert apart(query).tolist() == pytest.approx(here(query).tolist(), abs=1e-6)
    assert here(bright_query()).tolist() == pytest.approx([1, 0.5, 0.5])  # a blur changes no image of one colour


ISOLATED = """
    import os, time
    class Mine:
        own_process = True
        def __call__(self, query):
            print("this goes to stderr, not among the answers")
            hot = query.heatmaps.mean((-2, -1))
            if {condition}:
                {action}
            return hot
"""


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("while True: pass", r"mine.py:Mine gave no answer within 1 s and was ended; asked about dark.png, bright.png"),
        ("os._exit(5)", r"mine.py:Mine ended in the midst of a query; asked about dark.png"),
        ("raise ValueError('no luck')", r"mine.py:Mine failed at .*mine.py:9: ValueError: no luck; asked about dark.png"),
        ("return hot[:1]", r"must return one number per job, shape \[3\], not \[1\]"),
        ("return hot.tolist()", r"must return a tensor, one number per job, not a list"),
    ],
)
def test_a_process_that_fails_is_told_of_and_started_anew(write, action, message):
    path = write(ISOLATED.format(condition="hot[0] < 0.5 and len(query) == 3", action=action))
    oracle = load_oracle(f"{path}:Mine", timeout=1 if "while" in action else 60)
    with pytest.raises(OracleError, match=message) as info:
        oracle(bright_query())
    assert info.value.images == ["dark.png", "bright.png"]
    assert ("ValueError" in action) == ("raise ValueError" in info.value.details)
    if "tolist" not in action:
        assert oracle(probe([[[1.0, 0.0]]])).tolist() == [0.5]


LOOKING = """
    import torch
    class Mine:
        own_process = True
        redraws = True
        curves = ("insertion",)
        bounds = (-100, 100)
        def __call__(self, query):
            drawn, after = query.redrawn(lambda images, heatmaps: images * heatmaps)
            boxes = query.boxes.mean((1, 2)) if query.has_masks else 0
            seen = query.labels + 10 * query.predicted + boxes + query.curve("insertion").mean(1)
            return (seen + drawn.mean((1, 2)) + after).float()
"""


def test_a_process_of_its_own_sees_all_of_a_query(write):
    path = write(LOOKING)
    apart, here = load_oracle(f"{path}:Mine"), load_oracle(f"{path}:Mine", isolate=False)
    assert (apart.redraws, apart.curves) == (True, ("insertion",))
    images, network = tiny_images(), tiny_network()
    cache = TerminalCache(network, images, ["G"])
    cams = [find_cam("gradcam").term, find_cam("LayerCAM").term]
    found = []
    for boxes in (None, [torch.tensor([[0.0, 1, 2 + place, 3]]) for place in range(len(images))]):
        cache.images = replace(images, boxes=boxes) if boxes else images
        for each in (apart, replace(here, needs_masks=True), replace(apart, needs_masks=True)):
            oracle = MetricOracle(cache, each)
            found.append(oracle.score(oracle.maps(cams)[0], torch.arange(len(images)), cams))
    assert torch.allclose(found[1], found[2], atol=1e-5)
    assert torch.allclose(found[4], found[5], atol=1e-5)
    assert torch.allclose(found[0], found[3], atol=1e-5)  # a metric that needs no masks sees no boxes
    assert not torch.allclose(found[1], found[4], atol=1e-2)
    with pytest.raises(OracleError, match="Mine failed: this metric asks for the CAM's heatmap on other images"):
        apart(bright_query())


def test_an_interrupted_question_is_not_answered_by_the_next(write):
    oracle = load_oracle(f"{write(ISOLATED.format(condition='query.o.sum() > 99', action='pass'))}:Mine")
    first = bright_query()

    def interrupt(images):
        raise KeyboardInterrupt

    first._ask = interrupt
    with pytest.raises(KeyboardInterrupt):
        oracle(first)
    assert oracle(bright_query()).tolist() == pytest.approx(bright_query().heatmaps.mean((1, 2)).tolist())


# --- an entry point -------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The example package, as pip leaves it: its module and its metadata on the path."""
    info = tmp_path / "site" / "centre_of_heat-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: centre-of-heat\nVersion: 1.0\n")
    stated = (EXAMPLES / "installed-oracle" / "pyproject.toml").read_text()
    point = re.search(r'entry-points\."(sycam.oracles)"\]\n([\w-]+) = "([\w:]+)"', stated)
    (info / "entry_points.txt").write_text(f"[{point[1]}]\n{point[2]} = {point[3]}\nbroken = nowhere_at_all:f\n")
    (tmp_path / "site" / "centre_of_heat.py").write_text((EXAMPLES / "installed-oracle" / "centre_of_heat.py").read_text())
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield
    sys.modules.pop("centre_of_heat", None)


def test_the_example_package_is_found_by_its_entry_point(installed, run):
    oracle = find_metric("centre-of-heat")
    assert (oracle.name, oracle.needs_masks, oracle.passes) == ("centre-of-heat", True, 0)
    # The row 0 and the mask agree; the left half's centre (1.5, 1) is half a column from the mask's (1.5, 0.5).
    assert oracle(bright_query()).tolist() == pytest.approx([1, 1 - 0.5 / 52**0.5, 1 - 2 / 52**0.5])
    with pytest.raises(SycamError, match="cannot import oracle nowhere_at_all"):
        find_metric("broken")
    with pytest.raises(SycamError, match="installed ones are broken, centre-of-heat"):
        load_oracle("center-of-heat")
    code, out, err = run("list", "metrics", "--json")
    assert code == 0
    assert "centre-of-heat" in [row["name"] for row in json.loads(out)["metrics"]]
    assert "the installed oracle broken cannot be loaded" in err
    told = []
    assert [made.name for made in find_metrics(["c*"], warn=told.append)] == ["coherency", "complexity", "centre-of-heat"]
    assert told == []
    assert "centre-of-heat" in [made.name for made in find_metrics(["all"], warn=told.append)]
    assert [message.partition(" cannot")[0] for message in told] == ["the installed oracle broken"]
    both = find_metric("iou + 0.5*centre-of-heat")
    query = bright_query()
    assert both(query).tolist() == pytest.approx((metric("iou")(query) + 0.5 * oracle(query)).tolist())
    assert (both.name, both.needs_masks, both.bounds) == ("iou+0.5*centre-of-heat", True, (0, 1.5))


# --- in sums ----------------------------------------------------------------------------------------------------------------


def test_sums_of_metrics_hold_plug_ins(write, monkeypatch, tmp_path):
    path = write("def calm(query, direction='low', passes=0):\n    return query.heatmaps.mean((1, 2))\n")
    write(program("echo 0.25 0.25 0.25"), "quarter")
    monkeypatch.chdir(tmp_path)
    query = bright_query()
    calm = query.heatmaps.mean((1, 2))
    for text, expected in (
        ("2*average-gain - 0.5*mine.py:calm", 2 * metric("average-gain")(query) - 0.5 * calm),
        (f"-{path}:calm", -calm),
        ("average-gain/2 - calm", metric("average-gain")(query) / 2 - calm),
        ("./quarter + average-gain", 0.25 + metric("average-gain")(query)),
    ):
        found = find_metrics([f"{path}:calm", text])
        assert found[1](query).tolist() == pytest.approx(expected.tolist())
    assert [made.name for made in found] == ["calm", "quarter+average-gain"]
    with pytest.raises(SycamError, match="a higher average-gain is better, and so is a lower mine.py:calm"):
        find_metric("average-gain + mine.py:calm")
    with pytest.raises(SycamError, match=r"nowhere.py does not exist"):
        find_metric("average-gain - nowhere.py:calm")
    hanging = write("import time\ndef slow(query):\n    time.sleep(60)\n", "slow.py")
    with pytest.raises(OracleError, match=r"slow.py:slow gave no answer within 0.2 s"):
        find_metric(f"iou + {hanging}:slow", timeout=0.2)(query)


# --- named in the .sy file ------------------------------------------------------------------------------------------------


def test_the_example_file_names_its_oracle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a path is looked for beside the file, wherever one stands
    result = synthesize(EXAMPLES / "cold_background.sy", None, tiny_network(), tiny_images(), budget=5)
    assert (result.metric.name, result.metric.direction) == ("cold-background", "low")
    maps = result.cam(tiny_images().normalised(slice(0, 12), tiny_network()))
    outside = ~tiny_images().masks
    by_hand = (maps * outside).sum((1, 2)) / outside.sum((1, 2))
    assert sorted([*result.answer.search.tolist(), *result.answer.held_out.tolist()]) == pytest.approx(
        sorted(by_hand.tolist()), abs=1e-5
    )
    text = (EXAMPLES / "cold_background.sy").read_text().replace("./cold_background.sh", "|mine.py:cold|")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "g.sy").write_text(text)
    with pytest.raises(Exception, match=r"g.sy:7:.*oracle file mine.py does not exist"):
        synthesize(tmp_path / "sub" / "g.sy", None, tiny_network(), tiny_images(), budget=5)
    (tmp_path / "sub" / "mine.py").write_text("def cold(query, direction='low'):\n    return query.heatmaps.mean((1, 2))\n")
    assert synthesize(tmp_path / "sub" / "g.sy", None, tiny_network(), tiny_images(), budget=5).metric.name == "cold"


# --- failures in this process ---------------------------------------------------------------------------------------------


def test_a_hanging_python_oracle_is_interrupted_though_it_catches_everything(write):
    path = write("""
        import time
        def mine(query):
            while True:
                try:
                    time.sleep(60)
                except Exception:
                    pass
        mine.timeout = 0.3
    """)
    for oracle in (load_oracle(f"{path}:mine"), load_oracle(f"{path}:mine", timeout=0.2)):
        with pytest.raises(
            OracleError, match=r"mine gave no answer within 0.[23] s and was interrupted; asked about dark"
        ) as info:
            oracle(bright_query())
        assert info.value.timed_out
    for text in ("timeout = 0", "timeout = 'soon'", "own_process = 1"):
        path = write(f"def mine(query): ...\nmine.{text}\n")
        with pytest.raises(SycamError, match="timeout must be a number of seconds above 0|own_process must be True or False"):
            load_oracle(f"{path}:mine")


def test_a_time_limit_leaves_the_callers_own_timer(monkeypatch):
    with pytest.raises(OutOfTime), time_limit(5), time_limit(0.05):
        time.sleep(5)
    with time_limit(0.1):
        pass
    time.sleep(0.15)  # nothing rings any more


def test_failures_find_the_candidate_and_the_image():
    asked = []

    def ask(rows, columns):
        asked.append((rows.tolist(), columns.tolist()))
        if 2 in rows and 5 in columns:
            raise OracleError("no luck", images=[str(column) for column in columns.tolist()])
        return (10.0 * rows[:, None] + columns).double()

    failures = Failures("skip")
    scores, failed = failures.attempt(ask, 4, 8)
    assert list(failed) == [2]
    assert failed[2].images == ["5"]
    assert scores[[0, 1, 3]].tolist() == [[10.0 * row + column for column in range(8)] for row in (0, 1, 3)]
    assert scores[2].isnan().all()
    assert (failures.found, failures.given_up) == ([failed[2]], None)
    stopping = Failures("stop")
    scores, failed = stopping.attempt(ask, 4, 8)
    assert (failed[2].images, failed[3]) == (["5"], None)  # what comes after is not asked any more
    assert stopping.given_up is failed[2]
    assert scores[[0, 1]].isfinite().all()


def test_an_oracle_that_works_on_nothing_is_given_up():
    def never(rows, columns):
        raise OracleError("never")

    failures = Failures("skip")
    _, failed = failures.attempt(never, 64, 2)
    assert sum(error is not None for error in failed.values()) == 20
    assert len(failed) == 64
    hanging = Failures("skip")

    def hang(rows, columns):
        raise OracleError("hangs", timed_out=True)

    _, failed = hanging.attempt(hang, 64, 2)
    assert sum(error is not None for error in failed.values()) == 3
    calls = []
    stop = Failures("stop")
    stop.attempt(lambda rows, columns: (calls.append(1), hang(rows, columns)), 64, 2)
    assert calls == [1]  # to find out who hangs is to hang again
    with pytest.raises(SycamError, match="on-error must be 'stop' or 'skip'"):
        Failures("go")


# --- tables ---------------------------------------------------------------------------------------------------------------

HOT = """
    import torch
    def {name}(query):
        hot = query.heatmaps.mean((-2, -1)) > 0.9
        if hot.any():
            {action}
        return query.o
"""


@pytest.mark.parametrize("action", ["raise ValueError('hot')", "return torch.where(hot, torch.nan, query.o)"])
def test_a_metric_that_fails_on_one_cam_loses_nothing_else(write, action):
    path = write(HOT.format(name="mine", action=action) + textwrap.indent("def kept(query):\n    return query.o\n", "    "))
    metrics = [metric("iou"), load_oracle(f"{path}:mine"), metric("average-gain")]
    cams = [find_cam("gradcam"), find_cam("LayerCAM"), find_cam("fakecam"), find_cam("randomcam")]
    network, images = tiny_network(), tiny_images()
    alone = compare(cams, [metric("iou"), load_oracle(f"{path}:kept"), metric("average-gain")], network, images)
    found = compare(cams, metrics, network, images, on_error="skip")
    assert [cam.name for cam in found.cams] == [cam.name for cam in alone.cams]
    assert [(cam.name, name) for cam, name, _ in found.failed] == [("Fake-CAM", "mine")]
    assert "on image-" in found.failed[0][2] or "asked about image-" in found.failed[0][2]
    for name in ("iou", "average-gain"):
        assert torch.equal(found.scores[name], alone.scores[name])
    assert found.scores["mine"][2].isnan().all()
    assert torch.equal(found.scores["mine"][[0, 1, 3]], alone.scores["kept"][[0, 1, 3]])
    with pytest.raises(OracleError) as info:
        compare(cams, metrics, network, images)
    partial = info.value.result
    assert [cam.name for cam in partial.cams] == ["Grad-CAM", "LayerCAM", "Fake-CAM"]  # the last was not reached
    for name in ("iou", "average-gain"):
        assert torch.equal(partial.scores[name][:2], alone.scores[name][:2])
        assert torch.equal(partial.scores[name][2, :1], alone.scores[name][2, :1])  # the first batch, in which it failed
    assert torch.equal(partial.scores["mine"][:2], alone.scores["kept"][:2])


def test_a_table_stops_at_once_and_keeps_the_images_before(write):
    """Candidates are scored image by image: at a failure each has the scores of the images before."""
    path = write("""
        asked = []
        def mine(query):
            asked.append(query.names)
            if "image-9.png" in query.names:
                raise ValueError("not this one")
            return query.heatmaps.mean((-2, -1))
        mine.passes = 0
    """)
    cams, network, images = [find_cam("gradcam"), find_cam("LayerCAM")], tiny_network(), tiny_images()
    everything = compare(cams, [metric("iou")], network, images).scores["iou"]
    with pytest.raises(OracleError, match=r"mine.py:6: ValueError: not this one; asked about image-9.png$") as info, few_jobs(4):
        compare(cams, [metric("iou"), load_oracle(f"{path}:mine")], network, images)
    found = info.value.result
    assert torch.equal(found.scores["iou"][:, :10], everything[:, :10])
    assert found.scores["iou"][:, 10:].isnan().all()
    assert found.scores["mine"][:, :9].isfinite().all()
    assert found.scores["mine"][:, 9:].isnan().all()


@contextmanager
def few_jobs(count):
    """Queries of so many jobs, for tiny images would all be one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetricOracle, "_jobs_at_once", lambda oracle: count)
        yield


# --- runs -----------------------------------------------------------------------------------------------------------------

PICKY = """
    import torch
    def mine(query):
        hot = query.heatmaps.mean((-2, -1))
        wide = hot > {level}
        if wide.any():
            {action}
        return hot
    mine.passes = 0
"""
ACTIONS = {
    "raises": ("raise ValueError('too wide')", r"mine failed at .*mine.py:7: ValueError: too wide; asked about image-\d+.png$"),
    "hangs": ("__import__('time').sleep(60)", r"mine gave no answer within 0.3 s and was interrupted; asked about image-"),
    "nan": ("return torch.where(wide, torch.nan, hot)", r"metric 'mine' returned nan on image-\d+.png; a score must be finite"),
    "shape": ("return hot[:, None]", r"metric 'mine' must return one number per job, .* asked about image-\d+.png$"),
}


def search_with(path, **settings):
    return synthesize("gradient", f"{path}:mine", tiny_network(), tiny_images(), budget=60, held_out=0, **settings)


def widest(write):
    """A level of heat that a few candidates pass, and no known CAM."""
    path = write(PICKY.format(level=2, action="pass"))
    result = search_with(path)
    known = max(float(row.search.max()) for row in result.rows[1:])
    return known + 1e-4, float(result.answer.search.max())


@pytest.mark.parametrize("kind", ["raises", "nan", "shape"])
def test_skip_leaves_the_candidate_out_and_goes_on(write, tmp_path, kind):
    level, best = widest(write)
    assert best > level  # so that the unlimited answer is one on which the oracle now fails
    action, message = ACTIONS[kind]
    path = write(PICKY.format(level=level, action=action))
    result = search_with(path, on_error="skip", out=tmp_path / "run")
    assert result.counts["candidates"] == 60
    assert result.counts["oracle_errors"] > 0
    assert float(result.answer.search.max()) <= level
    with sqlite3.connect(tmp_path / "run" / "journal.sqlite") as journal:
        rows = journal.execute("select status, reason, score from candidate").fetchall()
    failed = [row for row in rows if row[0] == "oracle-error"]
    assert len(rows) == 60
    assert len(failed) == result.counts["oracle_errors"]
    assert all(re.search(message, reason) and score is None for _, reason, score in failed)
    assert [status for status, _, _ in rows if status not in ("oracle-error", "same-heatmap", "same-on-images", "invalid")]
    log = (tmp_path / "run" / "oracle-errors.txt").read_text()
    assert ("Traceback" in log) == (kind == "raises")


@pytest.mark.parametrize("kind", ["raises", "hangs"])
def test_stop_ends_with_an_error_and_keeps_what_was_scored(write, tmp_path, kind):
    level, _ = widest(write)
    action, message = ACTIONS[kind]
    path = write(PICKY.format(level=level, action=action))
    with pytest.raises(OracleError, match=message.rstrip("$")) as info:
        search_with(path, out=tmp_path / "run", oracle_timeout=0.3 if kind == "hangs" else None)
    assert f"candidates so far and the journal are in {tmp_path / 'run'}" in str(info.value)
    assert info.value.result.search.stopped_by == "an error of the oracle"
    for name in ("answer.sy", "report.html", "result.json", "oracle-errors.txt"):
        assert (tmp_path / "run" / name).exists()
    with sqlite3.connect(tmp_path / "run" / "journal.sqlite") as journal:
        statuses = [status for (status,) in journal.execute("select status from candidate")]
    assert len(statuses) == info.value.result.counts["candidates"]
    assert ("oracle-error" in statuses) == (kind == "raises")  # who hangs is not found out by hanging again
    assert "unfinished" in statuses
    # What the first batches had scored is what a run that never fails had scored then.
    tame = write(PICKY.format(level=2, action="pass"))
    assert info.value.result.score <= search_with(tame).score


def test_an_oracle_that_fails_on_held_out_images_loses_nothing(write, tmp_path):
    names = synthesize("gradient", "iou", tiny_network(), tiny_images(), budget=4).manifest["images"]["search_names"]
    path = write(f"""
        def mine(query):
            if set(query.names) - set({names!r}):
                raise ValueError("what is this image?")
            return query.heatmaps.mean((-2, -1))
        mine.passes = 0
    """)
    for on_error in ("skip", "stop"):
        run = lambda on_error=on_error: synthesize(  # noqa: E731
            "gradient", f"{path}:mine", tiny_network(), tiny_images(), budget=20, on_error=on_error, out=tmp_path / on_error
        )
        if on_error == "stop":
            with pytest.raises(OracleError, match="what is this image") as info:
                run()
            result = info.value.result
        else:
            result = run()
        assert result.answer.held_out is None
        assert any("no scores on held-out images" in warning for warning in result.warnings)
        assert (tmp_path / on_error / "report.html").exists()


TIES = """
    (set-logic ALL) (set-feature :oracles true) (set-feature :grammars true)
    (declare-sort Map 0) (declare-fun gap (Map) Real)
    (declare-oracle-fun tie ((-> Map Map Real)) Real |mine.py:tie|)
    (declare-oracle-fun mine ((-> Map Map Real)) Real |mine.py:mine|)
    (synth-fun weight ((A Map) (G Map)) Real ((W Real) (M Map)) ((W Real ((gap M) (* W W) (+ W W))) (M Map (A G))))
    (optimize-synth ((! (tie weight) :max) (! (mine weight) :max)) :lexico)
"""


@pytest.mark.parametrize("on_error", ["skip", "stop"])
def test_a_further_goal_that_fails(write, tmp_path, on_error):
    """Every candidate ties on the first goal, and the second fails on all that are warmer than some level."""
    write(TIES, "ties.sy")
    mine = textwrap.dedent(PICKY) + "\ndef tie(query):\n    return query.heatmaps.new_full((len(query),), 0.5)\n"

    def find(level, **settings):
        write(mine.format(level=level, action="raise ValueError('too warm')"))
        return synthesize(tmp_path / "ties.sy", None, tiny_network(), tiny_images(), budget=25, held_out=0, **settings)

    best = find(2)
    with torch.no_grad():
        warmest = float(best.cam(tiny_images().normalised(slice(0, 12), tiny_network())).mean((1, 2)).max())
    level = warmest - 1e-4  # the best fails
    if on_error == "skip":
        result = find(level, on_error="skip", out=tmp_path / "run")
        assert result.counts["candidates"] == 25
    else:
        with pytest.raises(OracleError, match=r"mine failed at .* too warm; asked about image-") as info:
            find(level, out=tmp_path / "run")
        result = info.value.result
    assert result.counts["oracle_errors"] > 0
    assert str(result.term) != str(best.term)
    assert [goal["name"] for goal in result.goals] == ["tie", "mine"]
    assert result.goals[0]["search"] == pytest.approx(0.5)
    assert 0 < result.goals[1]["search"] <= level
    assert (tmp_path / "run" / "report.html").exists()


# --- the command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, capsys):
    def run_(*arguments):
        monkeypatch.setattr(sys, "argv", ["sycam", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run_


def test_faults_of_a_plug_in_are_exit_code_2_without_a_traceback(write, run, tmp_path):
    path = write("def mine(query):\n    return query.heatmaps.mean((-2, -1)) / (1 / 0)\n")
    scored = ["score", "gradcam", "--limit", 4, "--oracle", f"{path}:mine"]
    code, out, err = run(*scored)
    assert (code, out) == (2, "")
    assert re.search(
        r"error: oracle .*mine failed at .*mine.py:2: ZeroDivisionError: division by zero; asked about \S+ \(--trace", err
    )
    assert "Traceback" not in err
    code, _, err = run(*scored, "--traceback")
    assert code == 2
    assert "Traceback (most recent call last)" in err
    assert "return query.heatmaps.mean((-2, -1)) / (1 / 0)" in err
    code, _, err = run("score", "gradcam", "LayerCAM", "--limit", 2, "--oracle", f"{path}:mine", "--on-error", "skip")
    assert (code, err.count("is skipped: oracle"), "can have none of these CAMs" in err) == (2, 2, True)
    code, _, err = run("synth", "gradient", "--limit", 8, "--budget", 4, "--oracle", f"{path}:mine", "--out", tmp_path / "run",
                       "--json")  # fmt: skip
    assert (code, "Traceback" in err, "ZeroDivisionError" in err) == (2, False, True)
    assert "Traceback" in (tmp_path / "run" / "oracle-errors.txt").read_text()
    code, _, err = run(*scored, "--on-error", "go")
    assert (code, "on-error must be 'stop' or 'skip'" in err) == (2, True)
    code, _, err = run(*scored, "--oracle-timeout", -1)
    assert (code, "timeout is a number of seconds above 0" in err) == (2, True)


# --- docs -----------------------------------------------------------------------------------------------------------------


def test_the_examples_of_the_docs_run(tmp_path, monkeypatch, run):
    """Every block of docs/oracles.md: python ones are written as mine.py, shell ones are run line by line as they stand."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", DOCS.read_text(), re.M | re.S)
    assert {kind for kind, _ in blocks} == {"python", "sh", "lisp"}
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    for kind, text in blocks:
        if kind == "python":
            (tmp_path / "mine.py").write_text(text)
        elif kind == "lisp":
            assert text.strip() in (EXAMPLES / "cold_background.sy").read_text()
        else:
            for name, *arguments in map(shlex.split, text.splitlines()):
                if name == "sycam":
                    code, _, err = run(*arguments)
                else:
                    done = subprocess.run([name, *arguments], capture_output=True, text=True, timeout=60)
                    code, err = done.returncode, done.stderr
                assert code == 0, err
