"""`sygus` is for any SyGuS-IF file: neither torch nor anything of CAMs is behind it."""

import json
import subprocess
import sys
from pathlib import Path

import sygus

HOME = Path(sygus.__file__).parent
MODULES = sorted(
    ".".join(("sygus", *path.relative_to(HOME).with_suffix("").parts)) for path in HOME.rglob("*.py") if path.stem != "__init__"
)


def test_no_module_of_sygus_imports_torch_or_sycam():
    script = (
        f"import importlib, json, sys\nfor m in {MODULES!r}: importlib.import_module(m)\nprint(json.dumps(sorted(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = json.loads(run.stdout)
    assert set(MODULES) <= set(loaded) and len(MODULES) >= 17
    assert not [name for name in loaded if name.split(".")[0] in ("torch", "torchvision", "sycam", "matplotlib", "typer", "rich")]


def test_reading_and_enumerating_need_no_cvc5_in_the_process_that_asks():
    """cvc5 keeps the interpreter lock: only the worker imports it, and only `smtlib` imports pysmt."""
    script = "import json, sys, sygus\nprint(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert "sygus.solver.process" in loaded
    assert not [name for name in loaded if name.split(".")[0] in ("cvc5", "pysmt", "z3")]


def test_the_grammar_file_is_shipped_beside_the_parser():
    from importlib import resources

    assert "synth_fun" in resources.files("sygus.language").joinpath("syntax.lark").read_text(encoding="utf-8")
