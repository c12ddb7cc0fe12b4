"""What travels between a run and its workers: JSON and tensors in one block of bytes, never pickled code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
from torch import Tensor

from sycam.baselines import BASELINES, Baseline
from sycam.errors import OracleError, SycamError, Unavailable
from sycam.oracle import Drawable
from sycam.theory import CAM
from sygus import Term, expand
from sygus.solver.messages import decode, encode

Key = tuple[str, int]
"""A unit of images: the set that it belongs to, and its number in it."""


@dataclass(eq=False)
class Job:
    """One piece of work.

    Attributes:
        do: what, see `Shard`.
        head: plain data; tensors: by name.
        unit: the unit of images that it is about, which its worker must hold; None where any worker may do it.
        deaths: how many workers have ended over it.
    """

    do: str
    head: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    unit: Key | None = None
    deaths: int = 0


@dataclass(eq=False)
class Answer:
    """What came of a job. `head` has `error` or `bug` where it failed."""

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


def pack_parts(head: Mapping[str, Any], parts: Sequence[Job | Answer]) -> bytes:
    """Jobs or answers in one message, in order."""
    heads = [{"head": part.head, **({"do": part.do, "unit": part.unit} if isinstance(part, Job) else {})} for part in parts]
    tensors = {f"{number}.{name}": tensor for number, part in enumerate(parts) for name, tensor in part.tensors.items()}
    return pack({**head, "parts": heads}, tensors)


def unpack_jobs(data: bytes) -> tuple[dict[str, Any], list[Job]]:
    """The head and the jobs of a message."""
    head, parts = _parts(data)
    return head, [Job(d["do"], d["head"], t, None if d["unit"] is None else (d["unit"][0], d["unit"][1])) for d, t in parts]


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
