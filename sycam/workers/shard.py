"""What a worker is: some units of images with their terminals, and a network to score candidates on them."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from sycam.baselines import Baseline
from sycam.cams import Cam
from sycam.comparison import Asked, tabulate
from sycam.errors import OracleError, SycamError
from sycam.images import ImageSet
from sycam.metrics.find import find_again
from sycam.metrics.protocol import Protocol
from sycam.metrics.registry import Metric
from sycam.network import Network
from sycam.oracle import MetricOracle, Spent, TerminalCache
from sycam.store import TerminalStore
from sycam.terminals import TerminalSettings
from sygus import SygusError

from .message import Answer, Job, Key, decode_drawables, decode_terms, pack_error, pack_parts, unpack_jobs
from .recipe import make_network


class Shard:
    """Answers jobs, one message at a time. Terminals stay here; candidates come as terms, and numbers go back.

    Each kind of job is a method of its name:

    - `start`: make the network;
    - `hold`: the terminals of a unit of images, from the cache on disk or computed, and kept;
    - `maps`: low-resolution heatmaps of terms on images of a unit;
    - `score`: metrics of heatmaps on images of a unit;
    - `failing`: the first image of a unit on which an assumption fails;
    - `rows`: a terminal of some images of a unit;
    - `compare`: metrics of CAMs on a unit of images that comes along and is not kept.
    """

    def __init__(self) -> None:
        self._network: Network | None = None
        self._protocol = Protocol("none")
        self._caches: dict[Key, TerminalCache] = {}
        self._oracles: dict[tuple[Key, str], MetricOracle] = {}
        self._known: dict[str, Metric] = {}
        self._opened: TerminalStore | None = None

    def answer(self, message: bytes) -> bytes:
        """The answers to a message's jobs, in order; a job that fails has its error for an answer.

        Raises:
            MemoryError: there is not enough; whoever asked is better served by a process that starts again.
        """
        head, jobs = unpack_jobs(message)
        return pack_parts(head, [self._answer(job) for job in jobs])

    def _answer(self, job: Job) -> Answer:
        jobs: Mapping[str, Callable[[Job], Answer]] = {
            "start": self.start, "hold": self.hold, "maps": self.maps, "score": self.score, "failing": self.failing,
            "rows": self.rows, "compare": self.compare,
        }  # fmt: skip
        before = asdict(self._network.passes) if self._network else {}
        try:
            answer = jobs[job.do](job)
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

    def start(self, job: Job) -> Answer:
        """head: network, protocol, device, threads (None: as they are), and where the asking process looks for files and modules,
        folder and path, which on another machine need not be there. tensors: of the network."""
        head = job.head
        sys.path += [folder for folder in head["path"] if folder not in sys.path and os.path.exists(folder)]
        if os.path.isdir(head["folder"]):
            os.chdir(head["folder"])
        if head["threads"] is not None:
            torch.set_num_threads(head["threads"])
        self._network = make_network(head["network"], job.tensors, head["device"])
        self._network.passes = type(self._network.passes)()
        self._protocol = Protocol(**head["protocol"])
        return Answer({})

    def hold(self, job: Job) -> Answer:
        """head: names, class_names, terminals, settings, store. tensors: pixels, labels, and masks, boxes, classes where there
        are any. Answers classes, p and predicted."""
        assert job.unit is not None
        head, given = job.head, job.tensors
        cache = TerminalCache(
            self.network, unpack_images(head, given), head["terminals"], given.get("classes"),
            settings=TerminalSettings(**head["settings"]), unit=torch.zeros(len(head["names"]), dtype=torch.int64),
            store=self._store(head["store"]),
        )  # fmt: skip
        self._caches[job.unit] = cache
        self._oracles = {key: oracle for key, oracle in self._oracles.items() if key[0] != job.unit}
        return Answer(
            {"bytes": cache.bytes, "stored": cache.stored.describe()},
            {"classes": cache.classes, "p": cache.p, "predicted": cache.predicted},
        )

    def maps(self, job: Job) -> Answer:
        """head: metrics, batch, terms. tensors: places. Answers maps [C, B, h, w] and finite [C, B]."""
        maps, finite = self._oracle(job).maps(decode_terms(job.head["terms"]), job.tensors["places"])
        return Answer({}, {"maps": maps, "finite": finite})

    def score(self, job: Job) -> Answer:
        """head: metrics, batch, cams where a metric redraws, agree, and whether it loses metrics and stops.
        tensors: maps [C, B, h, w], places [B]. Answers the values of each metric under its number, and what they cost."""
        oracle, head = self._oracle(job), job.head
        oracle.spent, oracle.agree = Spent(), head["agree"]
        lost: dict[str, OracleError] = {}
        cams = decode_drawables(head["cams"]) if head["cams"] is not None else None
        maps = job.tensors["maps"].to(self.network.device)
        values = oracle.score_each(maps, job.tensors["places"], cams, lost if head["loses"] else None, head["stop"])
        answer = {"spent": asdict(oracle.spent), "lost": {name: pack_error(error) for name, error in lost.items()}}
        return Answer(answer, {str(number): found for number, found in enumerate(values)})

    def failing(self, job: Job) -> Answer:
        """head: term. Answers a place, or None."""
        assert job.unit is not None
        return Answer({"place": self._caches[job.unit].failing(decode_terms(job.head["term"])[0])})

    def rows(self, job: Job) -> Answer:
        """head: name. tensors: places. Answers rows [n, ...]."""
        assert job.unit is not None
        places = job.tensors["places"].to(self.network.device)
        return Answer({}, {"rows": self._caches[job.unit].values[job.head["name"]][places]})

    def compare(self, job: Job) -> Answer:
        """head: cams, metrics, optional, settings, on_error, apart, store, and the images'. tensors: the images', and classes
        where they are given. Answers the table."""
        head, given = job.head, job.tensors
        cams = [
            drawn if isinstance(drawn, Baseline) else Cam(name, drawn)
            for name, drawn in zip(head["names_of_cams"], decode_drawables(head["cams"]), strict=True)
        ]
        asked = Asked(
            cams, self._metrics(head["metrics"]), TerminalSettings(**head["settings"]),
            [cams[place] for place in head["optional"]], self._protocol, head["on_error"], head["apart"],
        )  # fmt: skip
        unit = torch.zeros(len(head["names"]), dtype=torch.int64)
        table = tabulate(
            asked, self.network, unpack_images(head, given), given.get("classes"), unit=unit, store=self._store(head["store"])
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

    def _oracle(self, job: Job) -> MetricOracle:
        """Made once for a unit and metrics: a batch that was halved stays so."""
        assert job.unit is not None
        head = job.head
        key = (job.unit, f"{head['metrics']} {head['batch']}")
        if key not in self._oracles:
            metrics = self._metrics(head["metrics"])
            self._oracles[key] = MetricOracle(self._caches[job.unit], metrics, head["batch"], self._protocol)
        return self._oracles[key]


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
