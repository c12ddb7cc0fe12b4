"""`sycam score`: known CAMs, baselines, controls and terms side by side."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import torch
import typer
from rich.table import Table
from rich.text import Text

from sycam.baselines import Baseline
from sycam.cams import GROUPS, AnyCam, find_cams
from sycam.comparison import Comparison, compare
from sycam.errors import SycamError
from sycam.images import ImageSource
from sycam.metrics.registry import Metric
from sycam.network import Network
from sycam.run.result import interval
from sycam.synthesis.goals import find_metric
from sycam.synthesis.synthesize import check_labels
from sycam.terminals import TerminalSettings

from . import console, options


def score(
    cams: Annotated[
        list[str],
        typer.Argument(
            help="Names of `sycam list cams`; all, known, baselines, controls; .sy files, run folders; terms such as '(gap G)'."
        ),
    ],
    metric: Annotated[Optional[list[str]], typer.Option(help="One or more: sycam list metrics.")] = None,
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
    classes: options.Classes = "predicted",
    seed: options.Seed = 0,
    noise_samples: options.NoiseSamples = None,
    noise_level: options.NoiseLevel = None,
    path_steps: options.PathSteps = None,
    shap_orderings: options.ShapOrderings = None,
    opti_steps: options.OptiSteps = None,
    finer_classes: options.FinerClasses = None,
    finer_strength: options.FinerStrength = None,
    on_error: options.OnError = "stop",
    oracle_timeout: options.OracleTimeout = None,
    traceback: options.Traceback = False,
    as_json: options.Json = False,
) -> None:
    """Score CAMs side by side, by one or more metrics, with 95% intervals.

    A CAM of a group (all, known, baselines, controls) that this network cannot have is skipped, with the reason; one that was
    named is an error.
    """
    metrics = [find_metric(name, timeout=oracle_timeout) for name in [*(metric or []), *(oracle or [])] or ["average-gain"]]
    named = list(dict.fromkeys(cam for spec in cams for cam in find_cams(spec)))
    network = options.network(model, weights, layer, size, resize, mean, std, device, output)
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
    found = compare(
        named, metrics, network, pool, labels, settings=settings, skip=any(spec in GROUPS for spec in cams), on_error=on_error
    )
    for name, count in found.without_mask.items():
        console.warn(f"{count} of {len(pool)} images have no mask and are left out of {name}")
    for cam, reason in found.skipped:
        console.warn(f"{cam.name} is skipped: {reason}")
    if not found.cams:
        raise SycamError("this network can have none of these CAMs; the warnings above say why")
    table = {m.name: [interval(values) for values in found.scores[m.name]] for m in metrics}
    if as_json:
        console.print_json(_document(found, metrics, table, network, pool.digest(), len(pool), classes, settings))
        return
    console.out.print(_table(found.cams, metrics, table))
    console.out.print(
        f"{len(pool)} images, {classes} class, masked pixels: mean colour; {network.name} at {network.layer}", soft_wrap=True
    )


def _table(cams: list[AnyCam], metrics: list[Metric], table: dict[str, list[dict[str, float]]]) -> Table:
    view = Table(
        caption="in per cent, with 95% intervals; the best of each column in bold", caption_justify="left", show_lines=True
    )
    view.add_column("CAM", ratio=1, min_width=16)
    view.add_column("kind")
    view.add_column("passes an image", max_width=22)
    best = {}
    for metric in metrics:
        view.add_column(f"{metric.name} {'↑' if metric.direction == 'high' else '↓'}", justify="right")
        means = [cell["mean"] for cell in table[metric.name]]
        best[metric.name] = (max if metric.direction == "high" else min)(means)
    for i, cam in enumerate(cams):
        cells = [table[metric.name][i] for metric in metrics]
        firsts = [cell["mean"] == best[metric.name] for cell, metric in zip(cells, metrics, strict=True)]
        texts = [Text(console.interval_text(c, "\n"), style="bold" if f else "") for c, f in zip(cells, firsts, strict=True)]
        view.add_row(
            console.cam_cell(cam.name, cam.name if isinstance(cam, Baseline) else cam.expression), cam.kind, cam.passes, *texts
        )
    return view


def _document(
    found: Comparison, metrics: list[Metric], table: dict[str, list[dict[str, float]]], network: Network, digest: str, count: int,
    classes: str, settings: TerminalSettings,
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
        "metrics": [{"name": m.name, "direction": m.direction, "source": m.source} for m in metrics],
        "images": {"count": count, "sha256": digest},
        "protocol": f"masked pixels: mean colour; class: {classes}",
        "terminal_settings": settings.describe(),
        "network": network.describe(),
        "torch": torch.__version__,
    }
