"""A terminal, a baseline, a metric and a curve are each one file: nothing else names it."""

import subprocess
import sys
import threading
import types

import pytest

from sycam.errors import SycamError
from sygus.registry import Registry

TERMINAL = """
from sycam.terminals.terminal import register_terminal

@register_terminal("of-one-file", sort="Real", level="channel", source="a test")
def found(view):
    '''A test.'''
    return view.A.amax((2, 3))
"""
BASELINE = """
from sycam.cams.baseline import register_baseline

@register_baseline("of-one-file", passes="none", reference="a test")
def found(view):
    '''A test.'''
    return view.images.mean(1)
"""
METRIC = """
from sycam.metrics.query import register_curve
from sycam.metrics.metric import register_metric

@register_curve("of-one-file", lambda height, width: 2)
def edit(query, job, step):
    return query.images_of(job)

@register_metric("of-one-file", direction="high", curves=("of-one-file",))
def found(query):
    '''A test.'''
    return query.curve("of-one-file").mean(1)
"""
LOOK = """
import sys
from importlib import import_module

package, file = sys.argv[1:]
import_module(package).__path__.append(file)
from sycam import METRICS, TERMINALS, find_cam
from sycam.metrics.query import CURVES
from sycam.terminals.terminal import terminal

if "terminals" in package:
    assert terminal("of-one-file").sort == "Real" and find_cam("(+ of-one-file (gap A))").terminals == ["A", "of-one-file"]
    assert list(TERMINALS)[:3] == ["A", "G", "GP"] and list(TERMINALS)[-1] == "of-one-file"
elif "baselines" in package:
    assert find_cam("of-one-file").kind == "baseline"
else:
    assert METRICS["of-one-file"].curves == ("of-one-file",) and CURVES["of-one-file"].points(8, 8) == 2
"""


@pytest.mark.parametrize(
    ("package", "text"), [("sycam.terminals", TERMINAL), ("sycam.cams.baselines", BASELINE), ("sycam.metrics.kinds", METRIC)]
)
def test_a_new_member_is_one_file(tmp_path, package, text):
    (tmp_path / "one_file.py").write_text(text)
    subprocess.run([sys.executable, "-c", LOOK, package, str(tmp_path)], check=True, timeout=120)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a register, two members in files, and a file that looks while it is imported."""
    made = types.ModuleType("letters_of_a_test")
    made.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, made.__name__, made)
    made.LETTERS = Registry("letter", made.__name__, SycamError)
    for name in ("alpha", "beta"):
        (tmp_path / f"{name}.py").write_text(
            f"from letters_of_a_test import LETTERS\nassert len(LETTERS) < 3\nLETTERS.add({name!r}, 1, __name__)\n"
        )
    yield made
    for name in [name for name in sys.modules if name.startswith("letters_of_a_test.")]:
        del sys.modules[name]


def test_a_name_is_given_once_whoever_comes_first(package):
    with pytest.raises(SycamError, match="already a letter 'alpha'"):
        package.LETTERS.add("alpha", 2, __name__)  # before anybody looked
    assert dict(package.LETTERS) == {"alpha": 1, "beta": 1}
    package.LETTERS.add("gamma", 3, __name__)
    assert package.LETTERS.pop("gamma") == 3 and "gamma" not in package.LETTERS


def test_a_broken_file_is_no_empty_register(package, tmp_path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('as it is written')\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="as it is written"):
            list(package.LETTERS)


def test_threads_wait_for_the_whole_register(package):
    found = []
    threads = [threading.Thread(target=lambda: found.append(sorted(package.LETTERS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["alpha", "beta"]] * 8
