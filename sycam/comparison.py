"""Many CAMs side by side: terms from one cache of terminals, baselines and controls batch by batch, and what could not be had."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sycam.baselines import Baseline
from sycam.cams import AnyCam, Cam
from sycam.errors import SycamError, Unavailable
from sycam.images import ImageSet
from sycam.metrics.protocol import DEFAULT, Protocol
from sycam.metrics.registry import Metric
from sycam.network import Network
from sycam.network.batching import images_at_once
from sycam.oracle import MetricOracle, TerminalCache
from sycam.store import Stored, TerminalStore
from sycam.terminals import TerminalSettings, View


@dataclass
class Comparison:
    """Scores of CAMs on the same images.

    Attributes:
        cams: those that were scored, in the order they were named.
        scores: metric's name to [len(cams), n] float64, over the n images that the metric can be asked about; [len(cams), n, P]
            of a metric with P parts.
        skipped: each CAM that this network or these images cannot have, and why.
        without_mask: metric's name to how many images it left out because they have no mask; only where some were.
        stored: what of the terminals was found in the store, and what was computed.
        empty: CAM's name to on how many images its heatmap is empty, nowhere positive; only where it is on some.
    """

    cams: list[AnyCam]
    scores: dict[str, Tensor]
    skipped: list[tuple[AnyCam, str]] = field(default_factory=list)
    without_mask: dict[str, int] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)
    stored: Stored = field(default_factory=Stored)


def compare(
    cams: Sequence[AnyCam],
    metrics: Sequence[Metric],
    network: Network,
    images: ImageSet,
    classes: Tensor | None = None,
    *,
    settings: TerminalSettings | None = None,
    optional: Collection[AnyCam] = (),
    protocol: Protocol = DEFAULT,
    on_batch: Callable[[int], None] | None = None,
    store: TerminalStore | None = None,
) -> Comparison:
    """Scores every CAM by every metric, each image's terminals computed once and masked passes shared by all metrics.

    Args:
        cams: terms, baselines and controls, in any order.
        metrics: each is asked about the images that have what it needs.
        network: the CNN.
        images: pixels, labels, masks.
        classes: [N], the image class that is explained; None for the predicted one.
        settings: samples, steps, orderings and the seed of the terminals, and of Random-CAM.
        optional: of the CAMs, those that are left out, with the reason, where one of their terminals or they themselves are
            `Unavailable`: the network cannot give them, an extra is not installed, or they are not finite on an image.
        protocol: what masked pixels become; class and layer are as given here.
        on_batch: told after each batch of terminals how many images are done.
        store: where terminals are looked up before they are computed, and kept; None for nowhere.

    Raises:
        SycamError: a metric needs masks and no image has one.
        Unavailable: what is said there, of a CAM that is not optional.

    >>> from sycam.cams import find_cams
    >>> from sycam.embedded import images_csv
    >>> from sycam.images import load_images
    >>> from sycam.metrics.registry import metric
    >>> from sycam.network import load_network
    >>> network = load_network("embedded")
    >>> images = load_images(images_csv(), network.preprocessing, limit=4)
    >>> cams = [*find_cams("CAM"), *find_cams("Grad-CAM"), *find_cams("controls")]
    >>> found = compare(cams, [metric("iou")], network, images, optional=cams)
    >>> [cam.name for cam in found.cams], found.scores["iou"].shape
    (['Grad-CAM', 'Fake-CAM', 'Random-CAM', 'Centre-Gaussian'], torch.Size([4, 4]))
    >>> [(cam.name, reason[:39]) for cam, reason in found.skipped]
    [('CAM', 'terminal fc: no global average pooling ')]
    """
    names = sorted({name for cam in cams for name in cam.terminals})
    needed = {name for cam in cams if cam not in optional for name in cam.terminals}
    cache = TerminalCache(
        network, images, names, classes, settings=settings, on_batch=on_batch, optional={*names} - needed - {"A"}, store=store
    )
    reasons: dict[int, str] = {}  # by place in `cams`
    empty = torch.zeros(len(cams), dtype=torch.int64)
    for place, cam in enumerate(cams):
        missing = [name for name in cam.terminals if name in cache.refused]
        if missing:
            reasons[place] = cache.refused[missing[0]]
    oracles = [_Asked(group, cache, protocol) for group in _groups(metrics, cache)]
    values = {
        m.name: torch.full((len(cams), len(one.places), *m.best_parts().shape), torch.nan, dtype=torch.float64)
        for one in oracles for m in one.metrics
    }  # fmt: skip
    _score_terms(cams, oracles, values, reasons, optional, empty)
    _score_baselines(cams, cache, oracles, values, reasons, optional, empty)
    kept = [place for place in range(len(cams)) if place not in reasons]
    return Comparison(
        [cams[place] for place in kept],
        {name: scores[kept] for name, scores in values.items()},
        [(cams[place], reason) for place, reason in sorted(reasons.items())],
        {m.name: len(images) - len(one.places) for one in oracles for m in one.metrics if len(one.places) < len(images)},
        {cams[place].name: int(empty[place]) for place in kept if empty[place]},
        cache.stored,
    )


def _groups(metrics: Sequence[Metric], cache: TerminalCache) -> list[list[Metric]]:
    """Metrics that are asked about the same images, and so share their passes."""
    everyone = bool(cache.images.has_mask.all())
    groups = [[m for m in metrics if everyone or not m.needs_masks], [m for m in metrics if not everyone and m.needs_masks]]
    return [group for group in groups if group]


class _Asked:
    """Metrics on the images that they can be asked about.

    Attributes:
        places: [n], where these stand among all images.
    """

    def __init__(self, metrics: list[Metric], cache: TerminalCache, protocol: Protocol) -> None:
        self.metrics = metrics
        self.places = torch.arange(len(cache))
        if metrics[0].needs_masks and not bool(cache.images.has_mask.all()):
            self.places = cache.images.has_mask.nonzero()[:, 0]
            if not len(self.places):
                raise SycamError(
                    f"metric {metrics[0].name!r} needs masks or boxes, and no image has any: give them with --masks or --boxes"
                )
            cache = cache.select(self.places)
        self.oracle = MetricOracle(cache, metrics, protocol=protocol)


def _score_terms(
    cams: Sequence[AnyCam],
    asked: list[_Asked],
    values: dict[str, Tensor],
    reasons: dict[int, str],
    optional: Collection[AnyCam],
    empty: Tensor,
) -> None:
    places = [place for place, cam in enumerate(cams) if isinstance(cam, Cam) and place not in reasons]
    for one in asked:
        here = [place for place in places if place not in reasons]
        terms = [cam.term for cam in (cams[place] for place in here) if isinstance(cam, Cam)]
        if not terms:
            continue
        maps, finite = one.oracle.maps(terms)
        for row, place in enumerate(here):
            if not bool(finite[row].all()):
                image = one.oracle.cache.images.names[int((~finite[row]).nonzero()[0, 0])]
                reasons[place] = _not_finite(cams[place], image, optional)
            empty[place] = torch.maximum(empty[place], (maps[row].flatten(1).amax(1) <= 0).sum().cpu())
        rows = [row for row, place in enumerate(here) if place not in reasons]
        if rows:
            scores = one.oracle.score_each(maps[rows], torch.arange(len(one.places)), [terms[row] for row in rows])
            for metric, found in zip(one.metrics, scores, strict=True):
                values[metric.name][[here[row] for row in rows]] = found


def _score_baselines(
    cams: Sequence[AnyCam],
    cache: TerminalCache,
    asked: list[_Asked],
    values: dict[str, Tensor],
    reasons: dict[int, str],
    optional: Collection[AnyCam],
    empty: Tensor,
) -> None:
    """Batch by batch, so that baselines share the batch's passes and only one batch's maps of image size are held."""
    baselines = {place: cam for place, cam in enumerate(cams) if isinstance(cam, Baseline)}
    if not baselines:
        return
    network, images = cache.network, cache.images
    for batch in torch.arange(len(cache)).split(images_at_once(network.device, *images.pixels.shape[-2:])):
        at = slice(int(batch[0]), int(batch[-1]) + 1)
        view = View(network, images.normalised(at, network), cache.classes[at], settings=cache.settings)
        for place, baseline in baselines.items():
            if place in reasons:
                continue
            try:
                maps, finite = baseline.maps(view)
            except Unavailable as problem:
                if baseline not in optional:
                    raise
                reasons[place] = str(problem)
                continue
            if not bool(finite.all()):
                reasons[place] = _not_finite(baseline, images.names[at][int((~finite).nonzero()[0, 0])], optional)
                continue
            empty[place] += int((maps.flatten(1).amax(1) <= 0).sum())
            for one in asked:
                inside = (one.places >= at.start) & (one.places < at.stop)
                if bool(inside.any()):
                    chosen = maps[(one.places[inside] - at.start).to(maps.device)]
                    scores = one.oracle.score_each(chosen[None], inside.nonzero()[:, 0], [baseline])
                    for metric, found in zip(one.metrics, scores, strict=True):
                        values[metric.name][place, inside] = found[0]


def _not_finite(cam: AnyCam, image: str, optional: Collection[AnyCam]) -> str:
    if cam not in optional:
        raise Unavailable(f"{cam.name} is NaN or infinite on {image}")
    return f"it is NaN or infinite on {image}"
