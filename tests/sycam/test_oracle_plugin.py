"""Metrics from the user's own files: every form, every mistake, and nothing left behind."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from sycam.errors import SycamError
from sycam.metrics.metric import METRICS
from sycam.metrics.own.find import find_metric
from sycam.metrics.own.plugin import load_oracle
from sycam.metrics.query import Query, probe

EXAMPLE = Path(__file__).parents[2] / "examples" / "compact_gain_oracle.py"


@pytest.fixture(autouse=True)
def nothing_left_behind():
    modules, registered, path = set(sys.modules), dict(METRICS), list(sys.path)
    yield
    assert registered == METRICS
    assert sys.path == path
    left = {name for name in set(sys.modules) - modules if "mine" in name or "oracle" in name}
    assert all(name.startswith("_sycam_own_") for name in left)  # names that nobody else imports


# The example that newcomers read


def test_the_example_as_a_plain_function():
    oracle = load_oracle(f"{EXAMPLE}:background_silence")
    assert (oracle.name, oracle.direction, oracle.bounds) == ("background-silence", "high", (0, 1))
    assert (oracle.passes, oracle.needs_masks) == (0, True)
    masks = [[[True, False], [False, False]], [[True, True], [True, True]]]
    values = oracle(probe([[[1.0, 0.6], [0.3, 0.0]], [[1.0, 0.6], [0.3, 0.0]]], masks=masks))
    assert values.tolist() == pytest.approx([0.7, 1.0])
    with pytest.raises(SycamError, match="'background-silence' compares heatmaps with ground truth"):
        oracle(probe([[[1.0]]]))


def test_the_example_as_a_registered_function():
    oracle = load_oracle(f"{EXAMPLE}:compact_gain")
    assert (oracle.name, oracle.bounds, oracle.passes) == ("compact-gain", (-0.25, 1), 1)
    assert oracle.doc.startswith("Average gain less a quarter of the heatmap's area")
    heatmaps = [[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 0.0]], [[1.0, 1.0]]]
    values = oracle(probe(heatmaps, p=[0.5, 0.5, 0.0, 1.0], o=[0.75, 0.25, 1.0, 1.0]))
    assert values.tolist() == pytest.approx([0.5 - 0.125, -0.25, 1.0, -0.25])
    assert "compact-gain" not in METRICS


def test_the_example_as_a_class():
    oracle = load_oracle(f"{EXAMPLE}:BlurDrop")
    assert (oracle.name, oracle.bounds, oracle.direction) == ("blur-drop", (-1, 1), "high")
    image = torch.zeros(1, 3, 32, 32)
    image[..., 16, 16] = 1  # one bright pixel, and a network that looks for the brightest

    def brightest(images):
        peak = images.amax((1, 2, 3))
        return torch.stack([1 - peak, peak], 1)

    def query(heat):
        return Query(heat, image, torch.tensor([1]), torch.ones(1), brightest)

    assert oracle(query(torch.ones(1, 32, 32))).item() == pytest.approx(1 - 1 / 81)  # 9 × 9 blur
    assert oracle(query(torch.zeros(1, 32, 32))).item() == 0


# Other forms


def test_a_plain_function_needs_to_say_nothing(write):
    path = write("def mean_heat(query):\n    'How warm it is.'\n    return query.heatmaps.mean((-2, -1))\n")
    oracle = load_oracle(f"{path}:mean_heat")
    assert (oracle.name, oracle.direction, oracle.bounds, oracle.passes) == ("mean-heat", "high", (0, 1), 1)
    assert oracle.doc == "How warm it is."
    assert oracle.source == f"{path}:mean_heat"
    assert oracle(probe([[[0.0, 1.0]]])).tolist() == [0.5]


def test_keyword_defaults_speak_for_a_function_and_attributes_before_them(write):
    path = write("""
        def area(query, *, direction="low", bounds=(0, 2), passes=0, weight=2.0):
            return weight * query.heatmaps.mean((-2, -1))

        def other(query, direction="low"):
            return query.p

        other.direction = "high"
    """)
    oracle = load_oracle(f"{path}:area")
    assert (oracle.direction, oracle.bounds, oracle.passes, oracle.perfect) == ("low", (0, 2), 0, 0)
    assert oracle(probe([[[1.0, 0.5]]])).tolist() == [1.5]
    assert load_oracle(f"{path}:other").direction == "high"


def test_dataclasses_objects_and_modules_of_torch(write):
    path = write("""
        from __future__ import annotations
        from dataclasses import dataclass
        import torch

        @dataclass
        class Weighted:
            weight: float = 0.5
            name: str = "weighted"
            direction: str = "low"
            def __call__(self, query):
                return self.weight * query.p

        light = Weighted(0.25, "light")

        class Net(torch.nn.Module):
            name = "net"
            def forward(self, query):
                return query.p
    """)
    assert load_oracle(f"{path}:Weighted")(probe(p=[0.5])).tolist() == [0.25]
    light = load_oracle(f"{path}:light")
    assert (light.name, light.direction, light(probe(p=[0.5])).item()) == ("light", "low", 0.125)
    assert load_oracle(f"{path}:Net")(probe(p=[0.5])).tolist() == [0.5]


def test_a_module_by_its_dotted_name():
    assert load_oracle("sycam.metrics.kinds.masked_image:average_gain") is find_metric("average-gain")


def test_an_edited_file_is_read_anew(write):
    for value in (0.25, 0.75, 0.5):  # within one second, and as many bytes: a byte-code cache would be stale
        path = write(f"def mine(query):\n    return query.p * 0 + {value:.2f}\n")
        assert load_oracle(f"{path}:mine")(probe(p=[0.5])).item() == value
    assert not (path.parent / "__pycache__").exists()


def test_loading_twice_registers_nothing(write):
    path = write("""
        from sycam.metrics.metric import register_metric

        @register_metric("mine", direction="high")
        def mine(query):
            return query.p
    """)
    assert load_oracle(f"{path}:mine").name == load_oracle(f"{path}:mine").name == "mine"


def test_a_file_named_as_a_module_hides_nothing(write):
    path = write("def mine(query):\n    import json\n    return query.p * len(json.dumps([]))/2\n", name="json.py")
    assert load_oracle(f"{path}:mine")(probe(p=[0.5])).item() == 0.5
    assert sys.modules["json"] is json


# Mistakes


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("def gain(query): ...\ndef _hidden(): ...\nclass Other: ...\nimport math\n", "gian",
         r"has no oracle 'gian'; did you mean 'gain'\? There are: Other, gain$"),
        ("x = 1\n", "y", r"has no oracle 'y'\. There are: none"),
        ("x = 1\n", "x", "is a int, which cannot be called"),
        ("def f(query:\n", "f", r"cannot import oracle .*mine\.py:1: SyntaxError"),
        ("\n\nraise ValueError('no luck')\n", "f", r"cannot import oracle .*mine\.py:3: ValueError: no luck$"),
        ("import sys\nsys.exit(3)\n", "f", r"mine\.py:2: SystemExit: 3"),
        ("import nowhere_to_be_found\n", "f", r"mine\.py:1: ModuleNotFoundError: .*'nowhere_to_be_found'; install it"),
        ("def f(): ...\n", "f", r"must be callable with one argument, the query, but its signature is \(\)"),
        ("def f(query, other): ...\n", "f", r"its signature is \(query, other\)"),
        ("class F:\n    def __init__(self, x): ...\n    def __call__(self, query): ...\n", "F",
         "must be made without arguments, but .*'x'"),
        ("class F: ...\n", "F", r"needs a method __call__\(self, query\)"),
        ("def f(query): ...\nf.direction = 'up'\n", "f", "direction must be 'high' or 'low'"),
        ("def average_drop(query): ...\n", "average_drop", "called 'average-drop', as a metric that ships with sycam"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file(write, text, name, message):
    path = write(text)
    with pytest.raises(SycamError, match=message):
        load_oracle(f"{path}:{name}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine.py", "is named as file.py:Name or package.module:Name, not 'mine.py'"),
        ("mine.py:", "is named as"),
        (":mine", "is named as"),
        ("mine.py:not a name", "is named as"),
        ("nowhere/mine.py:f", r"oracle file nowhere/mine\.py does not exist"),
        ("nowhere.at.all:f", r"No module named 'nowhere'; is it installed here\? .* path/to/all\.py:Name"),
        ("sycam.metrics.nowhere:f", r"No module named 'sycam\.metrics\.nowhere'; is it installed here"),
        ("my-file:f", "'my-file' is neither a Python file .* nor a module's dotted name"),
    ],
)
def test_mistakes_in_the_name(spec, message):
    with pytest.raises(SycamError, match=message):
        load_oracle(spec)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "mine.py").mkdir()
    with pytest.raises(SycamError, match="is a folder, not a Python file"):
        load_oracle(f"{tmp_path}/mine.py:f")


def test_a_failure_while_scoring_names_the_line(write):
    path = write("def f(query):\n    ratio = query.p\n    return ratio.reshape(99)\n")
    with pytest.raises(SycamError, match=rf"oracle {re.escape(str(path))}:f failed at .*mine\.py:3: RuntimeError: shape") as info:
        load_oracle(f"{path}:f")(probe(p=[0.5]))
    assert isinstance(info.value.__cause__, RuntimeError)


@pytest.mark.parametrize("kind", ["MemoryError", "torch.OutOfMemoryError"])
def test_lack_of_memory_is_left_to_the_caller(write, kind):
    path = write(f"import torch\ndef f(query):\n    raise {kind}('too much')\n")
    with pytest.raises((MemoryError, torch.OutOfMemoryError), match="too much"):
        load_oracle(f"{path}:f")(probe(p=[0.5]))


def test_a_wrong_answer_is_refused_as_that_of_any_metric(write):
    path = write("def f(query):\n    return query.p * 3\n")
    with pytest.raises(SycamError, match=r"metric 'f' returned 1.5 on image 0; it states the bounds \[0, 1\]"):
        load_oracle(f"{path}:f")(probe(p=[0.5]))
