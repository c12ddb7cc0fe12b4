"""`sycam explain`: one image, one CAM, one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from sycam.cams import find_cam
from sycam.errors import SycamError
from sycam.images import load_images
from sycam.pictures import explain_figure
from sycam.run.result import cam_heatmaps

from . import console, options


def explain(
    cam: Annotated[str, typer.Argument(help="A known CAM, a run's folder, a .sy file, or a term such as '(gap G)'.")],
    image: Annotated[Path, typer.Argument(help="The image file.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("explanation.png"),
    model: options.Model = "embedded",
    weights: options.Weights = None,
    layer: options.Layer = None,
    size: options.Size = None,
    resize: options.Resize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "cpu",
    image_class: Annotated[
        Optional[int], typer.Option("--class", help="The image class to explain; by default the predicted one.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw IMAGE, the heatmap of CAM and both together, with the class and its probability."""
    chosen = find_cam(cam)
    if not image.is_file():
        raise SycamError(f"no such image file: {image}")
    network = options.network(model, weights, layer, size, resize, mean, std, device)
    images = load_images(image, network.preprocessing)
    batch = images.normalised([0], network)
    probabilities = network.logits(batch).softmax(1)[0]
    explained = int(probabilities.argmax()) if image_class is None else image_class
    if not 0 <= explained < network.n_classes:
        raise SycamError(f"--class {explained}: {network.name} has the classes 0 to {network.n_classes - 1}")
    heatmap = cam_heatmaps([chosen], network, batch, probabilities.new_tensor([explained]).long())[0, 0].cpu()
    name = network.class_names[explained] if network.class_names else f"class {explained}"
    probability = float(probabilities[explained])
    explain_figure(
        images.pixels[0], heatmap, out, image_class=name, probability=probability, expression=str(chosen.term),
        name=f"{chosen.name} on {image.name}" if chosen.origin != "term" else image.name,
    )  # fmt: skip
    if not bool(heatmap.any()):
        console.warn(f"the heatmap is empty: the term is nowhere positive for {name}")
    if as_json:
        console.print_json(
            {
                "image": str(image), "cam": chosen.name, "expression": str(chosen.term), "class": explained, "class_name": name,
                "probability": probability, "picture": str(out), "network": network.describe(),
            }
        )  # fmt: skip
    else:
        named = chosen.name if chosen.name == str(chosen.term) else f"{chosen.name}: {chosen.term}"
        console.out.print(f"{name}, p = {probability:.3f}; {named}", soft_wrap=True, markup=False)
        console.out.print(f"picture  {out}", soft_wrap=True)
