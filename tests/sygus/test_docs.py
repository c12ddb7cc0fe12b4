"""The examples of `docs/sygus.md` run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "sygus.md").read_text(encoding="utf-8")
BLOCKS = [block for block in re.findall(r"(?:^(?:    .*)?\n)+", TEXT, re.MULTILINE) if block.strip().startswith("import sygus")]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example(number):
    code = "\n".join(line[4:] for line in BLOCKS[number].splitlines())
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    expected = (("3 (+ a a)", 3080), ("['x', '(+ x x)']", 1), ("['a', 'b', '(hull a b)']", 1))[number]
    assert expected[0] in run.stdout and len(run.stdout.splitlines()) == expected[1]


def test_there_are_examples():
    assert len(BLOCKS) == 3
    assert "[0, 6, 6, 150, 438, 7782]" in TEXT


def test_the_counts_are_right():
    import sygus

    assert sygus.count(sygus.read_file(ROOT / "benchmarks" / "six.sy").target().grammar, 5) == [0, 6, 6, 150, 438, 7782]
