"""`sycam explain`: one image, one CAM, one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from sycam.errors import SycamError
from sycam.job import ModelSpec, TerminalSettings

from . import console, options


@options.command(ModelSpec, TerminalSettings, names=("seed",))
def explain(
    given: dict[str, Any],
    cam: Annotated[
        str, typer.Argument(help="A name of `sycam list cams`, a run's folder, a .sy file, or a term such as '(gap G)'.")
    ],
    image: Annotated[Path, typer.Argument(help="The image file.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("explanation.png"),
    image_class: Annotated[
        Optional[int], typer.Option("--class", help="The image class to explain; by default the predicted one.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw IMAGE, the heatmap of CAM and both together, with the class and its probability.

    A run's answer is drawn with the run's network, any other CAM with the embedded one, unless --model says otherwise.
    """
    options.groups_of(given, ModelSpec, TerminalSettings, others=("seed",))  # all mistakes before torch is loaded
    from sycam.cams import Cam, find_cam, of_class
    from sycam.images import load_images
    from sycam.run.folder import RunFolder
    from sycam.run.report.pictures import explain_figure
    from sycam.run.result import cam_heatmaps

    chosen = find_cam(cam)
    if not image.is_file():
        raise SycamError(f"no such image file: {image}")
    made = RunFolder(Path(cam)).options(ModelSpec, TerminalSettings) if Path(cam).is_dir() else {}
    if "model" in given:  # a run's options of its model are those of no other
        made = {name: value for name, value in made.items() if name not in ModelSpec.options()}
    if "seed" in given:
        made.pop("terminal_seed", None)
    spec, settings = options.groups_of({**made, **given}, ModelSpec, TerminalSettings, others=("seed",))
    network = options.network(spec)
    images = load_images(image, network.preprocessing)
    batch = images.normalised([0], network)
    probabilities = network.logits(batch).softmax(1)[0]
    explained = int(probabilities.argmax()) if image_class is None else image_class
    if not 0 <= explained < network.n_classes:
        raise SycamError(f"--class {explained}: {network.name} has the classes 0 to {network.n_classes - 1}")
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
        return
    named = chosen.name if chosen.name == expression else f"{chosen.name}: {expression}"
    console.out.print(f"{name}, p = {probability:.3f}; {named}", soft_wrap=True, markup=False)
    console.out.print(f"picture  {out}", soft_wrap=True)
