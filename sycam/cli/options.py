"""Commands from options: flags, panels and help come from where the options are declared, in `sycam.job`.

A command's function takes `given`, the options that the user gave by name, from flags, and from `--set name=value` for those
that have no flag.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.markup import escape

from sycam.errors import SycamError
from sycam.job import Group, ImageSpec, Job, Mistakes, ModelSpec, Option, OutputSpec, ScoringSpec, SearchSpec, TerminalSettings
from sycam.job import parse as parse_option
from sycam.job.option import check_names, checked, make_groups, taken_together

from . import console

if TYPE_CHECKING:
    from sycam.metrics.protocol import Protocol
    from sycam.network import Network
    from sycam.store import TerminalStore

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
GROUPS: tuple[type[Group], ...] = (Job, ModelSpec, ImageSpec, SearchSpec, ScoringSpec, TerminalSettings, OutputSpec)
ALL = taken_together(GROUPS)
PANELS = {name: group.title for group in GROUPS for name in group.options()}
SET = "Any other option by its name, such as mean=0.5; `sycam list options` shows all."


def command(
    *groups: type[Group], names: Iterable[str] = (), many: Iterable[str] = (), without: Iterable[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of groups, and `given` to its function.

    Args:
        groups: whose options it takes. names: single ones beside them.
        many: those that may be given several times. without: those of the groups that it does not take.
    """
    taken = {name: one for name, one in taken_together(groups).items() if name not in [*without]}
    taken |= {name: ALL[name] for name in names}
    several = {*many}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "given"]
        flags = {name: one for name, one in taken.items() if one.shown}

        @wraps(function)
        def run(**values: Any) -> None:
            found = {name: values.pop(name) for name in flags}
            twice = [name for name in flags if flags[name].flags and name not in several and len(found[name] or []) > 1]
            if twice:
                named = " and ".join((flags[twice[0]].flag, *flags[twice[0]].flags))
                raise typer.BadParameter(f"{named} name one thing: give one value")
            found |= {n: found[n][0] for n in flags if flags[n].flags and n not in several and found[n]}
            given = {name: _read(taken[name], value) for name, value in found.items() if value is not None}
            settings = _settings(values.pop("settings") or [], taken)
            function(**values, given=given | settings)

        kind = inspect.Parameter.KEYWORD_ONLY
        made = [
            inspect.Parameter(name, kind, default=None, annotation=_flag(one, name in several)) for name, one in flags.items()
        ]
        rest = inspect.Parameter("settings", kind, default=None, annotation=Annotated[Optional[list[str]], _option(SET, "--set")])
        listed = [*(p.replace(kind=kind) for p in own), *made, rest]
        run.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in listed}
        run.options = taken  # type: ignore[attr-defined]
        return run

    return decorate


def _flag(one: Option, several: bool) -> Any:
    if one.kinds == (bool,):
        return Annotated[Optional[bool], _option(one.help, one.flag, panel=PANELS[one.name])]
    words = {int: "INTEGER", float: "NUMBER"}
    number = None if str in one.kinds else next((words[kind] for kind in one.kinds if kind in words), None)
    metavar = "|".join(one.choices) or number or "TEXT"
    said = _option(one.help, one.flag, *one.flags, metavar=metavar, panel=PANELS[one.name], default=one.default_text)
    return Annotated[Optional[list[str]] if several or one.flags else Optional[str], said]


def _option(text: str, *flags: str, metavar: str | None = None, panel: str | None = None, default: str = "") -> Any:
    shown = f"{text} [default: {default}]" if default else text
    return typer.Option(*flags, help=help_text(shown), metavar=metavar, rich_help_panel=panel, show_default=False)


def help_text(text: str) -> str:
    """A help as rich shows it: square brackets stay, and a name in backticks is the flag."""
    return escape(console.with_flags(text))


def _read(one: Option, value: Any) -> Any:
    if isinstance(value, list):
        return [parse_option(one, text) for text in value]
    return parse_option(one, value) if isinstance(value, str) else value


def _settings(settings: list[str], taken: Mapping[str, Option]) -> dict[str, Any]:
    """What `--set` says."""
    found = {}
    for text in settings:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise SycamError(f"--set takes name=value, such as --set mean=0.5; not {text!r}")
        found[name] = parse_option(taken[name], value.strip()) if name in taken else value
    return found


Cache = _flag(ALL["cache"], several=False)


def groups_of(given: Mapping[str, Any], *groups: type[Group], others: Iterable[str] = ()) -> list[Any]:
    """The groups with what was given, for a command that makes no job.

    Args:
        given: by name. groups: in whose order the answer is. others: names of single options that the command reads itself.

    Raises:
        SycamError: all mistakes at once.
    """
    mistakes = Mistakes()
    check_names(given, [*taken_together(groups), *others], mistakes)
    single = {name: ALL[name] for name in others if not isinstance(given.get(name), list)}
    seed = checked(single, given, mistakes).get("seed", 0)
    made = make_groups({group.title: group for group in groups}, {"terminal_seed": seed, **given}, mistakes)
    mistakes.tell("the command")
    return [made[group.title] for group in groups]


def network(spec: ModelSpec, protocol: Protocol | None = None) -> Network:
    """The network that the options name, and the protocol where they say nothing; what is unusual about it is said on stderr."""
    from sycam.run.given import network_of

    loaded = network_of(spec) if protocol is None else network_of(spec, protocol)
    for note in loaded.notes:
        console.warn(note)
    return loaded


def store(output: OutputSpec) -> TerminalStore | None:
    """Where terminals are kept; None for nowhere. A folder that was named and cannot be made is an error, else a warning."""
    from sycam.job.sizes import parse_size
    from sycam.store import TerminalStore

    folder = cache_folder(output.cache)
    size = parse_size(output.cache_limit) if output.cache_limit is not None else None
    if folder is None:
        return None
    try:
        return TerminalStore(folder, size, console.warn)
    except SycamError as error:
        if output.cache is not None or "SYCAM_CACHE" in os.environ:
            raise
        console.warn(f"terminals are not kept between runs: {error}")
        return None


def cache_folder(cache: str | None) -> Path | None:
    """The folder that `cache`, or else the environment, names; None for `none`."""
    from sycam.store import default_folder

    if cache is not None and not cache.strip():
        raise SycamError("`cache` is empty: name a folder or none, or leave it out for the usual one")
    named = cache if cache is not None else os.environ.get("SYCAM_CACHE", "")
    return None if named == "none" else Path(named).expanduser() if named else default_folder()
