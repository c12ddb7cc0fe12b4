"""The order of rooms: whatever imports, inside functions too, imports from its own room or a lower one, and never in a circle."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SYCAM = [
    "errors", "interrupt", "own_code", "job", "network", "heatmap", "theory", "images", "embedded", "terminals", "store",
    "cams", "metrics", "scoring", "workers", "search", "run", "api", "cli",
]  # fmt: skip
"""The rooms of sycam, the lowest first. A new room goes where what it needs is below it, and who needs it above."""
SYGUS = [
    "errors", "registry", "terms", "core", "constants", "theory", "grammar", "costs", "counting", "semantics", "language", "solver",
    "equivalence", "constraints", "learners",
]  # fmt: skip
"""The rooms of sygus, the lowest first."""
STRANGERS = [("search", "workers")]
"""Rooms that do not know each other, in either direction."""


def structure():
    spec = importlib.util.spec_from_file_location("structure", ROOT / "benchmarks" / "structure.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STRUCTURE = structure()
IMPORTS = STRUCTURE.imports(ROOT)


def back_arrows(imports, package, order):
    """Imports within a package that run from a lower room to a higher one, as text; a room that the order lacks is one too."""
    found = []
    for name, others in imports.items():
        for other in others:
            here, there = (module.split(".") for module in (name, other))
            if here[0] != package or there[0] != package or len(here) == 1 or here[1] == "__main__":
                continue
            if len(there) == 1:
                found.append(f"{name} imports {package} as a whole")
                continue
            missing = [room for room in (here[1], there[1]) if room not in order]
            if missing:
                found.append(f"{missing[0]} has no place in the order of rooms")
            elif order.index(there[1]) > order.index(here[1]):
                found.append(f"{name} imports {other}, a higher room")
    return sorted({*found})


@pytest.mark.parametrize(("package", "order"), [("sycam", SYCAM), ("sygus", SYGUS)])
def test_no_import_runs_from_a_lower_room_to_a_higher_one(package, order):
    assert back_arrows(IMPORTS, package, order) == []
    rooms = {p.stem for p in (ROOT / package).iterdir() if p.suffix == ".py" or (p.is_dir() and list(p.glob("**/*.py")))}
    assert {*order} == rooms - {"__init__", "__main__"}, "the order lists each room, and no other"


def test_sygus_knows_neither_torch_nor_sycam():
    assert [
        f"{n} imports {o}" for n, others in IMPORTS.items() for o in others if n.startswith("sygus") and o.startswith("sycam")
    ] == []
    for path in (ROOT / "sygus").rglob("*.py"):
        assert "import torch" not in path.read_text(), path


@pytest.mark.parametrize("package", ["sycam", "sygus"])
def test_no_two_files_import_each_other(package):
    inside = {
        n: {o for o in others if o.startswith(f"{package}.")} for n, others in IMPORTS.items() if n.startswith(f"{package}.")
    }
    assert STRUCTURE.circles(inside) == []


def test_no_two_folders_of_sycam_import_each_other():
    """Folders within rooms too, such as `sycam.metrics.own` and `sycam.metrics`."""

    def folder(module):
        return module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]

    found = {}
    for name, others in IMPORTS.items():
        for other in others:
            pair = folder(name), folder(other)
            if pair[0] != pair[1] and all(one.startswith("sycam.") for one in pair):
                found.setdefault(pair[0], set()).add(pair[1])
    assert len(found) > 10
    assert STRUCTURE.circles(found) == []


def test_no_error_of_the_library_speaks_of_a_flag():
    """`size`, not --size: the command line writes the flag in its place."""
    import ast
    import re

    flags = []
    for path in (ROOT / "sycam").rglob("*.py"):
        if path.is_relative_to(ROOT / "sycam" / "cli") or path.name == "plots.py":  # where --ink is a colour's name in CSS
            continue
        tree = ast.parse(path.read_text())
        documentation = {
            ast.get_docstring(node, clean=False)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in documentation:
                flags += [f"{path}:{node.lineno}: {flag}" for flag in re.findall(r"(?<![\w`-])--[a-z][a-z-]+", node.value)]
    assert [flag for flag in flags if not flag.endswith((": --oracle", ": --head", ": --"))] == []


def test_strangers_do_not_know_each_other():
    for a, b in STRANGERS:
        known = [
            f"{name} imports {other}"
            for name, others in IMPORTS.items()
            for other in others
            if {tuple(name.split(".")[:2]), tuple(other.split(".")[:2])} == {("sycam", a), ("sycam", b)}
        ]
        assert known == []


def test_a_new_arrow_that_runs_back_is_found():
    """What the tests above rest on."""
    backwards = {"sycam.job.option": {"sycam.run.bench"}, "sycam.run.bench": {"sycam.job.option"}}
    assert back_arrows(backwards, "sycam", SYCAM) == ["sycam.job.option imports sycam.run.bench, a higher room"]
    assert STRUCTURE.circles(backwards) == [["sycam.job.option", "sycam.run.bench"]]
    assert back_arrows({"sycam.cellar.wine": {"sycam.job"}}, "sycam", SYCAM) == ["cellar has no place in the order of rooms"]


def test_imports_are_read_wherever_they_stand(tmp_path):
    for name, text in {
        "sycam/__init__.py": "",
        "sycam/low.py": "def f():\n    from sycam import high\n    import sygus.terms\n",
        "sycam/high.py": "if True:\n    from . import low\n    from .low import f\n",
        "sygus/__init__.py": "",
        "sygus/terms.py": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    found = STRUCTURE.imports(tmp_path)
    assert found["sycam.low"] == {"sycam.high", "sygus.terms"}
    assert found["sycam.high"] == {"sycam.low"}


def test_signatures_and_calls_stay_short():
    """At most eight positional arguments in a call, anywhere; six parameters of the search."""
    import ast

    for package in ("sycam", "sygus"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text())
            assert STRUCTURE.positional(tree) <= 8, path
    import inspect

    from sycam.search import search

    assert len(inspect.signature(search).parameters) <= 6
