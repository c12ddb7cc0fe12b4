"""Metrics of the user's own: `file.py:Name`, `package.module:Name`, a program or an installed entry point becomes a `Metric`,
without being registered.

`Name` may be, in rising order of what it can say about itself:

- a plain function from a `Query` to [N]; direction "high", bounds (0, 1) and passes 1 unless it says otherwise, by
  attributes (`mine.direction = "low"`) or keyword defaults (`def mine(query, *, direction="low")`);
- a function decorated with `register_metric`;
- a class (made without arguments) or an object with `__call__(self, query)` and the attributes of `Metric`.

Each may also say `timeout`, the seconds that it may need for a query, and `own_process = True`, to be run in a process of its
own, which can be ended whatever it does.

`examples/compact_gain_oracle.py` has one of each.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import wraps
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from sycam.errors import OracleError, SycamError, asked_about
from sycam.interrupt import OutOfTime, time_limit
from sycam.metrics.metric import METRICS, Metric, first_paragraph, registering_into
from sycam.metrics.query import Query
from sycam.metrics.sums import is_own
from sycam.own_code import last_line, run_file, run_module
from sygus.errors import nearest

from .exchange import SECONDS
from .isolated import Isolated
from .program import program_oracle

GROUP = "sycam.oracles"


def load_oracle(spec: str, *, folder: Path | None = None, timeout: float | None = None, isolate: bool = True) -> Metric:
    """The metric that `spec` names. The file is run anew on every call.

    Args:
        spec: `path/to/file.py:Name`, `package.module:Name`, the path of a program (`program_oracle`), or the name of an installed
            entry point of the group `sycam.oracles`. Files and modules are found and run as by `sycam.own_code`.
        folder: where a relative path is looked for before the working folder.
        timeout: seconds that it may need for a query; None for what it says itself, and else 300.
        isolate: whether an oracle that asks for a process of its own gets it.

    Returns:
        The metric. What goes wrong inside it later is an `OracleError` that names the images and the line of the user's file.

    Raises:
        SycamError: no such file or module; it cannot be imported (the message holds Python's own words for it); it
            has no such name; the name is no oracle; or a metric that ships with sycam has the same name.

    >>> load_oracle("sycam.metrics.kinds.masked_image:average_gain").name
    'average-gain'
    >>> load_oracle("sycam.metrics.kinds.masked_image:average_gian")
    Traceback (most recent call last):
    sycam.errors.SycamError: sycam.metrics.kinds.masked_image has no oracle 'average_gian'; did you mean 'average_gain'? ...
    """
    if timeout is not None and not 0 < timeout < float("inf"):
        raise SycamError(f"an oracle's timeout is a number of seconds above 0, not {timeout!r}")
    program = _in_folder(spec, folder)
    if program.is_file() and program.suffix != ".py":
        return _checked_name(program_oracle(program, timeout), spec)
    place, _, name = spec.rpartition(":")
    installed = installed_oracles()
    if not place and spec in installed:
        return _checked_name(_installed(spec, installed[spec].value, timeout, isolate), spec)
    if not place or not name.isidentifier():
        known = f"; installed ones are {', '.join(sorted(installed))}" if installed else ""
        raise SycamError(
            f"an oracle is named as file.py:Name or package.module:Name, not {spec!r}; or as the path of a program, or of an "
            f"installed entry point of {GROUP}{known}"
        )
    if place.endswith(".py") or _in_folder(place, folder).is_file() or "/" in place or "\\" in place:
        file = _in_folder(place, folder)
        module, spec = _run(run_file, file), f"{file}:{name}"
    else:
        module = _run(run_module, place)
    if not hasattr(module, name):
        raise SycamError(f"{place} has no oracle {name!r}{nearest(name, _candidates(module), everything=True)}")
    return _checked_name(_as_metric(getattr(module, name), name, spec, timeout, isolate), spec)


def is_oracle(spec: str, folder: Path | None = None) -> bool:
    """Whether `spec` names an oracle for `load_oracle`, rather than a registered metric or a sum.

    >>> is_oracle("mine.py:calm"), is_oracle("average-gain"), is_oracle("0.5*mine.py:calm")
    (True, False, False)
    """
    place, bare = spec.rpartition(":")[0], "/" not in spec and "." not in spec and folder is None
    files = [_in_folder(path, folder) for path in (place, "" if bare else spec) if path]
    return is_own(spec) or any(file.is_file() for file in files) or spec in installed_oracles()


def installed_oracles() -> dict[str, EntryPoint]:
    """Entry points of the group by name; nothing of theirs is imported.

    >>> sorted(installed_oracles()) == sorted({found.name for found in entry_points(group=GROUP)})
    True
    """
    return {found.name: found for found in entry_points(group=GROUP)}


def installed_metrics(warn: Callable[[str], None], pattern: str = "*", timeout: float | None = None) -> list[Metric]:
    """Installed oracles whose names match a pattern; of those that cannot be loaded `warn` is told."""
    found = []
    for name in sorted(installed_oracles()):
        if fnmatchcase(name, pattern):
            try:
                found.append(load_oracle(name, timeout=timeout))
            except SycamError as problem:
                warn(f"the installed oracle {name} cannot be loaded: {problem}")
    return found


def _in_folder(path: str, folder: Path | None) -> Path:
    """A relative path in the folder where it is there, and else as it stands."""
    found = Path(path).expanduser()
    return folder / found if folder is not None and not found.is_absolute() and (folder / found).is_file() else found


def _installed(name: str, value: str, timeout: float | None, isolate: bool) -> Metric:
    """The oracle of an entry point `package.module:Name`, by the name of the entry point."""
    spec = value.split("[")[0].strip()
    place, _, attribute = spec.partition(":")
    module = _run(run_module, place)
    if not attribute.isidentifier() or not hasattr(module, attribute):
        raise SycamError(f"the entry point {name} of {GROUP} names {value}, which is not there: install its package anew")
    return replace(_as_metric(getattr(module, attribute), attribute, spec, timeout, isolate), name=name)


def _checked_name(made: Metric, spec: str) -> Metric:
    if METRICS.get(made.name, made) is not made:
        raise SycamError(
            f"{spec} is called {made.name!r}, as a metric that ships with sycam is: two metrics of one name would be "
            f"mixed up in the report. Give it another name"
        )
    return made


def _run(run: Callable[[Any, str], ModuleType], place: Path | str) -> ModuleType:
    """A person's module, which registers nothing."""
    with registering_into({}):
        return run(place, "oracle")


def _candidates(module: ModuleType) -> list[str]:
    """Public names in the module that could be oracles: metrics, and what it defines that can be called."""
    return sorted(
        name
        for name, found in vars(module).items()
        if not name.startswith("_")
        and (isinstance(found, Metric) or (callable(found) and getattr(found, "__module__", module.__name__) == module.__name__))
    )


def _as_metric(found: Any, name: str, spec: str, timeout: float | None, isolate: bool) -> Metric:
    if isinstance(found, Metric):
        if found is METRICS.get(found.name):
            return found
        own, asked = _process_and_time(found.compute, spec, timeout)
        compute = found.compute if own and isolate else _blaming(found.compute, spec, asked)
        return replace(found, compute=Isolated(spec, asked) if own and isolate else compute)
    oracle = found
    if inspect.isclass(found):
        if "__call__" not in dir(found):  # callable() is true of every class
            raise SycamError(f"oracle {spec}: the class needs a method __call__(self, query) -> tensor [N]")
        try:
            oracle = found()
        except TypeError as error:
            raise SycamError(f"oracle {spec}: the class must be made without arguments, but {error}") from error
    if not callable(oracle):
        raise SycamError(
            f"oracle {spec} is a {type(oracle).__name__}, which cannot be called: an oracle is a function or an object "
            f"with __call__, from a query to a tensor [N]"
        )
    says = _keyword_defaults(oracle, spec)
    default_name = name if inspect.isclass(found) else name.replace("_", "-")

    def stated(what: str, default: Any) -> Any:
        return getattr(oracle, what, says.get(what, default))

    own, asked = _process_and_time(oracle, spec, timeout)
    return Metric(
        name=stated("name", default_name),
        compute=Isolated(spec, asked) if own and isolate else _blaming(oracle, spec, asked),
        direction=stated("direction", "high"),
        bounds=stated("bounds", (0.0, 1.0)),
        passes=stated("passes", 1),
        needs_masks=stated("needs_masks", False),
        source=stated("source", spec),
        doc=stated("doc", first_paragraph(found)),
        redraws=stated("redraws", False),
        curves=stated("curves", ()),
        parts=stated("parts", ()),
        combine=stated("combine", None),
        percent=stated("percent", True),
    )


def _keyword_defaults(oracle: Callable[..., Any], spec: str) -> dict[str, Any]:
    """Defaults of the oracle's parameters after the query, by name. An error where it cannot be called with a query."""
    try:
        signature = inspect.signature(oracle)
    except ValueError:  # written in C: nothing to read
        return {}
    try:
        signature.bind(None)
    except TypeError as error:
        raise SycamError(
            f"oracle {spec} must be callable with one argument, the query, but its signature is {signature}: {error}"
        ) from error
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    return {name: default for name, default in defaults.items() if default is not inspect.Parameter.empty}


def _process_and_time(oracle: Any, spec: str, timeout: float | None) -> tuple[bool, float]:
    """Whether the oracle wants a process of its own, and the seconds that it may need for a query."""
    own, seconds = getattr(oracle, "own_process", False), getattr(oracle, "timeout", SECONDS)
    if not isinstance(own, bool):
        raise SycamError(f"oracle {spec}: own_process must be True or False, not {own!r}")
    if not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        raise SycamError(f"oracle {spec}: timeout must be a number of seconds above 0, not {seconds!r}")
    return own, float(timeout or seconds)


def _blaming(oracle: Callable[[Query], Tensor], spec: str, seconds: float) -> Callable[[Query], Tensor]:
    """The oracle, whose own failures are an `OracleError` that says where. Lack of memory passes: the caller halves."""
    path = spec.rpartition(":")[0]

    @wraps(oracle, updated=())
    def compute(query: Query) -> Tensor:
        def failed(what: str, error: BaseException | None = None) -> OracleError:
            details = "" if error is None else "".join(traceback.format_exception(error)).rstrip()
            return OracleError(
                f"oracle {spec} {what}; {asked_about(query.names)}", images=query.names, details=details, timed_out=error is None
            )

        try:
            with time_limit(seconds):
                return oracle(query)
        except (OracleError, MemoryError, torch.OutOfMemoryError):
            raise
        except OutOfTime:
            raise failed(f"gave no answer within {seconds:g} s and was interrupted") from None
        except SycamError as error:
            raise failed(f"failed: {error}", error) from error
        except (Exception, SystemExit) as error:
            if isinstance(error, RuntimeError) and "memory" in str(error):  # the CPU allocator has no class of its own
                raise
            raise failed(f"failed at {last_line(error, path)}", error) from error

    return compute
