"""`sycam synth`: the main job."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Optional

import typer

from sycam.cams import find_grammar
from sycam.images import ImageSource
from sycam.metrics.registry import Metric
from sycam.store import Stored, TerminalStore
from sycam.synthesis.goals import find_goals, find_metric
from sycam.synthesis.observe import Observer
from sycam.synthesis.problem import read_problem
from sycam.synthesis.settings import Settings
from sycam.synthesis.synthesize import synthesize
from sycam.terminals import TerminalSettings

from . import console, options
from .watch import Watch


def synth(
    grammar: Annotated[str, typer.Argument(help="A .sy file, or gradient, perturbation, pixelwise, laws, gain, cheap-gain.")],
    metric: Annotated[
        Optional[str],
        typer.Option(help="Instead of the file's objective: a name of sycam list metrics, or a weighted sum of such."),
    ] = None,
    oracle: Annotated[
        Optional[str], typer.Option(help="A metric of your own instead: file.py:Name, a program, or an installed one.")
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
    budget: Annotated[str, typer.Option(help="When to stop: 500 (candidates), 90s, 5m, 40000passes, or several.")] = "500",
    max_size: Annotated[int, typer.Option(min=1, help="The largest term, or the highest cost of one.")] = 15,
    cost: Annotated[Optional[str], typer.Option(help="What orders the search: a weight that the file declares, or size.")] = None,
    learner: Annotated[
        str, typer.Option(help="Where terms come from: bottom-up, cvc5, or uniform (random, of --max-size).")
    ] = "bottom-up",
    target: Annotated[Optional[float], typer.Option(help="Stop once this score is reached (0.5 is 50 per cent).")] = None,
    held_out: Annotated[float, typer.Option(help="The share of images that the search never sees; 0 for none.")] = 0.5,
    stopping: Annotated[str, typer.Option(help="exact: changes no result; racing: asks less, and may err (--error).")] = "exact",
    error: Annotated[
        Optional[float], typer.Option(help="Of racing: how probably it rejects what exact would return; 0.05 unless given.")
    ] = None,
    look_ahead: Annotated[
        int, typer.Option(min=0, help="Score the likely ones of so many candidates first, by masked activations; 0: in order.")
    ] = 0,
    similar: Annotated[
        Optional[float],
        typer.Option(help="Score last whose heatmaps differ from a scored one's by no more on average, such as 0.02."),
    ] = None,
    by_class: Annotated[
        bool,
        typer.Option("--by-class", help="A term for each image class with enough images, the best one for the others."),
    ] = False,
    min_images: Annotated[
        Optional[int], typer.Option(min=1, help="By class: so many search images are enough; 8 unless given.")
    ] = None,
    batch: Annotated[
        Optional[int], typer.Option(min=1, help="Masked images per pass; by default what is fastest when tried.")
    ] = None,
    seed: options.Seed = 0,
    noise_samples: options.NoiseSamples = None,
    noise_level: options.NoiseLevel = None,
    path_steps: options.PathSteps = None,
    shap_orderings: options.ShapOrderings = None,
    opti_steps: options.OptiSteps = None,
    finer_classes: options.FinerClasses = None,
    finer_strength: options.FinerStrength = None,
    out: Annotated[Optional[Path], typer.Option(help="The run's folder; by default runs/ and the time.")] = None,
    dump_smt2: Annotated[Optional[Path], typer.Option(help="Write queries that stay undecided to this folder.")] = None,
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
    cache_limit: options.CacheLimit = None,
    on_error: options.OnError = "stop",
    oracle_timeout: options.OracleTimeout = None,
    traceback: options.Traceback = False,
    as_json: options.Json = False,
) -> None:
    """Find the expression of GRAMMAR whose heatmaps score best.

    With no more than a grammar it runs on the embedded digits and network. The answer, the log of every candidate, pictures
    and an HTML report go to the run's folder.
    """
    if metric is not None and oracle is not None:
        raise typer.BadParameter("--metric and --oracle both name what is searched for: give one")
    if error is not None and stopping != "racing":
        raise typer.BadParameter("--error is that of --stopping racing: give both, or neither")
    if min_images is not None and not by_class:
        raise typer.BadParameter("--min-images belongs to --by-class: give both, or neither")
    named = metric if oracle is None else oracle
    wanted = None if named is None else find_metric(named, timeout=oracle_timeout)
    path = find_grammar(grammar)
    chosen = find_goals(read_problem(path).problem, wanted, cost, timeout=oracle_timeout).metric
    folder = out or Path("runs") / f"{path.stem}-{re.sub('[^A-Za-z0-9.@+-]', 'x', chosen.name)}-{datetime.now():%Y%m%d-%H%M%S}"
    terminals = options.terminals(
        TerminalSettings(seed), noise_samples=noise_samples, noise_level=noise_level,
        path_steps=path_steps, shap_orderings=shap_orderings, opti_steps=opti_steps, finer_classes=finer_classes,
        finer_strength=finer_strength,
    )  # fmt: skip
    source = options.image_source(images, dataset, masks, boxes)
    settings = Settings(
        budget, max_size, cost, learner, target, held_out, seed, classes, batch, dump_smt2, terminals, protocol, on_error,
        oracle_timeout, stopping, 0.05 if error is None else error, look_ahead, similar, workers, ray, by_class,
        8 if min_images is None else min_images,
    )  # fmt: skip
    quiet, store = Observer(), options.store(cache, no_cache, cache_limit)
    if as_json:
        _run(
            path, wanted, model, weights, layer, output, size, resize, mean, std, device, source, limit, settings, folder, quiet,
            True, store, precision,
        )  # fmt: skip
        return
    with Watch(chosen) as watch:
        result = _run(
            path, wanted, model, weights, layer, output, size, resize, mean, std, device, source, limit, settings, folder, watch,
            False, store, precision,
        )  # fmt: skip
    console.out.print()
    console.out.print(console.result_table(result["table"], chosen))
    console.out.print()
    if result["by_class"]:
        console.out.print(console.class_table(result["by_class"], chosen))
        console.out.print()
    console.out.print(result["verdict"])
    if len(result["goals"]) > 1:
        console.out.print(f"Goals, in order: {'; '.join(map(console.goal_text, result['goals']))}.")
    counts = result["counts"]
    laws = ""
    if "unlawful" in counts:
        laws = f"{counts['unlawful']:,} not proved to obey the constraints ({counts['laws_undecided']:,} of them undecided), "
    console.out.print(
        f"Stopped by: {result['stopped_by']}. {counts['terms']:,} terms, {counts['classes']:,} classes, "
        f"{counts['merges']:,} proved equal, {counts['undecided']:,} pairs undecided; {counts['candidates']:,} candidates on "
        f"{counts['images_searched']:,} images, {laws}{counts['same_heatmap']:,} proved to have the heatmap of an earlier one, "
        f"{counts['same_on_images']:,} with its heatmaps on these images, "
        f"{counts['rejected_early']:,} rejected early, {console.asked_text(counts)}, {counts['masked_passes']:,} masked passes."
    )
    if store:
        console.out.print(console.stored_text(Stored(**result["manifest"]["cache"])), soft_wrap=True)
    console.out.print(f"\n{result['answer']['define_fun']}\n", soft_wrap=True, markup=False)
    for what, name in (("report", "report.html"), ("picture", "gallery.png"), ("answer", "answer.sy")):
        console.out.print(f"{what:8} {folder / name}", soft_wrap=True)


def _run(
    path: Path, metric: Metric | None, model: str, weights: Path | None, layer: str | None, output: str | None,
    size: int | None, resize: str | None, mean: str | None, std: str | None, device: str, images: ImageSource | None,
    limit: int | None, settings: Settings, folder: Path, observer: Observer, as_json: bool,
    store: TerminalStore | None, precision: str,
) -> dict:  # fmt: skip
    result = synthesize(
        path, metric, model, images, settings=settings, limit=limit, out=folder, observer=observer, store=store, weights=weights,
        layer=layer, output=output, size=size, resize=int(resize) if resize and resize.isdigit() else resize,
        mean=options.numbers(mean, "--mean"), std=options.numbers(std, "--std"), device=device,
        precision=precision,
    ).describe()  # fmt: skip
    if as_json:
        console.print_json(result)
    return result
