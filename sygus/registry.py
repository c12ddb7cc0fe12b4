"""A register of things by name that finds its members itself: a new one is a file in a folder, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from pkgutil import iter_modules
from threading import RLock
from typing import Any, TypeVar

from .errors import SygusError, nearest

T = TypeVar("T")


class Registry(MutableMapping[str, T]):
    """Members by name. Every module of a package is imported before the first look, so that each registers what it has.

    Args:
        kind: of member, as messages call it.
        package: whose modules hold the members.
        error: what is raised, with a message for a person.
        first: its modules whose members are listed before those of the others, in this order; the rest goes by the alphabet.

    >>> letters = Registry("letter", "email.mime")  # a package without any
    >>> letters.add("alpha", "α", __name__)
    >>> letters["alpha"], list(letters)
    ('α', ['alpha'])
    >>> letters.find("alhpa")
    Traceback (most recent call last):
    sygus.errors.SygusError: no letter 'alhpa'; did you mean 'alpha'? There are: alpha
    """

    def __init__(self, kind: str, package: str, error: type[Exception] = SygusError, first: tuple[str, ...] = ()) -> None:
        self.kind, self.package = kind, package
        self._error, self._first = error, first
        self._members: dict[str, T] = {}
        self._homes: dict[str, str] = {}
        self._complete = self._looking = False
        self._lock = RLock()

    def add(self, name: str, member: T, home: str) -> None:
        """Registers a member that a module called `home` holds.

        Raises:
            Exception: the name is taken; as all errors here, of the class that was given.
        """
        if not home.startswith(f"{self.package}."):
            self._look()  # a person's own must not take the name of one that is not imported yet
        if name in self._members:
            raise self._error(f"there is already a {self.kind} {name!r}: give the new one another name")
        self._members[name], self._homes[name] = member, home

    def find(self, name: str) -> T:
        """The member of that name.

        Raises:
            Exception: there is none; the message names the nearest, and all there are.
        """
        if name not in self:
            known = list(self) if self._first else sorted(self)
            raise self._error(f"no {self.kind} {name!r}{nearest(name, known, everything=True)}")
        return self[name]

    def _look(self) -> None:
        """Imports the package's modules, once."""
        if self._complete:
            return
        with self._lock:
            if self._complete or self._looking:  # a module of the package looks while it is imported
                return
            self._looking = True
            try:
                names = [module.name for module in iter_modules(import_module(self.package).__path__)]
                order = [f"{self.package}.{name}" for name in dict.fromkeys([*self._first, *names])]
                for name in order:
                    import_module(name)
                # Whoever imported some of them before has not changed the order; of a package, its place counts.
                places = {name: place for place, name in enumerate(order)}
                depth = self.package.count(".") + 2
                home = {name: ".".join(self._homes[name].split(".")[:depth]) for name in self._members}
                self._members = dict(sorted(self._members.items(), key=lambda member: places[home[member[0]]]))
                self._complete = True
            finally:
                self._looking = False

    def __getitem__(self, name: str) -> T:
        self._look()
        return self._members[name]

    def __setitem__(self, name: str, member: T) -> None:
        self._look()
        self._members[name] = member

    def __delitem__(self, name: str) -> None:
        self._look()
        del self._members[name]

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(self._members)

    def __len__(self) -> int:
        self._look()
        return len(self._members)

    def __contains__(self, name: Any) -> bool:
        self._look()
        return name in self._members
