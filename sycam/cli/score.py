"""`sycam score`: known CAMs, baselines, controls and terms side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.table import Table
from rich.text import Text

from sycam.errors import OracleError, SycamError
from sycam.job import ImageSpec, ModelSpec, OutputSpec, ScoringSpec, TerminalSettings

from . import console, options

if TYPE_CHECKING:
    from torch import Tensor

    from sycam.cams import AnyCam
    from sycam.images import ImageSet
    from sycam.metrics.metric import Metric
    from sycam.metrics.protocol import Protocol
    from sycam.network import Network
    from sycam.scoring.comparison import Comparison

COLUMNS = 6
"""Metrics a table; more go into further tables."""
GROUPS = (ModelSpec, ImageSpec, ScoringSpec, TerminalSettings, OutputSpec)
Cells = dict[str, list[Optional[dict[str, float]]]]
"""Each metric's mean and interval of each CAM, None where it has no score of it."""


@options.command(*GROUPS, names=("metric", "seed"), many=("metric",), without=("out", "dump_smt2", "held_out", "batch"))
def score(
    given: dict[str, Any],
    cams: Annotated[
        list[str],
        typer.Argument(
            help="Names of `sycam list cams`; all, known, baselines, controls; .sy files, run folders; terms such as '(gap G)'."
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """Score CAMs side by side, by one or more metrics, with 95% intervals.

    A CAM of a group (all, known, baselines, controls) that this network cannot have, or for which an extra is not
    installed, is skipped, with the reason; one that was named is an error. --metric may be given several times, and takes
    patterns such as 'average-*', and all.
    """
    model, data, scoring, terminals, output = options.groups_of(given, *GROUPS, others=("metric", "seed"))
    console.show_tracebacks(output.traceback)
    from sycam.cams import GROUPS as CAM_GROUPS
    from sycam.cams import find_cams
    from sycam.metrics.own.find import find_metrics
    from sycam.metrics.protocol import find_protocol
    from sycam.run.given import check_labels, images_of
    from sycam.scoring.comparison import Request, compare
    from sycam.workers import open_pool, tabulate_on

    from .watch import Counting

    protocol = find_protocol(scoring.protocol).changed(classes=data.classes, layer=model.layer)
    wanted = given.get("metric") or ["average-gain"]
    metrics = find_metrics(wanted, timeout=scoring.oracle_timeout, warn=console.warn)
    named = list(dict.fromkeys(cam for spec in cams for cam in find_cams(spec)))
    alone = {cam for spec in cams if spec not in CAM_GROUPS for cam in find_cams(spec)}
    store, network = options.store(output), options.network(model, protocol)
    pool = images_of(data, network, given.get("seed", 0), embedded=model.model == "embedded")
    check_labels(pool, network, protocol.classes)
    labels = pool.labels if protocol.classes == "labelled" else None
    if any("*" in name or name == "all" for name in wanted):
        metrics = _possible(metrics, bool(pool.has_mask.any()))
    asked = Request(named, metrics, terminals, {*named} - alone, protocol, scoring.on_error)
    shown = _Shown(metrics, network, pool, protocol, terminals, as_json)
    try:
        with open_pool(scoring, network, protocol, console.warn) as workers, Counting(network, len(pool)) as counting:
            by = None if workers is None else partial(tabulate_on, workers)
            found = compare(asked, network, pool, labels, on_batch=counting.step, store=store, by=by)
    except OracleError as error:
        if error.result.cams:
            shown.show(error.result)
        raise
    shown.show(found)


@dataclass
class _Shown:
    """What a comparison was made with, and how it is shown."""

    metrics: list[Metric]
    network: Network
    pool: ImageSet
    protocol: Protocol
    settings: TerminalSettings
    as_json: bool

    def show(self, found: Comparison) -> None:
        """Warnings, and the table of what was scored."""
        for name, count in found.without_mask.items():
            console.warn(f"{count} of {len(self.pool)} images have no mask and are left out of {name}")
        for name, count in found.empty.items():
            console.warn(f"the heatmap of {name} is empty, nowhere positive, on {count} of {len(self.pool)} images")
        for cam, reason in found.skipped:
            console.warn(f"{cam.name} is skipped: {reason}")
        for cam, name, reason in found.failed:
            console.warn(f"{cam.name} has no {name}: {reason}")
        if not found.cams:
            raise SycamError("this network can have none of these CAMs; the warnings above say why")
        table = {m.name: [_cell(values, m) for values in found.scores[m.name]] for m in self.metrics}
        if self.as_json:
            console.print_json(self._document(found, table))
            return
        for start in range(0, len(self.metrics), COLUMNS):
            console.out.print(_table(found.cams, self.metrics[start : start + COLUMNS], table))
        self._print_notes(found)

    def _print_notes(self, found: Comparison) -> None:
        from sycam.metrics.protocol import protocol_text

        network = self.network
        precision = "" if network.precision == "float32" else f"; masked passes in {network.precision}"
        described = protocol_text(self.protocol.describe(network))
        console.out.print(f"{len(self.pool)} images; {network.name}; {described}{precision}", soft_wrap=True)
        if found.shap_error:
            console.out.print(
                f"shap is sampled: {self.settings.shap_orderings} orderings, standard error {100 * found.shap_error:.1f}% of an "
                "image's largest value in the median (shap_orderings)", soft_wrap=True,
            )  # fmt: skip
        if found.stored.folder:
            console.out.print(console.stored_text(found.stored), soft_wrap=True)

    def _document(self, found: Comparison, table: Cells) -> dict[str, Any]:
        import torch

        metrics = self.metrics
        return {
            "scores": [
                {
                    "name": cam.name,
                    "kind": cam.kind,
                    "expression": cam.expression,
                    "passes": cam.passes,
                    **{m.name: table[m.name][i] for m in metrics},
                }
                for i, cam in enumerate(found.cams)
            ],
            "skipped": [{"name": cam.name, "reason": reason} for cam, reason in found.skipped],
            "failed": [{"name": cam.name, "metric": name, "reason": reason} for cam, name, reason in found.failed],
            "metrics": [{"name": m.name, "direction": m.direction, "percent": m.percent, "source": m.source} for m in metrics],
            "images": {"count": len(self.pool), "sha256": self.pool.digest()},
            "protocol": self.protocol.describe(self.network),
            "terminal_settings": self.settings.describe(),
            **({} if found.shap_error is None else {"shap_error": found.shap_error}),
            "cache": found.stored.describe(),
            "network": self.network.describe(),
            "torch": torch.__version__,
        }


def _possible(metrics: list[Metric], masks: bool) -> list[Metric]:
    """Of metrics that were named by a pattern those that can be asked here; the others are warned of."""
    reasons = {m.name: "no image has a mask or boxes" for m in metrics if m.needs_masks and not masks}
    if find_spec("captum") is None:
        reasons["infidelity"] = "captum is not installed: pip install 'sycam[attribution]'"
    for m in metrics:
        if m.name in reasons:
            console.warn(f"metric {m.name} is left out: {reasons[m.name]}")
    return [m for m in metrics if m.name not in reasons]


def _cell(values: Tensor, metric: Metric) -> dict[str, float] | None:
    """Mean and interval over the images that were scored, with their number where a metric that failed left some out; None where
    none was."""
    from sycam.run.result import interval

    known = values[~values.isnan().view(len(values), -1).any(1)]
    if not len(known):
        return None
    return interval(known, metric) | ({} if len(known) == len(values) else {"images": len(known)})


def _table(cams: list[AnyCam], metrics: list[Metric], table: Cells) -> Table:
    from sycam.cams import Baseline

    raw = [metric.name for metric in metrics if not metric.percent]
    plain = f" ({' and '.join(raw)}: plain numbers)" if raw else ""
    view = Table(
        caption=f"in per cent{plain}, with 95% intervals; the best of each column in bold",
        caption_justify="left",
        show_lines=True,
    )
    view.add_column("CAM", ratio=1, min_width=16)
    view.add_column("kind")
    view.add_column("passes an image", max_width=22)
    best = {}
    for metric in metrics:
        view.add_column(f"{metric.name} {'↑' if metric.direction == 'high' else '↓'}", justify="right")
        means = [cell["mean"] for cell in table[metric.name] if cell is not None]
        best[metric.name] = (max if metric.direction == "high" else min)(means, default=None)
    for i, cam in enumerate(cams):
        cells = [table[metric.name][i] for metric in metrics]
        firsts = [cell is not None and cell["mean"] == best[metric.name] for cell, metric in zip(cells, metrics, strict=True)]
        texts = [
            Text(console.interval_text(cell, "\n", 100 if metric.percent else 1), style="bold" if first else "")
            for cell, first, metric in zip(cells, firsts, metrics, strict=True)
        ]
        view.add_row(
            console.cam_cell(cam.name, cam.name if isinstance(cam, Baseline) else cam.expression), cam.kind, cam.passes, *texts
        )
    return view
