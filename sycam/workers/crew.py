"""The workers that a run asks for by `--workers` and `--ray`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch

from sycam.errors import SycamError
from sycam.metrics.protocol import Protocol
from sycam.network import Network
from sycam.oracle.units import UNITS

from .cluster import Cluster
from .local import Local
from .message import Job
from .pool import Pool
from .recipe import describe_network

AUTO = "auto"


@dataclass(frozen=True)
class Crew:
    """How many workers, and where.

    Attributes:
        workers: a number; "auto" for one a CUDA device, or one a CPU thread; None for one process, or as many as `ray` has.
        ray: the address of a Ray cluster; None for processes of this machine.

    Raises:
        SycamError: no such number.

    >>> Crew("0")
    Traceback (most recent call last):
    sycam.errors.SycamError: workers must be a number from 1 to 16 or 'auto', not '0'
    """

    workers: int | str | None = None
    ray: str | None = None

    def __post_init__(self) -> None:
        given = str(self.workers)
        if self.workers not in (None, AUTO) and not (given.isdecimal() and 1 <= int(given) <= UNITS):
            raise SycamError(f"workers must be a number from 1 to {UNITS} or {AUTO!r}, not {self.workers!r}")

    @property
    def one_process(self) -> bool:
        """Whether there are no workers."""
        return self.workers is None and self.ray is None

    def count(self, device: torch.device) -> int | None:
        """How many workers, where `ray` does not say it."""
        if self.workers == AUTO and self.ray is None:
            return min(UNITS, torch.cuda.device_count() if device.type == "cuda" else torch.get_num_threads())
        return None if self.workers in (None, AUTO) else int(self.workers)  # type: ignore[arg-type]

    @contextmanager
    def pool(
        self, network: Network, protocol: Protocol, on_warning: Callable[[str], None] = lambda text: None
    ) -> Iterator[Pool | None]:
        """The workers, which end with the block; None for one process.

        Raises:
            SycamError: they cannot be had, or cannot make the network.
        """
        if self.one_process:
            yield None
            return
        described, tensors = describe_network(network)
        head = {
            "network": described,
            "protocol": _plain(protocol),
            "folder": os.getcwd(),
            "path": [p or os.getcwd() for p in sys.path],
        }
        count = self.count(network.device)
        transport = Local(count or 1, network.device) if self.ray is None else Cluster(self.ray, count, network.device)
        if transport.missing:
            on_warning(f"{transport.missing} workers found no room in the Ray cluster: {transport.count} do the work")
        with Pool(transport, Job("start", head, tensors), on_warning) as pool:
            yield pool


def _plain(protocol: Protocol) -> dict[str, object]:
    return asdict(protocol)
