"""Ground truth that the user brings beside the images: masks by file name, and boxes from files, a CSV table, Pascal VOC's XML or
COCO's JSON."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from xml.etree import ElementTree

from sycam.errors import SycamError
from sycam.images.sample import EXTENSIONS, Entry
from sycam.network.preprocessing import Box

CORNERS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"))
NAMES = ("file", "stem", "image", "filename")


@dataclass(frozen=True)
class Boxes:
    """The boxes of one image, (x0, y0, x1, y1) in its pixels, and the (width, height) they were drawn on where that is known."""

    boxes: tuple[Box, ...]
    size: tuple[int, int] | None = None


def read_boxes(path: Path) -> dict[str, Boxes]:
    """The boxes of each image that a file, or a folder of XML files, names.

    Args:
        path: one of

            - a CSV with a header: `file` (or `stem`), and `boxes` (`x0 y0 x1 y1;...`) or the four columns `x0,y0,x1,y1` (or
              `xmin,ymin,xmax,ymax`). Rows of one file are added up; blank cells mean no box;
            - a folder of Pascal VOC's XML files, one an image and named as it, or one such file. VOC counts pixels from 1 and
              includes the last, so its box 1 1 10 10 is 0 0 10 10 here;
            - COCO's JSON with `images` and `annotations`. Crowd regions are left out, as COCO's own evaluation does.

    Returns:
        By the image's name as the file gives it; for XML by the file's own name without `.xml`.

    Raises:
        SycamError: the file is missing, is none of these, or has a bad box; with its line where it has lines.

    >>> import tempfile
    >>> table = Path(tempfile.mkdtemp()) / "boxes.csv"
    >>> _ = table.write_text("file,x0,y0,x1,y1\\na.png,0,0,2,2\\na.png,4,4,8,8\\n")
    >>> read_boxes(table)["a.png"].boxes
    ((0.0, 0.0, 2.0, 2.0), (4.0, 4.0, 8.0, 8.0))
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".xml")
        if not files:
            raise SycamError(f"no .xml file in {path}: boxes are a CSV, a folder of VOC XML files, or a COCO JSON")
        return {file.stem: _voc(file) for file in files}
    if not path.is_file():
        raise SycamError(f"no such file or folder of boxes: {path}")
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _table(path)
    if suffix == ".xml":
        return {path.stem: _voc(path)}
    if suffix == ".json":
        return _coco(path)
    raise SycamError(f"{path}: boxes are a CSV, a folder of VOC XML files, or a COCO JSON, known by their ending")


def boxes_of(text: str, where: str) -> tuple[Box, ...]:
    """The boxes of a cell `x0 y0 x1 y1;...`.

    >>> boxes_of("0 0 2 2; 1 1 3 3", "t.csv:2")
    ((0.0, 0.0, 2.0, 2.0), (1.0, 1.0, 3.0, 3.0))
    """
    return tuple(_box(part.split(), where, part) for part in filter(None, (part.strip() for part in text.split(";"))))


def _box(numbers: Any, where: str, shown: str = "") -> Box:
    try:
        x0, y0, x1, y1 = (float(number) for number in numbers)
    except (TypeError, ValueError):
        shown = shown or str(numbers)
        raise SycamError(f"{where}: a box is four numbers x0 y0 x1 y1 (boxes apart by ;), not {shown!r}") from None
    shown = shown or f"{x0:g} {y0:g} {x1:g} {y1:g}"
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise SycamError(f"{where}: a box has finite corners, not {shown!r}")
    if not (x0 <= x1 and y0 <= y1):  # equal where a table counts whole pixels, as Tiny ImageNet's does
        raise SycamError(f"{where}: a box runs from its upper left to its lower right corner, not {shown!r}")
    return x0, y0, x1, y1


def _table(table: Path) -> dict[str, Boxes]:
    found: dict[str, list[Box]] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            reader.fieldnames = [cell.strip().lower() for cell in reader.fieldnames or []]
            named = next((name for name in NAMES if name in reader.fieldnames), None)
            corners = next((names for names in CORNERS if set(names) <= set(reader.fieldnames)), None)
            if named is None or (corners is None and "boxes" not in reader.fieldnames):
                raise SycamError(
                    f"{table}:1: boxes need the columns file,boxes or file,x0,y0,x1,y1; the header is "
                    f"{','.join(reader.fieldnames)!r}"
                )
            for cells in reader:
                row = {key: (value or "").strip() for key, value in cells.items() if isinstance(key, str)}
                where = f"{table}:{reader.line_num}"
                if not row[named]:
                    raise SycamError(f"{where}: no file is named in this row")
                boxes = found.setdefault(row[named], [])
                boxes.extend(boxes_of(row.get("boxes", ""), where))
                if corners and any(row[name] for name in corners):
                    boxes.append(_box([row[name] for name in corners], where, " ".join(row[name] for name in corners)))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise SycamError(f"{table} is not a CSV table in UTF-8: {problem}") from problem
    return {name: Boxes(tuple(boxes)) for name, boxes in found.items()}


def _voc(file: Path) -> Boxes:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if "<!" in text.replace("<!--", "").replace("<![CDATA[", ""):  # a document type could define entities without end
            raise SycamError(f"{file}: a document type is not read; Pascal VOC's files have none")
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as problem:
        raise SycamError(f"{file} is not XML: {problem}") from problem
    objects = [(item.findtext("name") or "", item.find("bndbox")) for item in root.iter("object")]
    boxes = tuple(
        voc_box({corner: box.findtext(corner) for corner in CORNERS[1]} if box is not None else {}, f"{file}, {name or 'object'}")
        for name, box in objects
    )
    try:
        width, height = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except ValueError:
        width, height = 0, 0
    return Boxes(boxes, (width, height) if width and height else None)  # some tools write 0 for unknown


def voc_box(corners: Mapping[str, Any], where: str) -> Box:
    """A box of Pascal VOC, whose pixels count from 1 and include the last.

    >>> voc_box({"xmin": "1", "ymin": "3", "xmax": "10", "ymax": "5"}, "a.xml")
    (0.0, 2.0, 10.0, 5.0)
    """
    xmin, ymin, xmax, ymax = _box([corners.get(corner) for corner in CORNERS[1]], where)
    return max(xmin - 1, 0.0), max(ymin - 1, 0.0), xmax, ymax  # some tools count from 0


def coco_box(numbers: Any, where: str) -> Box:
    """A box of COCO, x y width height.

    >>> coco_box([1, 2, 10, 5.5], "instances.json")
    (1.0, 2.0, 11.0, 7.5)
    """
    try:
        x, y, width, height = (float(number) for number in numbers)
    except (TypeError, ValueError):
        raise SycamError(f"{where}: a bbox is four numbers x, y, width, height, not {numbers!r}") from None
    return _box((x, y, x + width, y + height), where)


def _coco(file: Path) -> dict[str, Boxes]:
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
        images = {image["id"]: (str(image["file_name"]), image.get("width"), image.get("height")) for image in document["images"]}
        annotations = list(document["annotations"])
    except (UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise SycamError(f"{file} is not JSON: {problem}") from problem
    except (KeyError, TypeError, AttributeError):
        raise SycamError(f"{file} is not COCO's JSON: it needs images (id, file_name) and annotations (image_id, bbox)") from None
    found: dict[Any, list[Box]] = {key: [] for key in images}
    for number, annotation in enumerate(annotations):
        where = f"{file}, annotation {annotation.get('id', number) if isinstance(annotation, dict) else number}"
        if not isinstance(annotation, dict) or annotation.get("image_id") not in images:
            raise SycamError(f"{where}: its image_id names no image of the file")
        if not annotation.get("iscrowd") and "bbox" in annotation:
            found[annotation["image_id"]].append(coco_box(annotation["bbox"], where))
    return {
        name: Boxes(tuple(found[key]), (int(width), int(height)) if width and height else None)
        for key, (name, width, height) in images.items()
    }


MASK_EXTENSIONS = (".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")  # no JPEG: its zeros do not stay zero
STEM = "{stem}"
T = TypeVar("T")


def with_truth(entries: Sequence[Entry], masks: Path | str | None, boxes: Path | str | None) -> list[Entry]:
    """The entries with these masks and boxes instead of their own; both of one image are united.

    Args:
        masks: a folder whose files are named as the images (`{stem}.png`, or `{stem}_mask.png`; in subfolders too), or a pattern
            with `{stem}`, looked for beside each image and then from the working folder.
        boxes: see `read_boxes`.

    Returns:
        As many entries in the same order. An image that has neither is left without ground truth.

    Raises:
        SycamError: nothing there, no image has any, or a name that is matched by several images.
    """
    if masks is None and boxes is None:
        return list(entries)
    bare = [replace(entry, mask=None, boxes=(), drawn_on=None, truth=False) for entry in entries]
    if masks is not None:
        bare = _with_masks(bare, str(masks))
    if boxes is not None:
        found = _matched(bare, read_boxes(Path(boxes)), f"boxes of {boxes}")
        bare = [replace(e, boxes=b.boxes, drawn_on=b.size) if b else e for e, b in zip(bare, found, strict=True)]
    return bare


def _with_masks(entries: Sequence[Entry], masks: str) -> list[Entry]:
    if STEM in masks:
        found = [_by_pattern(entry, masks) for entry in entries]
        if not any(found):
            first = _stem(entries[0])
            raise SycamError(f"no image has a mask {masks}: the first would be {masks.replace(STEM, first)}, beside it or here")
        return [replace(entry, mask=mask) for entry, mask in zip(entries, found, strict=True)]
    folder = Path(masks)
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        raise SycamError(f"masks {masks}: it is {what}; give a folder of masks, or a pattern such as '{STEM}_mask.png'")
    named: dict[str, Path] = {}
    images = {entry.file.resolve() for entry in entries if entry.file is not None}
    drawn = (file for file in folder.rglob("*") if file.suffix.lower() in MASK_EXTENSIONS and file.is_file())
    files = sorted(file for file in drawn if file.resolve() not in images)
    for file in files:
        relative = file.relative_to(folder).with_suffix("").as_posix()
        named.setdefault(relative, file)
        named.setdefault(relative.removesuffix("_mask"), file)
    short = Counter(file.stem.removesuffix("_mask") for file in files)
    for file in files:  # a name that two subfolders have says nothing
        if short[file.stem.removesuffix("_mask")] == 1:
            named.setdefault(file.stem.removesuffix("_mask"), file)
    found = _matched(entries, named, f"masks in {masks}")
    return [replace(entry, mask=mask) for entry, mask in zip(entries, found, strict=True)]


def keys(name: str) -> list[str]:
    """What an image may be called in a file of boxes or a folder of masks, from the most to the least precise.

    >>> keys("cat/01.jpg"), keys("scan.4.2")
    (['cat/01.jpg', 'cat/01', '01.jpg', '01'], ['scan.4.2'])
    """
    path = PurePosixPath(name)
    bare = path.with_suffix("") if path.suffix.lower() in EXTENSIONS else path
    return list(dict.fromkeys([name, bare.as_posix(), path.name, bare.name]))


def _stem(entry: Entry) -> str:
    return keys(entry.name)[-1]


def _by_pattern(entry: Entry, pattern: str) -> Path | None:
    name = pattern.replace(STEM, _stem(entry))
    beside = [entry.file.parent / name] if entry.file is not None else []
    return next((file for file in (*beside, Path(name)) if file.is_file()), None)


def _matched(entries: Sequence[Entry], named: Mapping[str, T], what: str) -> list[T | None]:
    """What each entry's name stands for; a short name must mean one image."""
    matches: list[str | None] = [next((key for key in keys(entry.name) if key in named), None) for entry in entries]
    if not any(matches):
        example = next(iter(named), None)
        hint = f"; there is {example!r}" if example else ", which hold none"
        raise SycamError(f"{what}: none is named as an image, such as {entries[0].name!r}{hint}")
    distinct = {(entry.name, match) for entry, match in zip(entries, matches, strict=True) if match is not None}
    several = [key for key, count in Counter(match for _, match in distinct).items() if count > 1]
    if several:
        names = sorted(name for name, match in distinct if match == several[0])
        raise SycamError(f"{what}: {several[0]!r} may mean {names[0]} or {names[1]}: name it by its path, as the images are")
    return [None if match is None else named[match] for match in matches]
