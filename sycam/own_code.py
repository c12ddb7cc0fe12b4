"""Runs a person's Python: a file by its path, or an installed module by its dotted name.

A file may import its neighbours, at once or whenever one of its functions runs. It and they live under a name of their own, so
that files of one name in several folders do not meet, none hides an installed module, and an edited file is read anew.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import itertools
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sycam.errors import SycamError

_PREFIX = "_sycam_own_"
_loads = itertools.count()


def run_file(path: Path, what: str) -> ModuleType:
    """The module of a file, run anew on every call as its source is now. Nothing is written beside it.

    Its neighbours are modules and packages in its folder; the standard library goes before them.

    Args:
        what: the file is, for messages, such as `oracle`.

    Raises:
        SycamError: there is no such file, or it raises; the message has Python's own words and the line of the file.
    """
    path = path.expanduser()
    if not path.is_file():
        problem = "is a folder, not a Python file" if path.is_dir() else "does not exist"
        raise SycamError(f"{what} file {path} {problem} (looked in {Path.cwd()}); name it as path/to/file.py:Name")
    room = ModuleType(f"{_PREFIX}{next(_loads)}")
    room.__path__ = [str(path.resolve().parent)]
    name = f"{room.__name__}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    assert spec is not None and spec.loader is not None  # as they are whenever a loader is given
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up, and so does a late import of a neighbour.
    sys.modules.update({room.__name__: room, name: module})
    try:
        with _errors_of(what, str(path), str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        for each in [each for each in sys.modules if each == room.__name__ or each.startswith(f"{room.__name__}.")]:
            del sys.modules[each]
        raise
    return module


def run_module(name: str, what: str) -> ModuleType:
    """The module of a dotted name, found on `sys.path` or from the working folder; it stays imported, as any module does.

    Raises:
        SycamError: it is no such name, not there, or it raises.

    >>> run_module("json.decoder", "oracle").__name__
    'json.decoder'
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise SycamError(f"{name!r} is neither a Python file (it would end in .py) nor a module's dotted name")
    here = str(Path.cwd())  # a console script, unlike `python -m`, does not look there
    sys.path.insert(0, here)
    try:
        with _errors_of(what, name, None):
            return importlib.import_module(name)
    finally:
        sys.path.remove(here)


def last_line(error: BaseException, path: str | None) -> str:
    """`file.py:12: ValueError: ...`: the last line of the person's traceback, and the last line of their file in it."""
    words = traceback.format_exception_only(type(error), error)[-1].strip()
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{path}:{error.lineno}: {words}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{path}:{lines[-1]}: {words}" if lines else words


@contextmanager
def _errors_of(what: str, place: str, path: str | None) -> Iterator[None]:
    """Turns whatever a person's module raises while it runs into one line of text, with the line of their file.

    Args:
        what: the module is for, such as `oracle`. place: the file or the module. path: of the file; None of a module.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or ""
        hint = "install it, or do without"
        if path is None and (place == missing or place.startswith(f"{missing}.")):
            hint = f"is it installed here? To name a file, write path/to/{place.rsplit('.', 1)[-1]}.py:Name"
        raise SycamError(f"cannot import {what} {place}: {last_line(error, path)}; {hint}") from error
    except (Exception, SystemExit) as error:
        raise SycamError(f"cannot import {what} {place}: {last_line(error, path)}") from error


class _Source(importlib.machinery.SourceFileLoader):
    """Runs the source as it is now, with an `import` that finds neighbours.

    Byte code is cached by second and size, so that a quick edit would go unseen.
    """

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _importing(module.__name__)}
        super().exec_module(module)


class _Neighbours:
    """Finds modules in a room, which is the folder of a person's file."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(_PREFIX) or path is None:
            return None
        finders = (
            importlib.machinery.FileFinder(
                folder,
                (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
                (_Source, importlib.machinery.SOURCE_SUFFIXES),
            )
            for folder in path
        )
        return next((found for finder in finders if (found := finder.find_spec(name)) is not None), None)


sys.meta_path.insert(0, _Neighbours)  # type: ignore[arg-type]


def _importing(own: str) -> Any:
    """`__import__` for the modules of a room: a neighbour where there is one of that name, and else what is installed."""
    room, _, rest = own.partition(".")
    neighbours: dict[str, bool] = {rest: False}  # a file called as an installed module may import that

    def find(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if not level and top not in neighbours:
            neighbours[top] = _is_neighbour(top, room)
        if level or not neighbours[top]:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{room}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{room}.{top}"]

    return find


def _is_neighbour(name: str, room: str) -> bool:
    """Whether the room has a module of that name, neither of the standard library nor the very file that is installed."""
    if name in sys.stdlib_module_names or (here := importlib.util.find_spec(f"{room}.{name}")) is None:
        return False
    imported = sys.modules.get(name)
    usual = importlib.util.find_spec(name) if imported is None else None
    if here.origin is None:  # a folder without __init__.py gives way
        return imported is None and usual is None
    place = usual.origin if usual is not None else getattr(imported, "__file__", None)
    return place is None or os.path.realpath(place) != os.path.realpath(here.origin)
