"""Read images: from a folder, a tree of class folders, a table, or a single file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from sycam.errors import SycamError
from sycam.images.imageset import ImageSet
from sycam.images.sample import EXTENSIONS, Entry, read_entries
from sycam.images.truth import boxes_of, with_truth
from sycam.network.preprocessing import Preprocessing


def load_images(
    path: Path | str,
    preprocessing: Preprocessing,
    *,
    limit: int | None = None,
    seed: int = 0,
    mask_suffix: str = "_mask",
    masks: Path | str | None = None,
    boxes: Path | str | None = None,
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
        masks: ground truth instead of all that lies in the table or beside the images: a folder with a file named as each image,
            or a pattern such as `{stem}_infection.png` (beside each image) or `truth/{stem}.png`.
        boxes: likewise: a CSV, a folder of VOC XML files, or a COCO JSON; see `sycam.images.boxes`.

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
    if not source.exists():
        raise SycamError(f"no such file or folder: {source}")
    if isinstance(masks, str) and masks.startswith("{stem}") and "/" not in masks:
        mask_suffix = Path(masks).stem.removeprefix("{stem}")  # so that they are not taken for images
    entries, class_names = _entries(source, mask_suffix)
    return read_entries(with_truth(entries, masks, boxes), class_names, preprocessing, limit=limit, seed=seed)


def _entries(source: Path, mask_suffix: str) -> tuple[list[Entry], dict[int, str]]:
    if source.is_file():
        if source.suffix.lower() == ".csv":
            return _table(source, mask_suffix)
        return [Entry(source.name, str(source), source, mask=_beside(source, mask_suffix))], {}
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
        return [Entry(file.name, str(file), file, mask=_beside(file, mask_suffix)) for file in here], {}
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    found = [(child.name, images) for child in children if (images := _images_in(child, mask_suffix, deep=True))]
    if not found:
        raise SycamError(f"no image in {folder}; images end in {', '.join(EXTENSIONS)} (in any case)")
    # A lone `images/` is where datasets keep their files, not an image class.
    unlabelled = [name for name, _ in found] == ["images"]
    entries = [
        Entry(
            file.relative_to(folder).as_posix(),
            str(file),
            file,
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
    return Entry(name, f"{where}: {file}", file, label, boxes_of(row.get("boxes", ""), where), mask=mask)


def _find(name: str, table: Path, extensions: Sequence[str]) -> Path | None:
    folders = (table.parent, table.parent / "images", table.with_suffix(""))
    candidates = (folder / f"{name}{extension}" for folder in folders for extension in extensions)
    return next((candidate for candidate in candidates if candidate.is_file()), None)
