"""What a job names, loaded: its network under its protocol, and its images in the network's geometry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from sycam.errors import SycamError
from sycam.images import ImageSet, ImageSource, load_images, split
from sycam.job import ImageSpec, ModelSpec
from sycam.metrics.metric import Metric
from sycam.metrics.protocol import DEFAULT, Protocol
from sycam.network import Network, load_network
from sycam.network.outputs import Reshape


def network_of(
    spec: ModelSpec,
    protocol: Protocol = DEFAULT,
    model: nn.Module | Network | None = None,
    reshape: Reshape | None = None,
) -> Network:
    """The network that a job names, and where it says nothing its protocol.

    Args:
        spec: of the job. protocol: of the scores.
        model: an object instead of the job's name; a `Network` is used as it is.
        reshape: see `load_network`.
    """
    if isinstance(model, Network):
        return model
    options = {name: value for name, value in spec.plain().items() if name != "model"} | {"reshape": reshape}
    if isinstance(options["resize"], str) and options["resize"].isdecimal():
        options["resize"] = int(options["resize"])
    return under_protocol(protocol, spec.model if model is None else model, options)


def under_protocol(protocol: Protocol, model: str | nn.Module, options: Mapping[str, Any]) -> Network:
    """The network with the protocol's preprocessing and layer, where the options do not name others.

    Args:
        protocol: of the scores.
        model: see `load_network`.
        options: keywords of `load_network`; None counts as not given.
    """
    given = {key: value for key, value in options.items() if value is not None}
    wanted = {**protocol.preprocessing, **given}
    if "layer" not in wanted and isinstance(model, nn.Module):
        wanted["layer"] = protocol.layer_of(model)
    network = load_network(model, **wanted)
    layer = protocol.layer_of(network.model) if wanted.get("layer") is None else None
    return network if layer in (None, network.layer) else load_network(model, **{**wanted, "layer": layer})


def images_of(spec: ImageSpec, network: Network, seed: int, images: ImageSet | None = None, embedded: bool = False) -> ImageSet:
    """The images that a job names, at most its limit, drawn at random; the embedded ones where it names none.

    Args:
        spec: of the job. network: in whose geometry images are read. seed: of the draw.
        images: an object instead. embedded: whether the network is the embedded one.

    Raises:
        SycamError: none are named for another network than the embedded one, or they cannot be read.
    """
    if images is not None:
        if spec.limit is None or spec.limit >= len(images):
            return images
        draw = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: spec.limit]
        return images.select(draw.sort().values)
    if spec.images is not None or spec.dataset is not None:
        source = ImageSource(spec.images, spec.dataset, spec.masks, spec.boxes)
        return source.load(network.preprocessing, spec.limit, seed)
    if not embedded:
        raise SycamError(
            "no images: the embedded ones go with the embedded model only; name a folder or a CSV (`images`), or a `dataset`"
        )
    from sycam.embedded import images_csv

    return load_images(images_csv(), network.preprocessing, limit=spec.limit, seed=seed)


def usable(images: ImageSet, metric: Metric, warn: Callable[[str], None]) -> ImageSet:
    """The images that the metric can be asked about: for a metric that needs masks, those that have one."""
    if not metric.needs_masks or bool(images.has_mask.all()):
        return images
    kept = images.has_mask.nonzero()[:, 0]
    if not len(kept):
        raise SycamError(f"metric {metric.name!r} needs masks or boxes, and no image has any: give them as `masks` or `boxes`")
    warn(f"{len(images) - len(kept)} of {len(images)} images have no mask and are left out of {metric.name}")
    return images.select(kept)


def check_labels(images: ImageSet, network: Network, classes: str) -> None:
    """The classes to explain must be known, and labels must be classes of the network.

    Raises:
        SycamError: naming the image.
    """
    wrong = (images.labels < 0) | (images.labels >= network.n_classes)
    if classes == "labelled" and bool(wrong.any()):
        place = int(wrong.nonzero()[0, 0])
        raise SycamError(
            f"{images.names[place]} has the label {int(images.labels[place])}, not one of the {network.n_classes} classes of "
            f"{network.name}: correct it, or explain the predicted class"
        )


def parts_of(images: ImageSet, held_out: float, seed: int) -> list[ImageSet]:
    """Search and held-out images; one part where no share is held out."""
    if held_out == 0:
        return [images]
    searched, kept_out = split(images.labels, 1 - held_out, seed)
    return [images.select(searched), images.select(kept_out)]
