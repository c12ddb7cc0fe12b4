"""Which images a run searches on and which it holds out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sycam.errors import SycamError
from sycam.images import ImageSet, ImageSource, load_images, split
from sycam.metrics.registry import Metric
from sycam.network import Network

from .observe import Observer
from .settings import Settings


def chosen_images(
    images: str | Path | ImageSet | ImageSource | None, model: Any, network: Network, limit: int | None, seed: int
) -> ImageSet:
    """The images that were named, at most `limit` of them, drawn at random; the embedded ones for None.

    Raises:
        SycamError: none were named for another model than the embedded one, or they cannot be read.
    """
    if isinstance(images, ImageSet):
        if limit is None or limit >= len(images):
            return images
        draw = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:limit]
        return images.select(draw.sort().values)
    if isinstance(images, ImageSource):
        return images.load(network.preprocessing, limit, seed)
    if images is not None and not isinstance(images, (str, Path)):
        raise SycamError(f"images are a path, an ImageSource or an ImageSet, not {type(images).__name__}: see load_images")
    if images is None:
        if model != "embedded":
            raise SycamError(
                "no images: the embedded ones go with the embedded model only; name a folder or a CSV (--images, --dataset)"
            )
        from sycam.embedded import images_csv

        images = images_csv()
    return load_images(images, network.preprocessing, limit=limit, seed=seed)


def usable(images: ImageSet, metric: Metric, observer: Observer) -> ImageSet:
    """The images that the metric can be asked about: for a metric that needs masks, those that have one."""
    if not metric.needs_masks or bool(images.has_mask.all()):
        return images
    kept = images.has_mask.nonzero()[:, 0]
    if not len(kept):
        raise SycamError(f"metric {metric.name!r} needs masks or boxes, and no image has any: give them with --masks or --boxes")
    observer.warn(f"{len(images) - len(kept)} of {len(images)} images have no mask and are left out of {metric.name}")
    return images.select(kept)


def check_labels(images: ImageSet, network: Network, classes: str) -> None:
    """The classes to explain must be known, and labels must be classes of the network.

    Raises:
        SycamError: naming the image.
    """
    wrong = images.labels >= network.n_classes
    if classes == "labelled":
        wrong |= images.labels < 0
    if bool(wrong.any()) and classes == "labelled":
        place = int(wrong.nonzero()[0, 0])
        raise SycamError(
            f"{images.names[place]} has the label {int(images.labels[place])}, not one of the {network.n_classes} classes of "
            f"{network.name}: correct it, or explain the predicted class"
        )


def parts_of(images: ImageSet, settings: Settings) -> list[ImageSet]:
    """Search and held-out images; one part where nothing is held out."""
    if settings.held_out == 0:
        return [images]
    searched, held_out = split(images.labels, 1 - settings.held_out, settings.seed)
    return [images.select(searched), images.select(held_out)]
