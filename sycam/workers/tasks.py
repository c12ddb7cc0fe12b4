"""What travels between a run and its workers: JSON and tensors in one block of bytes, never pickled code but for a module that
the caller made; and how another process makes the same network, and finds the same metrics."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from sycam.cams import BASELINES, Baseline
from sycam.errors import OracleError, SycamError, Unavailable
from sycam.images import ImageSet
from sycam.metrics.metric import METRICS, Metric
from sycam.network import Network, Preprocessing, load_network
from sycam.scoring import Drawable
from sycam.store import TerminalStore
from sycam.theory import CAM
from sygus import Term, expand
from sygus.solver.messages import decode, encode

OUT_OF_MEMORY = 75
"""Exit status of a worker that has too little memory for what it was asked."""
Key = tuple[str, int]
"""A block of images: the set that it belongs to, and its number in it."""


@dataclass(eq=False)
class Task:
    """One piece of work.

    Attributes:
        do: what, see `Worker`.
        head: plain data; tensors: by name.
        block: the block of images that it is about, which its worker must hold; None where any worker may do it.
        deaths: how many workers have ended over it.
    """

    do: str
    head: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    block: Key | None = None
    deaths: int = 0


@dataclass(eq=False)
class Answer:
    """What came of a task. `head` has `error` or `bug` where it failed."""

    head: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)


def pack(head: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Plain data and tensors as bytes.

    >>> import torch
    >>> head, tensors = unpack(pack({"id": 1}, {"a": torch.arange(6).view(2, 3)[:, 1:]}))
    >>> head, tensors["a"].tolist()
    ({'id': 1}, [[1, 2], [4, 5]])
    """
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + safetensors.torch.save({name: _own(t) for name, t in tensors.items()})


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `pack` packed."""
    view = memoryview(data)
    stop = 8 + int.from_bytes(view[:8], "little")
    return json.loads(bytes(view[8:stop])), safetensors.torch.load(bytes(view[stop:]))


def pack_parts(head: Mapping[str, Any], parts: Sequence[Task | Answer]) -> bytes:
    """Tasks or answers in one message, in order."""
    heads = [{"head": part.head, **({"do": part.do, "block": part.block} if isinstance(part, Task) else {})} for part in parts]
    tensors = {f"{number}.{name}": tensor for number, part in enumerate(parts) for name, tensor in part.tensors.items()}
    return pack({**head, "parts": heads}, tensors)


def unpack_tasks(data: bytes) -> tuple[dict[str, Any], list[Task]]:
    """The head and the tasks of a message."""
    head, parts = _parts(data)
    return head, [Task(d["do"], d["head"], t, None if d["block"] is None else (d["block"][0], d["block"][1])) for d, t in parts]


def unpack_answers(data: bytes) -> tuple[dict[str, Any], list[Answer]]:
    """The head and the answers of a message."""
    head, parts = _parts(data)
    return head, [Answer(d["head"], t) for d, t in parts]


def _parts(data: bytes) -> tuple[dict[str, Any], list[tuple[dict[str, Any], dict[str, Tensor]]]]:
    head, tensors = unpack(data)
    parts: list[tuple[dict[str, Any], dict[str, Tensor]]] = [(described, {}) for described in head.pop("parts")]
    for name, tensor in tensors.items():
        number, own = name.split(".", 1)
        parts[int(number)][1][own] = tensor
    return head, parts


def encode_terms(terms: Sequence[Term]) -> dict[str, Any]:
    """Terms as plain data, define-funs written out.

    >>> from sycam.cams import find_cam
    >>> term = find_cam("gradcam++").term
    >>> decode_terms(encode_terms([term])) == [expand(term)]
    True
    """
    return encode([expand(term) for term in terms])


def decode_terms(data: Mapping[str, Any]) -> list[Term]:
    """What `encode_terms` encoded."""
    return decode(data, {name: operator.function for name, operator in CAM.operators.items()})


def encode_drawables(cams: Sequence[Drawable]) -> dict[str, Any]:
    """Terms and baselines as plain data."""
    return {
        "terms": encode_terms([cam for cam in cams if isinstance(cam, Term)]),
        "baselines": [cam.name if isinstance(cam, Baseline) else None for cam in cams],
    }


def decode_drawables(data: Mapping[str, Any]) -> list[Drawable]:
    """What `encode_drawables` encoded.

    Raises:
        SycamError: a baseline that was registered in the asking process only.
    """
    terms = iter(decode_terms(data["terms"]))
    return [next(terms) if name is None else baseline(name) for name in data["baselines"]]


def baseline(name: str) -> Baseline:
    """The registered baseline.

    Raises:
        SycamError: it was registered in the asking process only.
    """
    if name not in BASELINES:
        raise SycamError(f"workers know no CAM {name!r}: it was registered in a script; score it in one process")
    return BASELINES[name]


def pack_error(error: Exception) -> dict[str, Any]:
    """An error of the user's as plain data."""
    if isinstance(error, OracleError):
        details = {"images": error.images, "details": error.details, "timed_out": error.timed_out}
        return {"kind": "OracleError", "message": str(error), **details}
    return {"kind": "Unavailable" if isinstance(error, Unavailable) else "SycamError", "message": str(error)}


def unpack_error(data: Mapping[str, Any]) -> SycamError:
    """What `pack_error` packed.

    >>> unpack_error(pack_error(OracleError("no number", images=["a.png"]))).images
    ['a.png']
    """
    if data["kind"] == "OracleError":
        return OracleError(data["message"], images=data["images"], details=data["details"], timed_out=data["timed_out"])
    return (Unavailable if data["kind"] == "Unavailable" else SycamError)(data["message"])


def _own(tensor: Tensor) -> Tensor:
    """The tensor on the CPU with memory of its own size, as safetensors wants it."""
    tensor = tensor.detach().cpu().contiguous()
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def pack_store(store: TerminalStore | None) -> dict[str, Any] | None:
    """Where workers look terminals up, and keep them."""
    return None if store is None else {"folder": str(store.folder.absolute()), "limit": store.limit}


def pack_images(images: ImageSet) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Images as plain data and tensors."""
    tensors = {"pixels": images.pixels, "labels": images.labels}
    if images.masks is not None:
        tensors["masks"] = images.masks
    for place, boxes in enumerate(images.boxes or []):
        tensors[f"boxes.{place}"] = boxes
    return {"names": images.names, "class_names": {str(k): v for k, v in images.class_names.items()}}, tensors


def unpack_images(head: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ImageSet:
    """What `pack_images` packed.

    >>> images = ImageSet(["a.png"], torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.tensor([2]), boxes=[torch.ones(1, 4)])
    >>> unpack_images(*pack_images(images)).digest() == images.digest()
    True
    """
    boxes = [tensors[f"boxes.{place}"] for place in range(len(head["names"]))] if "boxes.0" in tensors else None
    class_names = {int(k): v for k, v in head["class_names"].items()}
    return ImageSet(head["names"], tensors["pixels"], tensors["labels"], tensors.get("masks"), class_names, boxes)


def describe_network(network: Network) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `make_network` needs: how to load it, where it was loaded by name; otherwise the module itself.

    Raises:
        SycamError: a module that another process could not make: its class, or what it holds, is not importable.
    """
    digest = {"sha256": network.weights_digest(), "name": network.name}
    if network.recipe is not None:
        return {**digest, "load": network.recipe}, {}
    for name, module in network.model.named_modules():
        home = type(module)
        if home.__module__ == "__main__" or "<locals>" in home.__qualname__:
            raise _refused(network, f"{home.__qualname__} ({name or 'the model'}) is defined in a script or in a function")
    parts = {"model": network.model, "output": network.output, "reshape": network.reshape}
    try:
        data = io.BytesIO()
        torch.save(parts, data)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise _refused(network, str(error)) from None
    made = {
        "preprocessing": asdict(network.preprocessing), "layer": network.layer, "class_names": network.class_names,
        "weights": network.weights, "precision": network.precision,
    }  # fmt: skip
    return {**digest, "made": made}, {"module": torch.frombuffer(bytearray(data.getvalue()), dtype=torch.uint8)}


def make_network(described: Mapping[str, Any], tensors: Mapping[str, Tensor], device: str) -> Network:
    """The network that was described, with the same weights.

    Raises:
        SycamError: it cannot be made here, or has other weights.
    """
    if "load" in described:
        network = load_network(**described["load"], device=device)
    else:
        network = _unpacked(described, tensors["module"], device)
    if network.weights_digest() != described["sha256"]:
        raise SycamError(
            f"{described['name']} has other weights in a worker than here: its factory draws them at random, or reads another "
            "file there; give `weights`, or fix the seed"
        )
    return network


def _unpacked(described: Mapping[str, Any], module: Tensor, device: str) -> Network:
    made = described["made"]
    try:  # written by this package in the process that started the worker, never a user's file
        parts = torch.load(io.BytesIO(module.numpy().tobytes()), map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise SycamError(f"a worker cannot import the class of {described['name']}: {error}") from None
    prep: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in made["preprocessing"].items()
    }
    model: nn.Module = parts["model"]
    return Network(
        model, Preprocessing(**prep), made["layer"], device=device, output=parts["output"], reshape=parts["reshape"],
        name=described["name"], class_names=made["class_names"], weights=made["weights"],
        precision=made["precision"],
    )  # fmt: skip


def _refused(network: Network, why: str) -> SycamError:
    return SycamError(
        f"{network.name} cannot be sent to workers: {why}. Name it as file.py:function or package.module:function, so that each "
        "worker makes it, or score in one process"
    )


def recipe_of(metric: Metric) -> Mapping[str, Any]:
    """How `find_again` finds the metric in another process.

    Raises:
        SycamError: a metric that was made in Python.

    >>> recipe_of(METRICS["average-drop"])["find"]
    'average-drop'
    """
    if METRICS.get(metric.name) is metric:
        return {"find": metric.name, "folder": None, "timeout": None}
    if metric.recipe is None:
        raise SycamError(
            f"metric {metric.name!r} was made in this process, and workers cannot know it: put it into a file and name it as "
            "file.py:Name"
        )
    return metric.recipe
