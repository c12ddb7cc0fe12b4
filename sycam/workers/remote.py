"""Terminals, scorers and comparisons of images that workers hold: what one process computes, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from sycam.cams import Baseline
from sycam.errors import OracleError
from sycam.images import ImageSet
from sycam.metrics.metric import Metric
from sycam.metrics.protocol import DEFAULT, Protocol
from sycam.network import Network
from sycam.network.batching import images_at_once
from sycam.scoring import Drawable, MetricOracle, Spent, Wanted
from sycam.scoring.blocks import block_of, within_blocks
from sycam.scoring.comparison import Request, Table
from sycam.scoring.scorer import drawn_again, redraws, require_masks
from sycam.store import Stored, TerminalStore
from sycam.terminals import TerminalSettings
from sygus import Term

from .pool import Pool
from .tasks import Answer, Key, Task, encode_drawables, encode_terms, pack_images, pack_store, recipe_of, unpack_error

_sets = count()


@dataclass(frozen=True)
class RemoteTerminals:
    """The terminals of images, each where a worker computed it; `gather_on` fills it. See `Terminals`.

    Attributes:
        pool: the workers, which hold the images block by block; name: of this set of images there.
        network, images, settings, block, classes, p, predicted, stored: see `TerminalCache`.
        bytes: memory that the workers' terminals take together.
    """

    pool: Pool
    name: str
    network: Network
    images: ImageSet
    settings: TerminalSettings
    block: Tensor
    names: Sequence[str]
    classes: Tensor
    p: Tensor
    predicted: Tensor
    stored: Stored
    bytes: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def values(self) -> dict[str, RemoteColumn]:
        """Each terminal, from which rows can be asked."""
        return {name: RemoteColumn(self, name) for name in dict.fromkeys(["A", *self.names])}

    def blocks(self, places: Tensor) -> Iterator[tuple[Key, Tensor]]:
        """Each block of the images at these places, with where its images stand in `places`."""
        return _blocks(self.name, self.block[places])

    def first_of(self, block: Key) -> int:
        """The place of a block's first image."""
        return int((self.block == block[1]).nonzero()[0, 0])

    def failing(self, assumption: Term) -> int | None:
        """See `TerminalCache.failing`."""
        blocks = [block for block, _ in _blocks(self.name, self.block)]
        answers = self.pool.ask([Task("failing", {"term": encode_terms([assumption])}, {}, block) for block in blocks])
        places = [answer.head["place"] for answer in answers]
        found = [self.first_of(block) + place for block, place in zip(blocks, places, strict=True) if place is not None]
        return min(found, default=None)


def _blocks(name: str, block: Tensor) -> Iterator[tuple[Key, Tensor]]:
    for number in block.unique().tolist():
        yield (name, number), (block == number).nonzero()[:, 0]


def gather_on(
    pool: Pool, network: Network, images: ImageSet, wanted: Wanted, store: TerminalStore | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> RemoteTerminals:  # fmt: skip
    """What `gather` gives, on workers.

    Args:
        pool: the workers, which share the images block by block.
        network, images, wanted, store, on_batch: see `gather`.
    """
    name, block = f"set {next(_sets)}", block_of(len(images))
    tasks = []
    for key, places in _blocks(name, block):
        head, tensors = pack_images(images.select(slice(int(places[0]), int(places[-1]) + 1)))
        if wanted.classes is not None:
            tensors["classes"] = wanted.classes[places]
        head |= {"terminals": list(wanted.names), "settings": wanted.settings.describe(), "store": pack_store(store)}
        tasks.append(Task("hold", head, tensors, key))
    done: list[int] = []

    def step(place: int) -> None:
        done.append(len(tasks[place].head["names"]))
        on_batch(sum(done))

    answers = pool.hold(tasks, step)
    for answer in answers:
        network.passes.add(answer.head["passes"])
    classes, p, predicted = (
        torch.cat([answer.tensors[part] for answer in answers]).to(network.device) for part in ("classes", "p", "predicted")
    )
    return RemoteTerminals(
        pool, name, network, images, settings=wanted.settings, block=block, names=wanted.names,
        classes=classes, p=p, predicted=predicted,
        stored=sum((Stored(**answer.head["stored"]) for answer in answers), Stored()),
        bytes=sum(answer.head["bytes"] for answer in answers),
    )  # fmt: skip


class RemoteColumn:
    """One terminal of images that workers hold; indexing asks for some of its rows, as a tensor's would be."""

    def __init__(self, cache: RemoteTerminals, name: str) -> None:
        self._cache, self._name = cache, name

    def __getitem__(self, places: Tensor | slice) -> Tensor:
        cache = self._cache
        chosen = torch.arange(len(cache))[places if isinstance(places, slice) else places.cpu()]
        shares = list(cache.blocks(chosen))
        tasks = [
            Task("rows", {"name": self._name}, {"places": chosen[at] - cache.first_of(block)}, block) for block, at in shares
        ]
        answers = cache.pool.ask(tasks)
        first = answers[0].tensors["rows"]
        rows = first.new_empty(len(chosen), *first.shape[1:])
        for (_, at), answer in zip(shares, answers, strict=True):
            rows[at] = answer.tensors["rows"]
        return rows.to(cache.network.device)


class RemoteOracle:
    """The `Scorer` of images that workers hold. Each of its numbers is that of a `MetricOracle`, bit for bit.

    Candidates go to the workers as terms, and their low-resolution heatmaps come back and go out again to be scored. Each worker
    evaluates and scores the images that it holds.

    Args:
        cache: the images with their terminals.
        metric, batch, protocol: see `MetricOracle`.

    Raises:
        SycamError: a metric that workers cannot find by name; a metric needs masks and an image has none.
    """

    norm = MetricOracle.norm
    agree = 0.0

    def __init__(
        self, cache: RemoteTerminals, metric: Metric | Sequence[Metric], batch: int | None = None, protocol: Protocol = DEFAULT
    ) -> None:
        self.cache, self.protocol = cache, protocol
        self.batch = batch or images_at_once(cache.network.device, *cache.images.pixels.shape[-2:])
        self.metrics = [metric] if isinstance(metric, Metric) else list(metric)
        self.metric, self.spent = self.metrics[0], Spent()
        for one in self.metrics:
            require_masks(one, cache.images)
        self._head = {"metrics": [recipe_of(one) for one in self.metrics], "batch": self.batch}

    def __len__(self) -> int:
        return len(self.cache)

    @property
    def images(self) -> ImageSet:
        """On which it scores."""
        return self.cache.images

    @property
    def redraws(self) -> bool:
        """See `MetricOracle.redraws`."""
        return redraws(self.metrics)

    def of(self, metric: Metric) -> RemoteOracle:
        """See `MetricOracle.of`."""
        other = RemoteOracle(self.cache, metric, self.batch, self.protocol)
        other.spent = self.spent
        return other

    def score(self, maps: Tensor, places: Tensor, cams: Sequence[Drawable] | None = None) -> Tensor:
        """See `MetricOracle.score`."""
        return self.score_each(maps, places, cams)[0]

    def maps(self, terms: Sequence[Term], places: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `MetricOracle.maps`."""
        chosen = torch.arange(len(self.cache)) if places is None else places
        head = {**self._head, "terms": encode_terms(terms)}
        shares = list(self.cache.blocks(chosen))
        answers = self._share_out("maps", [(block, head, {"places": chosen[rows]}) for block, rows in shares])
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
        drawn = drawn_again(self.metrics, cams, len(maps))
        described = None if drawn is None else encode_drawables(drawn)
        head = {**self._head, "cams": described, "loses": lost is not None, "stop": stop, "agree": self.agree}
        shares = list(self.cache.blocks(places))
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
        """Tasks on blocks; the places that they name are counted within the block."""
        tasks = []
        for block, head, tensors in shares:
            tensors["places"] = tensors["places"] - self.cache.first_of(block)
            tasks.append(Task(do, head, tensors, block))
        answers = self.cache.pool.ask(tasks)
        for answer in answers:
            self.cache.network.passes.add(answer.head["passes"])
        return answers


def tabulate_on(
    pool: Pool,
    asked: Request,
    network: Network,
    images: ImageSet,
    classes: Tensor | None = None,
    *,
    on_batch: Callable[[int], None] | None = None,
    store: TerminalStore | None = None,
) -> Table:
    """What `tabulate` gives, bit for bit.

    Args:
        pool: the workers; the protocol is theirs.
        asked, network, images, classes, on_batch, store: see `tabulate`.

    Raises:
        SycamError: a metric or a CAM that workers cannot know.
    """
    head = {
        "cams": encode_drawables([cam if isinstance(cam, Baseline) else cam.term for cam in asked.cams]),
        "names_of_cams": [cam.name for cam in asked.cams],
        "metrics": [recipe_of(metric) for metric in asked.metrics],
        "optional": [place for place, cam in enumerate(asked.cams) if cam in asked.optional],
        "settings": asked.settings.describe(),
        "on_error": asked.on_error,
        "store": pack_store(store),
        "apart": not bool(images.has_mask.all()),
    }
    tasks = []
    for places in within_blocks(block_of(len(images)), len(images)):
        packed, tensors = pack_images(images.select(slice(int(places[0]), int(places[-1]) + 1)))
        if classes is not None:
            tensors["classes"] = classes[places]
        tasks.append(Task("compare", {**head, **packed}, tensors))
    done: list[int] = []

    def step(place: int) -> None:
        done.append(len(tasks[place].head["names"]))
        if on_batch:
            on_batch(sum(done))

    answers = pool.ask(tasks, together=False, on_answer=step)
    for answer in answers:
        network.passes.add(answer.head["passes"])
    return Table.joined([_table(answer, asked) for answer in answers])


def _table(answer: Answer, asked: Request) -> Table:
    head, tensors = answer.head, answer.tensors
    stopped = unpack_error(head["stopped"]) if head["stopped"] else None
    assert stopped is None or isinstance(stopped, OracleError)
    return Table(
        {metric.name: tensors[f"values.{metric.name}"] for metric in asked.metrics},
        tensors["empty"].to(torch.int64),
        Stored(**head["stored"]),
        dict(map(tuple, head["reasons"])),
        {(place, name): reason for place, name, reason in head["failed"]},
        stopped,
        tensors["shap_error"],
    )
