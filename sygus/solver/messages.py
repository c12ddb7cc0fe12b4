"""Processes of this package, spoken to in lines of JSON: the process, what it may take, and how terms are written to it.

Terms are plain lists, a shared node table with arguments by index: JSON, never pickle.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..core import core_function
from ..errors import SygusError
from ..terms import Function, Literal, Sort, Term, subterms, variable

_PR_SET_PDEATHSIG = 1


class LineProcess:
    """`python -m module` behind two pipes.

    Args:
        module: what to run; it answers a line of JSON on stdin with one or more on stdout.
        arguments: of the module.
        seconds: how long one message may take in either direction.

    Attributes:
        pid: of the process.
    """

    def __init__(self, module: str, *arguments: str, seconds: float) -> None:
        self.seconds = seconds
        self._rest = b""
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        os.set_blocking(self._to.fileno(), False)  # a process that hangs does not empty its pipe
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def send(self, message: dict[str, Any]) -> bool:
        """Whether the process took `message` in time."""
        rest, until = memoryview(json.dumps(message).encode() + b"\n"), time.monotonic() + self.seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._to, selectors.EVENT_WRITE)
            while rest:
                if not selector.select(max(0.0, until - time.monotonic())):
                    return False
                try:
                    rest = rest[os.write(self._to.fileno(), rest) :]
                except BrokenPipeError:
                    return False
        return True

    def receive(self) -> dict[str, Any] | None:
        """The next message; None if the process has ended or needs too long."""
        until = time.monotonic() + self.seconds
        parts = [self._rest]
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            while b"\n" not in parts[-1]:
                if not selector.select(max(0.0, until - time.monotonic())):
                    return None
                chunk = os.read(self._from.fileno(), 1 << 20)
                if not chunk:
                    return None
                parts.append(chunk)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._from.close()
        self._to.close()  # raw: nothing is left to be flushed


def confine(size: int) -> None:
    """Lets the system refuse this process more than `size` bytes, so that a query that wants them ends it and not the machine,
    and on Linux ends it with its parent: deep inside cvc5 it would not see its pipe close."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))
    end_with_parent()


def end_with_parent() -> None:
    """On Linux, has the system end this process with its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def encode(roots: list[Term]) -> dict[str, Any]:
    """Terms without define-funs as `{"nodes": [...], "roots": [...]}`.

    >>> from sygus.terms import REAL
    >>> from sygus.constants import real
    >>> from sygus.core import apply
    >>> x = variable("x", REAL)
    >>> decode(encode([apply("+", x, real(0.5))])) == [apply("+", x, real(0.5))]
    True
    """
    index: dict[Term, int] = {}
    nodes: list[list[Any]] = []
    for term in subterms(*roots):
        index[term] = len(nodes)
        if isinstance(term.symbol, Literal):
            nodes.append(["#", str(term.symbol.value), term.sort.name])
        elif term.is_variable:
            nodes.append(["?", term.name, term.sort.name])
        else:
            nodes.append([term.name, *(index[arg] for arg in term.args)])
    return {"nodes": nodes, "roots": [index[root] for root in roots]}


def decode(message: Mapping[str, Any], functions: Mapping[str, Function] | None = None) -> list[Term]:
    """The terms that `encode` wrote.

    Args:
        message: from `encode`.
        functions: by name, what the terms are written in beside the core functions.

    Raises:
        SygusError: a function that is not known here.
    """
    terms: list[Term] = []
    for kind, *rest in message["nodes"]:
        if kind == "?":
            terms.append(variable(rest[0], Sort(rest[1])))
        elif kind == "#":
            value = {"True": True, "False": False}[rest[0]] if rest[1] == "Bool" else Fraction(rest[0])
            terms.append(Term(Literal(int(value) if rest[1] == "Int" else value, Sort(rest[1]))))
        else:
            args = tuple(terms[i] for i in rest)
            function = core_function(kind, [arg.sort for arg in args]) or (functions or {}).get(kind)
            if function is None:
                raise SygusError(f"no function {kind!r} is known to the process that reads this term")
            terms.append(Term(function, args))
    return [terms[i] for i in message["roots"]]
