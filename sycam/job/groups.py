"""The groups of options: model, images, search, scoring, terminals, output. A new option is one entry here.

Where a group's record is used, its fields are read by name: nothing else in the project states a default or a check again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

from .option import Group, Mistakes, at_least, option, values_in, whole
from .sizes import is_size

BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|passes|candidates)?\s*")
"""One part of a budget: a number and its unit; candidates where there is none."""
ERROR = 0.05
"""Of racing, where no error is given."""
MIN_IMAGES = 8
"""Of a run by class, where no number is given."""


def is_budget(text: str | int) -> bool:
    """Whether a text is a budget: `500`, `90s`, `5m`, `40000passes`, or several with commas.

    >>> is_budget("2000,90s"), is_budget("soon"), is_budget("1.5")
    (True, False, False)
    """
    parts = [BUDGET.fullmatch(part) for part in str(text).split(",")]
    return all(part and float(part[1]) > 0 and (part[2] in ("s", "m", "h") or "." not in part[1]) for part in parts)


def is_workers(value: int | str) -> bool:
    """Whether a value says how many workers there are."""
    return value == "auto" or (str(value).isdecimal() and int(value) >= 1)


def is_resize(value: int | str) -> bool:
    """Whether a value says how images are resized before the crop."""
    return value == "squash" or (str(value).isdecimal() and int(value) >= 1)


def is_colours(value: float | tuple[float, ...]) -> bool:
    """Whether a value is one finite number or three."""
    values = value if isinstance(value, tuple) else (value,)
    return len(values) in (1, 3) and all(isinstance(one, (int, float)) and math.isfinite(one) for one in values)


COLOURS = {"fits": is_colours, "wanted": "one number, or three with commas, such as 0.485,0.456,0.406"}


@dataclass(frozen=True)
class ModelSpec(Group):
    """The network: how it is loaded, and where it is read."""

    title: ClassVar[str] = "Model"

    model: str = option(
        "embedded",
        "A torchvision classifier's name; file.py:function or package.module:function (strings after a second colon are its "
        "arguments); or 'embedded'.",
        shown=True, names="code",
    )  # fmt: skip
    weights: str | None = option(
        None, "Weights as safetensors, or a state dict saved by torch.", shown=True, names="path", usual="the model's own"
    )
    layer: str | None = option(None, "The target layer.", shown=True, usual="the last block before pooling")
    output: str | int | None = option(
        None, "Where the logits lie if the model returns several things: a key, a field's name or an index.",
        usual="the first tensor that fits",
    )  # fmt: skip
    size: int | None = option(
        None, "Side of the square input in pixels.", shown=True, **whole(1), usual="what the model's weights say"
    )
    resize: int | str | None = option(
        None, "Shorter side before the central crop in pixels, or 'squash'.", fits=is_resize,
        wanted="a number of pixels, or squash", usual="size, or what the weights say",
    )  # fmt: skip
    mean: float | tuple[float, ...] | None = option(
        None,
        "Mean to subtract, in [0, 1]: one number, or three with commas.",
        **COLOURS,
        usual="what the weights say, or ImageNet's",
    )
    std: float | tuple[float, ...] | None = option(
        None, "Standard deviation to divide by: one number, or three with commas.", **COLOURS,
        usual="what the weights say, or ImageNet's",
    )  # fmt: skip
    device: str = option("cpu", "cpu, cuda, cuda:1, ...", shown=True)
    precision: str = option(
        "float32", "In which masked images are classified: float32; or rounded, bf16, or on a GPU tf32.",
        choices=("float32", "tf32", "bf16"),
    )  # fmt: skip


@dataclass(frozen=True)
class ImageSpec(Group):
    """The images: where they come from, which are used, and what is explained on them."""

    title: ClassVar[str] = "Images"

    images: str | None = option(
        None, "A folder of images, a folder of class folders, or a CSV with file, label, and boxes or a mask.",
        shown=True, names="path", usual="the embedded digits, with the embedded model",
    )  # fmt: skip
    dataset: str | None = option(
        None, "Instead of images: voc-segmentation:PATH, ... in torchvision's layout; see sycam list datasets.", shown=True
    )
    masks: str | None = option(
        None, "Ground truth: a folder of masks named as the images, or a pattern such as '{stem}_infection.png'.",
        shown=True, names="path", usual="the images' own",
    )  # fmt: skip
    boxes: str | None = option(
        None, "Ground truth: a CSV of boxes, a folder of VOC XML, or a COCO JSON.", names="path", usual="the images' own"
    )
    limit: int | None = option(None, "At most so many images, drawn at random (see seed).", shown=True, **whole(1), usual="all")
    held_out: float = option(
        0.5, "The share of images that the search never sees; 0 for none.", fits=lambda share: 0 <= share < 1,
        wanted="a share, at least 0 and below 1",
    )  # fmt: skip
    classes: str | None = option(
        None, "The image class that is explained: 'predicted' or 'labelled'.", choices=("predicted", "labelled"),
        usual="the protocol's",
    )  # fmt: skip

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Images are named once, and ground truth belongs to named ones."""
        if self.images is not None and self.dataset is not None:
            yield "dataset", "and `images` both name the images: give one"
        if self.images is None and self.dataset is None:
            for name in ("masks", "boxes"):
                if getattr(self, name) is not None:
                    yield name, "belongs to images: name these with `images` or `dataset`"


@dataclass(frozen=True)
class SearchSpec(Group):
    """The search: where candidates come from, when they are rejected, and when it ends."""

    title: ClassVar[str] = "Search"

    budget: str | int = option(
        "500", "When to stop: 500 (candidates), 90s, 5m, 40000passes, or several with commas.", shown=True, fits=is_budget,
        wanted="candidates (2000), time (90s, 5m, 1h), passes (40000passes), or several of these with commas",
    )  # fmt: skip
    max_size: int = option(15, "The largest term, or the highest cost of one.", shown=True, **whole(1))
    cost: str | None = option(
        None, "What orders the search: a weight that the file declares, or size.", usual="what the file says, or size"
    )
    learner: str = option("bottom-up", "Where terms come from: bottom-up, cvc5, or uniform (random, of max_size).", shown=True)
    target: float | None = option(None, "Stop once this score is reached (0.5 is 50 per cent).", usual="none")
    stopping: str = option(
        "exact", "exact: changes no result; racing: asks less, and may err (see error).", shown=True, choices=("exact", "racing")
    )
    error: float | None = option(
        None, "Of racing: how probably it rejects what exact would return.", fits=lambda error: 0 < error < 1,
        wanted="a probability between 0 and 1, such as 0.05", usual=str(ERROR),
    )  # fmt: skip
    similar: float | None = option(
        None, "Score last whose heatmaps differ from a scored one's by no more on average, such as 0.02.",
        fits=lambda distance: 0 <= distance < 1, wanted="a distance from 0, below 1, such as 0.02", usual="none waits",
    )  # fmt: skip
    by_class: bool = option(False, "A term for each image class with enough images, the best one for the others.", shown=True)
    min_images: int | None = option(None, "By class: so many search images are enough.", **whole(1), usual=str(MIN_IMAGES))

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Options that belong to another one that was not given."""
        if self.error is not None and self.stopping != "racing":
            yield "error", "is that of `stopping` racing: give both, or neither"
        if self.min_images is not None and not self.by_class:
            yield "min_images", "belongs to `by_class`: give both, or neither"

    @property
    def racing_error(self) -> float:
        """With which probability racing may err."""
        return ERROR if self.error is None else self.error

    @property
    def enough_images(self) -> int:
        """Search images that give an image class a term of its own."""
        return MIN_IMAGES if self.min_images is None else self.min_images


@dataclass(frozen=True)
class ScoringSpec(Group):
    """Scoring: under which protocol, by whom, and what happens when an oracle fails."""

    title: ClassVar[str] = "Scoring"

    protocol: str | None = option(
        None, "adcc, opticam, rise, or a TOML file: masked pixels, class, preprocessing and layer.", shown=True, names="path",
        usual="adcc",
    )  # fmt: skip
    batch: int | None = option(None, "Masked images per pass.", **whole(1), usual="what is fastest when tried")
    workers: int | str | None = option(
        None, "Score in so many processes, or 'auto': one a CUDA device, or one a CPU thread.", shown=True, fits=is_workers,
        wanted="a number from 1, or 'auto'", usual="this process alone",
    )  # fmt: skip
    ray: str | None = option(None, "Score on a Ray cluster: host:port, auto, or local. Needs the extra 'ray'.", usual="none")
    on_error: str = option(
        "stop", "When an oracle fails on a CAM: 'stop' with what was found so far, or 'skip' that CAM and go on.",
        choices=("stop", "skip"),
    )  # fmt: skip
    oracle_timeout: float | None = option(
        None, "Seconds that an oracle of your own may need for one query.", fits=lambda seconds: seconds > 0,
        wanted="a number of seconds above 0", usual="what it says, or 300",
    )  # fmt: skip


@dataclass(frozen=True)
class TerminalSettings(Group):
    """How terminals that sample, integrate or optimise do so. Hashable: it belongs in every key under which values are kept.

    Each image draws from the seed and its own pixels, so that neither its place nor its batch matters. The defaults are those of
    the papers: SS-CAM (noise_samples), SmoothGrad (noise_level), IS-CAM (path_steps), Opti-CAM (opti_steps, opti_rate) and
    Finer-CAM's code (finer_classes, finer_strength); a standard error needs two `shap_orderings`.

    Raises:
        SycamError: a setting that makes no sense.

    >>> TerminalSettings(shap_orderings=100).describe()["shap_orderings"]
    100
    >>> TerminalSettings(path_steps=0)
    Traceback (most recent call last):
    sycam.errors.SycamError: `path_steps` must be a whole number, at least 1, not 0
    """

    title: ClassVar[str] = "Terminals"

    seed: int = option(0, "Of all noise and orderings.", **whole(0), key="terminal_seed", usual="seed")
    noise_samples: int = option(10, "Noisy copies: G_noise, G2_noise, G3_noise, score_noise.", **whole(1))
    noise_level: float = option(0.15, "Their noise, as a share of the range of what it is added to.", **at_least(0))
    path_steps: int = option(10, "Steps of the paths of G_path and score_path.", **whole(1))
    shap_orderings: int = option(32, "Orderings of channels that shap samples.", **whole(2))
    opti_steps: int = option(100, "At most so many steps of opti's optimisation.", **whole(1))
    opti_rate: float = option(0.1, "The rate of its steps.", **at_least(0))
    finer_classes: int = option(3, "Similar classes that G_diff compares with.", **whole(1))
    finer_strength: float = option(1.0, "How strongly G_diff takes them off.", **at_least(0))

    def __post_init__(self) -> None:
        mistakes = Mistakes()
        values_in(type(self), self.plain(), mistakes)
        mistakes.tell("the terminal settings")

    def describe(self) -> dict[str, int | float]:
        """The settings as plain data, for a manifest."""
        return asdict(self)


@dataclass(frozen=True)
class OutputSpec(Group):
    """Where things go. It is no part of what a run is, and a run's `job.json` leaves it out."""

    title: ClassVar[str] = "Output"

    out: str | None = option(None, "The run's folder.", shown=True, usual="runs/ and the time")
    cache: str | None = option(
        None, "Where terminals are kept between runs, or none.", shown=True,
        usual="SYCAM_CACHE, or sycam in the user's cache folder",
    )  # fmt: skip
    cache_limit: str | None = option(
        None,
        "Of all that is kept, such as 20GB; the least recently used go first.",
        fits=is_size,
        wanted="a number with KB, MB, GB or TB, such as 20GB",
        usual="SYCAM_CACHE_LIMIT, or 10GB",
    )
    traceback: bool = option(False, "Show the traceback of an oracle that fails.")
    dump_smt2: str | None = option(
        None, "Write the run's claims, proved and undecided, to this folder as .smt2 files for any solver.", shown=True
    )
