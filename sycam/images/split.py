"""Split images into those a search sees and those held out, evenly over the image classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sycam.errors import SycamError


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
