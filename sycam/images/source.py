"""Where images come from, as a person names it, before the network is known whose geometry they take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sycam.errors import SycamError
from sycam.images.datasets import load_dataset
from sycam.images.imageset import ImageSet
from sycam.images.read import load_images
from sycam.network.preprocessing import Preprocessing


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
