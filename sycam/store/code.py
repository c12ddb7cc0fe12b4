"""What code does, as a digest: of the file that it stands in, or of its bytecode where there is none (a notebook, a shell)."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import sycam

SIMPLE = (bool, int, float, complex, str, bytes, type(None))
OWN = ("terminals", "network", "heatmap.py")
"""The parts of sycam from which a terminal's value follows."""


@cache
def own_code() -> str:
    """Of sycam's terminals and of all that they are computed with: the version of every value that is kept."""
    digest, root = hashlib.sha256(), Path(sycam.__file__).parent
    for part in OWN:
        files = sorted((root / part).glob("*.py")) if not part.endswith(".py") else [root / part]
        for file in files:
            digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def code_digest(subject: Any) -> str:
    """Of a function, or of a class with those that it inherits from. It changes with their files, and so with helpers in these.

    >>> code_digest(code_digest) == code_digest(own_code.__wrapped__), code_digest(len)
    (True, 'builtins.len')
    """
    functions = [subject]
    if isinstance(subject, type):
        members = [member for base in subject.__mro__ for member in vars(base).values()]
        functions = [getattr(m, "__func__", getattr(m, "fget", m)) for m in members]  # of class methods, of properties
    functions = [function for function in functions if hasattr(function, "__code__")]
    codes = [function.__code__ for function in functions]
    if not codes:
        return f"{getattr(subject, '__module__', '')}.{getattr(subject, '__qualname__', type(subject).__qualname__)}"
    digest = hashlib.sha256()
    for file in sorted({code.co_filename for code in codes}):
        path = Path(file)
        if path.is_file():
            status = path.stat()
            digest.update(_file(path, status.st_mtime_ns, status.st_size))
        else:
            digest.update("".join(map(_bytecode, codes)).encode())
    for function in functions:  # what one code is given in several places
        given = (*(getattr(function, "__defaults__", None) or ()), *_enclosed(function))
        digest.update(repr([described(value) for value in given]).encode())
    return digest.hexdigest()


def described(value: Any) -> str:
    """A value in words that are the same in every process: numbers, text and containers of these in full, others by type."""
    if isinstance(value, SIMPLE):
        return repr(value)
    if isinstance(value, tuple | list | set | frozenset):
        parts = [described(part) for part in value]
        return f"{type(value).__name__}({', '.join(sorted(parts) if isinstance(value, set | frozenset) else parts)})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{described(k)}: {described(v)}' for k, v in value.items())})"
    name = getattr(value, "__qualname__", None)
    return f"{type(value).__module__}.{type(value).__qualname__}" + (f" {name}" if name else "")


@cache
def _file(path: Path, changed: int, size: int) -> bytes:
    """sha256 of a file, read again only when it has changed."""
    return hashlib.sha256(path.read_bytes()).digest()


def _bytecode(code: CodeType) -> str:
    constants = [_bytecode(c) if isinstance(c, CodeType) else described(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames}"


def _enclosed(function: Any) -> list[Any]:
    cells = getattr(function, "__closure__", None) or ()
    found = []
    for cell in cells:
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not filled yet
            found.append(None)
    return found
