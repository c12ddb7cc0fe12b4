"""The process of an isolated oracle: `python -m sycam.metrics.own.process file.py:Name`, spoken to in lines of JSON."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sycam.errors import OracleError, SycamError
from sycam.metrics.query import Query
from sygus.solver.messages import end_with_parent

from .exchange import read_tensor
from .plugin import load_oracle


class _Pipe:
    """The parent, behind what were stdin and stdout: what the user's code prints goes to stderr and cannot be taken for an
    answer."""

    def __init__(self) -> None:
        self._in = os.fdopen(os.dup(0), "rb")
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def send(self, message: dict[str, Any]) -> None:
        """A line to the parent."""
        line = memoryview(json.dumps(message).encode() + b"\n")
        while line:
            line = line[self._out.write(line) or 0 :]

    def receive(self) -> dict[str, Any]:
        """The parent's next line; ends the process where the parent is gone."""
        line = self._in.readline()
        if not line:
            sys.exit(0)
        return json.loads(line)


def main() -> None:
    """Answers queries until the parent ends."""
    end_with_parent()
    pipe = _Pipe()
    try:
        oracle = load_oracle(sys.argv[1], isolate=False)
    except SycamError as error:
        pipe.send({"error": str(error), "details": traceback.format_exc()})
        return
    pipe.send({"ready": True})
    while True:
        file = Path(pipe.receive()["query"])
        try:
            values = oracle.compute(_query(file, pipe))
            if not isinstance(values, Tensor):
                raise OracleError(f"oracle {sys.argv[1]} must return a tensor, one number per job, not a {type(values).__name__}")
            pipe.send({"values": values.detach().double().flatten().tolist(), "shape": list(values.shape)})
        except OracleError as error:
            message = str(error).rpartition("; asked about ")[0] or str(error)
            pipe.send({"error": message, "details": error.details})


def _query(file: Path, pipe: _Pipe) -> Query:
    """The query that lies in files, whose network is asked through the pipe."""
    given = json.loads(file.read_text(encoding="utf-8"))
    tensors = {name: read_tensor(kept) for name, kept in given["files"].items()}
    index = torch.tensor(given["image_index"], dtype=torch.int64)
    count = given["images"]

    def by_image(values: Tensor) -> Tensor:
        """[N, ...] with equal rows for jobs of one image to [B, ...]; an image without a job keeps zeros."""
        found = values.new_zeros(count, *values.shape[1:])
        found[index] = values
        return found

    def written(images: Tensor) -> str:
        asked = file.parent / "asked.f32"
        images.detach().cpu().numpy().astype(np.dtype("<f4")).tofile(asked)
        return str(asked)

    def ask(images: Tensor) -> Tensor:
        pipe.send({"ask": written(images)})
        return read_tensor(pipe.receive())

    def redraw(images: Tensor, jobs: Tensor) -> tuple[Tensor, Tensor]:
        pipe.send({"redraw": written(images), "jobs": jobs.tolist()})
        drawn = pipe.receive()
        return read_tensor(drawn["heatmaps"]), read_tensor(drawn["probabilities"])

    names = [f"image {place}" for place in range(count)]
    for place, name in zip(given["image_index"], given["names"], strict=True):
        names[place] = name
    return Query(
        tensors["heatmaps"], tensors["images"], by_image(torch.tensor(given["classes"], dtype=torch.int64)),
        by_image(torch.tensor(given["p"], dtype=torch.float32)), ask, image_index=index,
        masks=by_image(tensors["masks"] != 0) if "masks" in tensors else None, names=names, batch=given["batch"],
        fill=None if given["fill"] is None else torch.tensor(given["fill"]), labels=by_image(torch.tensor(given["labels"])),
        predicted=by_image(torch.tensor(given["predicted"])), redraw=redraw, curves=given["curves"],
        boxes=None if given["boxes"] is None else [torch.tensor(boxes).view(-1, 4) for boxes in given["boxes"]],
    )  # fmt: skip


if __name__ == "__main__":
    main()
