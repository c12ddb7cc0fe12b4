"""`sycam explain`: one image, one CAM, one picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from sycam.cams import Cam, find_cam, of_class
from sycam.errors import SycamError
from sycam.images import load_images
from sycam.pictures import explain_figure
from sycam.run.result import cam_heatmaps
from sycam.terminals import TerminalSettings

from . import console, options


def explain(
    cam: Annotated[
        str, typer.Argument(help="A name of `sycam list cams`, a run's folder, a .sy file, or a term such as '(gap G)'.")
    ],
    image: Annotated[Path, typer.Argument(help="The image file.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("explanation.png"),
    model: options.MaybeModel = None,
    weights: options.Weights = None,
    layer: options.Layer = None,
    output: options.Output = None,
    size: options.Size = None,
    resize: options.Resize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "cpu",
    image_class: Annotated[
        Optional[int], typer.Option("--class", help="The image class to explain; by default the predicted one.")
    ] = None,
    seed: Annotated[Optional[int], typer.Option(help="Of the noise and orderings of terminals.")] = None,
    noise_samples: options.NoiseSamples = None,
    noise_level: options.NoiseLevel = None,
    path_steps: options.PathSteps = None,
    shap_orderings: options.ShapOrderings = None,
    opti_steps: options.OptiSteps = None,
    finer_classes: options.FinerClasses = None,
    finer_strength: options.FinerStrength = None,
    as_json: options.Json = False,
) -> None:
    """Draw IMAGE, the heatmap of CAM and both together, with the class and its probability.

    A run's answer is drawn with the run's network, any other CAM with the embedded one, unless --model says otherwise.
    """
    chosen = find_cam(cam)
    if not image.is_file():
        raise SycamError(f"no such image file: {image}")
    loaded = _of_run(Path(cam)) if model is None else {}
    network = options.network(
        model or loaded.get("model", "embedded"),
        weights or loaded.get("weights"),
        layer or loaded.get("layer"),
        size or loaded.get("size"),
        resize or loaded.get("resize"),
        mean or loaded.get("mean"),
        std or loaded.get("std"),
        device,
        output or loaded.get("output"),
    )
    images = load_images(image, network.preprocessing)
    batch = images.normalised([0], network)
    probabilities = network.logits(batch).softmax(1)[0]
    explained = int(probabilities.argmax()) if image_class is None else image_class
    if not 0 <= explained < network.n_classes:
        raise SycamError(f"--class {explained}: {network.name} has the classes 0 to {network.n_classes - 1}")
    settings = options.terminals(
        _settings_of_run(Path(cam)), seed=seed, noise_samples=noise_samples, noise_level=noise_level,
        path_steps=path_steps, shap_orderings=shap_orderings, opti_steps=opti_steps, finer_classes=finer_classes,
        finer_strength=finer_strength,
    )  # fmt: skip
    classes = probabilities.new_tensor([explained]).long()
    heatmap = cam_heatmaps([chosen], network, batch, classes, settings=settings)[0, 0].cpu()
    expression = str(of_class(chosen.term, explained)) if isinstance(chosen, Cam) else chosen.expression
    name = network.class_names[explained] if network.class_names else f"class {explained}"
    probability = float(probabilities[explained])
    explain_figure(
        images.pixels[0], heatmap, out, image_class=name, probability=probability, expression=expression,
        name=f"{chosen.name} on {image.name}" if chosen.origin != "term" else image.name,
    )  # fmt: skip
    if not bool(heatmap.any()):
        console.warn(f"the heatmap is empty: {chosen.name} is nowhere positive for {name}")
    if as_json:
        console.print_json(
            {
                "image": str(image), "cam": chosen.name, "expression": expression, "class": explained, "class_name": name,
                "probability": probability, "picture": str(out), "network": network.describe(),
                "terminal_settings": settings.describe(),
            }
        )  # fmt: skip
    else:
        named = chosen.name if chosen.name == expression else f"{chosen.name}: {expression}"
        console.out.print(f"{name}, p = {probability:.3f}; {named}", soft_wrap=True, markup=False)
        console.out.print(f"picture  {out}", soft_wrap=True)


def _of_run(folder: Path) -> dict[str, Any]:
    """How the network of a run was loaded; nothing where `folder` is no run."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return {}
    load = json.loads(manifest.read_text(encoding="utf-8"))["load"]
    if load is None:
        raise SycamError(f"{folder} was made from Python with a network of its own: name it with --model")
    return {name: _text(value) if name in ("resize", "mean", "std") else value for name, value in load.items()}


def _settings_of_run(folder: Path) -> TerminalSettings:
    """The terminal settings of a run; the defaults where `folder` is none, or of a sycam that had no such settings."""
    manifest = folder / "manifest.json"
    found = json.loads(manifest.read_text(encoding="utf-8")).get("terminal_settings", {}) if manifest.is_file() else {}
    return TerminalSettings(**found)


def _text(value: Any) -> str:
    """A number or three as the command line takes them."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
