"""What a person's words name: CAMs by name, from `known.sy` and any other `.sy` file, and as terms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from sycam.errors import SycamError
from sycam.job.job import grammar_folder
from sycam.terminals import TERMINALS
from sycam.theory import CAM, MAP
from sygus import REAL, Function, Variable, read_file, read_term
from sygus.errors import near

from .baseline import BASELINES, Baseline
from .cam import Cam, terminal_variable

AnyCam: TypeAlias = "Cam | Baseline"

GROUPS = {
    "all": ("known", "baseline", "control"), "known": ("known",), "baselines": ("baseline",), "controls": ("control",),
}  # fmt: skip
"""Words that name several CAMs, and their kinds."""


def find_cams(spec: str) -> list[AnyCam]:
    """The CAMs that `spec` names: a group, a known name, a `.sy` file, a run's folder, or a term.

    Args:
        spec: a group is `known` (the terms of `known.sy`), `baselines`, `controls`, or `all` three. Case, `-` and `_` do not
            matter in a name; a term begins with a parenthesis or is a terminal.

    Raises:
        SycamError: nothing of that name; names the nearest.

    >>> [cam.name for cam in find_cams("gradcam")], [cam.kind for cam in find_cams("eigencam")]
    (['Grad-CAM'], ['baseline'])
    """
    named: list[AnyCam] = [*known_cams().values(), *sorted(BASELINES.values(), key=lambda baseline: baseline.kind)]
    if spec in GROUPS:
        kinds = GROUPS[spec]
        return [cam for cam in named if cam.kind in kinds]
    if not spec.strip():
        raise SycamError("no CAM was named: give a name of `sycam list cams`, a .sy file, a run's folder, or a term")
    path = Path(spec)
    if path.is_dir():
        answer = path / "answer.sy"
        if not answer.is_file():
            raise SycamError(f"{path} is no run: it holds no answer.sy")
        return [*cams_in(answer)]
    if path.suffix == ".sy":
        return [*cams_in(path)]
    by_plain_name = {_plain(cam.name): cam for cam in named}
    if _plain(spec) in by_plain_name:
        return [by_plain_name[_plain(spec)]]
    if spec.lstrip().startswith("(") or spec in TERMINALS:
        return [cam_from_text(spec)]
    close = near(_plain(spec), by_plain_name)
    guess = f"; did you mean {by_plain_name[close[0]].name!r}? Give" if close else ": give"
    raise SycamError(
        f"no CAM, file or run {spec!r}{guess} a name of `sycam list cams`, {', '.join(GROUPS)}, a .sy file, a run's "
        "folder, or a term such as '(gap G)'"
    )


def find_cam(spec: str) -> AnyCam:
    """The one CAM that `spec` names; see `find_cams`.

    Raises:
        SycamError: there are several.
    """
    found = find_cams(spec)
    if len(found) != 1:
        raise SycamError(f"{spec!r} names {len(found)} CAMs ({', '.join(c.name for c in found)}); one is needed here")
    return found[0]


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).lower()


@lru_cache(maxsize=1)
def known_cams() -> dict[str, Cam]:
    """The published CAMs of `known.sy`, by name.

    >>> print(known_cams()["XGrad-CAM"].term)
    (/ (gap (m* A G)) (gap A))
    """
    return {cam.name: replace(cam, kind="known") for cam in cams_in(grammar_folder() / "known.sy")}


def cams_in(path: Path) -> list[Cam]:
    """The CAMs of a `.sy` file: its define-funs whose arguments are all terminals.

    The comment directly above a define-fun is the CAM's reference.

    Raises:
        SygusError: the file cannot be read. SycamError: it defines no CAM.
    """
    problem = read_file(path, CAM)
    references = _comments(Path(path).read_text(encoding="utf-8"))
    found = []
    for name, function in problem.functions.items():
        if function.body is None or function.result not in (REAL, MAP):
            continue
        if all(v.name in TERMINALS and terminal_variable(v.name) == v for v in function.variables):
            found.append(Cam(name, function.body, str(path), references.get(name, "")))
    if not found:
        raise SycamError(
            f"{path} defines no CAM: expected a define-fun whose arguments are terminals ({', '.join(TERMINALS)}) and "
            "whose result is Real or Map"
        )
    return found


def cam_from_text(text: str, functions: Iterable[Function] = ()) -> Cam:
    """The CAM that a term over terminals and operators writes.

    >>> cam_from_text("(gap G)").terminals
    ['G']
    """
    variables = [terminal_variable(name) for name in TERMINALS]
    relu = read_term("(ite (> x 0.0) x 0.0)", [Variable("x", REAL)], {})
    given = {"relu": Function("relu", (REAL,), REAL, (Variable("x", REAL),), relu), **{f.name: f for f in functions}}
    term = read_term(text, variables, given, CAM)
    if term.sort not in (REAL, MAP):
        raise SycamError(f"a CAM is a term of sort Real or Map; {text} is {term.sort}")
    return Cam(text, term, "term")


def _comments(text: str) -> dict[str, str]:
    """The comment directly above each define-fun, on one line, by the function's name.

    >>> _comments("; Doe, 2020,\\n; eq. 1.\\n(define-fun f ((G Map)) Real (gap G))\\n(define-fun g ((G Map)) Real (sum G))")
    {'f': 'Doe, 2020, eq. 1.'}
    """
    found: dict[str, str] = {}
    above: list[str] = []
    for line in text.splitlines():
        start = re.match(r"\s*\(define-fun\s+(\|[^|]*\||[^\s()]+)", line)
        if line.lstrip().startswith(";"):
            above.append(line.lstrip().lstrip(";").strip())
            continue
        if start and above:
            found[start[1].strip("|")] = " ".join(above)
        above = []
    return found
