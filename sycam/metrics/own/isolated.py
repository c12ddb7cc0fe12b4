"""A Python oracle in a process of its own, which can be ended whatever it does. Queries and answers are files, never pickles.

That process is `python -m sycam.metrics.own.isolated file.py:Name`, spoken to in lines of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from sycam.errors import OracleError, SycamError, asked_about
from sycam.metrics.query import Query
from sygus.solver.messages import LineProcess, end_with_parent

from .exchange import TENSORS, Exchange, read_tensor

START = 120.0  # seconds for Python, torch and the user's file


class Isolated:
    """Asks an oracle that lives in another process; that starts with the first query, and anew after it was ended.

    Args:
        spec: `file.py:Name` or `package.module:Name`, which the other process loads.
        seconds: how long it may be silent; the network's own time is not counted.
    """

    def __init__(self, spec: str, seconds: float) -> None:
        self.spec, self.seconds = spec, seconds
        self._process: LineProcess | None = None
        self._end: finalize | None = None

    def __call__(self, query: Query) -> Tensor:
        process = self._started()
        with tempfile.TemporaryDirectory(prefix="sycam-oracle-") as folder:
            exchange = Exchange(query, Path(folder), TENSORS)
            try:
                process.send({"query": str(exchange.write(self.spec))})
                message = self._conversation(process, exchange)
            except SycamError as error:
                self.close()
                if isinstance(error, OracleError):
                    raise
                raise OracleError(
                    f"oracle {self.spec} failed: {error}; {asked_about(query.names)}", images=query.names
                ) from error
            except BaseException:  # it would take the next query for the answer that it waits for
                self.close()
                raise
        if "error" in message:
            raise OracleError(f"{message['error']}; {asked_about(query.names)}", images=query.names, details=message["details"])
        return torch.tensor(message["values"], dtype=torch.float64, device=query.heatmaps.device).view(message["shape"])

    def _conversation(self, process: LineProcess, exchange: Exchange) -> dict[str, Any]:
        """The oracle's last word on a query, after all that it asks the network on the way."""
        while True:
            message = self._receive(process, exchange.query)
            if "ask" in message:
                path, count, classes = exchange.answer(message["ask"])
                process.send({"path": str(path), "type": "float32", "shape": [count, classes]})
            elif "redraw" in message:
                maps, probabilities = exchange.redraw(message["redraw"], message["jobs"])
                process.send({"heatmaps": maps, "probabilities": probabilities})
            else:
                return message

    def _receive(self, process: LineProcess, query: Query) -> dict[str, Any]:
        start = time.monotonic()
        message = process.receive()
        if message is not None:
            return message
        hung = time.monotonic() - start >= self.seconds - 0.5 and process.alive
        what = f"gave no answer within {self.seconds:g} s and was ended" if hung else "ended in the midst of a query"
        raise OracleError(f"oracle {self.spec} {what}; {asked_about(query.names)}", images=query.names, timed_out=hung)

    def _started(self) -> LineProcess:
        if self._process is None or not self._process.alive:
            self.close()
            process = LineProcess("sycam.metrics.own.isolated", self.spec, seconds=START)
            self._process, self._end = process, finalize(self, process.close)
            ready = process.receive()
            if ready is None or "error" in ready:
                self.close()
                raise OracleError(
                    f"oracle {self.spec}: its process did not start: {(ready or {}).get('error', 'it ended')}",
                    details=(ready or {}).get("details", ""),
                )
            process.seconds = self.seconds
        return self._process

    def close(self) -> None:
        """Ends the process."""
        if self._end is not None:
            self._end()
        self._process = self._end = None


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
    from .plugin import load_oracle  # which knows this module

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
