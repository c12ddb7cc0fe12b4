"""A Python oracle in a process of its own, which can be ended whatever it does. Queries and answers are files, never pickles."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any
from weakref import finalize

import torch
from torch import Tensor

from sycam.errors import OracleError, SycamError, asked_about
from sycam.metrics.query import Query
from sygus.solver.messages import LineProcess

from .exchange import TENSORS, Exchange

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
            process = LineProcess("sycam.metrics.own.process", self.spec, seconds=START)
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
