"""What a synthesis gives back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sycam.cams import AnyCam, Baseline, Cam
from sycam.job import Job, TerminalSettings
from sycam.metrics.intervals import bootstrap_interval, paired_difference_interval
from sycam.metrics.metric import Metric
from sycam.network import Network
from sycam.search import Search
from sycam.terminals import View
from sycam.theory import Evaluator, heatmaps_of
from sygus import Term

Interval = dict[str, float]


def interval(values: Tensor, metric: Metric | None = None) -> Interval:
    """Mean of scores [N] with its 95% bootstrap interval; of a metric with parts, the aggregate of these, [N, P]."""
    combine = metric.combine if metric else None
    low, high = bootstrap_interval(values, combine=combine)
    return {"mean": float(metric.aggregate(values) if metric else values.mean()), "lo": low, "hi": high}


def difference(a: Tensor, b: Tensor, metric: Metric | None = None) -> Interval:
    """Score of a less that of b with its paired 95% bootstrap interval; see `interval`."""
    if metric is None or metric.combine is None:
        low, high = paired_difference_interval(a, b)
        return {"mean": float((a - b).mean()), "lo": low, "hi": high}
    low, high = paired_difference_interval(a, b, combine=metric.combine)
    return {"mean": float(metric.aggregate(a) - metric.aggregate(b)), "lo": low, "hi": high}


@dataclass(frozen=True)
class Row:
    """One CAM of the final table.

    Attributes:
        cam: name and term.
        kind: "answer", "known", or "single": the best single term, beside an answer by class.
        derived: whether the grammar derives it.
        search, held_out: scores on each image, [N], or [N, P] of a metric with P parts; held_out is None where nothing was held
        out. lawful: of a known CAM, whether it is proved to obey the file's constraints; one that is not is not derived either.
        same_heatmap: of a known CAM, whether it is proved to draw the answer's heatmap on every image.
        metric: what was measured; None for a mean over images.
    """

    cam: Cam
    kind: str
    derived: bool
    search: Tensor
    held_out: Tensor | None
    same_heatmap: bool = False
    lawful: bool = True
    metric: Metric | None = None

    @property
    def total(self) -> float:
        """The score on held-out images, or on the search images where none were held out."""
        values = self.held_out if self.held_out is not None else self.search
        return float(self.metric.aggregate(values) if self.metric else values.mean())

    def describe(self, answer: Row) -> dict[str, Any]:
        """The row as plain data: means with intervals, and the paired difference to the answer on held-out images."""
        compared = self.held_out is not None and answer.held_out is not None and self is not answer
        return {
            "name": self.cam.name,
            "expression": str(self.cam.term),
            "kind": self.kind,
            "derived": self.derived,
            "same_heatmap": self.same_heatmap,
            "lawful": self.lawful,
            "search": interval(self.search, self.metric),
            "held_out": interval(self.held_out, self.metric) if self.held_out is not None else None,
            "difference": difference(self.held_out, answer.held_out, self.metric) if compared else None,  # type: ignore[arg-type]
        }


@dataclass
class Result:
    """The answer of a synthesis, with the evidence.

    Attributes:
        term: the best expression.
        score: its mean on the search images, in the metric's units.
        metric: what was maximised or minimised.
        network: the CNN, at its target layer.
        rows: the answer and every known CAM of the same terminals.
        search: the loop's last state.
        counts: terms, classes, merges, undecided, candidates, passes, seconds.
        manifest: what the run met, and its job.
        job: from which the same run can be made again.
        verdict: one sentence on held-out images.
        goals: all that was searched for, in order: name, direction, kind ("metric" or "cost"), and what the answer reaches on
            the images searched on and on those held out.
        folder: where the run was written, or None.
        by_class: of a run by class, each image class with its term, and scores beside the single term's (`synthesis.by_class`).
    """

    term: Term
    score: float
    metric: Metric
    network: Network
    rows: list[Row]
    search: Search
    counts: dict[str, Any]
    manifest: dict[str, Any]
    verdict: str
    job: Job
    goals: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    folder: Path | None = None
    by_class: dict[str, Any] | None = None

    @property
    def answer(self) -> Row:
        """The row of the answer."""
        return self.rows[0]

    @property
    def define_fun(self) -> str:
        """The answer as a SyGuS-IF define-fun."""
        return self.answer.cam.define_fun()

    @property
    def terminal_settings(self) -> TerminalSettings:
        """With which the run computed its terminals."""
        return self.job.terminals

    def cam(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Heatmaps of the answer.

        Args:
            images: normalised, [B, 3, H, W].
            classes: [B], the image class to explain; None for the predicted one.

        Returns:
            [B, H, W] in [0, 1].
        """
        return cam_heatmaps([self.answer.cam], self.network, images, classes, settings=self.terminal_settings)[0]

    def describe(self) -> dict[str, Any]:
        """The result as plain data: what `--json` prints and `result.json` holds."""
        return {
            "answer": {
                "expression": str(self.term),
                "define_fun": self.define_fun,
                "sort": str(self.term.sort),
                "size": self.term.size,
                "score": self.score,
            },
            "metric": {
                "name": self.metric.name,
                "direction": self.metric.direction,
                "percent": self.metric.percent,
                "source": self.metric.source,
            },
            "goals": self.goals,
            "by_class": self.by_class,
            "verdict": self.verdict,
            "warnings": self.warnings,
            "table": [row.describe(self.answer) for row in self.rows],
            "incumbents": [
                {
                    "candidate": i.candidate,
                    "seconds": round(i.seconds, 3),
                    "expression": str(i.term),
                    "name": i.name,
                    "score": i.score,
                }
                for i in self.search.history
            ],
            "stopped_by": self.search.stopped_by,
            "counts": self.counts,
            "manifest": self.manifest,
            "folder": str(self.folder) if self.folder else None,
        }


def cam_heatmaps(
    cams: Sequence[AnyCam],
    network: Network,
    images: Tensor,
    classes: Tensor | None = None,
    batch: int = 32,
    settings: TerminalSettings | None = None,
) -> Tensor:
    """Heatmaps of CAMs on normalised images [B, 3, H, W]: [len(cams), B, H, W] in [0, 1].

    A CAM that is not finite on an image gives an empty heatmap there.
    """
    parts = []
    names = sorted({name for cam in cams for name in cam.terminals} | {"A"})
    terms = [cam.term for cam in cams if isinstance(cam, Cam)]
    size = (images.shape[-2], images.shape[-1])
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        view = View(network, images[part], None if classes is None else classes[part], settings=settings)
        of_terms: Iterator[Tensor] = iter(())
        if terms:
            of_terms = iter(heatmaps_of(terms, Evaluator({name: view[name] for name in names}), size)[0])
        parts.append(torch.stack([cam.heatmaps(view) if isinstance(cam, Baseline) else next(of_terms) for cam in cams]))
    return torch.cat(parts, 1)
