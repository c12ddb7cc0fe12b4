"""`ImageSet`: images with their labels and ground-truth masks, as pixels in memory; and its split into those a search sees and
those held out, evenly over the image classes."""

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


def split(labels: Tensor | Sequence[int], fraction: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Places of the images to search on, and of those held out.

    Each image class that is large enough to have an image on both sides (n·min(fraction, 1 − fraction) ≥ 1) is split in
    proportion; images of smaller classes, and of none (-1), are pooled and split together.

    Args:
        labels: image class of each image, [N]; -1 where unknown.
        fraction: the share to search on, above 0 and below 1.
        seed: decides which images; the same on every machine.

    Returns:
        (search, held_out), int64, each ascending; together every place once. `search` has N·fraction places, rounded,
        and at least one on each side; each class has its share to the next whole image.

    Raises:
        SycamError: a fraction outside (0, 1), or fewer than two images.

    >>> search, held_out = split([0, 0, 0, 0, 1, 1, 1, 1, 2], 0.5)
    >>> len(search), len(held_out), int((torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2])[search] == 0).sum())
    (4, 5, 2)
    """
    classes = torch.as_tensor(labels, dtype=torch.int64).cpu()
    total = len(classes)
    if not 0 < fraction < 1:
        raise SycamError(f"the share of images to search on must lie between 0 and 1, not {fraction}")
    if total < 2:
        raise SycamError(f"{total} image{'' if total == 1 else 's'} cannot be split: give at least two, or do not hold out")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(total, generator=generator)

    values, counts = classes.unique(return_counts=True)
    # The small slack keeps 10 images at 0.1 large enough in floating point.
    large = values[(counts * min(fraction, 1 - fraction) >= 1 - 1e-9) & (values >= 0)]
    pooled = ~torch.isin(classes, large)
    strata = [order[classes[order] == value] for value in large.tolist()] + [order[pooled[order]]]
    strata = [stratum for stratum in strata if len(stratum)]

    wanted = min(max(round(total * fraction), 1), total - 1)
    shares = [len(stratum) * fraction for stratum in strata]
    takes = [int(share + 1e-9) for share in shares]
    # Largest remainders get the images that rounding down left over; ties go to a seeded order, not to the first class.
    ties = torch.randperm(len(strata), generator=generator).tolist()
    by_remainder = sorted(range(len(strata)), key=lambda place: (takes[place] - shares[place], ties[place]))
    for place in by_remainder[: max(wanted - sum(takes), 0)]:
        takes[place] += 1

    search = torch.cat([stratum[:take] for stratum, take in zip(strata, takes, strict=True)]).sort().values
    held_out = torch.ones(total, dtype=torch.bool)
    held_out[search] = False
    return search, held_out.nonzero()[:, 0]
