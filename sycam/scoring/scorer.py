"""What scores candidates on images, wherever it runs: the protocol that a search relies on, and what all scorers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Union

import torch
from torch import Tensor

from sycam.cams import Baseline
from sycam.errors import OracleError, SycamError
from sycam.images import ImageSet
from sycam.job import TerminalSettings
from sycam.metrics.metric import Metric
from sycam.network import Network
from sycam.store import Stored
from sygus import Term

Drawable = Union[Term, Baseline]
"""What draws a heatmap on any image."""


@dataclass
class Spent:
    """What scoring has cost so far.

    Attributes:
        asked: image scores asked for (candidates × images).
        shared: of these, answered from an equal heatmap on the same image.
        passes: masked images that went through the network.
        halvings: times the batch was halved because memory ran out.
    """

    asked: int = 0
    shared: int = 0
    passes: int = 0
    halvings: int = 0


class Terminals(Protocol):
    """The terminals of a set of images, here or where workers hold them; see `TerminalCache`.

    `values` of a terminal is indexed by places, and gives these rows as one tensor.
    """

    @property
    def network(self) -> Network: ...
    @property
    def settings(self) -> TerminalSettings: ...
    @property
    def images(self) -> ImageSet: ...
    @property
    def values(self) -> Mapping[str, Any]: ...
    @property
    def classes(self) -> Tensor: ...
    @property
    def p(self) -> Tensor: ...
    @property
    def stored(self) -> Stored: ...
    def __len__(self) -> int: ...
    def failing(self, assumption: Term) -> int | None: ...


class Scorer(Protocol):
    """Scores candidates on a set of images, by one metric or by several that share all passes; see `MetricOracle`.

    Attributes:
        cache: the images with their terminals. metrics: what is measured; metric: the first.
        batch: masked images per pass. spent: what scoring has cost so far.
        norm: how heatmaps are normalised (`post`). agree: maps of an image that differ nowhere by more share one pass.
    """

    metrics: list[Metric]
    metric: Metric
    batch: int
    spent: Spent
    norm: str
    agree: float

    @property
    def cache(self) -> Terminals: ...
    @property
    def images(self) -> ImageSet: ...
    @property
    def redraws(self) -> bool: ...
    def __len__(self) -> int: ...
    def of(self, metric: Metric) -> Scorer: ...
    def maps(self, terms: Sequence[Term], places: Tensor | None = None) -> tuple[Tensor, Tensor]: ...
    def score(self, maps: Tensor, places: Tensor, cams: Sequence[Drawable] | None = None) -> Tensor: ...
    def score_each(
        self,
        maps: Tensor,
        places: Tensor,
        cams: Sequence[Drawable] | None = None,
        lost: dict[str, OracleError] | None = None,
        stop: bool = False,
    ) -> list[Tensor]: ...


def redraws(metrics: Sequence[Metric]) -> bool:
    """Whether one of the metrics asks for candidates' heatmaps on other images."""
    return any(metric.redraws for metric in metrics)


def drawn_again(metrics: Sequence[Metric], cams: Sequence[Drawable] | None, count: int) -> Sequence[Drawable] | None:
    """The candidates, `count` of them, if one of the metrics redraws.

    Raises:
        SycamError: it does, and they are not given.
    """
    if not redraws(metrics):
        return None
    if cams is None or len(cams) != count:
        names = ", ".join(metric.name for metric in metrics if metric.redraws)
        raise SycamError(f"{names}: heatmaps are drawn on other images too, so score must be given the {count} CAMs")
    return cams


def require_masks(metric: Metric, images: ImageSet) -> None:
    """Nothing where the metric needs no masks, or every image has one.

    Raises:
        SycamError: names the first image without.
    """
    if metric.needs_masks and not bool(images.has_mask.all()):
        bare = [name for name, has in zip(images.names, images.has_mask.tolist(), strict=True) if not has]
        raise SycamError(
            f"metric {metric.name!r} needs a mask or boxes on every image; {len(bare)} of {len(images)} have none, "
            f"first {bare[0]}: leave them out, or choose another metric"
        )


def signatures(maps: Tensor) -> list[bytes]:
    """A key for each candidate's maps [C, N, h, w] on all images: equal keys, equal bits."""
    first, second = hashes(maps.flatten(1, 2))
    return [bytes(row) for row in torch.stack([first, second], 1).cpu().numpy()]


def hashes(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Two 63-bit hashes of the bits of each map: [M] int64 each."""
    bits = flat.flatten(1).contiguous().view(torch.int32).to(torch.int64)
    generator = torch.Generator().manual_seed(0x5CA)
    factors = torch.randint(-(2**62), 2**62, (2, bits.shape[1]), generator=generator).to(flat.device) | 1
    return (bits * factors[0]).sum(1), (bits * factors[1]).sum(1)
