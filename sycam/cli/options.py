"""Options that several commands share."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional

import typer

from sycam.errors import SycamError
from sycam.images import ImageSource
from sycam.metrics.protocol import DEFAULT
from sycam.metrics.protocol import Protocol as MetricProtocol
from sycam.network import Network
from sycam.store import TerminalStore, default_folder, parse_size
from sycam.synthesis.protocols import under_protocol
from sycam.terminals import TerminalSettings

from .console import show_tracebacks, warn

MODEL_HELP = (
    "A torchvision classifier's name; file.py:function or package.module:function (strings after a second colon are its "
    "arguments); or 'embedded'."
)
Model = Annotated[str, typer.Option(help=MODEL_HELP)]
MaybeModel = Annotated[Optional[str], typer.Option(help=MODEL_HELP + " By default the run's own, or 'embedded'.")]
Weights = Annotated[Optional[Path], typer.Option(help="Weights as safetensors, or a state dict saved by torch.")]
Layer = Annotated[Optional[str], typer.Option(help="The target layer; by default the last block before pooling.")]
Output = Annotated[
    Optional[str],
    typer.Option(help="Where the logits lie if the model returns several things: a key, a field's name or an index."),
]
Images = Annotated[
    Optional[Path],
    typer.Option(help="A folder of images, a folder of class folders, or a CSV with file, label, and boxes or a mask."),
]
Masks = Annotated[
    Optional[str],
    typer.Option(help="Ground truth: a folder of masks named as the images, or a pattern such as '{stem}_infection.png'."),
]
Boxes = Annotated[Optional[Path], typer.Option(help="Ground truth: a CSV of boxes, a folder of VOC XML, or a COCO JSON.")]
DatasetName = Annotated[
    Optional[str],
    typer.Option(help="Instead of --images: voc-segmentation:PATH, ... in torchvision's layout; see sycam list datasets."),
]
OnError = Annotated[
    str, typer.Option(help="When an oracle fails on a CAM: 'stop' with what was found so far, or 'skip' that CAM and go on.")
]
OracleTimeout = Annotated[
    Optional[float], typer.Option(help="Seconds that an oracle of your own may need for one query [what it says, or 300].")
]
Traceback = Annotated[
    bool, typer.Option("--traceback", help="Show the traceback of an oracle that fails.", callback=show_tracebacks)
]
Workers = Annotated[
    Optional[str], typer.Option(help="Score in so many processes, or 'auto': one a CUDA device, or one a CPU thread.")
]
Ray = Annotated[Optional[str], typer.Option(help="Score on a Ray cluster: host:port, auto, or local. Needs the extra 'ray'.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Precision = Annotated[
    str, typer.Option(help="In which masked images are classified: float32; or rounded, bf16, or on a GPU tf32.")
]
Size = Annotated[Optional[int], typer.Option(help="Side of the square input in pixels, where the model does not say.")]
Resize = Annotated[
    Optional[str], typer.Option(help="Shorter side before the central crop in pixels, or 'squash'. By default --size.")
]
Mean = Annotated[Optional[str], typer.Option(help="Mean to subtract, in [0, 1]: one number, or three with commas.")]
Std = Annotated[Optional[str], typer.Option(help="Standard deviation to divide by: one number, or three with commas.")]
Limit = Annotated[Optional[int], typer.Option(help="At most so many images, drawn at random (see --seed).")]
Seed = Annotated[int, typer.Option(help="Of every random choice.")]
Classes = Annotated[
    Optional[str], typer.Option(help="The image class that is explained: 'predicted' or 'labelled'. By default the protocol's.")
]
Protocol = Annotated[
    Optional[str],
    typer.Option(help="adcc, opticam, rise, or a TOML file: masked pixels, class, preprocessing and layer. By default adcc."),
]
NoiseSamples = Annotated[Optional[int], typer.Option(min=1, help="Noisy copies: G_noise, G2_noise, G3_noise, score_noise [10].")]
NoiseLevel = Annotated[
    Optional[float], typer.Option(min=0, help="Their noise, as a share of the range of what it is added to [0.15].")
]
PathSteps = Annotated[Optional[int], typer.Option(min=1, help="Steps of the paths of G_path and score_path [10].")]
ShapOrderings = Annotated[Optional[int], typer.Option(min=2, help="Orderings of channels that shap samples [32].")]
OptiSteps = Annotated[Optional[int], typer.Option(min=1, help="At most so many steps of opti's optimisation [100].")]
FinerClasses = Annotated[Optional[int], typer.Option(min=1, help="Similar classes that G_diff compares with [3].")]
FinerStrength = Annotated[Optional[float], typer.Option(min=0, help="How strongly G_diff takes them off [1].")]
Cache = Annotated[
    Optional[str],
    typer.Option(
        help="Where terminals are kept between runs, or none; by default SYCAM_CACHE, or sycam in the user's cache folder."
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Compute all terminals anew and keep none.")]
CacheLimit = Annotated[
    Optional[str], typer.Option(help="Of all that is kept, such as 20GB; the least recently used go first. By default 10GB.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]


def numbers(text: str | None, option: str) -> float | tuple[float, float, float] | None:
    """One number or three, as `--mean` and `--std` take them.

    >>> numbers("0.5", "--mean"), numbers("0.1,0.2,0.3", "--mean"), numbers(None, "--mean")
    (0.5, (0.1, 0.2, 0.3), None)
    """
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) == 1:
        return values[0]
    if len(values) == 3:
        return values
    raise SycamError(f"{option} takes one number or three with commas, such as 0.485,0.456,0.406; not {text!r}")


def image_source(images: Path | None, dataset: str | None, masks: str | None, boxes: Path | None) -> ImageSource | None:
    """What the options name; None where they name nothing."""
    if images is None and dataset is None and masks is None and boxes is None:
        return None
    return ImageSource(images, dataset, masks, boxes)


def network(
    model: str, weights: Path | str | None, layer: str | None, size: int | None, resize: str | None, mean: str | None,
    std: str | None, device: str, output: str | None = None, protocol: MetricProtocol = DEFAULT, precision: str = "float32",
) -> Network:  # fmt: skip
    """The network that the options name, and the protocol where they say nothing; what is unusual about it is said on stderr."""
    given = {
        "weights": weights, "layer": layer, "output": output, "size": size,
        "resize": int(resize) if resize and resize.isdigit() else resize,
        "mean": numbers(mean, "--mean"), "std": numbers(std, "--std"), "device": device, "precision": precision,
    }  # fmt: skip
    loaded = under_protocol(protocol, model, given)
    for note in loaded.notes:
        warn(note)
    return loaded


def cache_folder(cache: str | None) -> Path | None:
    """The folder that --cache, or else the environment, names; None for `none`."""
    if cache is not None and not cache.strip():
        raise SycamError("--cache is empty: name a folder or `none`, or leave it out for the usual one")
    named = cache if cache is not None else os.environ.get("SYCAM_CACHE", "")
    return None if named == "none" else Path(named).expanduser() if named else default_folder()


def store(cache: str | None, no_cache: bool, limit: str | None) -> TerminalStore | None:
    """Where terminals are kept; None for nowhere. A folder that was named and cannot be made is an error, else a warning."""
    folder, size = cache_folder(cache), parse_size(limit) if limit is not None else None
    if no_cache and cache not in (None, "none"):
        raise SycamError(f"--no-cache and --cache {cache} contradict each other: give one")
    if no_cache or folder is None:
        return None
    try:
        return TerminalStore(folder, size, warn)
    except SycamError as error:
        if cache is not None or "SYCAM_CACHE" in os.environ:
            raise
        warn(f"terminals are not kept between runs: {error}")
        return None


def terminals(base: TerminalSettings, **given: float | None) -> TerminalSettings:
    """`base` with those settings that were given on the command line.

    >>> terminals(TerminalSettings(), shap_orderings=64, path_steps=None).describe()["shap_orderings"]
    64
    """
    return replace(base, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
