"""Many CAMs side by side: terms from one cache of terminals, baselines and controls batch by batch, and what could not be had."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sycam.cams import AnyCam, Baseline, Cam
from sycam.errors import OracleError, SycamError, Unavailable
from sycam.images import ImageSet
from sycam.metrics.metric import Metric
from sycam.metrics.protocol import DEFAULT, Protocol
from sycam.network import Network
from sycam.network.batching import images_at_once
from sycam.store import Stored, TerminalStore
from sycam.terminals import TerminalSettings, View

from .blocks import within_blocks
from .failures import Failures
from .gathering import Batches, Wanted
from .oracle import MetricOracle
from .scorer import Drawable
from .terminals import TerminalCache, gather


@dataclass
class Comparison:
    """Scores of CAMs on the same images.

    Attributes:
        cams: those that were scored, in the order they were named.
        scores: metric's name to [len(cams), n] float64, over the n images that the metric can be asked about; [len(cams), n, P]
            of a metric with P parts. NaN where the metric failed, or was not asked any more.
        skipped: each CAM that this network or these images cannot have, and why.
        without_mask: metric's name to how many images it left out because they have no mask; only where some were.
        empty: CAM's name to on how many images its heatmap is empty, nowhere positive; only where it is on some.
        failed: a CAM, the name of a metric that failed on it, and why. A CAM that no metric scored is among `skipped` instead.
        stored: what of the terminals was found in the store, and what was computed.
        shap_error: where a CAM is over the sampled terminal shap, its standard error as a share of an image's largest value, the
            median over images: how far it is sampled. 0 where it is exact, None where it is not used.
    """

    cams: list[AnyCam]
    scores: dict[str, Tensor]
    skipped: list[tuple[AnyCam, str]] = field(default_factory=list)
    without_mask: dict[str, int] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[AnyCam, str, str]] = field(default_factory=list)
    stored: Stored = field(default_factory=Stored)
    shap_error: float | None = None


Tabulate = Callable[..., "Table"]
"""What `tabulate` is, wherever it computes."""


@dataclass
class Request:
    """What a comparison is asked for.

    Attributes:
        cams: terms, baselines and controls, in any order.
        metrics: each is asked about the images that have what it needs.
        settings: samples, steps, orderings and the seed of the terminals, and of Random-CAM.
        optional: of the CAMs, those that are left out, with the reason, where one of their terminals or they themselves are
            `Unavailable`: the network cannot give them, an extra is not installed, or they are not finite on an image.
        protocol: what masked pixels become; class and layer are as given to `compare`.
        on_error: "stop" ends where a metric fails; "skip" goes on, without the score of that metric and CAM.
        apart: whether metrics that need masks are asked about fewer images than the others; None where the images say it.
    """

    cams: Sequence[AnyCam]
    metrics: Sequence[Metric]
    settings: TerminalSettings = field(default_factory=TerminalSettings)
    optional: Collection[AnyCam] = ()
    protocol: Protocol = DEFAULT
    on_error: str = "stop"
    apart: bool | None = None


def compare(
    asked: Request, network: Network, images: ImageSet, classes: Tensor | None = None, *,
    on_batch: Callable[[int], None] | None = None, store: TerminalStore | None = None, by: Tabulate | None = None,
) -> Comparison:  # fmt: skip
    """Scores every CAM by every metric, each image's terminals computed once and masked passes shared by all metrics.

    Args:
        asked: CAMs and metrics.
        network: the CNN.
        images: pixels, labels, masks.
        classes: [N], the image class that is explained; None for the predicted one.
        on_batch: told after each batch of terminals how many images are done.
        store: where terminals are looked up before they are computed, and kept; None for nowhere.
        by: who scores: None for `tabulate`, in this process; see `sycam.workers.tabulate_on`.

    Raises:
        SycamError: a metric needs masks and no image has one.
        OracleError: a metric failed under "stop"; its `result` is the comparison as far as it had come.
        Unavailable: what is said there, of a CAM that is not optional.

    >>> from sycam.cams import find_cams
    >>> from sycam.embedded import images_csv
    >>> from sycam.images import load_images
    >>> from sycam.metrics.own.find import find_metric
    >>> from sycam.network import load_network
    >>> network = load_network("embedded")
    >>> images = load_images(images_csv(), network.preprocessing, limit=4)
    >>> cams = [*find_cams("CAM"), *find_cams("Grad-CAM"), *find_cams("controls")]
    >>> found = compare(Request(cams, [find_metric("iou")], optional=cams), network, images)
    >>> [cam.name for cam in found.cams], found.scores["iou"].shape
    (['Grad-CAM', 'Fake-CAM', 'Random-CAM', 'Centre-Gaussian'], torch.Size([4, 4]))
    >>> [(cam.name, reason[:39]) for cam, reason in found.skipped]
    [('CAM', 'terminal fc: no global average pooling ')]
    """
    if any(m.needs_masks for m in asked.metrics) and not bool(images.has_mask.any()):
        first = next(m.name for m in asked.metrics if m.needs_masks)
        raise SycamError(f"metric {first!r} needs masks or boxes, and no image has any: give them as `masks` or `boxes`")
    table = (by or tabulate)(asked, network, images, classes, on_batch=on_batch, store=store)
    found = table.comparison(asked.cams, len(images))
    if table.error is not None:
        table.error.result = found
        raise table.error
    return found


@dataclass
class Table:
    """What is known so far of each CAM, by its place among the CAMs.

    Attributes:
        values: metric's name to [CAMs, n] or [CAMs, n, P], NaN where not known.
        empty: [CAMs], on how many images its heatmap is empty.
        stored: what of the terminals was found in the store.
        reasons: why a CAM is skipped.
        failed: why a metric has no score of a CAM.
        error: what ended it before it was whole.
        shap_error: [n], the largest standard error of shap as a share of its largest value; empty where shap is not used.
    """

    values: dict[str, Tensor]
    empty: Tensor
    stored: Stored = field(default_factory=Stored)
    reasons: dict[int, str] = field(default_factory=dict)
    failed: dict[tuple[int, str], str] = field(default_factory=dict)
    error: OracleError | None = None
    shap_error: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def of(cls, asked: Request, groups: list[_Group]) -> Table:
        """Nothing is known yet."""
        images = {m.name: len(one.places) for one in groups for m in one.metrics}
        values = {
            m.name: torch.full((len(asked.cams), images.get(m.name, 0), *m.best_parts().shape), torch.nan, dtype=torch.float64)
            for m in asked.metrics
        }
        return cls(values, torch.zeros(len(asked.cams), dtype=torch.int64))

    @classmethod
    def joined(cls, parts: Sequence[Table]) -> Table:
        """The table of all images from those of some each, in order."""
        whole = cls(
            {name: torch.cat([part.values[name] for part in parts], 1) for name in parts[0].values},
            torch.stack([part.empty for part in parts]).sum(0),
            shap_error=torch.cat([part.shap_error for part in parts]),
        )
        for part in reversed(parts):
            whole.reasons |= part.reasons
            whole.failed |= part.failed
            whole.error = part.error or whole.error
            whole.stored = part.stored + whole.stored
        return whole

    def comparison(self, cams: Sequence[AnyCam], images: int) -> Comparison:
        """The table without the CAMs of which no metric has a score."""
        whys: dict[int, str] = {}
        for (place, name), reason in self.failed.items():
            self.values[name][place] = torch.nan
            whys.setdefault(place, reason)
        for place in range(len(cams)):
            if all(bool(values[place].isnan().all()) for values in self.values.values()):
                self.reasons.setdefault(place, whys.get(place, "not scored by the time that a metric failed"))
        kept = [place for place in range(len(cams)) if place not in self.reasons]
        return Comparison(
            [cams[place] for place in kept],
            {name: scores[kept] for name, scores in self.values.items()},
            [(cams[place], reason) for place, reason in sorted(self.reasons.items())],
            {name: images - scores.shape[1] for name, scores in self.values.items() if scores.shape[1] < images},
            {cams[place].name: int(self.empty[place]) for place in kept if self.empty[place]},
            [(cams[place], name, reason) for (place, name), reason in self.failed.items() if place in kept],
            self.stored,
            float(self.shap_error.median()) if len(self.shap_error) else None,
        )


def tabulate(
    asked: Request,
    network: Network,
    images: ImageSet,
    classes: Tensor | None = None,
    *,
    on_batch: Callable[[int], None] | None = None,
    block: Tensor | None = None,
    store: TerminalStore | None = None,
) -> Table:
    """The scores of CAMs on images, as far as they can be had.

    Args:
        asked: for what.
        network, images, classes, on_batch, store: see `compare`.
        block: see `Batches`.
    """
    cams = asked.cams
    names = sorted({name for cam in cams for name in cam.terminals})
    needed = {name for cam in cams if cam not in asked.optional for name in cam.terminals}
    if "shap" in names:  # its error costs no pass more
        names.append("shap_error")
    wanted = Wanted(names, classes, asked.settings, {*names} - needed - {"A"})
    cache = gather(network, images, wanted, Batches(block=block), store, on_batch)
    groups = [_Group(group, cache, asked.protocol, asked.on_error) for group in _groups(asked, cache)]
    table = Table.of(asked, groups)
    table.stored = cache.stored
    if "shap_error" in cache.values:
        table.shap_error = _share(cache)
    for place, cam in enumerate(cams):
        missing = [name for name in cam.terminals if name in cache.refused]
        if missing:
            table.reasons[place] = cache.refused[missing[0]]
    try:
        _score_terms(cams, groups, table, asked.optional)
        _score_baselines(cams, cache, groups, table, asked.optional)
    except OracleError as error:
        table.error = error
    return table


def _share(cache: TerminalCache) -> Tensor:
    """The largest standard error of shap as a share of its largest value, [N]."""
    largest = [cache.values[name][:].flatten(1).abs().amax(1).cpu() for name in ("shap_error", "shap")]
    return largest[0] / largest[1].clamp(min=torch.finfo(torch.float32).tiny)


def _groups(asked: Request, cache: TerminalCache) -> list[list[Metric]]:
    """Metrics that are asked about the same images, and so share their passes; none that there is no image for."""
    masks = cache.images.has_mask
    apart = not bool(masks.all()) if asked.apart is None else asked.apart
    without = [m for m in asked.metrics if not (apart and m.needs_masks)]
    groups = [without, [m for m in asked.metrics if m not in without] if bool(masks.any()) else []]
    return [group for group in groups if group]


class _Group:
    """Metrics on the images that they can be asked about.

    Attributes:
        places: [n], where these stand among all images.
    """

    def __init__(self, metrics: list[Metric], cache: TerminalCache, protocol: Protocol, on_error: str) -> None:
        self.metrics, self._protocol = metrics, protocol
        self.places = torch.arange(len(cache))
        if metrics[0].needs_masks and not bool(cache.images.has_mask.all()):
            self.places = cache.images.has_mask.nonzero()[:, 0]
            cache = cache.select(self.places)
        self.oracle = MetricOracle(cache, metrics, protocol=protocol)
        self._failures = {metric.name: Failures(on_error) for metric in metrics}
        self._stop = on_error == "stop"

    def score(self, table: Table, rows: Sequence[int], columns: Tensor, maps: Tensor, cams: Sequence[Drawable]) -> None:
        """Fills in the scores of CAMs at these rows [C] of the table on these of its images [B], from their maps [C, B, h, w].

        Raises:
            OracleError: a metric failed under "stop"; what was scored before it is filled in.
        """
        asked = [metric for metric in self.metrics if self._failures[metric.name].given_up is None]
        oracle = self.oracle if asked == self.oracle.metrics else MetricOracle(self.oracle.cache, asked, protocol=self._protocol)
        lost: dict[str, OracleError] = {}
        scores = oracle.score_each(maps, columns, cams, lost, self._stop) if asked else []
        for metric, found in zip(asked, scores, strict=True):
            table.values[metric.name][torch.tensor(rows)[:, None], columns] = found
            if metric.name not in lost:
                self._failures[metric.name].answered()
        for name in lost:
            self._score_alone(name, table, rows, columns, maps, cams, lost[name])
        for metric in self.metrics:
            given_up = self._failures[metric.name].given_up
            if metric not in asked and given_up is not None:
                table.failed.update({(row, metric.name): f"not asked any more: {given_up}" for row in rows})

    def _score_alone(
        self,
        name: str,
        table: Table,
        rows: Sequence[int],
        columns: Tensor,
        maps: Tensor,
        cams: Sequence[Drawable],
        error: OracleError,
    ) -> None:
        """Asks a metric that failed about fewer CAMs at a time, so that only those are left out on which it fails; under "stop"
        only to find the image."""
        failures = self._failures[name]
        oracle = MetricOracle(self.oracle.cache, next(one for one in self.metrics if one.name == name), protocol=self._protocol)
        where = torch.arange(len(columns))
        if self._stop:
            names = oracle.cache.images.names
            where = torch.tensor(
                [i for i, column in enumerate(columns.tolist()) if names[column] in error.images] or where.tolist()
            )

        def ask(some: Tensor, images: Tensor) -> Tensor:
            chosen = maps[some.to(maps.device)][:, where[images].to(maps.device)]
            return oracle.score(chosen, columns[where[images]], [cams[i] for i in some.tolist()])

        found, failed = failures.attempt(ask, len(maps), len(where), parts=len(oracle.metric.parts), known=error)
        if failures.given_up is not None and self._stop:
            raise failures.given_up
        table.values[name][torch.tensor(rows)[:, None], columns[where]] = found
        for row, why in failed.items():
            table.failed[rows[row], name] = str(why or f"not asked any more: {failures.given_up}")


def _score_terms(cams: Sequence[AnyCam], asked: list[_Group], table: Table, optional: Collection[AnyCam]) -> None:
    places = [place for place, cam in enumerate(cams) if isinstance(cam, Cam) and place not in table.reasons]
    for one in asked:
        here = [place for place in places if place not in table.reasons]
        terms = [cam.term for cam in (cams[place] for place in here) if isinstance(cam, Cam)]
        if not terms:
            continue
        maps, finite = one.oracle.maps(terms)
        for row, place in enumerate(here):
            if not bool(finite[row].all()):
                image = one.oracle.cache.images.names[int((~finite[row]).nonzero()[0, 0])]
                table.reasons[place] = _not_finite(cams[place], image, optional)
            table.empty[place] = torch.maximum(table.empty[place], (maps[row].flatten(1).amax(1) <= 0).sum().cpu())
        rows = [row for row, place in enumerate(here) if place not in table.reasons]
        if rows:
            one.score(table, [here[row] for row in rows], torch.arange(len(one.places)), maps[rows], [terms[row] for row in rows])


def _score_baselines(
    cams: Sequence[AnyCam], cache: TerminalCache, asked: list[_Group], table: Table, optional: Collection[AnyCam]
) -> None:
    """Batch by batch, so that baselines share the batch's passes and only one batch's maps of image size are held."""
    baselines = {place: cam for place, cam in enumerate(cams) if isinstance(cam, Baseline)}
    if not baselines:
        return
    network, images = cache.network, cache.images
    for batch in within_blocks(cache.block, images_at_once(network.device, *images.pixels.shape[-2:])):
        at = slice(int(batch[0]), int(batch[-1]) + 1)
        view = View(network, images.normalised(at, network), cache.classes[at], settings=cache.settings)
        for place, baseline in baselines.items():
            if place in table.reasons:
                continue
            try:
                maps, finite = baseline.maps(view)
            except Unavailable as problem:
                if baseline not in optional:
                    raise
                table.reasons[place] = str(problem)
                continue
            if not bool(finite.all()):
                table.reasons[place] = _not_finite(baseline, images.names[at][int((~finite).nonzero()[0, 0])], optional)
                continue
            table.empty[place] += int((maps.flatten(1).amax(1) <= 0).sum())
            for one in asked:
                inside = (one.places >= at.start) & (one.places < at.stop)
                if bool(inside.any()):
                    chosen = maps[(one.places[inside] - at.start).to(maps.device)]
                    one.score(table, [place], inside.nonzero()[:, 0], chosen[None], [baseline])


def _not_finite(cam: AnyCam, image: str, optional: Collection[AnyCam]) -> str:
    if cam not in optional:
        raise Unavailable(f"{cam.name} is NaN or infinite on {image}")
    return f"it is NaN or infinite on {image}"
