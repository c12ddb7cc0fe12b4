"""A person's own files and modules: a model's and an oracle's may import what lies beside them, and nothing meets by name."""

import subprocess
import sys

import pytest
import torch

from sycam.errors import SycamError
from sycam.metrics.own.plugin import load_oracle
from sycam.metrics.query import probe
from sycam.network import load_network
from sycam.own_code import run_file, run_module

MODEL = """
from torch import nn
import shapes

def build(classes="3"):
    from late.head import linear
    return nn.Sequential(nn.Conv2d(3, shapes.WIDTH, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         linear(shapes.WIDTH, int(classes)))
"""
ORACLE = """
from shapes import WIDTH as times

def mine(query):
    from late.head import half
    import late.head, shapes
    assert late.head.half is half
    return half(query.p) * times / shapes.WIDTH
"""
LATE = """
from torch import nn
from shapes import WIDTH
from .sizes import TWO

def linear(width, classes):
    assert width == WIDTH
    return nn.Linear(width, classes)

def half(values):
    return values / TWO
"""


@pytest.fixture
def folder(tmp_path):
    def write(name, width):
        folder = tmp_path / name
        (folder / "late").mkdir(parents=True)
        for file, text in {
            "nets.py": MODEL, "mine.py": ORACLE, "shapes.py": f"WIDTH = {width}\n", "late/__init__.py": "",
            "late/head.py": LATE, "late/sizes.py": "TWO = 2\n",
        }.items():  # fmt: skip
            (folder / file).write_text(text)
        return folder

    return write


def test_a_model_and_an_oracle_import_their_neighbours_at_once_and_late(folder):
    before, path = set(sys.modules), list(sys.path)
    first, second = folder("first", 4), folder("second", 6)
    networks = [load_network(f"{where}/nets.py:build:5", size=8) for where in (first, second)]  # one stem, one neighbour's name
    assert [(network.channels, network.n_classes) for network in networks] == [(4, 5), (6, 5)]
    oracles = [load_oracle(f"{where}/mine.py:mine") for where in (first, second)]
    for oracle in oracles:
        assert oracle(probe(p=[0.5, 0.25])).tolist() == [0.25, 0.125]
    assert sys.path == path
    assert all(name.startswith("_sycam_own_") for name in set(sys.modules) - before if "late" in name or "shapes" in name)
    assert not list(first.rglob("__pycache__"))


def test_a_neighbour_is_read_anew_and_its_line_is_named(folder):
    where = folder("first", 4)
    assert run_file(where / "mine.py", "oracle").times == 4
    (where / "shapes.py").write_text("WIDTH = 5\n")
    assert run_file(where / "mine.py", "oracle").times == 5
    (where / "shapes.py").write_text("import nowhere_at_all\n")
    with pytest.raises(
        SycamError, match=r"cannot import oracle .*mine\.py:2: ModuleNotFoundError: .*'nowhere_at_all'; install it"
    ):
        run_file(where / "mine.py", "oracle")


def test_the_standard_library_and_what_is_installed_are_no_neighbours(tmp_path):
    (tmp_path / "json.py").write_text("raise ValueError('not this one')\n")
    (tmp_path / "numpy").mkdir()  # a folder of data
    (tmp_path / "torch.py").write_text("import torch, json, numpy\nfound = torch, json, numpy\n")
    found = run_file(tmp_path / "torch.py", "oracle").found
    assert found == (torch, sys.modules["json"], sys.modules["numpy"])


def test_beside_sycam_itself_sycam_is_the_one_that_runs(tmp_path):
    """From a folder that holds the package, as a checkout does, a file imports the very modules of the process."""
    code = (
        "import sys, pathlib, sycam.errors; from sycam.own_code import run_file\n"
        "assert run_file(pathlib.Path(sys.argv[1]), 'oracle').SycamError is sycam.errors.SycamError"
    )
    (tmp_path / "sycam").symlink_to(sys.modules["sycam"].__path__[0])
    (tmp_path / "mine.py").write_text("from sycam.errors import SycamError\n")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "mine.py")], check=True, timeout=60)


def test_pickles_and_late_dataclasses_find_their_module(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nimport pickle\nfrom dataclasses import dataclass, make_dataclass\n"
        "@dataclass\nclass Kept:\n    x: int\n"
        "def again():\n    @dataclass\n    class Late:\n        y: int = 2\n    return pickle.loads(pickle.dumps(Kept(Late().y)))\n"
    )
    assert run_file(tmp_path / "mine.py", "oracle").again().x == 2


def test_a_module_is_found_from_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "of_mine_alone.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    assert run_module("of_mine_alone", "oracle").x == 1
    del sys.modules["of_mine_alone"]
    with pytest.raises(SycamError, match="neither a Python file"):
        run_module("of-mine", "oracle")
