"""Oracles that installed packages bring: the entry points of the group `sycam.oracles`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

GROUP = "sycam.oracles"


def installed_oracles() -> dict[str, EntryPoint]:
    """Entry points of the group by name; nothing of theirs is imported.

    >>> sorted(installed_oracles()) == sorted({found.name for found in entry_points(group=GROUP)})
    True
    """
    return {found.name: found for found in entry_points(group=GROUP)}
