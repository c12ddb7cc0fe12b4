"""Where workers run: as processes of this machine, or as actors of a Ray cluster, every machine of which needs sycam and the
files that the run names."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

import torch

from sycam.errors import SycamError
from sycam.interrupt import held_back

from .tasks import OUT_OF_MEMORY


class Died(Exception):
    """A worker has ended; the words say how."""


class Handle(Protocol):
    """One worker, wherever it runs. It answers each message, in order."""

    name: str

    def send(self, message: bytes) -> None:
        """Raises `Died`."""

    def receive(self) -> bytes:
        """The next answer; raises `Died`."""

    def interrupt(self) -> None:
        """Asks it to leave the message that it is at."""

    def close(self) -> None:
        """Ends it."""


class Transport(Protocol):
    """Where workers run; its handles are its own."""

    count: int
    where: str

    def start(self, number: int) -> Handle | None:
        """A new worker; None where there is no room for another."""

    def options(self, number: int) -> dict[str, object]:
        """The device and the threads of that worker."""

    def wait(self, workers: Sequence[Any]) -> list[Any]:
        """Those that have answered or ended, at least one."""

    def close(self) -> None:
        """Ends what it began."""


class LocalWorker:
    """One process. It is no part of the terminal's group, so that Ctrl-C reaches the run alone, and ends with the run."""

    def __init__(self, number: int, threads: int | None) -> None:
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
        few = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sycam.workers.worker", str(theirs.fileno())], pass_fds=[theirs.fileno()],
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


PATIENCE = 60.0
"""Seconds that a worker may take to find a place in the cluster."""

START = "start one with `ray start --head`, which prints its address, or take `ray` local"


class Actor:
    """A worker's `Worker` as Ray runs it."""

    def __init__(self) -> None:
        from .worker import Worker

        self._worker = Worker()

    def where(self) -> str:
        """Machine and process."""
        ray = _ray()
        return f"node {ray.get_runtime_context().get_node_id()[:8]}, process {os.getpid()}"

    def answer(self, message: bytes) -> bytes:
        """See `Worker.answer`."""
        try:
            return self._worker.answer(message)
        except MemoryError:  # only a process that starts again has its memory back
            os._exit(OUT_OF_MEMORY)


class ClusterWorker:
    """One actor."""

    def __init__(self, actor: Any, name: str) -> None:
        self.actor, self.name = actor, name
        self.reference: Any = None

    def send(self, message: bytes) -> None:
        """Raises `Died`."""
        self.reference = _calling(lambda: self.actor.answer.remote(message))

    def receive(self) -> bytes:
        """The next answer; raises `Died`."""
        return _calling(lambda: _ray().get(self.reference))

    def interrupt(self) -> None:
        """An actor finishes what it is at."""

    def close(self) -> None:
        """Ends the actor."""
        _ray().kill(self.actor)


class Cluster:
    """Workers on a Ray cluster.

    Args:
        address: of the cluster: `host:port`, `ray://host:port`, `auto` for the one that this machine belongs to, or `local` for a
            new one on this machine.
        count: how many workers; None for one a GPU, or one a machine where the network runs on a CPU.
        device: of the network, on the workers' machines.

    Raises:
        SycamError: Ray is not installed, there is no such cluster, or it has no room for a worker within `PATIENCE`.
    """

    where = "a Ray cluster"

    def __init__(self, address: str, count: int | None, device: torch.device) -> None:
        ray = _ray()
        self._own = not ray.is_initialized()
        if self._own:
            _check(address)
            new = {"include_dashboard": False} if address == "local" else {}
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            try:
                ray.init(address=address, logging_level="warning", log_to_driver=True, **new)
            except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise SycamError(f"no Ray cluster at {address!r}: {first}; {START}") from None
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._gpu = device.type == "cuda"
        what = "GPU" if self._gpu else "CPU"
        rooms = [int(machine.get(what, 0)) for machine in machines if machine.get(what, 0) >= 1]
        wanted = count or (sum(rooms) if self._gpu else len(rooms))
        if not rooms or wanted > sum(rooms):
            self.close()
            raise SycamError(f"{max(wanted, 1)} workers need a {what} each, and the Ray cluster at {address!r} has {sum(rooms)}")
        self.threads = None if self._gpu else _share(rooms, wanted)
        self._needs = {"num_gpus": 1, "num_cpus": 1} if self._gpu else {"num_cpus": self.threads}
        actors = [self._actor() for _ in range(wanted)]
        ready = _ready(actors, PATIENCE)
        for actor in actors:
            if all(actor is not other for other in ready):
                ray.kill(actor)
        if not ready:
            self.close()
            raise SycamError(f"no worker found room in the Ray cluster at {address!r} within {PATIENCE:.0f} s: it is busy")
        self.missing = wanted - len(ready)
        self.count = len(ready)
        self._ready = [ClusterWorker(actor, f"worker {i} ({ray.get(actor.where.remote())})") for i, actor in enumerate(ready)]

    def _actor(self) -> Any:
        return _ray().remote(Actor).options(**self._needs, max_restarts=0, scheduling_strategy="SPREAD").remote()

    def start(self, number: int) -> ClusterWorker | None:
        """The worker of that number, once: a cluster that lost one seldom has room for another."""
        return self._ready.pop(0) if self._ready else None

    def options(self, number: int) -> dict[str, Any]:
        """The device and the threads of that worker; of several GPUs Ray shows each worker its own."""
        return {"device": "cuda" if self._gpu else "cpu", "threads": self.threads}

    def wait(self, workers: Sequence[ClusterWorker]) -> list[ClusterWorker]:
        """Those that have answered or ended, at least one."""
        ready, _ = _ray().wait([worker.reference for worker in workers], num_returns=1)
        return [worker for worker in workers if worker.reference in ready]

    def close(self) -> None:
        """Leaves the cluster, where this run entered it."""
        if self._own:
            _ray().shutdown()


def _check(address: str) -> None:
    """Ray itself tries for minutes."""
    if not address.strip():
        raise SycamError("the address of the Ray cluster is empty: give host:port, auto, or local")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise SycamError(f"no Ray cluster at {address!r}: {error}; {START}") from None


def _share(rooms: Sequence[int], count: int) -> int:
    """The most CPUs that each of `count` workers can have on machines with so many.

    >>> _share([5, 5], 3), _share([4, 4], 2)
    (2, 4)
    """
    return next(each for each in range(max(rooms), 0, -1) if sum(room // each for room in rooms) >= count)


def _ready(actors: Sequence[Any], seconds: float) -> list[Any]:
    """Those actors that run within so many seconds, in order."""
    asked = [actor.where.remote() for actor in actors]
    found, _ = _ray().wait(asked, num_returns=len(asked), timeout=seconds)
    return [actor for actor, reference in zip(actors, asked, strict=True) if reference in found]


def _calling(call: Any) -> Any:
    """The result of a call to Ray; whatever Ray says of an actor that is gone is `Died`."""
    ray = _ray()
    try:
        return call()
    except ray.exceptions.RayTaskError:
        raise  # a bug of ours
    except ray.exceptions.RayError as error:
        raise Died(f"has ended ({type(error).__name__})") from None


def _ray() -> Any:
    """Ray, which is an extra.

    Raises:
        SycamError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise SycamError("Ray is not installed: pip install 'sycam[ray]'") from None
