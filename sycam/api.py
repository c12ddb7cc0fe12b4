"""Heatmaps and scores of given CAMs, without a search."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from sycam.cams import AnyCam, Baseline, Cam, find_cam
from sycam.errors import SycamError
from sycam.images import ImageSet
from sycam.metrics.metric import Metric
from sycam.metrics.own.find import find_metric
from sycam.metrics.protocol import DEFAULT, Protocol, find_protocol
from sycam.network import Network
from sycam.run.given import under_protocol
from sycam.run.result import Result, cam_heatmaps
from sycam.scoring.comparison import Request, compare
from sycam.scoring.scorer import require_masks
from sycam.store import TerminalStore
from sycam.terminals import TerminalSettings

CamLike = str | Path | Cam | Baseline | Result


def heatmaps(
    cam: CamLike,
    model: nn.Module | Network | str,
    images: Tensor,
    layer: str | None = None,
    classes: Tensor | None = None,
    settings: TerminalSettings | None = None,
) -> Tensor:
    """Heatmaps of one CAM.

    Args:
        cam: a known CAM ("gradcam"), a baseline or control ("eigencam"), a term's text ("(gap G)"), a `.sy` file, a
            run's folder, or a result.
        model: a CNN that returns logits; a `Network`; or a name, see `load_network`.
        images: normalised, [B, 3, H, W], or [B, 1, H, W] for a network of grey images.
        layer: the target layer; None for the usual one. Given with a `Network` it must be that network's.
        classes: [B], the image class to explain; None for the predicted one.
        settings: samples, steps, orderings and the seed of terminals; None for a result's own, and else the defaults.

    Returns:
        [B, H, W] in [0, 1], on the model's device.

    Raises:
        SycamError: an unknown CAM, layer or model; a terminal that the network cannot give.

    >>> heatmaps("gradcam", "embedded", torch.randn(2, 3, 64, 64)).shape
    torch.Size([2, 64, 64])
    """
    chosen = _cam(cam)
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3):
        shape = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise SycamError(
            f"images must be a normalised tensor [B, 3, H, W], or [B, 1, H, W] for a network of grey images, not {shape}"
        )
    if not images.is_floating_point() or not len(images):
        raise SycamError(f"images must be at least one, normalised and floating point; got {len(images)} of {images.dtype}")
    network = _network(model, layer, images)
    if images.shape[1] != network.preprocessing.channels:
        raise SycamError(f"{network.name} takes images of {network.preprocessing.channels} channels, not {images.shape[1]}")
    _check_classes(classes, len(images), network)
    settings = settings or (cam.terminal_settings if isinstance(cam, Result) else None)
    return cam_heatmaps([chosen], network, images, classes, settings=settings)[0]


def score(
    cam: CamLike,
    metric: str | Metric,
    model: nn.Module | Network | str,
    images: ImageSet,
    layer: str | None = None,
    classes: Tensor | None = None,
    settings: TerminalSettings | None = None,
    protocol: str | Path | Protocol | None = None,
    store: TerminalStore | None = None,
) -> Tensor:
    """The metric of one CAM on each image.

    Args:
        cam: see `heatmaps`.
        metric: a name of `sycam list metrics`, a weighted sum of such, `file.py:Name` of your own, or a `Metric`.
        model: see `heatmaps`.
        images: pixels with labels and masks, from `load_images`.
        layer, settings: see `heatmaps`.
        classes: see `heatmaps`; where None, those of the protocol.
        protocol: "adcc" (where None), "opticam", "rise", a TOML file or a `Protocol`: what masked pixels become, and of a model
            that is not yet a `Network` the preprocessing and layer.
        store: where terminals are looked up before they are computed, and kept; None for nowhere.

    Returns:
        [N] float64 on the CPU, in the metric's own units; of a metric that is no mean over images its parts, [N, P], which
        `Metric.aggregate` makes a score of.

    Raises:
        SycamError: as `heatmaps`; the metric needs masks and an image has none; the CAM is not finite on an image.

    >>> from sycam.embedded import images_csv
    >>> from sycam.images import load_images
    >>> from sycam.network import load_network
    >>> network = load_network("embedded")
    >>> images = load_images(images_csv(), network.preprocessing, limit=8)
    >>> score("gradcam", "average-gain", network, images).shape
    torch.Size([8])
    """
    chosen = _cam(cam)
    if not isinstance(images, ImageSet):
        raise SycamError(f"score takes an ImageSet, from load_images(path, network.preprocessing), not {type(images).__name__}")
    chosen_protocol = find_protocol(protocol)
    network = _network(model, layer, images.pixels, chosen_protocol)
    if classes is None and chosen_protocol.classes == "labelled":
        classes = images.labels
    _check_classes(classes, len(images), network)
    settings = settings or (cam.terminal_settings if isinstance(cam, Result) else None)
    asked = find_metric(metric)
    require_masks(asked, images)
    wanted = Request([chosen], [asked], settings or TerminalSettings(), protocol=chosen_protocol)
    found = compare(wanted, network, images, classes, store=store)
    return found.scores[asked.name][0]


def _check_classes(classes: Tensor | None, count: int, network: Network) -> None:
    """One class of the network for each image, or None."""
    if classes is None:
        return
    if not isinstance(classes, Tensor) or classes.ndim != 1 or len(classes) != count or classes.is_floating_point():
        given = f"of shape {list(classes.shape)} and {classes.dtype}" if isinstance(classes, Tensor) else repr(classes)
        raise SycamError(f"classes must be a tensor of one integer for each of the {count} images, not {given}")
    if bool(((classes < 0) | (classes >= network.n_classes)).any()):
        raise SycamError(f"{network.name} has the classes 0 to {network.n_classes - 1}; got {classes.tolist()}")


def _cam(cam: CamLike) -> AnyCam:
    if isinstance(cam, Result):
        return cam.answer.cam
    return cam if isinstance(cam, Cam | Baseline) else find_cam(str(cam))


def _network(model: nn.Module | Network | str, layer: str | None, images: Tensor, protocol: Protocol = DEFAULT) -> Network:
    if isinstance(model, Network):
        if layer is not None and layer != model.layer:
            raise SycamError(f"this Network is read at {model.layer!r}, not {layer!r}: load another one")
        return model
    if isinstance(model, nn.Module):
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        return under_protocol(protocol, model, {"layer": layer, "size": images.shape[-1], "device": device})
    if not isinstance(model, str):
        raise SycamError(f"a model is an nn.Module, a Network or a name, not {type(model).__name__}")
    return under_protocol(protocol, model, {"layer": layer})
