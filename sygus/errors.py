"""Errors of the language package: one root, with a place in the text where there is one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file: 1-based line and column."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class SygusError(Exception):
    """A file or a request that cannot be obeyed: what is wrong, where, and what would be right.

    `str(error)` is ready to be shown: place, message, and the line with a caret where the text is known.
    """

    def __init__(self, message: str, place: Place | None = None, text: str | None = None) -> None:
        self.message, self.place = message, place
        super().__init__(f"{place}: {message}{_excerpt(text, place)}" if place else message)


def _excerpt(text: str | None, place: Place | None, width: int = 100) -> str:
    """The line that `place` names with a caret below, cut to `width` around the caret."""
    if text is None or place is None:
        return ""
    lines = text.splitlines()
    if not 0 < place.line <= len(lines):
        return ""
    line, at = lines[place.line - 1].replace("\t", " "), place.column - 1
    start = max(0, min(at - width // 2, len(line) - width))
    return f"\n    {line[start : start + width]}\n    {' ' * (at - start)}^"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names what a misspelt `name` may have meant.

    >>> nearest("gradcan", ["gradcam", "layercam"])
    "; did you mean 'gradcam'?"
    >>> nearest("zzz", ["gradcam", "layercam"])
    '; known: gradcam, layercam'
    >>> nearest("x", [])
    ''
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"; known: {shown}" if names else ""
