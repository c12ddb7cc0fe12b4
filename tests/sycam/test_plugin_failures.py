"""Oracles that fail or hang: in a query, in a table, in a run, on the command line; what was scored is kept."""

import re
import signal
import sqlite3
import textwrap
import time
from contextlib import contextmanager

import pytest
import torch
from queries import bright_query
from worlds import compared, tiny_images, tiny_network

from sycam import synthesize
from sycam.cams import find_cam
from sycam.errors import OracleError, SycamError
from sycam.interrupt import OutOfTime, time_limit
from sycam.metrics.own.find import find_metric
from sycam.metrics.own.plugin import load_oracle
from sycam.scoring import Failures, MetricOracle

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


def test_a_time_limit_leaves_the_callers_own_timer():
    rung = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(time.monotonic()))
    timer = signal.setitimer(signal.ITIMER_REAL, 1)
    start = time.monotonic()
    try:
        with pytest.raises(OutOfTime), time_limit(0.6):
            time.sleep(5)
        assert not rung
        time.sleep(1)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
    (at,) = rung
    assert at - start == pytest.approx(1, abs=0.4)  # not after another second


def test_time_limits_lie_within_each_other():
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
    with pytest.raises(SycamError, match="`on_error` must be 'stop' or 'skip'"):
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
    metrics = [find_metric("iou"), load_oracle(f"{path}:mine"), find_metric("average-gain")]
    cams = [find_cam("gradcam"), find_cam("LayerCAM"), find_cam("fakecam"), find_cam("randomcam")]
    network, images = tiny_network(), tiny_images()
    alone = compared(cams, [find_metric("iou"), load_oracle(f"{path}:kept"), find_metric("average-gain")], network, images)
    found = compared(cams, metrics, network, images, on_error="skip")
    assert [cam.name for cam in found.cams] == [cam.name for cam in alone.cams]
    assert [(cam.name, name) for cam, name, _ in found.failed] == [("Fake-CAM", "mine")]
    assert "on image-" in found.failed[0][2] or "asked about image-" in found.failed[0][2]
    for name in ("iou", "average-gain"):
        assert torch.equal(found.scores[name], alone.scores[name])
    assert found.scores["mine"][2].isnan().all()
    assert torch.equal(found.scores["mine"][[0, 1, 3]], alone.scores["kept"][[0, 1, 3]])
    with pytest.raises(OracleError) as info:
        compared(cams, metrics, network, images)
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
    everything = compared(cams, [find_metric("iou")], network, images).scores["iou"]
    with pytest.raises(OracleError, match=r"mine.py:6: ValueError: not this one; asked about image-9.png$") as info, few_jobs(4):
        compared(cams, [find_metric("iou"), load_oracle(f"{path}:mine")], network, images)
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


def test_faults_of_a_plug_in_are_exit_code_2_without_a_traceback(write, run, tmp_path):
    path = write("def mine(query):\n    return query.heatmaps.mean((-2, -1)) / (1 / 0)\n")
    scored = ["score", "gradcam", "--limit", 4, "--oracle", f"{path}:mine"]
    code, out, err = run(*scored)
    assert (code, out) == (2, "")
    assert re.search(
        r"error: oracle .*mine failed at .*mine.py:2: ZeroDivisionError: division by zero; asked about \S+ \(--set trace", err
    )
    assert "Traceback" not in err
    code, _, err = run(*scored, "--set", "traceback=true")
    assert code == 2
    assert "Traceback (most recent call last)" in err
    assert "return query.heatmaps.mean((-2, -1)) / (1 / 0)" in err
    code, _, err = run("score", "gradcam", "LayerCAM", "--limit", 2, "--oracle", f"{path}:mine", "--set", "on_error=skip")
    assert (code, err.count("is skipped: oracle"), "can have none of these CAMs" in err) == (2, 2, True)
    code, _, err = run("synth", "gradient", "--limit", 8, "--budget", 4, "--oracle", f"{path}:mine", "--out", tmp_path / "run",
                       "--json")  # fmt: skip
    assert (code, "Traceback" in err, "ZeroDivisionError" in err) == (2, False, True)
    assert "Traceback" in (tmp_path / "run" / "oracle-errors.txt").read_text()
    code, _, err = run(*scored, "--set", "on_error=go")
    assert (code, "--set on_error=... must be 'stop' or 'skip'" in err) == (2, True)
    code, _, err = run(*scored, "--set", "oracle_timeout=-1")
    assert (code, "oracle_timeout=... must be a number of seconds above 0" in err) == (2, True)
