"""`sycam score`: known CAMs, baselines, controls and terms side by side."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Annotated, Any, Optional

import torch
import typer
from rich.table import Table
from rich.text import Text
from torch import Tensor

from sycam.baselines import Baseline
from sycam.cams import GROUPS, AnyCam, find_cams
from sycam.comparison import Comparison, compare
from sycam.errors import OracleError, SycamError
from sycam.images import ImageSet, ImageSource
from sycam.metrics.protocol import Protocol, find_protocol, protocol_text
from sycam.metrics.registry import Metric
from sycam.network import Network
from sycam.run.result import interval
from sycam.synthesis.goals import GLOB, find_metrics
from sycam.synthesis.images import check_labels
from sycam.terminals import TerminalSettings
from sycam.workers import Crew, tabulate_on

from . import console, options
from .watch import Counting

COLUMNS = 6
"""Metrics a table; more go into further tables."""
Cells = dict[str, list[Optional[dict[str, float]]]]
"""Each metric's mean and interval of each CAM, None where it has no score of it."""


def score(
    cams: Annotated[
        list[str],
        typer.Argument(
            help="Names of `sycam list cams`; all, known, baselines, controls; .sy files, run folders; terms such as '(gap G)'."
        ),
    ],
    metric: Annotated[
        Optional[list[str]],
        typer.Option(
            help="One or more: all, names or patterns of sycam list metrics, sums such as '0.5*iou - 0.5*average-drop'."
        ),
    ] = None,
    oracle: Annotated[
        Optional[list[str]], typer.Option(help="Metrics of your own: file.py:Name, a program, or an installed one.")
    ] = None,
    model: options.Model = "embedded",
    weights: options.Weights = None,
    layer: options.Layer = None,
    output: options.Output = None,
    images: options.Images = None,
    dataset: options.DatasetName = None,
    masks: options.Masks = None,
    boxes: options.Boxes = None,
    size: options.Size = None,
    resize: options.Resize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    limit: options.Limit = None,
    device: options.Device = "cpu",
    precision: options.Precision = "float32",
    workers: options.Workers = None,
    ray: options.Ray = None,
    protocol: options.Protocol = None,
    classes: options.Classes = None,
    seed: options.Seed = 0,
    noise_samples: options.NoiseSamples = None,
    noise_level: options.NoiseLevel = None,
    path_steps: options.PathSteps = None,
    shap_orderings: options.ShapOrderings = None,
    opti_steps: options.OptiSteps = None,
    finer_classes: options.FinerClasses = None,
    finer_strength: options.FinerStrength = None,
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
    cache_limit: options.CacheLimit = None,
    on_error: options.OnError = "stop",
    oracle_timeout: options.OracleTimeout = None,
    traceback: options.Traceback = False,
    as_json: options.Json = False,
) -> None:
    """Score CAMs side by side, by one or more metrics, with 95% intervals.

    A CAM of a group (all, known, baselines, controls) that this network cannot have, or for which an extra is not
    installed, is skipped, with the reason; one that was named is an error.
    """
    chosen = find_protocol(protocol).changed(classes=classes, layer=layer)
    classes = chosen.classes
    metrics = find_metrics([*(metric or []), *(oracle or [])] or ["average-gain"], timeout=oracle_timeout, warn=console.warn)
    named = list(dict.fromkeys(cam for spec in cams for cam in find_cams(spec)))
    alone = {cam for spec in cams if spec not in GROUPS for cam in find_cams(spec)}
    store = options.store(cache, no_cache, cache_limit)
    network = options.network(model, weights, layer, size, resize, mean, std, device, output, chosen, precision)
    source = options.image_source(images, dataset, masks, boxes)
    if source is None:
        if model != "embedded":
            raise SycamError("no images: name a folder or a CSV with --images, or a data set with --dataset")
        from sycam.embedded import images_csv

        source = ImageSource(images_csv())
    pool = source.load(network.preprocessing, limit, seed)
    check_labels(pool, network, classes)
    labels = pool.labels if classes == "labelled" else None
    settings = options.terminals(
        TerminalSettings(seed), noise_samples=noise_samples, noise_level=noise_level,
        path_steps=path_steps, shap_orderings=shap_orderings, opti_steps=opti_steps, finer_classes=finer_classes,
        finer_strength=finer_strength,
    )  # fmt: skip
    if any(GLOB in name for name in metric or []) or "all" in (metric or []):
        metrics = _possible(metrics, bool(pool.has_mask.any()))
    try:
        with Crew(workers, ray).pool(network, chosen, console.warn) as crew, Counting(network, len(pool)) as counting:
            found = compare(
                named, metrics, network, pool, labels, settings=settings, optional={*named} - alone, protocol=chosen,
                on_error=on_error, store=store, on_batch=counting.step,
                by=None if crew is None else partial(tabulate_on, crew),
            )  # fmt: skip
    except OracleError as error:
        if error.result.cams:
            _show(error.result, metrics, network, pool, chosen, settings, as_json)
        raise
    _show(found, metrics, network, pool, chosen, settings, as_json)


def _show(
    found: Comparison, metrics: list[Metric], network: Network, pool: ImageSet, protocol: Protocol, settings: TerminalSettings,
    as_json: bool,
) -> None:  # fmt: skip
    """Warnings, and the table of what was scored."""
    for name, count in found.without_mask.items():
        console.warn(f"{count} of {len(pool)} images have no mask and are left out of {name}")
    for name, count in found.empty.items():
        console.warn(f"the heatmap of {name} is empty, nowhere positive, on {count} of {len(pool)} images")
    for cam, reason in found.skipped:
        console.warn(f"{cam.name} is skipped: {reason}")
    for cam, name, reason in found.failed:
        console.warn(f"{cam.name} has no {name}: {reason}")
    if not found.cams:
        raise SycamError("this network can have none of these CAMs; the warnings above say why")
    table = {m.name: [_cell(values, m) for values in found.scores[m.name]] for m in metrics}
    if as_json:
        console.print_json(_document(found, metrics, table, network, pool.digest(), len(pool), protocol, settings))
        return
    for start in range(0, len(metrics), COLUMNS):
        console.out.print(_table(found.cams, metrics[start : start + COLUMNS], table))
    precision = "" if network.precision == "float32" else f"; masked passes in {network.precision}"
    console.out.print(
        f"{len(pool)} images; {network.name}; {protocol_text(protocol.describe(network))}{precision}", soft_wrap=True
    )
    if found.shap_error:
        console.out.print(
            f"shap is sampled: {settings.shap_orderings} orderings, standard error {100 * found.shap_error:.1f}% of an image's "
            "largest value in the median (--shap-orderings)", soft_wrap=True,
        )  # fmt: skip
    if found.stored.folder:
        console.out.print(console.stored_text(found.stored), soft_wrap=True)


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
    known = values[~values.isnan().view(len(values), -1).any(1)]
    if not len(known):
        return None
    return interval(known, metric) | ({} if len(known) == len(values) else {"images": len(known)})


def _table(cams: list[AnyCam], metrics: list[Metric], table: Cells) -> Table:
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


def _document(
    found: Comparison, metrics: list[Metric], table: Cells, network: Network, digest: str, count: int,
    protocol: Protocol, settings: TerminalSettings,
) -> dict[str, Any]:  # fmt: skip
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
        "images": {"count": count, "sha256": digest},
        "protocol": protocol.describe(network),
        "terminal_settings": settings.describe(),
        **({} if found.shap_error is None else {"shap_error": found.shap_error}),
        "cache": found.stored.describe(),
        "network": network.describe(),
        "torch": torch.__version__,
    }
