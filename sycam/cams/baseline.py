"""CAMs that are no terms of a grammar, and controls: Python functions of a `View` behind the interface of known CAMs.

>>> sorted(name for name, baseline in BASELINES.items() if baseline.kind == "control")
['Centre-Gaussian', 'Fake-CAM', 'Random-CAM']
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.heatmap import post
from sygus.registry import Registry

if TYPE_CHECKING:
    from sycam.terminals.terminal import View

Compute = Callable[["View"], Tensor]

KINDS = ("baseline", "control")


@dataclass(frozen=True)
class Baseline:
    """A CAM that is no term: a function of a batch of images in front of a network.

    Attributes:
        name: as papers write it.
        kind: "baseline", or "control" for one that explains nothing and shows what a metric rewards.
        passes: cost per image, in words.
        reference: paper, year, equation.
        doc: what it computes; where it departs from the usual ReLU, upsampling and min-max, how.
        compute: the map before ReLU and upsampling, [N, h, w] of any h and w.
    """

    name: str
    kind: str
    passes: str
    reference: str
    doc: str
    compute: Compute

    expression = "Python"
    origin = "Python"
    terminals: tuple[str, ...] = ()

    def maps(self, view: View) -> tuple[Tensor, Tensor]:
        """What the heatmaps are upsampled from, as `sycam.theory.combined_maps` gives it for terms.

        Returns:
            The rectified map divided by its maximum, [N, h, w] float32 in [0, 1], and a Bool [N]: whether it was finite. Where it
            was not, the map is zero.

        Raises:
            SycamError: the function did not return [N, h, w].
            Unavailable: the network cannot have this CAM.
        """
        found = self.compute(view).detach()
        if found.ndim != 3 or len(found) != len(view) or not found.is_floating_point():
            raise SycamError(f"{self.name} must return maps [{len(view)}, h, w], floating point; not {list(found.shape)}")
        finite = found.isfinite().flatten(1).all(1)
        kept = torch.where(finite[:, None, None], found, 0).relu()
        peak = kept.flatten(1).amax(1)[:, None, None]
        return (kept / torch.where(peak == 0, 1, peak)).float(), finite

    def heatmaps(self, view: View) -> Tensor:
        """[N, H, W] in [0, 1]; empty where the map was not finite."""
        return post(self.maps(view)[0], (view.images.shape[-2], view.images.shape[-1]))


BASELINES: Registry[Baseline] = Registry("baseline", "sycam.cams.baselines", SycamError)
"""By name. Every file of `baselines/` is looked through."""


def register_baseline(name: str, *, kind: str = "baseline", passes: str, reference: str) -> Callable[[Compute], Compute]:
    """Register the decorated function of a `View` as a baseline; its docstring is the meaning.

    Args:
        name, kind, passes, reference: see `Baseline`.

    Raises:
        SycamError: the name is taken.
        ValueError: the kind is unknown, or there is no docstring.

    >>> @register_baseline("Brightness", passes="none", reference="an example")
    ... def brightness(view):
    ...     '''The image's own brightness.'''
    ...     return view.images.mean(1)
    >>> BASELINES.pop("Brightness").doc
    "The image's own brightness."
    """
    if kind not in KINDS:
        raise ValueError(f"baseline {name!r}: no kind {kind!r}; there are {', '.join(KINDS)}")

    def register(compute: Compute) -> Compute:
        doc = inspect.getdoc(compute)
        if not doc:
            raise ValueError(f"baseline {name!r} needs a docstring that says what it computes")
        BASELINES.add(name, Baseline(name, kind, passes, reference, doc, compute), compute.__module__)
        return compute

    return register
