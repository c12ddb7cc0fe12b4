"""One image to read, with its ground truth, and the reading of many: whatever names them, they go through one geometry."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
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
class Sample:
    """An image as it was decoded, with its ground truth.

    Attributes:
        picture: the image.
        mask: non-zero inside, of the picture's shape; None without.
        boxes: x0, y0, x1, y1 in pixels of the upright picture.
    """

    picture: Image.Image
    mask: Image.Image | None = None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One image to read, and what is known of it.

    Attributes:
        name: what results call it, a path relative to its folder or table.
        where: what errors call it.
        file: the image file; None where `sample` decodes it.
        label: image class, −1 where unknown.
        boxes: see `Sample`.
        drawn_on: (width, height) of the image that the boxes were drawn on, where that is stated; another size is an error.
        mask: a file, non-zero inside.
        sample: reads the image with its ground truth from a data set; `mask` and `boxes` replace what it brings.
        truth: whether ground truth of the entry's own counts: False where the user brings another.
    """

    name: str
    where: str
    file: Path | None = None
    label: int = -1
    boxes: tuple[Box, ...] = ()
    drawn_on: tuple[int, int] | None = None
    mask: Path | None = None
    sample: Callable[[], Sample] | None = None
    truth: bool = True


def read_entries(
    entries: Sequence[Entry],
    class_names: dict[int, str],
    preprocessing: Preprocessing,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """The images in memory, at most `limit` of them drawn at random; they keep their order.

    Raises:
        SycamError: a file that cannot be read, or ground truth that does not fit its image; names the image.
    """
    if limit is not None and limit < 1:
        raise SycamError(f"the limit must be at least 1 image, not {limit}")
    if limit is not None and limit < len(entries):
        draw = torch.randperm(len(entries), generator=torch.Generator().manual_seed(seed))[:limit]
        entries = [entries[place] for place in draw.sort().values.tolist()]

    # PIL decodes and resizes outside the interpreter lock.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        read = list(pool.map(lambda entry: _read(entry, preprocessing), entries))
    none = torch.zeros(preprocessing.size, preprocessing.size, dtype=torch.bool)
    return ImageSet(
        [entry.name for entry in entries],
        torch.stack([one.pixels for one in read]),
        torch.tensor([entry.label for entry in entries]),
        torch.stack([none if one.mask is None else one.mask for one in read])
        if any(one.mask is not None for one in read)
        else None,
        class_names,
        [one.boxes for one in read] if any(len(one.boxes) for one in read) else None,
    )


@dataclass(frozen=True)
class _Placed:
    """An image and its ground truth in the network's geometry: uint8 [3, H, W], bool [H, W], [n, 4]."""

    pixels: Tensor
    mask: Tensor | None
    boxes: Tensor


def _read(entry: Entry, preprocessing: Preprocessing) -> _Placed:
    sample = _sample(entry)
    try:
        pixels = preprocessing.image(sample.picture)
    except SycamError as problem:
        raise SycamError(f"{entry.where}: {problem}") from problem
    width, height = ImageOps.exif_transpose(sample.picture).size  # boxes and masks are drawn on the upright image
    mask: Tensor | None = None
    if sample.boxes:
        if entry.drawn_on is not None and entry.drawn_on != (width, height):
            wide, high = entry.drawn_on
            raise SycamError(
                f"{entry.where}: its boxes were drawn on an image of {wide}x{high} pixels, this one has "
                f"{width}x{height}: take the original images, or boxes in this image's pixels"
            )
        mask = preprocessing.boxes(sample.boxes, (width, height))
    if sample.mask is not None:
        drawn = ImageOps.exif_transpose(sample.mask)
        # Half a pixel of rounding at the mask's scale is no other shape.
        if abs(drawn.width * height - drawn.height * width) > max(width, height):
            raise SycamError(
                f"{entry.where}: its mask{f' {entry.mask}' if entry.mask else ''} has {drawn.width}x{drawn.height} pixels, the "
                f"image {width}x{height}: a mask must have the image's shape"
            )
        inside = preprocessing.mask(sample.mask)
        mask = inside if mask is None else mask | inside
    return _Placed(pixels, mask, preprocessing.placed_boxes(sample.boxes, (width, height)))


def _sample(entry: Entry) -> Sample:
    if entry.sample is None:
        assert entry.file is not None  # one of the two is given
        picture, own = open_image(entry.file, entry.where), Sample(Image.new("L", (1, 1)))
    else:
        own = entry.sample()
        picture = own.picture
    mask = open_image(entry.mask, f"{entry.where}, its mask") if entry.mask is not None else None
    if entry.truth:
        return Sample(picture, mask or own.mask, entry.boxes or own.boxes)
    return Sample(picture, mask, entry.boxes)


def open_image(file: Path, where: str) -> Image.Image:
    """The decoded image file.

    Raises:
        SycamError: it cannot be read; `where` names it.
    """
    try:
        with Image.open(file) as picture:
            picture.load()
            picture.getexif()  # read and kept while the file is open
            return picture
    except UnidentifiedImageError as problem:
        raise SycamError(f"{where} is not an image that Pillow can read: remove it, or convert it to PNG") from problem
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise SycamError(f"{where} cannot be read ({problem}): copy it again, or remove it") from problem
