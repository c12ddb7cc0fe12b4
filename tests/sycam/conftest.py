"""What tests of more than one module of sycam need: files on disk, the command line, a store, candidates, referees."""

from __future__ import annotations

import sys
import textwrap

import pytest
import torch
from referees import IMAGES, Case, make_case
from worlds import first_candidates, gathered, tiny_images, tiny_network

from sycam.cli import main
from sycam.store import TerminalStore


@pytest.fixture
def write(tmp_path):
    """Writes a file, dedented; one that is no Python file can be run."""

    def write_file(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        if path.suffix != ".py":
            path.chmod(0o755)
        return path

    return write_file


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def run_(*arguments):
        monkeypatch.setattr(sys, "argv", ["sycam", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run_


@pytest.fixture
def sycam(monkeypatch, run):
    """`run` on a terminal of a hundred columns."""
    monkeypatch.setenv("COLUMNS", "100")
    return run


@pytest.fixture
def warned():
    """What stores have warned of."""
    return []


@pytest.fixture
def folder(tmp_path):
    """Where `open_store` keeps terminals."""
    return tmp_path / "cache"


@pytest.fixture
def open_store(folder, warned):
    """A store as another process would open it."""
    return lambda limit=10**9: TerminalStore(folder, limit, warned.append)


@pytest.fixture(scope="module")
def candidates():
    """The first classes of gradient.sy on a network on which (positive y) does not hold, so that they serve any."""
    return first_candidates(gathered(tiny_network(), tiny_images(), ["A", "G", "y"]), 150)


@pytest.fixture(scope="module")
def one_thread():
    """Batches here are small: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=IMAGES)
def case(request) -> Case:
    """Each real network, as referees see it."""
    return make_case(request, request.param)
