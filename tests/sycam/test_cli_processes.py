"""The command line as a process: killed, interrupted, out of disk, and what it loads."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest


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
    for arguments, says in (
        (["--help"], "grammar goes in"),
        ([], "grammar goes in"),
        (["scor"], "No such command 'scor'"),
        (["--version"], "sycam 0."),
    ):
        command = [sys.executable, "-c", "from sycam.cli import main; main()", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path, "COLUMNS": "99"})
        assert says in done.stdout + done.stderr
        assert "torch loads" not in done.stderr


def test_ctrl_c_while_torch_is_loading(tmp_path):
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")  # what pressing it during the import does
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    command = [sys.executable, "-c", "from sycam.cli import main; main()", "list", "metrics"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted: there is no answer yet\n")


def test_everything_public_is_found_where_it_lives():
    code = (
        "import sycam; print(all(getattr(sycam, n) is not None for n in sycam.__all__), sycam.network.Network is sycam.Network)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True True\n", done.stderr


def test_a_full_disk_is_said_plainly(tmp_path):
    from sycam.errors import SycamError
    from sycam.run.journal import Journal
    from sycam.search import Tried
    from sygus.constants import real

    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.candidates([Tried(1, real(1), 1, "accepted", 0.5)])
        journal._file.execute("pragma max_page_count = 5")  # what a full disk looks like to sqlite
        with pytest.raises(SycamError, match="cannot write the run's journal.*free the disk"):
            journal.candidates(Tried(n, real(1), 1, "rejected", reason="x" * 500) for n in range(2, 200))
    assert sqlite3.connect(tmp_path / "journal.sqlite").execute("select count(*) from candidate").fetchone() == (1,)
