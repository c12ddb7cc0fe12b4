"""Options: what a field of a job is called, what it takes and what it is for, written once, where the field is declared.

The command line, Python's keywords, job files and the documentation's tables all read an option here.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from sycam.errors import SycamError
from sygus.errors import SygusError, nearest


@dataclass(frozen=True)
class Option:
    """What is known of one field.

    Attributes:
        help: for whom chooses a value; one or two sentences.
        fits: whether a value that is not None makes sense; wanted: what it must be, for the message.
        choices: the values that there are; () where they are not a few words.
        shown: whether commands have a flag for it; all others are given by `--set`, in a job file, or in Python.
        flags: further flags of the same meaning.
        names: what the value names: "path", a file or folder; "code", `file.py:name`; "" neither.
        usual: what stands in the documentation for a default that is None.
        key: its name in a job, `Option.name` if not the field's own.
        attribute, kinds, default: of the field itself, filled in by `Group.options`.
    """

    help: str
    fits: Callable[[Any], bool] = lambda value: True
    wanted: str = ""
    choices: tuple[str, ...] = ()
    shown: bool = False
    flags: tuple[str, ...] = ()
    names: str = ""
    usual: str = ""
    key: str = ""
    attribute: str = ""
    kinds: tuple[type, ...] = ()
    default: Any = None

    @property
    def name(self) -> str:
        """What it is called in jobs, files and messages."""
        return self.key or self.attribute

    @property
    def flag(self) -> str:
        """The name as a command's flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def default_text(self) -> str:
        """The default as documentation shows it."""
        if self.default is None:
            return self.usual
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)

    def value(self, given: Any) -> Any:
        """What is given, from Python, JSON or TOML, in the type of the field.

        Raises:
            ValueError: it is of another type, or makes no sense; says what it must be.
        """
        if given is None:
            if type(None) not in self.kinds:
                raise ValueError(f"must be {self._wanted()}, not none")
            return None
        if tuple in self.kinds and isinstance(given, (list, tuple)):
            given = tuple(given)
        elif isinstance(given, Path) or type(given).__name__ == "device":  # torch's, which is not imported here
            given = str(given)
        elif float in self.kinds and isinstance(given, int) and int not in self.kinds and not isinstance(given, bool):
            given = float(given)
        fits = isinstance(given, self.kinds) and (bool in self.kinds or not isinstance(given, bool))
        if not fits or (self.choices and given not in self.choices) or not self._makes_sense(given):
            raise ValueError(f"must be {self._wanted()}, not {given!r}")
        return given

    def _makes_sense(self, value: Any) -> bool:
        return (not isinstance(value, float) or math.isfinite(value)) and self.fits(value)

    def _wanted(self) -> str:
        if self.wanted:
            return self.wanted
        if self.choices:
            return " or ".join(map(repr, self.choices))
        words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", tuple: "numbers"}
        return " or ".join(words[kind] for kind in self.kinds if kind in words)


def option(default: Any, help: str, **said: Any) -> Any:
    """A field of a `Group` with what `Option` says of it."""
    return field(default=default, metadata={"option": Option(help, **said)})


def at_least(low: float) -> dict[str, Any]:
    """What `option` takes of a number with a lower bound."""
    return {"fits": lambda value: value >= low, "wanted": f"a finite number, at least {low:g}"}


def whole(low: int) -> dict[str, Any]:
    """What `option` takes of a whole number with a lower bound."""
    return {"fits": lambda value: value >= low, "wanted": f"a whole number, at least {low}"}


_KNOWN: dict[type, dict[str, Option]] = {}


class Group:
    """A frozen dataclass of options that belong together.

    Attributes:
        title: what commands call the group in `--help`, and documentation in its tables.
    """

    title: ClassVar[str] = ""

    @classmethod
    def options(cls) -> dict[str, Option]:
        """The options of the group by their names, in order."""
        if cls not in _KNOWN:
            hints = get_type_hints(cls)
            found = [_bound(one, hints[one.name]) for one in fields(cls) if "option" in one.metadata]  # type: ignore[arg-type]
            _KNOWN[cls] = {one.name: one for one in found}
        return _KNOWN[cls]

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Options that do not go together: the name of one, and what is wrong with it."""
        yield from ()

    def plain(self) -> dict[str, Any]:
        """Every option by its name, as JSON holds it."""
        return {name: getattr(self, one.attribute) for name, one in self.options().items()}


def _bound(one: Field, hint: Any) -> Option:
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = tuple(get_origin(part) or part for part in parts)
    default = None if one.default is MISSING else one.default
    return replace(one.metadata["option"], attribute=one.name, kinds=kinds, default=default)


def parse(one: Option, text: str) -> Any:
    """The value that a text on the command line means, in the type of the option; the text itself where it means none.

    >>> parse(Option("mean", kinds=(float, tuple, type(None))), "0.5,0.4,0.3")
    (0.5, 0.4, 0.3)
    """
    if type(None) in one.kinds and str not in one.kinds and text.lower() == "none":
        return None
    if bool in one.kinds:
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)
    for kind in (int, float):
        if kind in one.kinds:
            with suppress(ValueError):
                return kind(text)
    if tuple in one.kinds and "," in text:
        with suppress(ValueError):
            return tuple(float(part) for part in text.split(","))
    return text


class Mistakes:
    """Everything that is wrong with a job, gathered before it is told.

    >>> mistakes = Mistakes()
    >>> mistakes.add("seed", "must be a whole number")
    >>> with mistakes.of("metric"):
    ...     raise SycamError("no metric 'x'")
    >>> mistakes.tell("the job")
    Traceback (most recent call last):
    sycam.errors.SycamError: the job has 2 mistakes:
      `seed` must be a whole number
      `metric`: no metric 'x'
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._errors: list[Exception] = []

    def add(self, name: str, message: str) -> None:
        """The option of that name has a mistake; the message goes on after the name."""
        self.found.append((name, f"`{name}` {message}"))

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Bad input inside of the block is a mistake of that option."""
        try:
            yield
        except (SycamError, SygusError) as error:
            self.found.append((name, f"`{name}`: {error}"))
            self._errors.append(error)

    def tell(self, what: str = "the job") -> None:
        """Nothing where there is no mistake.

        Raises:
            SycamError: all of them, one a line. A single one that was raised inside of `of` is raised as it was.
        """
        if len(self.found) == 1:
            raise self._errors[0] if self._errors else SycamError(self.found[0][1])
        if self.found:
            lines = "\n".join("  " + line.replace("\n", "\n    ") for _, line in self.found)
            raise SycamError(f"{what} has {len(self.found)} mistakes:\n{lines}")


def checked(options: Mapping[str, Option], given: Mapping[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """Of what is given by name the values of these options; what does not fit is noted."""
    values = {}
    for name in options:
        if name in given:
            try:
                values[name] = options[name].value(given[name])
            except ValueError as error:
                mistakes.add(name, str(error))
    return values


def values_in(group: type[Group], given: Mapping[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """Of what is given by name the values of this group's fields, by attribute; what does not fit is noted."""
    options = group.options()
    return {options[name].attribute: value for name, value in checked(options, given, mistakes).items()}


def make_groups(groups: Mapping[str, type[Group]], given: Mapping[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """The groups with what is given, by the same keys; what does not fit is noted, and has its default."""
    made = {key: group(**values_in(group, given, mistakes)) for key, group in groups.items()}
    for name, wrong in (one for group in made.values() for one in group.contradictions()):
        mistakes.add(name, wrong)
    return made


def taken_together(groups: Iterable[type[Group]]) -> dict[str, Option]:
    """The options of several groups; no two have the same name."""
    found: dict[str, Option] = {}
    for group in groups:
        for name, one in group.options().items():
            assert name not in found, f"two options are called {name}"
            found[name] = one
    return found


def check_names(given: Iterable[str], known: Iterable[str], mistakes: Mistakes) -> None:
    """Notes what is given and is no option."""
    for name in given:
        if name not in known:
            mistakes.found.append((name, f"no option {name!r}{nearest(name, known)}"))
