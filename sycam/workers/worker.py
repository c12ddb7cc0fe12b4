"""What a worker is: some blocks of images with their terminals, and a network to score candidates on them. As a process,
`python -m sycam.workers.worker SOCKET`, it answers messages on an inherited socket until that closes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

import torch

from sycam.cams import Baseline, Cam
from sycam.errors import OracleError, SycamError
from sycam.metrics.metric import Metric
from sycam.metrics.own.find import find_again
from sycam.metrics.protocol import Protocol
from sycam.network import Network
from sycam.scoring import Batches, MetricOracle, Spent, TerminalCache, Wanted, gather
from sycam.scoring.comparison import Request, tabulate
from sycam.store import TerminalStore
from sycam.terminals import TerminalSettings
from sygus import SygusError
from sygus.solver.messages import end_with_parent

from .tasks import (
    OUT_OF_MEMORY,
    Answer,
    Key,
    Task,
    decode_drawables,
    decode_terms,
    make_network,
    pack_error,
    pack_parts,
    unpack_images,
    unpack_tasks,
)


class Worker:
    """Answers tasks, one message at a time. Terminals stay here; candidates come as terms, and numbers go back.

    Each kind of task is a method of its name:

    - `start`: make the network;
    - `hold`: the terminals of a block of images, from the cache on disk or computed, and kept;
    - `maps`: low-resolution heatmaps of terms on images of a block;
    - `score`: metrics of heatmaps on images of a block;
    - `failing`: the first image of a block on which an assumption fails;
    - `rows`: a terminal of some images of a block;
    - `compare`: metrics of CAMs on a block of images that comes along and is not kept.
    """

    def __init__(self) -> None:
        self._network: Network | None = None
        self._protocol = Protocol("none")
        self._caches: dict[Key, TerminalCache] = {}
        self._oracles: dict[tuple[Key, str], MetricOracle] = {}
        self._known: dict[str, Metric] = {}
        self._opened: TerminalStore | None = None

    def answer(self, message: bytes) -> bytes:
        """The answers to a message's tasks, in order; a task that fails has its error for an answer.

        Raises:
            MemoryError: there is not enough; whoever asked is better served by a process that starts again.
        """
        head, tasks = unpack_tasks(message)
        return pack_parts(head, [self._answer(task) for task in tasks])

    def _answer(self, task: Task) -> Answer:
        tasks: Mapping[str, Callable[[Task], Answer]] = {
            "start": self.start, "hold": self.hold, "maps": self.maps, "score": self.score, "failing": self.failing,
            "rows": self.rows, "compare": self.compare,
        }  # fmt: skip
        before = asdict(self._network.passes) if self._network else {}
        try:
            answer = tasks[task.do](task)
        except (SycamError, SygusError) as error:
            return Answer({"error": pack_error(error)})
        except (MemoryError, torch.OutOfMemoryError):
            raise MemoryError from None
        except RuntimeError as error:
            if "can't allocate memory" in str(error):  # the CPU allocator has no class of its own
                raise MemoryError from None
            return Answer({"bug": traceback.format_exc()})
        except Exception:  # noqa: BLE001  told to whoever asked, who raises it
            return Answer({"bug": traceback.format_exc()})
        if self._network:
            answer.head["passes"] = {name: n - before.get(name, 0) for name, n in asdict(self._network.passes).items()}
        return answer

    @property
    def network(self) -> Network:
        """The network, once started."""
        assert self._network is not None, "a worker is started first"
        return self._network

    def start(self, task: Task) -> Answer:
        """head: network, protocol, device, threads (None: as they are), and where the asking process looks for files and modules,
        folder and path, which on another machine need not be there. tensors: of the network."""
        head = task.head
        sys.path += [folder for folder in head["path"] if folder not in sys.path and os.path.exists(folder)]
        if os.path.isdir(head["folder"]):
            os.chdir(head["folder"])
        if head["threads"] is not None:
            torch.set_num_threads(head["threads"])
        self._network = make_network(head["network"], task.tensors, head["device"])
        self._network.passes = type(self._network.passes)()
        self._protocol = Protocol(**head["protocol"])
        return Answer({})

    def hold(self, task: Task) -> Answer:
        """head: names, class_names, terminals, settings, store. tensors: pixels, labels, and masks, boxes, classes where there
        are any. Answers classes, p and predicted."""
        assert task.block is not None
        head, given = task.head, task.tensors
        whole = torch.zeros(len(head["names"]), dtype=torch.int64)
        wanted = Wanted(head["terminals"], given.get("classes"), TerminalSettings(**head["settings"]))
        images = unpack_images(head, given)
        cache = gather(self.network, images, wanted, Batches(block=whole), self._store(head["store"]))
        self._caches[task.block] = cache
        self._oracles = {key: oracle for key, oracle in self._oracles.items() if key[0] != task.block}
        return Answer(
            {"bytes": cache.bytes, "stored": cache.stored.describe()},
            {"classes": cache.classes, "p": cache.p, "predicted": cache.predicted},
        )

    def maps(self, task: Task) -> Answer:
        """head: metrics, batch, terms. tensors: places. Answers maps [C, B, h, w] and finite [C, B]."""
        maps, finite = self._oracle(task).maps(decode_terms(task.head["terms"]), task.tensors["places"])
        return Answer({}, {"maps": maps, "finite": finite})

    def score(self, task: Task) -> Answer:
        """head: metrics, batch, cams where a metric redraws, agree, and whether it loses metrics and stops.
        tensors: maps [C, B, h, w], places [B]. Answers the values of each metric under its number, and what they cost."""
        oracle, head = self._oracle(task), task.head
        oracle.spent, oracle.agree = Spent(), head["agree"]
        lost: dict[str, OracleError] = {}
        cams = decode_drawables(head["cams"]) if head["cams"] is not None else None
        maps = task.tensors["maps"].to(self.network.device)
        values = oracle.score_each(maps, task.tensors["places"], cams, lost if head["loses"] else None, head["stop"])
        answer = {"spent": asdict(oracle.spent), "lost": {name: pack_error(error) for name, error in lost.items()}}
        return Answer(answer, {str(number): found for number, found in enumerate(values)})

    def failing(self, task: Task) -> Answer:
        """head: term. Answers a place, or None."""
        assert task.block is not None
        return Answer({"place": self._caches[task.block].failing(decode_terms(task.head["term"])[0])})

    def rows(self, task: Task) -> Answer:
        """head: name. tensors: places. Answers rows [n, ...]."""
        assert task.block is not None
        places = task.tensors["places"].to(self.network.device)
        return Answer({}, {"rows": self._caches[task.block].values[task.head["name"]][places]})

    def compare(self, task: Task) -> Answer:
        """head: cams, metrics, optional, settings, on_error, apart, store, and the images'. tensors: the images', and classes
        where they are given. Answers the table."""
        head, given = task.head, task.tensors
        cams = [
            drawn if isinstance(drawn, Baseline) else Cam(name, drawn)
            for name, drawn in zip(head["names_of_cams"], decode_drawables(head["cams"]), strict=True)
        ]
        asked = Request(
            cams, self._metrics(head["metrics"]), TerminalSettings(**head["settings"]),
            [cams[place] for place in head["optional"]], self._protocol, head["on_error"], head["apart"],
        )  # fmt: skip
        block = torch.zeros(len(head["names"]), dtype=torch.int64)
        table = tabulate(
            asked, self.network, unpack_images(head, given), given.get("classes"), block=block, store=self._store(head["store"])
        )
        failed = [[place, name, reason] for (place, name), reason in table.failed.items()]
        reasons = [[place, reason] for place, reason in table.reasons.items()]
        return Answer(
            {
                "reasons": reasons,
                "failed": failed,
                "stopped": pack_error(table.error) if table.error else None,
                "stored": table.stored.describe(),
            },
            {
                "empty": table.empty,
                "shap_error": table.shap_error,
                **{f"values.{name}": values for name, values in table.values.items()},
            },
        )

    def _store(self, described: dict[str, Any] | None) -> TerminalStore | None:
        if described is not None and self._opened is None:
            self._opened = TerminalStore(described["folder"], described["limit"])
        return self._opened

    def _metrics(self, recipes: list[dict[str, Any]]) -> list[Metric]:
        """Found once, so that a file of the user's own is run once."""
        for recipe in recipes:
            if str(recipe) not in self._known:
                self._known[str(recipe)] = find_again(recipe)
        return [self._known[str(recipe)] for recipe in recipes]

    def _oracle(self, task: Task) -> MetricOracle:
        """Made once for a block and metrics: a batch that was halved stays so."""
        assert task.block is not None
        head = task.head
        key = (task.block, f"{head['metrics']} {head['batch']}")
        if key not in self._oracles:
            metrics = self._metrics(head["metrics"])
            self._oracles[key] = MetricOracle(self._caches[task.block], metrics, head["batch"], self._protocol)
        return self._oracles[key]


def main() -> None:
    """Answers until there is no one to answer."""
    end_with_parent()
    busy = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        if busy:  # between two messages there is nothing to interrupt
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    connection = Connection(int(sys.argv[1]))
    worker = Worker()
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            busy = True
            answer = worker.answer(message)
            busy = False
        except KeyboardInterrupt:
            busy = False
            answer = pack_parts({"interrupted": True}, [])
        except MemoryError:
            sys.exit(OUT_OF_MEMORY)
        finally:
            busy = False
        try:
            connection.send_bytes(answer)
        except OSError:
            return


if __name__ == "__main__":
    main()
