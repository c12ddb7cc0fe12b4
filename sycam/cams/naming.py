"""What the user's words name: CAMs and grammars."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeAlias

from sycam.baselines import BASELINES, Baseline
from sycam.errors import SycamError
from sycam.terminals import TERMINALS
from sygus.errors import near

from .cam import Cam
from .reading import cam_from_text, cams_in, known_cams

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
