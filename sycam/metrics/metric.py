"""What a metric is, and the register of those that exist.

>>> METRICS["average-drop"].direction
'low'
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from sycam.errors import OracleError, SycamError, asked_about
from sygus.registry import Registry

if TYPE_CHECKING:
    from sycam.metrics.query import Query

Direction = Literal["high", "low"]

# Rounding may carry a value a little out of its bounds; anything further means that the bounds are stated wrongly.
BOUND_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Part:
    """One of the numbers per image of a metric that is not a mean over images.

    Attributes:
        name: of the number.
        direction: "high" or "low", whichever makes the aggregate better.
        bounds: (lowest, highest) value.
    """

    name: str
    direction: Direction
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def perfect(self) -> float:
        """The best value that a job can have."""
        return self.bounds[1] if self.direction == "high" else self.bounds[0]


@dataclass(frozen=True)
class Metric:
    """A named number for heatmaps of images, with a direction and bounds. Call it with a `Query` to score its jobs.

    The score of a CAM is the mean over images, unless the metric has `parts`: then it is `combine` of the mean of each part,
    which must be monotone in each. Such a metric has no number of its own for an image that its score would be the mean of;
    `per_image` gives `combine` of the image's own parts, for pictures.

    Attributes:
        name: as users write it, `average-drop`.
        compute: query of N jobs -> [N], one number per job. Call the metric itself instead, which checks the answer.
        direction: "high" or "low", whichever is better.
        bounds: (lowest, highest) value that `compute` can return for a job; ±inf where there is none.
        passes: masked forward passes that a job costs when nothing is shared with other metrics.
        needs_masks: whether every image needs a ground-truth mask.
        source: the paper that defines it.
        doc: one paragraph for `sycam list metrics` and the report.
        redraws: whether it asks for the candidate's heatmap on other images (`Query.redrawn`), so that scoring it needs the CAM
            itself and not its heatmaps alone.
        curves: names of the curves it reads (`Query.curve`); all metrics of a query have theirs computed in one stream.
        parts: what `compute` returns for each job where the score is not a mean over images, [N, len(parts)]; else empty.
        combine: [..., len(parts)] -> [...], the score of the parts' means.
        percent: whether tables show it times 100, as papers do.
        level: whether `name@0.5` is this metric with heatmaps binarised at 0.5; its function then takes `level`.
        recipe: how `find_again` finds it in another process; None for one that is registered by its name, or made in Python.

    Raises:
        SycamError: on construction, for a direction or bounds or a number of passes that make no sense.
    """

    name: str
    compute: Callable[[Query], Tensor]
    direction: Direction
    bounds: tuple[float, float] = (0.0, 1.0)
    passes: int = 1
    needs_masks: bool = False
    source: str = ""
    doc: str = ""
    redraws: bool = False
    curves: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    combine: Callable[[Tensor], Tensor] | None = None
    percent: bool = True
    level: bool = False
    recipe: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        where = f"metric {self.name!r}"
        if bool(self.parts) != (self.combine is not None):
            raise SycamError(
                f"{where}: parts and combine go together: what is measured on an image, and what is made of the means"
            )
        if not isinstance(self.name, str) or not self.name or any(letter.isspace() for letter in self.name):
            raise SycamError(f"a metric's name must be one word, such as 'average-gain', not {self.name!r}")
        if not callable(self.compute):
            raise SycamError(f"{where}: compute must be a function from query to tensor [N], not {self.compute!r}")
        if self.direction not in ("high", "low"):
            raise SycamError(f"{where}: direction must be 'high' or 'low', whichever is better, not {self.direction!r}")
        try:
            low, high = (float(bound) for bound in self.bounds)
        except (TypeError, ValueError):
            low, high = math.nan, math.nan
        if not low < high:
            raise SycamError(
                f"{where}: bounds must be two numbers (lowest, highest), lowest < highest, such as (0.0, 1.0); got "
                f"{self.bounds!r}. Write float('inf') where a side has no bound."
            )
        object.__setattr__(self, "bounds", (low, high))
        if not isinstance(self.passes, int) or isinstance(self.passes, bool) or self.passes < 0:
            raise SycamError(
                f"{where}: passes must be the number of masked forward passes per image, 0 or more, not {self.passes!r}"
            )

    def better(self, a: float | Tensor, b: float | Tensor) -> bool | Tensor:
        """Whether `a` is strictly better than `b`; elementwise on tensors. Nothing is better than itself, nor is NaN.

        >>> METRICS["average-drop"].better(0.1, 0.4), METRICS["average-gain"].better(0.1, 0.4)
        (True, False)
        """
        return a > b if self.direction == "high" else a < b

    @property
    def perfect(self) -> float:
        """The best value that a job can have: what `exact` grants to every image not yet seen.

        >>> METRICS["average-drop"].perfect
        0.0
        """
        return self.bounds[1] if self.direction == "high" else self.bounds[0]

    @property
    def worst(self) -> float:
        """The worst value that a job can have; ±inf where the metric has no bound on that side.

        >>> METRICS["drop-in-deletion"].worst
        -inf
        """
        return self.bounds[0] if self.direction == "high" else self.bounds[1]

    @property
    def is_mean(self) -> bool:
        """Whether the score of a CAM is the mean of its images' numbers."""
        return not self.parts

    def aggregate(self, values: Tensor) -> Tensor:
        """The score of each CAM from its numbers on N images.

        Args:
            values: [..., N], or [..., N, P] of a metric with P parts.

        Returns:
            [...].

        >>> METRICS["iou"].aggregate(torch.tensor([0.25, 0.75]))
        tensor(0.5000)
        """
        return values.mean(-1) if self.combine is None else self.combine(values.mean(-2))

    def per_image(self, values: Tensor) -> Tensor:
        """One number an image, [..., N], of `values` as `aggregate` takes them."""
        return values if self.combine is None else self.combine(values)

    @property
    def bounds_of_parts(self) -> tuple[tuple[float, float], ...]:
        """The bounds of each part; of a mean over images, its own."""
        return tuple(part.bounds for part in self.parts) or (self.bounds,)

    def best_parts(self, device: torch.device | str = "cpu") -> Tensor:
        """The perfect value of each part, [P] float64; of a mean over images a scalar, its own."""
        if self.is_mean:
            return torch.tensor(self.perfect, dtype=torch.float64, device=device)
        return torch.tensor([part.perfect for part in self.parts], dtype=torch.float64, device=device)

    def __call__(self, query: Query) -> Tensor:
        """One number per job, [N], floating point, finite, within the bounds; [N, P] of a metric with P parts.

        Values that rounding carried out of the bounds by at most 1e-6 are moved back onto them, so that a stopping rule
        may rely on the bounds.

        Raises:
            SycamError: a mask is needed and the query has none; an `OracleError`, that the function returned anything but N
                finite numbers within its bounds. The message names the metric and the images.
        """
        if self.needs_masks and not query.has_masks:
            raise SycamError(
                f"metric {self.name!r} compares heatmaps with ground truth, and these images have no masks: give boxes "
                f"or masks with the images, or choose a metric that needs none, such as 'average-gain'"
            )
        values = self.compute(query)
        jobs = len(query)
        if not isinstance(values, Tensor):
            raise self._wrong(query, f"must return a tensor [{jobs}], one number per job, not a {type(values).__name__}")
        wanted = [jobs, len(self.parts)] if self.parts else [jobs]
        if list(values.shape) != wanted and self.parts:
            raise self._wrong(query, f"must return a number for each part of each job, {wanted}, not {list(values.shape)}")
        if list(values.shape) != wanted:
            hint = "; take the mean over pixels, not over jobs" if values.dim() != 1 else ""
            raise self._wrong(query, f"must return one number per job, shape [{jobs}], not {list(values.shape)}{hint}")
        if not values.is_floating_point():
            raise self._wrong(query, f"must return floating-point numbers, not {values.dtype}: end with .float()")
        if self.is_mean:
            return self._within(query, values, self.bounds)
        columns = [self._within(query, values[:, i], bounds) for i, bounds in enumerate(self.bounds_of_parts)]
        return torch.stack(columns, 1)

    def _within(self, query: Query, values: Tensor, bounds: tuple[float, float]) -> Tensor:
        low, high = bounds
        outside = ~((values >= low - BOUND_TOLERANCE) & (values <= high + BOUND_TOLERANCE)) | ~values.isfinite()
        if outside.any():  # the one transfer from the device that a healthy call costs
            self._refuse(query, values, outside, bounds)
        return values.clamp(low, high)

    def _refuse(self, query: Query, values: Tensor, outside: Tensor, bounds: tuple[float, float]) -> None:
        bad = outside.nonzero().flatten().tolist()
        names = query.names
        shown = ", ".join(f"{values[job].item():g} on {names[job]}" for job in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        if not values[outside].isfinite().all():
            reason = "a score must be finite: guard divisions by zero, as torch.where does"
        else:
            reason = f"it states the bounds [{bounds[0]:g}, {bounds[1]:g}], on which the rule `exact` relies: state wider ones"
        raise OracleError(f"metric {self.name!r} returned {shown}{more}; {reason}", images=[names[job] for job in bad])

    def _wrong(self, query: Query, what: str) -> OracleError:
        return OracleError(f"metric {self.name!r} {what}; {asked_about(query.names)}", images=query.names)


METRICS: Registry[Metric] = Registry("metric", "sycam.metrics.kinds", SycamError)
"""Every metric that ships with sycam, by name: each file of `kinds/` is looked through. Those of a person's file stay out."""

_registering: ContextVar[dict[str, Metric] | None] = ContextVar("registering", default=None)


@contextmanager
def registering_into(register: dict[str, Metric]) -> Iterator[dict[str, Metric]]:
    """Within the block, `register_metric` fills `register` and leaves `METRICS` alone: how a user's file is loaded."""
    len(METRICS)  # those that ship are registered before: the file may import some of them
    token = _registering.set(register)
    try:
        yield register
    finally:
        _registering.reset(token)


def register_metric(
    name: str,
    *,
    direction: Direction,
    bounds: tuple[float, float] = (0.0, 1.0),
    passes: int = 1,
    needs_masks: bool = False,
    source: str = "",
    redraws: bool = False,
    curves: tuple[str, ...] = (),
    parts: tuple[Part, ...] = (),
    combine: Callable[[Tensor], Tensor] | None = None,
    percent: bool = True,
    level: bool = False,
) -> Callable[[Callable[..., Tensor]], Metric]:
    """Decorator: make a `Metric` of a function from a query of N jobs to [N], and register it under `name`.

    Args:
        name, direction, bounds, passes, ...: see `Metric`. Its `doc` is the function's docstring.

    Returns:
        The decorator, which returns the `Metric`; the plain function is its `compute`.

    Raises:
        SycamError: another metric has that name, or an argument makes no sense.

    >>> with registering_into({}) as mine:
    ...     @register_metric("darkness", direction="low", passes=0)
    ...     def darkness(query):
    ...         "One minus the heatmap's mean."
    ...         return 1 - query.heatmaps.mean((-2, -1))
    >>> mine["darkness"].doc, "darkness" in METRICS
    ("One minus the heatmap's mean.", False)
    """

    def register(compute: Callable[..., Tensor]) -> Metric:
        made = Metric(
            name, compute, direction, bounds, passes, needs_masks, source, first_paragraph(compute), redraws=redraws,
            curves=curves, parts=parts, combine=combine, percent=percent, level=level,
        )  # fmt: skip
        private = _registering.get()
        if private is None:
            METRICS.add(name, made, compute.__module__)
        elif name in private:
            raise SycamError(f"there is already a metric {name!r}: give the new one another name")
        else:
            private[name] = made
        return made

    return register


def first_paragraph(documented: object) -> str:
    """The first paragraph of an object's docstring on one line, "" where there is none."""
    text = inspect.cleandoc(getattr(documented, "__doc__", None) or "")
    return " ".join(text.split("\n\n")[0].split())
