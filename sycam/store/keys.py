"""Under which key a value is kept: everything that it follows from, by content. What differs in any of it is never found.

A shelf belongs to a network at its layer, with its preprocessing and sycam's code (`network_key`); a row on it to an image's
pixels, the terminal, the settings that this terminal reads, and the class explained where it speaks of one (`row_keys`).
Code counts as a digest: of the file that it stands in, or of its bytecode where there is none (a notebook, a shell).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from sycam.images import ImageSet
from sycam.network import Network
from sycam.terminals import TERMINALS, TerminalSettings

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


SIMPLE = (bool, int, float, complex, str, bytes, type(None))
OWN = ("terminals", "network", "heatmap.py")
"""The parts of sycam from which a terminal's value follows."""


@cache
def own_code() -> str:
    """Of sycam's terminals and of all that they are computed with: the version of every value that is kept."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for part in OWN:
        files = sorted((root / part).rglob("*.py")) if not part.endswith(".py") else [root / part]
        for file in files:
            digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def code_digest(subject: Any) -> str:
    """Of a function, or of a class with those that it inherits from. It changes with their files, and so with helpers in these.

    >>> code_digest(code_digest) == code_digest(own_code.__wrapped__), code_digest(len)
    (True, 'builtins.len')
    """
    functions = [subject]
    if isinstance(subject, type):
        members = [member for base in subject.__mro__ for member in vars(base).values()]
        functions = [getattr(m, "__func__", getattr(m, "fget", m)) for m in members]  # of class methods, of properties
    functions = [function for function in functions if hasattr(function, "__code__")]
    codes = [function.__code__ for function in functions]
    if not codes:
        return f"{getattr(subject, '__module__', '')}.{getattr(subject, '__qualname__', type(subject).__qualname__)}"
    digest = hashlib.sha256()
    for file in sorted({code.co_filename for code in codes}):
        path = Path(file)
        if path.is_file():
            status = path.stat()
            digest.update(_file(path, status.st_mtime_ns, status.st_size))
        else:
            digest.update("".join(map(_bytecode, codes)).encode())
    for function in functions:  # what one code is given in several places
        given = (*(getattr(function, "__defaults__", None) or ()), *_enclosed(function))
        digest.update(repr([described(value) for value in given]).encode())
    return digest.hexdigest()


def described(value: Any) -> str:
    """A value in words that are the same in every process: numbers, text and containers of these in full, others by type."""
    if isinstance(value, SIMPLE):
        return repr(value)
    if isinstance(value, tuple | list | set | frozenset):
        parts = [described(part) for part in value]
        return f"{type(value).__name__}({', '.join(sorted(parts) if isinstance(value, set | frozenset) else parts)})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{described(k)}: {described(v)}' for k, v in value.items())})"
    name = getattr(value, "__qualname__", None)
    return f"{type(value).__module__}.{type(value).__qualname__}" + (f" {name}" if name else "")


@cache
def _file(path: Path, changed: int, size: int) -> bytes:
    """sha256 of a file, read again only when it has changed."""
    return hashlib.sha256(path.read_bytes()).digest()


def _bytecode(code: CodeType) -> str:
    constants = [_bytecode(c) if isinstance(c, CodeType) else described(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames}"


def _enclosed(function: Any) -> list[Any]:
    cells = getattr(function, "__closure__", None) or ()
    found = []
    for cell in cells:
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not filled yet
            found.append(None)
    return found
