"""Under which key a value is kept: everything that it follows from, by content. What differs in any of it is never found.

A shelf belongs to a network at its layer, with its preprocessing and sycam's code (`network_key`); a row on it to an image's
pixels, the terminal, the settings that this terminal reads, and the class explained where it speaks of one (`row_keys`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from sycam.images import ImageSet
from sycam.network import Network
from sycam.terminals import TERMINALS, TerminalSettings

from .code import code_digest, described, own_code

FORMAT = 1
LOGITS, PREDICTED = "network/logits", "network/predicted"
"""What is kept beside terminals: [N, C] logits, and [N] int64, the network's own class."""
OF_IMAGE = (LOGITS, PREDICTED)


def network_key(network: Network) -> str:
    """Of weights, structure, code, layer, output, reshape, preprocessing, precision and device, in hexadecimal.

    The probe's bits stand for what no text shows: a helper in another file, TF32, another number of threads. What changes neither
    the model's own files, its weights and attributes, nor its activations and logits there, is not noticed.
    """
    digest = hashlib.sha256()
    kind = torch.cuda.get_device_name(network.device) if network.device.type == "cuda" else network.device.type
    for part in (
        FORMAT, own_code(), torch.__version__, _version("zennit"), kind, network.dtype, network.weights_digest(), network.probe,
        network.layer, network.output, sorted(network.preprocessing.describe().items()),
        _object(network.reshape), network.tail_graph.code if network.tail_graph is not None else None,
    ):  # fmt: skip
        digest.update(f"{part}\n".encode())
    for line in _structure(network.model):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def image_keys(images: ImageSet) -> list[bytes]:
    """Of each image's pixels, 16 bytes each."""
    shape = f"{list(images.pixels.shape[1:])}".encode()
    return [hashlib.sha256(shape + pixels.contiguous().numpy().tobytes()).digest()[:16] for pixels in images.pixels.cpu()]


def row_keys(name: str, images: Sequence[bytes], classes: Sequence[int], settings: TerminalSettings) -> list[bytes]:
    """Of a terminal's value, or one of `OF_IMAGE`, for images and the class explained on each, 16 bytes each.

    >>> keys = [row_keys(name, [b"image"], [c], TerminalSettings(seed=c)) for name in ("A", "G") for c in (1, 2)]
    >>> keys[0] == keys[1], keys[2] == keys[3]
    (True, False)
    """
    entry = TERMINALS.get(name)
    text = [name]
    if entry is not None and name not in OF_IMAGE:
        read = settings.describe() if entry.settings is None else {field: getattr(settings, field) for field in entry.settings}
        text.append(repr(sorted(read.items())))
        if not entry.compute.__module__.startswith("sycam.terminals."):
            text.append(code_digest(entry.compute))
    start = hashlib.sha256("\n".join(text).encode())
    keys = []
    for image, image_class in zip(images, classes, strict=True):
        digest = start.copy()
        digest.update(image + (b"" if not of_class(name) else f" {image_class}".encode()))
        keys.append(digest.digest()[:16])
    return keys


def of_class(name: str) -> bool:
    """Whether a value depends on the class explained."""
    return name not in OF_IMAGE and TERMINALS[name].of_class


def _structure(model: nn.Module) -> list[str]:
    """The modules by name, with their types' code and their own plain attributes, and tensors that no state dict holds."""
    lines: list[str] = []
    codes: dict[type, str] = {}
    kept = set(model.state_dict().keys())
    for name, module in model.named_modules():
        kind = type(module)
        codes[kind] = codes.get(kind) or code_digest(kind)
        said = re.sub(r" at 0x[0-9a-fA-F]+", "", module.extra_repr())
        lines.append(f"{name} {kind.__module__}.{kind.__qualname__} {codes[kind]} {said}")
        for key, value in sorted(vars(module).items()):
            if not key.startswith("_") and key != "training":
                lines.append(f"{name}.{key} = {_object(value)}")
    lines += [f"{name} {_object(value)}" for name, value in model.named_buffers() if name not in kept]
    return lines


def _object(value: Any) -> str:
    """A value of any type in words, with its code where it has some."""
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().reshape(-1)
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(data.view(torch.uint8).numpy().data).hexdigest()}"
    text = described(value)
    if callable(value):
        text += f" {code_digest(value)}"
    if not isinstance(value, nn.Module | type) and type(value).__module__ not in ("builtins", "torch"):
        inner = sorted(getattr(value, "__dict__", {}).items())
        text += f" {code_digest(type(value))} {[(key, described(part)) for key, part in inner]}"
    return text


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
