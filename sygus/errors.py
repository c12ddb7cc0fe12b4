"""Errors of the language package: one root, with a place in the text where there is one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

_SHOWN = 60
_COMPARED = 2_000


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
    lines = text.split("\n")
    if not 0 < place.line <= len(lines):
        return ""
    line, at = lines[place.line - 1], place.column - 1
    start = max(0, min(at - width // 2, len(line) - width))
    cut = "".join(c if c.isprintable() else " " for c in line[start : start + width])
    return f"\n    {cut.rstrip()}\n    {' ' * (at - start)}^"


def cut(text: str, most: int = _SHOWN) -> str:
    """`text` as a message shows it: cut where it is long."""
    return text if len(text) <= most else f"{text[:most]}..."


def shown(name: object) -> str:
    """A name as a message shows it: in quotes, and cut where it is long.

    >>> shown("gap"), len(shown("a" * 10**6))
    ("'gap'", 65)
    """
    text = str(name)
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


def near(name: str, known: Iterable[str], n: int = 1, cutoff: float = 0.6) -> list[str]:
    """The `n` names among `known` that are most like a misspelt `name`, the likest first; fewer where fewer are like it.

    `cutoff` is how like they must be: 0 for any name, 1 for `name` itself. Long names and long lists are cut, so that no file
    makes this slow.

    >>> near("gradcan", ["layercam", "gradcam", "gradcam++"], n=2)
    ['gradcam', 'gradcam++']
    """
    if len(name) > _SHOWN:
        return []
    names = [other for other in sorted(set(known)) if abs(len(other) - len(name)) <= 8]
    return difflib.get_close_matches(name, names[:_COMPARED], n=n, cutoff=cutoff)


def nearest(name: str, known: Iterable[str], n: int = 1, everything: bool = False) -> str:
    """A hint that names what a misspelt `name` may have meant, `n` names at most; with `everything`, all that there are as well.

    >>> nearest("gradcan", ["gradcam", "layercam"])
    "; did you mean 'gradcam'?"
    >>> nearest("gradcan", ["gradcam", "layercam", "gradcam++"], n=2)
    "; did you mean 'gradcam' or 'gradcam++'?"
    >>> nearest("zzz", ["gradcam", "layercam"])
    '; known: gradcam, layercam'
    >>> nearest("x", [])
    ''
    >>> nearest("iuo", ["pointing", "iou"], everything=True), nearest("x", [], everything=True)
    ("; did you mean 'iou'? There are: pointing, iou", '. There are: none')
    """
    given = list(known)
    names = sorted(set(given))
    close = near(name, names, n)
    if everything:
        meant = f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
        return f"{meant} There are: {', '.join(given) or 'none'}"
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    listed = ", ".join(cut(other) for other in names[:20])
    return f"; known: {listed}{', ...' if len(names) > 20 else ''}" if names else ""
