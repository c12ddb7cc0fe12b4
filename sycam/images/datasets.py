"""Data sets that torchvision reads, with masks, boxes or labels: `voc-segmentation:PATH`.

Nothing is downloaded. PATH is what torchvision calls the root, the folder that holds `VOCdevkit`, `oxford-iiit-pet`,
`imagenette2` and so on, and the layout inside is that of the published archives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from PIL import Image

from sycam.errors import SycamError
from sycam.images.imageset import ImageSet
from sycam.images.read import load_images
from sycam.images.sample import Entry, Sample, read_entries
from sycam.images.truth import coco_box, voc_box, with_truth
from sycam.network.preprocessing import Preprocessing
from sygus.errors import nearest

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOC_BORDER = 255
PET_INSIDE = 1  # of a trimap; 2 is the background, 3 the border, which is neither

# Imagenette's ten classes in the numbers of ImageNet's thousand, in which the usual classifiers speak.
IMAGENETTE = {
    "n01440764": 0, "n02102040": 217, "n02979186": 482, "n03000684": 491, "n03028079": 497, "n03394916": 566,
    "n03417042": 569, "n03425413": 571, "n03445777": 574, "n03888257": 701,
}  # fmt: skip

Listed = tuple[list[Entry], dict[int, str]]


@dataclass(frozen=True)
class Dataset:
    """A data set that can be named.

    Attributes:
        layout: what must lie in PATH.
        gives: its ground truth and labels, in words.
        options: what may follow `?`, with the default of each.
        list: (root, options) -> entries and class names.
    """

    layout: str
    gives: str
    options: dict[str, str]
    list: Callable[[Path, dict[str, str]], Listed]


def load_dataset(
    spec: str,
    preprocessing: Preprocessing,
    *,
    limit: int | None = None,
    seed: int = 0,
    masks: Path | str | None = None,
    boxes: Path | str | None = None,
) -> ImageSet:
    """The images of a data set with its ground truth, read by torchvision's class for it.

    Args:
        spec: `name:PATH`, or `name:PATH?option=value&...`; names and options are those of `DATASETS`. `class=dog`, where a
            data set has it, takes the images that show a dog, and of their objects the dogs.
        preprocessing, limit, seed, masks, boxes: see `load_images`.

    Raises:
        SycamError: an unknown name or option; the folder is absent or not in torchvision's layout; as `load_images`.

    >>> load_dataset("voc:/nowhere", Preprocessing(32, (0.5,) * 3, (0.5,) * 3))
    Traceback (most recent call last):
    sycam.errors.SycamError: no data set 'voc'; known: coco, imagenet, ...
    """
    name, colon, rest = spec.partition(":")
    if name not in DATASETS:
        raise SycamError(f"no data set {name!r}{nearest(name, sorted(DATASETS))}")
    if not colon or not rest:
        raise SycamError(f"a data set is named with its folder, {name}:PATH, not {spec!r}")
    dataset = DATASETS[name]
    path, options = _options(rest, name, dataset)
    root = Path(path).expanduser()
    if not root.is_dir():
        raise SycamError(f"{name}: no such folder: {root}. It must hold {dataset.layout}; nothing is downloaded")
    try:
        entries, class_names = dataset.list(root, options)
    except ImportError as problem:
        raise SycamError(f"{name} needs {problem.name}: pip install 'sycam[datasets]'") from None
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as problem:
        raise SycamError(
            f"{name}: {root} is not in torchvision's layout: it must hold {dataset.layout}; nothing is downloaded "
            f"({type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''})"
        ) from problem
    if not entries:
        raise SycamError(f"{name}: no image in {root} with {', '.join(f'{k}={v}' for k, v in options.items()) or 'any'}")
    return read_entries(with_truth(entries, masks, boxes), class_names, preprocessing, limit=limit, seed=seed)


def _options(rest: str, name: str, dataset: Dataset) -> tuple[str, dict[str, str]]:
    path, mark, query = rest.rpartition("?")
    if not mark or Path(rest).is_dir():
        path, query = rest, ""
    try:
        given = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise SycamError(f"{name}: options are written ?option=value&option=value, not ?{query}") from None
    for option in given:
        if option not in dataset.options:
            raise SycamError(f"{name} has no option {option!r}{nearest(option, sorted(dataset.options))}")
    return path, {**dataset.options, **given}


def _choice(options: dict[str, str], option: str, accepted: tuple[str, ...]) -> str:
    if options[option] not in accepted:
        raise SycamError(f"{option} must be one of {', '.join(accepted)}, not {options[option]!r}")
    return options[option]


def _named(options: dict[str, str], classes: tuple[str, ...] | list[str]) -> int | None:
    """The number of the class that the user wants, None for all."""
    if not options["class"]:
        return None
    if options["class"] not in classes:
        raise SycamError(f"no class {options['class']!r}{nearest(options['class'], list(classes))}")
    return list(classes).index(options["class"])


def _pet(root: Path, options: dict[str, str]) -> Listed:
    from torchvision.datasets import OxfordIIITPet

    split = _choice(options, "split", ("trainval", "test"))
    labelled = OxfordIIITPet(root, split, "category")
    masked = OxfordIIITPet(root, split, "segmentation")

    def read(place: int) -> Sample:
        picture, trimap = masked[place]
        return Sample(picture, _mask(np.asarray(trimap) == PET_INSIDE))

    wanted = _named(options, labelled.classes)
    entries = [
        Entry(file.name, str(file), label=label, sample=_lazily(read, place, str(file)))
        for place, (file, label) in enumerate(zip(labelled._images, labelled._labels, strict=True))
        if wanted in (None, label)
    ]
    return entries, dict(enumerate(labelled.classes))


def _voc_segmentation(root: Path, options: dict[str, str]) -> Listed:
    from torchvision.datasets import VOCSegmentation

    data = VOCSegmentation(str(root), options["year"], options["split"])
    wanted = _named(options, VOC_CLASSES)

    def classes(place: int) -> list[int]:
        """Which classes the mask shows, from 0."""
        with Image.open(data.masks[place]) as mask:
            values = np.unique(np.asarray(mask))
        return [int(value) - 1 for value in values if value not in (0, VOC_BORDER)]

    def read(place: int) -> Sample:
        picture, mask = data[place]
        values = np.asarray(mask)
        shown = (values != 0) & (values != VOC_BORDER) if wanted is None else values == wanted + 1
        return Sample(picture, _mask(shown))

    return _of_objects(data.images, [classes(place) for place in range(len(data))], wanted, read), dict(enumerate(VOC_CLASSES))


def _voc_detection(root: Path, options: dict[str, str]) -> Listed:
    from torchvision.datasets import VOCDetection

    data = VOCDetection(str(root), options["year"], options["split"])
    wanted = _named(options, VOC_CLASSES)
    known = [_voc_objects(file) for file in data.annotations]

    def read(place: int) -> Sample:
        picture, target = data[place]
        where = data.annotations[place]
        objects = [(item["name"], item["bndbox"]) for item in target["annotation"].get("object", [])]
        boxes = tuple(voc_box(box, where) for name, box in objects if wanted is None or name == VOC_CLASSES[wanted])
        return Sample(picture, boxes=boxes)

    return _of_objects(data.images, known, wanted, read), dict(enumerate(VOC_CLASSES))


def _voc_objects(file: str) -> list[int]:
    """Which classes an annotation names, from 0."""
    from xml.etree import ElementTree

    names = {item.findtext("name") for item in ElementTree.parse(file).getroot().iter("object")}
    return [number for number, name in enumerate(VOC_CLASSES) if name in names]


def _of_objects(images: list[str], classes: list[list[int]], wanted: int | None, read: Callable[[int], Sample]) -> list[Entry]:
    """Entries of images that show several objects: the label is the wanted class, or the only one shown, and else unknown."""
    return [
        Entry(
            Path(file).name, file, label=wanted if wanted is not None else shown[0] if len(shown) == 1 else -1,
            sample=_lazily(read, place, file),
        )
        for place, (file, shown) in enumerate(zip(images, classes, strict=True))
        if wanted is None or wanted in shown
    ]  # fmt: skip


def _coco(root: Path, options: dict[str, str]) -> Listed:
    from torchvision.datasets import CocoDetection

    truth = _choice(options, "truth", ("masks", "boxes"))
    file = root / "annotations" / f"instances_{options['split']}.json"
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}")
    try:
        with redirect_stdout(StringIO()):  # pycocotools prints how long it took
            data = CocoDetection(str(root / options["split"]), str(file))
    except json.JSONDecodeError as problem:
        raise SycamError(f"{file} is not JSON: {problem}") from problem
    categories = sorted(data.coco.loadCats(data.coco.getCatIds()), key=lambda category: category["id"])
    names = [category["name"] for category in categories]
    numbers = {category["id"]: number for number, category in enumerate(categories)}
    wanted = _named(options, names)

    def objects(place: int) -> list[dict[str, Any]]:
        found = data.coco.loadAnns(data.coco.getAnnIds(data.ids[place]))
        return [one for one in found if not one.get("iscrowd") and wanted in (None, numbers[one["category_id"]])]

    def read(place: int) -> Sample:
        picture, _ = data[place]
        if truth == "boxes":
            return Sample(
                picture, boxes=tuple(coco_box(one["bbox"], f"{file}, annotation {one['id']}") for one in objects(place))
            )
        inside = np.zeros((picture.height, picture.width), dtype=bool)
        for one in objects(place):
            inside |= data.coco.annToMask(one) != 0
        return Sample(picture, _mask(inside))

    files = [str(Path(data.root) / data.coco.loadImgs(number)[0]["file_name"]) for number in data.ids]
    shown = [sorted({numbers[one["category_id"]] for one in objects(place)}) for place in range(len(data))]
    return _of_objects(files, shown, wanted, read), dict(enumerate(names))


def _imagenette(root: Path, options: dict[str, str]) -> Listed:
    from torchvision.datasets import Imagenette

    data = Imagenette(root, options["split"], options["size"])
    own = _choice(options, "labels", ("imagenet", "own")) == "own"
    numbers = [label if own else IMAGENETTE[wnid] for label, wnid in enumerate(data.wnids)]
    names = {number: names[0] for number, names in zip(numbers, data.classes, strict=True)}
    return _of_folders(data._samples, numbers, data._image_root), names


def _imagenet(root: Path, options: dict[str, str]) -> Listed:
    from torchvision.datasets import ImageNet

    split = _choice(options, "split", ("val", "train"))
    # torchvision would unpack archives that lie there; reading a data set must write nothing.
    if not (root / "meta.bin").is_file() or not (root / split).is_dir():
        raise FileNotFoundError(f"no meta.bin or no folder {split}")
    data = ImageNet(str(root), split)
    return _of_folders(data.samples, list(range(len(data.classes))), data.split_folder), {
        number: ", ".join(names) for number, names in enumerate(data.classes)
    }


def _of_folders(samples: list[tuple[str, int]], numbers: list[int], root: str) -> list[Entry]:
    return [Entry(Path(file).relative_to(root).as_posix(), file, Path(file), label=numbers[label]) for file, label in samples]


def _mask(inside: np.ndarray) -> Image.Image:
    return Image.fromarray(inside.astype(np.uint8))


def _lazily(read: Callable[[int], Sample], place: int, where: str) -> Callable[[], Sample]:
    """`read(place)` when it is called; a file that torchvision cannot read is an error that names it."""

    def sample() -> Sample:
        try:
            return read(place)
        except (OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError) as problem:
            raise SycamError(f"{where} or its ground truth cannot be read ({type(problem).__name__}: {problem})") from problem

    return sample


DATASETS: dict[str, Dataset] = {
    "oxford-pet": Dataset(
        "oxford-iiit-pet/images and oxford-iiit-pet/annotations", "masks of the animal (its border is outside), 37 breeds",
        {"split": "test", "class": ""}, _pet,
    ),
    "voc-segmentation": Dataset(
        "VOCdevkit/VOC2012 (or another year)", "masks of all objects (borders are outside); a label where they are of one class",
        {"year": "2012", "split": "val", "class": ""}, _voc_segmentation,
    ),
    "voc-detection": Dataset(
        "VOCdevkit/VOC2012 (or another year)", "boxes of all objects; a label where they are of one class",
        {"year": "2012", "split": "val", "class": ""}, _voc_detection,
    ),
    "coco": Dataset(
        "val2017 and annotations/instances_val2017.json", "masks (or boxes) of all objects but crowds; a label as in voc",
        {"split": "val2017", "truth": "masks", "class": ""}, _coco,
    ),
    "imagenette": Dataset(
        "imagenette2 (with -320 or -160 for these sizes)", "labels, in ImageNet's numbers or its own 0 to 9",
        {"split": "val", "size": "full", "labels": "imagenet"}, _imagenette,
    ),
    "imagenet": Dataset("meta.bin and val", "labels; its boxes are VOC XML, for `boxes`", {"split": "val"}, _imagenet),
}  # fmt: skip
"""What `--dataset` may name."""


@dataclass(frozen=True)
class ImageSource:
    """Images by path or by data set, with ground truth from elsewhere or their own.

    Attributes:
        path: see `load_images`; or None.
        dataset: see `load_dataset`; or None. One of the two is given.
        masks, boxes: ground truth instead of the images' own; see `load_images`.

    Raises:
        SycamError: neither or both of path and dataset.

    >>> ImageSource("a", "voc-detection:b")
    Traceback (most recent call last):
    sycam.errors.SycamError: `images` and `dataset` both name the images: give one
    """

    path: Path | str | None = None
    dataset: str | None = None
    masks: Path | str | None = None
    boxes: Path | str | None = None

    def __post_init__(self) -> None:
        if self.path is not None and self.dataset is not None:
            raise SycamError("`images` and `dataset` both name the images: give one")
        if self.path is None and self.dataset is None:
            raise SycamError("masks and boxes belong to images: name these with `images` or `dataset`")

    def load(self, preprocessing: Preprocessing, limit: int | None = None, seed: int = 0) -> ImageSet:
        """The images in the network's geometry, at most `limit` of them, drawn with `seed`."""
        if self.dataset is not None:
            return load_dataset(self.dataset, preprocessing, limit=limit, seed=seed, masks=self.masks, boxes=self.boxes)
        assert self.path is not None
        return load_images(self.path, preprocessing, limit=limit, seed=seed, masks=self.masks, boxes=self.boxes)
