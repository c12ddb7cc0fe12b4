"""`ImageSet`: images with their labels and ground-truth masks, as pixels in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.network.preprocessing import Preprocessing


class Preprocessed(Protocol):
    """Whatever carries a preprocessing: a `Network`."""

    preprocessing: Preprocessing


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """N images of one size.

    Pixels stay uint8, a quarter of the normalised tensor: 1,000 images of 224x224 take 150 MB.

    Attributes:
        names: the file of each image, relative to its folder or table.
        pixels: RGB before normalisation, uint8 [N, 3, H, W].
        labels: image class of each, int64 [N]; -1 where unknown.
        masks: ground truth, true inside, bool [N, H, W]; None where no image has any. All false without a mask.
        class_names: of the labels that have one.
        boxes: of each image its boxes, float64 [n, 4] as (x0, y0, x1, y1) in these pixels, for metrics that look at one box at a
            time; they are part of `masks` too. None where no image has any.

    Raises:
        SycamError: the parts do not have one length.

    >>> images = ImageSet(["a.png", "b.png"], torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([1, -1]))
    >>> len(images), images.select([1]).names, images.has_mask.tolist()
    (2, ['b.png'], [False, False])
    """

    names: list[str]
    pixels: Tensor
    labels: Tensor
    masks: Tensor | None = None
    class_names: dict[int, str] = field(default_factory=dict)
    boxes: list[Tensor] | None = None

    def __post_init__(self) -> None:
        lengths = {
            "names": len(self.names),
            "pixels": len(self.pixels),
            "labels": len(self.labels),
            "masks": len(self.names) if self.masks is None else len(self.masks),
            "boxes": len(self.names) if self.boxes is None else len(self.boxes),
        }
        if len(set(lengths.values())) != 1:
            raise SycamError(f"an image set's parts must be of one length, not {lengths}")

    @cached_property
    def has_mask(self) -> Tensor:
        """Whether an image has a mask with anything inside the crop, bool [N]: an empty mask, or an object that the crop
        cuts off, is nothing to point at."""
        if self.masks is None:
            return torch.zeros(len(self.names), dtype=torch.bool)
        return self.masks.flatten(1).any(1)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        height, width = self.pixels.shape[2:]
        return f"ImageSet({len(self)} images of {width}x{height}, {int(self.has_mask.sum())} with a mask)"

    def select(self, indices: Tensor | Sequence[int] | slice) -> ImageSet:
        """The images at these places, in this order; a slice shares memory."""
        if isinstance(indices, slice):
            names, places = self.names[indices], list(range(*indices.indices(len(self))))
        else:
            indices = torch.as_tensor(indices, dtype=torch.int64)
            names, places = [self.names[place] for place in indices.tolist()], indices.tolist()
        return ImageSet(
            names,
            self.pixels[indices],
            self.labels[indices],
            None if self.masks is None else self.masks[indices],
            self.class_names,
            None if self.boxes is None else [self.boxes[place] for place in places],
        )

    def normalised(
        self,
        indices: Tensor | Sequence[int] | slice,
        preprocessing: Preprocessing | Preprocessed,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """The images at these places as the network takes them, float32 [N, 3, H, W].

        Args:
            indices: places, or a slice.
            preprocessing: or a `Network`, which carries one.
            device: where the result lies; the network's own, or else the CPU, where None.
        """
        prep = preprocessing if isinstance(preprocessing, Preprocessing) else preprocessing.preprocessing
        if device is None:
            device = getattr(preprocessing, "device", None)
        places = indices if isinstance(indices, slice) else torch.as_tensor(indices, dtype=torch.int64)
        return prep.normalise(self.pixels[places], device)

    def digest(self) -> str:
        """sha256 over pixels, labels, masks and boxes, in hexadecimal: of the content, not of the files' names."""
        digest = hashlib.sha256(f"{list(self.pixels.shape)} {self.masks is not None}\n".encode())
        for part in (self.pixels, self.labels, *([] if self.masks is None else [self.masks])):
            digest.update(part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        for boxes in self.boxes or []:
            digest.update(f"{boxes.tolist()}\n".encode())
        return digest.hexdigest()
