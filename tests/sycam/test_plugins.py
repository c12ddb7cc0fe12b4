"""Every way to plug in an oracle, each with the worked example of `examples/`, and every way in which one from outside fails."""

import json
import re
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from queries import bright_query
from worlds import gathered, tiny_images, tiny_network

from sycam import synthesize
from sycam.cams import find_cam
from sycam.errors import OracleError, SycamError
from sycam.metrics.own.find import find_metric, find_metrics
from sycam.metrics.own.plugin import load_oracle
from sycam.metrics.query import probe
from sycam.scoring import MetricOracle

EXAMPLES = Path(__file__).parents[2] / "examples"
DOCS = Path(__file__).parents[2] / "docs" / "oracles.md"


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
    cache = gathered(network, images, ["G"])
    cams = [find_cam("gradcam").term, find_cam("LayerCAM").term]
    found = []
    for boxes in (None, [torch.tensor([[0.0, 1, 2 + place, 3]]) for place in range(len(images))]):
        cache = replace(cache, images=replace(images, boxes=boxes) if boxes else images)
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
    assert both(query).tolist() == pytest.approx((find_metric("iou")(query) + 0.5 * oracle(query)).tolist())
    assert (both.name, both.needs_masks, both.bounds) == ("iou+0.5*centre-of-heat", True, (0, 1.5))


# --- in sums ----------------------------------------------------------------------------------------------------------------


def test_sums_of_metrics_hold_plug_ins(write, monkeypatch, tmp_path):
    path = write("def calm(query, direction='low', passes=0):\n    return query.heatmaps.mean((1, 2))\n")
    write(program("echo 0.25 0.25 0.25"), "quarter")
    monkeypatch.chdir(tmp_path)
    query = bright_query()
    calm = query.heatmaps.mean((1, 2))
    for text, expected in (
        ("2*average-gain - 0.5*mine.py:calm", 2 * find_metric("average-gain")(query) - 0.5 * calm),
        (f"-{path}:calm", -calm),
        ("average-gain/2 - calm", find_metric("average-gain")(query) / 2 - calm),
        ("./quarter + average-gain", 0.25 + find_metric("average-gain")(query)),
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
