"""Workers as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from sycam.errors import SycamError
from sycam.interrupt import held_back

from .pool import OUT_OF_MEMORY, Died


class LocalWorker:
    """One process. It is no part of the terminal's group, so that Ctrl-C reaches the run alone, and ends with the run."""

    def __init__(self, number: int, threads: int | None) -> None:
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
        few = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sycam.workers.serve", str(theirs.fileno())], pass_fds=[theirs.fileno()],
                env={**os.environ, **few, "PYTHONPATH": path}, start_new_session=True, stdin=subprocess.DEVNULL, stdout=2,
            )  # fmt: skip
        self.connection = Connection(ours.detach())
        self.pid = self._process.pid
        self.name = f"worker {number} (process {self.pid})"

    def send(self, message: bytes) -> None:
        """Raises `Died`."""
        try:
            with held_back():
                self.connection.send_bytes(message)
        except OSError:
            raise self._died() from None

    def receive(self) -> bytes:
        """The next answer; raises `Died`."""
        try:
            with held_back():
                return self.connection.recv_bytes()
        except (EOFError, OSError):
            raise self._died() from None

    def interrupt(self) -> None:
        """It leaves what it is at, and answers at once."""
        self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self.connection.close()

    def _died(self) -> Died:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        status = self._process.poll()
        if status == OUT_OF_MEMORY:
            return Died("had too little memory and ended")
        if status is not None and status < 0:
            return Died(f"was ended by {signal.Signals(-status).name}")
        return Died(f"ended with exit status {status}")


class Local:
    """Worker processes on this machine.

    Args:
        count: how many.
        device: of the network: `cuda` without a number gives each worker a device of its own, in turn.

    Attributes:
        threads: of each worker on a CPU, which they share evenly.
    """

    missing = 0
    where = "this machine"

    def __init__(self, count: int, device: torch.device) -> None:
        self.count, self.device = count, device
        self.threads = max(1, torch.get_num_threads() // count) if device.type == "cpu" else None

    def start(self, number: int) -> LocalWorker:
        """A new process.

        Raises:
            SycamError: the system gives none.
        """
        try:
            return LocalWorker(number, self.threads)
        except OSError as error:
            raise SycamError(f"cannot start worker {number}: {error.strerror}") from None

    def options(self, number: int) -> dict[str, Any]:
        """The device and the threads of that worker."""
        device = self.device
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", number % torch.cuda.device_count())
        return {"device": str(device), "threads": self.threads}

    def wait(self, workers: Sequence[LocalWorker]) -> list[LocalWorker]:
        """Those that have answered or ended, at least one."""
        ready = wait([worker.connection for worker in workers])
        return [worker for worker in workers if worker.connection in ready]

    def close(self) -> None:
        """Nothing is left to end."""
