"""`sycam score`: known CAMs and terms side by side."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import torch
import typer
from rich.table import Table
from rich.text import Text

from sycam.cams import Cam, find_cams
from sycam.errors import SycamError
from sycam.images import load_images
from sycam.metrics.registry import Metric
from sycam.network import Network, linear_head
from sycam.oracle import MetricOracle, TerminalCache
from sycam.run.result import interval
from sycam.synthesis.goals import find_metric
from sycam.synthesis.synthesize import check_labels
from sycam.terminals import TerminalSettings

from . import console, options


def score(
    cams: Annotated[list[str], typer.Argument(help="Known CAMs, 'all', .sy files, run folders, or terms such as '(gap G)'.")],
    metric: Annotated[Optional[list[str]], typer.Option(help="One or more: sycam list metrics.")] = None,
    oracle: Annotated[Optional[list[str]], typer.Option(help="Metrics of your own: file.py:Name.")] = None,
    model: options.Model = "embedded",
    weights: options.Weights = None,
    layer: options.Layer = None,
    output: options.Output = None,
    images: options.Images = None,
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
    as_json: options.Json = False,
) -> None:
    """Score CAMs side by side, by one or more metrics, with 95% intervals."""
    metrics = [find_metric(name) for name in [*(metric or []), *(oracle or [])] or ["average-gain"]]
    named = [cam for spec in cams for cam in find_cams(spec)]
    network = options.network(model, weights, layer, size, resize, mean, std, device, output)
    if images is None:
        if model != "embedded":
            raise SycamError("no images: name a folder or a CSV with --images")
        from sycam.embedded import images_csv

        images = images_csv()
    pool = load_images(images, network.preprocessing, limit=limit, seed=seed)
    check_labels(pool, network, classes)
    left_out = [] if linear_head(network) else [cam for cam in named if "fc" in cam.terminals]
    for cam in left_out if "all" in cams else []:
        console.warn(f"{cam.name} is left out: it needs global pooling and one linear layer after the target layer")
        named.remove(cam)
    labels = pool.labels if classes == "labelled" else None
    terminals = sorted({name for cam in named for name in cam.terminals})
    settings = options.terminals(
        TerminalSettings(seed), noise_samples=noise_samples, noise_level=noise_level,
        path_steps=path_steps, shap_orderings=shap_orderings, opti_steps=opti_steps, finer_classes=finer_classes,
        finer_strength=finer_strength,
    )  # fmt: skip
    cache = TerminalCache(network, pool, terminals, labels, settings=settings)
    table = {m.name: _scores(named, cache, m) for m in metrics}
    if as_json:
        console.print_json(_document(named, metrics, table, network, pool.digest(), len(pool), classes, settings))
        return
    console.out.print(_table(named, metrics, table))
    console.out.print(
        f"{len(pool)} images, {classes} class, masked pixels: mean colour; {network.name} at {network.layer}", soft_wrap=True
    )


def _scores(cams: list[Cam], cache: TerminalCache, metric: Metric) -> list[dict[str, float]]:
    from sycam.api import score_cams

    if metric.needs_masks and not bool(cache.images.has_mask.all()):
        keep = cache.images.has_mask.nonzero()[:, 0]
        if not len(keep):
            raise SycamError(f"metric {metric.name!r} needs masks or boxes, and no image has any: give a CSV with them")
        console.warn(f"{len(cache) - len(keep)} of {len(cache)} images have no mask and are left out of {metric.name}")
        cache = cache.select(keep)
    return [interval(values) for values in score_cams(cams, MetricOracle(cache, metric))]


def _table(cams: list[Cam], metrics: list[Metric], table: dict[str, list[dict[str, float]]]) -> Table:
    view = Table(
        caption="in per cent, with 95% intervals; the best of each column in bold", caption_justify="left", show_lines=True
    )
    view.add_column("CAM", ratio=1, min_width=16)
    best = {}
    for metric in metrics:
        view.add_column(f"{metric.name} {'↑' if metric.direction == 'high' else '↓'}", justify="right")
        means = [cell["mean"] for cell in table[metric.name]]
        best[metric.name] = (max if metric.direction == "high" else min)(means)
    for i, cam in enumerate(cams):
        cells = [table[metric.name][i] for metric in metrics]
        firsts = [cell["mean"] == best[metric.name] for cell, metric in zip(cells, metrics, strict=True)]
        texts = [Text(console.interval_text(c, "\n"), style="bold" if f else "") for c, f in zip(cells, firsts, strict=True)]
        view.add_row(console.cam_cell(cam.name, str(cam.term)), *texts)
    return view


def _document(
    cams: list[Cam], metrics: list[Metric], table: dict[str, list[dict[str, float]]], network: Network, digest: str, count: int,
    classes: str, settings: TerminalSettings,
) -> dict[str, Any]:  # fmt: skip
    return {
        "scores": [
            {"name": cam.name, "expression": str(cam.term), **{m.name: table[m.name][i] for m in metrics}}
            for i, cam in enumerate(cams)
        ],
        "metrics": [{"name": m.name, "direction": m.direction, "source": m.source} for m in metrics],
        "images": {"count": count, "sha256": digest},
        "protocol": f"masked pixels: mean colour; class: {classes}",
        "terminal_settings": settings.describe(),
        "network": network.describe(),
        "torch": torch.__version__,
    }
