"""Read images: from a folder, a tree of class folders, a table, or a single file."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from sycam.errors import SycamError
from sycam.images.imageset import ImageSet
from sycam.network.preprocessing import Box, Preprocessing

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


@dataclass(frozen=True)
class Entry:
    """One image to read: its file, and what is known of it; `where` names it in errors."""

    name: str
    file: Path
    where: str
    label: int = -1
    boxes: tuple[Box, ...] = ()
    mask: Path | None = None


def load_images(
    path: Path | str,
    preprocessing: Preprocessing,
    *,
    limit: int | None = None,
    seed: int = 0,
    mask_suffix: str = "_mask",
) -> ImageSet:
    """Read images into memory, in the preprocessing's geometry.

    Args:
        path: one of

            - an image file;
            - a CSV table with a header: `file` (relative to the table, to `images/` beside it, or to a folder beside it
              named as the table), or `stem`, the file without its extension; and, all optional, `label` (the number of
              the image class), `name` (of that class), `boxes` (`x0 y0 x1 y1;...` in pixels of the upright original)
              and `mask` (a file, non-zero inside; found like `file`). Blank cells mean unknown; other columns are left
              alone;
            - a folder with exactly one such table directly in it, which is then read;
            - a folder of images, without labels;
            - a folder of class folders: their sorted names give the labels 0, 1, ...
        preprocessing: the network's.
        limit: at most so many images, drawn at random; they keep their order.
        seed: of that draw.
        mask_suffix: an image `X.jpg` without a mask of its own takes `X_mask.png` beside it, if that is there; such
            files are no images themselves. Empty for no such masks.

    Returns:
        The images, in the order of the table or of the sorted file names. Boxes and a mask of one image are united.

    Raises:
        SycamError: nothing there, a file that is missing or cannot be read, or a bad cell; names the file, the table's
            line, and what to do.

    >>> load_images("nowhere", Preprocessing(32, (0.5,) * 3, (0.5,) * 3))
    Traceback (most recent call last):
    sycam.errors.SycamError: no such file or folder: nowhere
    """
    source = Path(path)
    if limit is not None and limit < 1:
        raise SycamError(f"the limit must be at least 1 image, not {limit}")
    if not source.exists():
        raise SycamError(f"no such file or folder: {source}")
    entries, class_names = _entries(source, mask_suffix)
    if limit is not None and limit < len(entries):
        draw = torch.randperm(len(entries), generator=torch.Generator().manual_seed(seed))[:limit]
        entries = [entries[place] for place in draw.sort().values.tolist()]

    # PIL decodes and resizes outside the interpreter lock.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        read = list(pool.map(lambda entry: _read(entry, preprocessing), entries))
    pixels = torch.stack([image for image, _ in read])
    none = torch.zeros(preprocessing.size, preprocessing.size, dtype=torch.bool)
    masks = [none if mask is None else mask for _, mask in read]
    return ImageSet(
        [entry.name for entry in entries],
        pixels,
        torch.tensor([entry.label for entry in entries]),
        torch.stack(masks) if any(mask is not None for _, mask in read) else None,
        class_names=class_names,
    )


def _entries(source: Path, mask_suffix: str) -> tuple[list[Entry], dict[int, str]]:
    if source.is_file():
        if source.suffix.lower() == ".csv":
            return _table(source, mask_suffix)
        return [Entry(source.name, source, str(source), mask=_beside(source, mask_suffix))], {}
    tables = sorted(file for file in source.glob("*.csv") if _is_table(file))
    if len(tables) > 1:
        raise SycamError(
            f"{source} holds {len(tables)} tables of images ({', '.join(table.name for table in tables[:3])}): "
            "give the path of the one to read"
        )
    if tables:
        return _table(tables[0], mask_suffix)
    return _folder(source, mask_suffix)


def _folder(folder: Path, mask_suffix: str) -> tuple[list[Entry], dict[int, str]]:
    here = _images_in(folder, mask_suffix, deep=False)
    if here:
        return [Entry(file.name, file, str(file), mask=_beside(file, mask_suffix)) for file in here], {}
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    found = [(child.name, images) for child in children if (images := _images_in(child, mask_suffix, deep=True))]
    if not found:
        raise SycamError(f"no image in {folder}; images end in {', '.join(EXTENSIONS)} (in any case)")
    # A lone `images/` is where datasets keep their files, not an image class.
    unlabelled = [name for name, _ in found] == ["images"]
    entries = [
        Entry(
            file.relative_to(folder).as_posix(),
            file,
            str(file),
            label=-1 if unlabelled else label,
            mask=_beside(file, mask_suffix),
        )
        for label, (_, images) in enumerate(found)
        for file in images
    ]
    return entries, {} if unlabelled else {label: name for label, (name, _) in enumerate(found)}


def _images_in(folder: Path, mask_suffix: str, *, deep: bool) -> list[Path]:
    walk = folder.rglob("*") if deep else folder.iterdir()
    files = sorted(
        file for file in walk if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".") and file.is_file()
    )
    stems = {(file.parent, file.stem) for file in files} if mask_suffix else set()
    return [
        file
        for file in files
        if not (file.stem.endswith(mask_suffix) and (file.parent, file.stem.removesuffix(mask_suffix)) in stems)
    ]


def _beside(file: Path, mask_suffix: str) -> Path | None:
    candidates = (file.with_name(f"{file.stem}{mask_suffix}{extension}") for extension in (".png", *EXTENSIONS))
    return next((candidate for candidate in candidates if mask_suffix and candidate.is_file()), None)


def _is_table(file: Path) -> bool:
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        return not {"file", "stem"}.isdisjoint(cell.strip().lower() for cell in next(csv.reader(lines), []))


def _table(table: Path, mask_suffix: str) -> tuple[list[Entry], dict[int, str]]:
    entries: list[Entry] = []
    class_names: dict[int, str] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            reader.fieldnames = [cell.strip().lower() for cell in reader.fieldnames or []]
            if {"file", "stem"}.isdisjoint(reader.fieldnames):
                raise SycamError(
                    f"{table}:1: no column `file` (or `stem`) in the header {','.join(reader.fieldnames)!r}; a table "
                    "has file,label and, where known, name,boxes,mask, separated by commas"
                )
            for cells in reader:
                row = {key: (value or "").strip() for key, value in cells.items() if isinstance(key, str)}
                entry = _row(row, table, f"{table}:{reader.line_num}", mask_suffix)
                entries.append(entry)
                if row.get("name") and entry.label >= 0:
                    class_names.setdefault(entry.label, row["name"])
    except (UnicodeDecodeError, csv.Error) as problem:
        raise SycamError(f"{table} is not a CSV table in UTF-8: {problem}") from problem
    if not entries:
        raise SycamError(f"{table} lists no image: its header has no row below")
    return entries, class_names


def _row(row: dict[str, str], table: Path, where: str, mask_suffix: str) -> Entry:
    name = row.get("file") or row.get("stem")
    if not name:
        raise SycamError(f"{where}: no file is named in this row")
    extensions = [""] if row.get("file") else [*EXTENSIONS, *map(str.upper, EXTENSIONS)]
    file = _find(name, table, extensions)
    if file is None:
        raise SycamError(
            f"{where}: no file {name!r} beside the table, in {table.parent / 'images'}, nor in {table.with_suffix('')}"
        )
    text = row.get("label", "")
    try:
        label = int(text) if text else -1
    except ValueError:
        raise SycamError(f"{where}: the label must be the number of an image class, such as 281, not {text!r}") from None
    if label < -1:
        raise SycamError(f"{where}: a label counts from 0 (-1 or blank: unknown), not {label}")
    if row.get("mask"):
        mask = _find(row["mask"], table, [""])
        if mask is None:
            raise SycamError(f"{where}: no mask file {row['mask']!r}; leave the cell blank where there is none")
    else:
        mask = _beside(file, mask_suffix)
    return Entry(name, file, f"{where}: {file}", label, _boxes(row.get("boxes", ""), where), mask)


def _find(name: str, table: Path, extensions: Sequence[str]) -> Path | None:
    folders = (table.parent, table.parent / "images", table.with_suffix(""))
    candidates = (folder / f"{name}{extension}" for folder in folders for extension in extensions)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _boxes(text: str, where: str) -> tuple[Box, ...]:
    boxes: list[Box] = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        try:
            x0, y0, x1, y1 = (float(number) for number in part.split())
        except ValueError:
            raise SycamError(f"{where}: a box is four numbers x0 y0 x1 y1 (boxes apart by ;), not {part!r}") from None
        if not (x0 <= x1 and y0 <= y1):  # equal where a table counts whole pixels, as Tiny ImageNet's does
            raise SycamError(f"{where}: a box runs from its upper left to its lower right corner, not {part!r}")
        boxes.append((x0, y0, x1, y1))
    return tuple(boxes)


def _read(entry: Entry, preprocessing: Preprocessing) -> tuple[Tensor, Tensor | None]:
    picture = _open(entry.file, entry.where)
    try:
        pixels = preprocessing.image(picture)
    except SycamError as problem:
        raise SycamError(f"{entry.where}: {problem}") from problem
    width, height = ImageOps.exif_transpose(picture).size  # boxes and masks are drawn on the upright image
    mask: Tensor | None = None
    if entry.boxes:
        mask = preprocessing.boxes(entry.boxes, (width, height))
    if entry.mask is not None:
        drawn = _open(entry.mask, f"{entry.where}, its mask")
        # Half a pixel of rounding at the mask's scale is no other shape.
        if abs(drawn.width * height - drawn.height * width) > max(width, height):
            raise SycamError(
                f"{entry.where}: its mask {entry.mask} has {drawn.width}x{drawn.height} pixels, the image "
                f"{width}x{height}: a mask must have the image's shape"
            )
        inside = preprocessing.mask(drawn)
        mask = inside if mask is None else mask | inside
    return pixels, mask


def _open(file: Path, where: str) -> Image.Image:
    try:
        with Image.open(file) as picture:
            picture.load()
            picture.getexif()  # read and kept while the file is open
            return picture
    except UnidentifiedImageError as problem:
        raise SycamError(f"{where} is not an image that Pillow can read: remove it, or convert it to PNG") from problem
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise SycamError(f"{where} cannot be read ({problem}): copy it again, or remove it") from problem
