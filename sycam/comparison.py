"""Many CAMs side by side: terms from one cache of terminals, baselines and controls batch by batch, and what could not be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sycam.baselines import Baseline
from sycam.cams import AnyCam, Cam
from sycam.errors import SycamError
from sycam.images import ImageSet
from sycam.metrics.registry import Metric
from sycam.network import Network
from sycam.network.batching import images_at_once
from sycam.oracle import Failures, MetricOracle, TerminalCache
from sycam.terminals import TerminalSettings, View


@dataclass
class Comparison:
    """Scores of CAMs on the same images.

    Attributes:
        cams: those that were scored, in the order they were named.
        scores: metric's name to [len(cams), n] float64, over the n images that the metric can be asked about.
        skipped: each CAM that this network or these images cannot have, and why.
        without_mask: metric's name to how many images it left out because they have no mask; only where some were.
    """

    cams: list[AnyCam]
    scores: dict[str, Tensor]
    skipped: list[tuple[AnyCam, str]] = field(default_factory=list)
    without_mask: dict[str, int] = field(default_factory=dict)


def compare(
    cams: Sequence[AnyCam],
    metrics: Sequence[Metric],
    network: Network,
    images: ImageSet,
    classes: Tensor | None = None,
    *,
    settings: TerminalSettings | None = None,
    skip: bool = False,
    on_error: str = "stop",
    on_batch: Callable[[int], None] | None = None,
) -> Comparison:
    """Scores every CAM by every metric, each image's terminals computed once.

    Args:
        cams: terms, baselines and controls, in any order.
        metrics: each is asked about the images that have what it needs.
        network: the CNN.
        images: pixels, labels, masks.
        classes: [N], the image class that is explained; None for the predicted one.
        settings: samples, steps, orderings and the seed of the terminals, and of Random-CAM.
        skip: leave a CAM out, with its reason, where the network cannot give a terminal it uses, where it cannot have the
            baseline, or where it is not finite on an image; False to raise then.
        on_error: "stop" raises where a metric fails on a CAM, "skip" leaves that CAM out, with its reason.
        on_batch: told after each batch of terminals how many images are done.

    Raises:
        SycamError: a metric needs masks and no image has one; or, unless `skip`, what is said there.

    >>> from sycam.cams import find_cams
    >>> from sycam.embedded import images_csv
    >>> from sycam.images import load_images
    >>> from sycam.metrics.registry import metric
    >>> from sycam.network import load_network
    >>> network = load_network("embedded")
    >>> images = load_images(images_csv(), network.preprocessing, limit=4)
    >>> cams = [*find_cams("CAM"), *find_cams("Grad-CAM"), *find_cams("controls")]
    >>> found = compare(cams, [metric("iou")], network, images, skip=True)
    >>> [cam.name for cam in found.cams], found.scores["iou"].shape
    (['Grad-CAM', 'Fake-CAM', 'Random-CAM', 'Centre-Gaussian'], torch.Size([4, 4]))
    >>> [(cam.name, reason[:39]) for cam, reason in found.skipped]
    [('CAM', 'terminal fc: no global average pooling ')]
    """
    refused: dict[str, str] | None = {} if skip else None
    names = sorted({name for cam in cams for name in cam.terminals})
    cache = TerminalCache(network, images, names, classes, settings=settings, on_batch=on_batch, refused=refused)
    reasons: dict[int, str] = {}  # by place in `cams`
    for place, cam in enumerate(cams):
        missing = [name for name in cam.terminals if name in (refused or {})]
        if missing:
            reasons[place] = (refused or {})[missing[0]]
    failures = Failures(on_error)
    oracles = [_Asked(metric, cache, failures) for metric in metrics]
    values = {m.metric.name: torch.full((len(cams), len(m.places)), torch.nan, dtype=torch.float64) for m in oracles}
    _score_terms(cams, oracles, values, reasons, skip)
    _score_baselines(cams, cache, oracles, values, reasons, skip)
    kept = [place for place in range(len(cams)) if place not in reasons]
    return Comparison(
        [cams[place] for place in kept],
        {name: scores[kept] for name, scores in values.items()},
        [(cams[place], reason) for place, reason in sorted(reasons.items())],
        {m.metric.name: len(images) - len(m.places) for m in oracles if len(m.places) < len(images)},
    )


class _Asked:
    """One metric on the images that it can be asked about.

    Attributes:
        places: [n], where these stand among all images.
    """

    def __init__(self, metric: Metric, cache: TerminalCache, failures: Failures) -> None:
        self.metric, self.failures = metric, failures
        self.places = torch.arange(len(cache))
        if metric.needs_masks and not bool(cache.images.has_mask.all()):
            self.places = cache.images.has_mask.nonzero()[:, 0]
            if not len(self.places):
                raise SycamError(
                    f"metric {metric.name!r} needs masks or boxes, and no image has any: give them with --masks or --boxes"
                )
            cache = cache.select(self.places)
        self.oracle = MetricOracle(cache, metric)

    def score(self, maps: Tensor, images: Tensor) -> tuple[Tensor, dict[int, str]]:
        """Scores [C, B] of maps [C, B, h, w] on these of its images, and why some CAMs have none."""

        def ask(rows: Tensor, columns: Tensor) -> Tensor:
            return self.oracle.score(maps[rows.to(maps.device)][:, columns.to(maps.device)], images[columns])

        found, failed = self.failures.attempt(ask, len(maps), len(images))
        if self.failures.given_up is not None:
            raise self.failures.given_up
        return found, {row: str(error) for row, error in failed.items()}


def _score_terms(
    cams: Sequence[AnyCam], asked: list[_Asked], values: dict[str, Tensor], reasons: dict[int, str], skip: bool
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
                reasons[place] = _not_finite(cams[place], image, skip)
        rows = [row for row, place in enumerate(here) if place not in reasons]
        if rows:
            scores, failed = one.score(maps[rows], torch.arange(len(one.places)))
            values[one.metric.name][[here[row] for row in rows]] = scores
            reasons.update({here[rows[row]]: reason for row, reason in failed.items()})


def _score_baselines(
    cams: Sequence[AnyCam],
    cache: TerminalCache,
    asked: list[_Asked],
    values: dict[str, Tensor],
    reasons: dict[int, str],
    skip: bool,
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
            except SycamError as problem:
                if not skip:
                    raise
                reasons[place] = str(problem)
                continue
            if not bool(finite.all()):
                reasons[place] = _not_finite(baseline, images.names[at][int((~finite).nonzero()[0, 0])], skip)
                continue
            for one in asked:
                inside = (one.places >= at.start) & (one.places < at.stop)
                if bool(inside.any()):
                    chosen = maps[(one.places[inside] - at.start).to(maps.device)]
                    scores, failed = one.score(chosen[None], inside.nonzero()[:, 0])
                    values[one.metric.name][place, inside] = scores[0]
                    if failed:
                        reasons[place] = failed[0]


def _not_finite(cam: AnyCam, image: str, skip: bool) -> str:
    reason = f"it is NaN or infinite on {image}"
    if not skip:
        raise SycamError(f"{cam.name} is NaN or infinite on {image}")
    return reason
