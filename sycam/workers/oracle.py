"""The metric oracle of images that workers hold: the interface of `MetricOracle`, and its results bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from sycam.errors import OracleError
from sycam.images import ImageSet
from sycam.metrics.protocol import DEFAULT, Protocol
from sycam.metrics.registry import Metric
from sycam.network import Network
from sycam.oracle import Drawable, MetricOracle, Spent, TerminalCache
from sycam.oracle.metric_oracle import require_masks
from sycam.oracle.units import unit_of
from sycam.store import Stored, TerminalStore
from sycam.terminals import TerminalSettings
from sygus import Term

from .message import Answer, Job, Key, encode_drawables, encode_terms, unpack_error
from .pool import Pool
from .recipe import recipe_of
from .shard import pack_images, pack_store

_sets = count()


class RemoteCache(TerminalCache):
    """The terminals of images, each where it was computed: here are classes and probabilities, and what is asked of `values`.

    Args:
        pool: the workers, which share the images unit by unit.
        network, images, names, classes, settings, on_batch, store: see `TerminalCache`.
    """

    def __init__(
        self,
        pool: Pool,
        network: Network,
        images: ImageSet,
        names: Sequence[str],
        classes: Tensor | None = None,
        *,
        settings: TerminalSettings | None = None,
        on_batch: Callable[[int], None] = lambda done: None,
        store: TerminalStore | None = None,
    ) -> None:
        self.pool, self.network, self.images = pool, network, images
        self.settings = settings or TerminalSettings()
        self.refused: dict[str, str] = {}
        self.unit = unit_of(len(images))
        self._set = f"set {next(_sets)}"
        jobs = []
        for unit, places in self.units():
            head, tensors = pack_images(images.select(slice(int(places[0]), int(places[-1]) + 1)))
            if classes is not None:
                tensors["classes"] = classes[places]
            head |= {"terminals": list(names), "settings": self.settings.describe(), "store": pack_store(store)}
            jobs.append(Job("hold", head, tensors, unit))
        done: list[int] = []

        def step(place: int) -> None:
            done.append(len(jobs[place].head["names"]))
            on_batch(sum(done))

        answers = pool.hold(jobs, step)
        for answer in answers:
            network.passes.add(answer.head["passes"])
        self.classes, self.p, self.predicted = (
            torch.cat([answer.tensors[name] for answer in answers]).to(network.device) for name in ("classes", "p", "predicted")
        )
        self.stored = sum((Stored(**answer.head["stored"]) for answer in answers), Stored())
        self.values = {name: RemoteColumn(self, name) for name in dict.fromkeys(["A", *names])}  # type: ignore[misc]
        self._bytes = sum(answer.head["bytes"] for answer in answers)

    def units(self, places: Tensor | None = None) -> Iterator[tuple[Key, Tensor]]:
        """Each unit with its images: where these stand in `places`, or among all."""
        unit = self.unit if places is None else self.unit[places]
        for number in unit.unique().tolist():
            yield (self._set, number), (unit == number).nonzero()[:, 0]

    def first_of(self, unit: Key) -> int:
        """The place of a unit's first image."""
        return int((self.unit == unit[1]).nonzero()[0, 0])

    def failing(self, assumption: Term) -> int | None:
        """See `TerminalCache.failing`."""
        units = [unit for unit, _ in self.units()]
        answers = self.pool.ask([Job("failing", {"term": encode_terms([assumption])}, {}, unit) for unit in units])
        found = [
            self.first_of(unit) + a.head["place"] for unit, a in zip(units, answers, strict=True) if a.head["place"] is not None
        ]
        return min(found, default=None)

    def select(self, places: Tensor) -> TerminalCache:
        """Not to be had here."""
        raise TypeError("terminals stay with the workers: make a cache of the selected images")

    @property
    def bytes(self) -> int:
        """Memory that the workers' caches hold together."""
        return self._bytes


class RemoteColumn:
    """One terminal of images that workers hold; indexing asks for some of its rows, as a tensor's would be."""

    def __init__(self, cache: RemoteCache, name: str) -> None:
        self._cache, self._name = cache, name

    def __getitem__(self, places: Tensor | slice) -> Tensor:
        cache = self._cache
        chosen = torch.arange(len(cache))[places if isinstance(places, slice) else places.cpu()]
        shares = list(cache.units(chosen))
        jobs = [Job("rows", {"name": self._name}, {"places": chosen[at] - cache.first_of(unit)}, unit) for unit, at in shares]
        answers = cache.pool.ask(jobs)
        first = answers[0].tensors["rows"]
        rows = first.new_empty(len(chosen), *first.shape[1:])
        for (_, at), answer in zip(shares, answers, strict=True):
            rows[at] = answer.tensors["rows"]
        return rows.to(cache.network.device)


class RemoteOracle(MetricOracle):
    """See `MetricOracle`; the arguments are the same.

    Candidates go to the workers as terms, and their low-resolution heatmaps come back and go out again to be scored. Each worker
    evaluates and scores the images that it holds.

    Raises:
        SycamError: a metric that workers cannot find by name.
    """

    cache: RemoteCache

    def __init__(  # nothing of MetricOracle's: the pixels are the workers'
        self, cache: RemoteCache, metric: Metric | Sequence[Metric], batch: int | None = None, protocol: Protocol = DEFAULT
    ) -> None:
        self.cache, self.protocol, self.batch = cache, protocol, batch  # type: ignore[assignment]
        self.metrics = [metric] if isinstance(metric, Metric) else list(metric)
        self.metric, self.spent = self.metrics[0], Spent()
        for one in self.metrics:
            require_masks(one, cache.images)
        self._head = {"metrics": [recipe_of(one) for one in self.metrics], "batch": batch}

    def maps(self, terms: Sequence[Term], places: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `MetricOracle.maps`."""
        chosen = torch.arange(len(self.cache)) if places is None else places
        head = {**self._head, "terms": encode_terms(terms)}
        shares = list(self.cache.units(chosen))
        answers = self._share_out("maps", [(unit, head, {"places": chosen[rows]}) for unit, rows in shares])
        maps = torch.empty(len(terms), len(chosen), *self.cache.network.map_size)
        finite = torch.empty(len(terms), len(chosen), dtype=torch.bool)
        for (_, rows), answer in zip(shares, answers, strict=True):
            maps[:, rows], finite[:, rows] = answer.tensors["maps"], answer.tensors["finite"]
        device = self.cache.network.device
        return maps.to(device), finite.to(device)

    def score_each(
        self,
        maps: Tensor,
        places: Tensor,
        cams: Sequence[Drawable] | None = None,
        lost: dict[str, OracleError] | None = None,
        stop: bool = False,
    ) -> list[Tensor]:
        """See `MetricOracle.score_each`."""
        drawn = self._drawn_again(cams, len(maps))
        described = None if drawn is None else encode_drawables(drawn)
        head = {**self._head, "cams": described, "loses": lost is not None, "stop": stop, "agree": self.agree}
        shares = list(self.cache.units(places))
        answers = self._share_out("score", [(u, head, {"maps": maps[:, rows], "places": places[rows]}) for u, rows in shares])
        shapes = [(len(one.parts),) if one.parts else () for one in self.metrics]
        values = [torch.full((len(maps), len(places), *shape), torch.nan, dtype=torch.float64) for shape in shapes]
        for (_, rows), answer in zip(shares, answers, strict=True):  # in the order in which one process asks
            for name, spent in answer.head["spent"].items():
                setattr(self.spent, name, getattr(self.spent, name) + spent)
            if lost and stop:
                continue
            for number, (metric, known) in enumerate(zip(self.metrics, values, strict=True)):
                if lost is None or metric.name not in lost:
                    known[:, rows] = answer.tensors[str(number)]
            if lost is not None:
                for name, error in answer.head["lost"].items():
                    lost.setdefault(name, unpack_error(error))  # type: ignore[arg-type]
        return values

    def _share_out(self, do: str, shares: list[tuple[Key, dict[str, Any], dict[str, Tensor]]]) -> list[Answer]:
        """Jobs on units; the places that they name are counted within the unit."""
        jobs = []
        for unit, head, tensors in shares:
            tensors["places"] = tensors["places"] - self.cache.first_of(unit)
            jobs.append(Job(do, head, tensors, unit))
        answers = self.cache.pool.ask(jobs)
        for answer in answers:
            self.cache.network.passes.add(answer.head["passes"])
        return answers


def oracle_on(cache: TerminalCache, metric: Metric | Sequence[Metric], batch: int | None, protocol: Protocol) -> MetricOracle:
    """The oracle of images, wherever their terminals are."""
    made = RemoteOracle if isinstance(cache, RemoteCache) else MetricOracle
    return made(cache, metric, batch, protocol)  # type: ignore[arg-type]
