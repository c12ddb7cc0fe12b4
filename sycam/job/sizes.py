"""Sizes as people write them."""

from __future__ import annotations

import re

from sycam.errors import SycamError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_size(text: str) -> int:
    """Bytes: `500MB`, `1.5 GB`; decimal units.

    Raises:
        SycamError: it is no size.

    >>> parse_size("1.5 GB"), parse_size("800kb")
    (1500000000, 800000)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise SycamError(f"a size is a number with KB, MB, GB or TB, such as 20GB; not {text!r}")
    return int(float(match[1]) * unit)


def is_size(text: str) -> bool:
    """Whether a text is a size.

    >>> is_size("20GB"), is_size("big")
    (True, False)
    """
    try:
        parse_size(text)
    except SycamError:
        return False
    return True


def size_text(size: float) -> str:
    """Three digits and a unit.

    >>> size_text(123), size_text(1_234_567), size_text(98_765_432_100)
    ('123 B', '1.23 MB', '98.8 GB')
    """
    for unit in ("B", "KB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
