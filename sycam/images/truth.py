"""Ground truth that the user brings beside the images: masks by file name, boxes from a file of boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from sycam.errors import SycamError
from sycam.images.boxes import read_boxes
from sycam.images.entry import EXTENSIONS, Entry

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
