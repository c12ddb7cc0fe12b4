"""Which candidates of a batch need scoring: those that are finite, and draw no heatmap that was drawn before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sycam.oracle import MetricOracle

from .queue import Queued
from .same_heatmap import SameHeatmap
from .state import Tried


class Screen:
    """Screens batches, and remembers which heatmaps were drawn.

    A candidate that comes before its like in the learner's order, since the queue changed that order, is scored all the same:
    where scores tie, the first in the learner's order wins.

    Args:
        oracle: whose images decide.
        heatmaps: which candidates are proved to draw the heatmap of an earlier one; None to ask the images only.
        images: whether equal maps on all images, bit for bit, count as equal heatmaps; they do not where a metric draws
            candidates on other images.
    """

    def __init__(self, oracle: MetricOracle, heatmaps: SameHeatmap | None, images: bool = True) -> None:
        self._oracle, self._heatmaps = oracle, heatmaps
        self._seen: dict[bytes, int] | None = {} if images else None

    def __call__(self, batch: Sequence[Queued]) -> tuple[list[Queued], Tensor, list[Tried]]:
        """Candidates to score, their maps [C, N, h, w], and what became of the others."""
        batch, tried = self._not_drawn_yet(batch)
        if not batch:
            return [], torch.empty(0), tried
        maps, finite = self._oracle.maps([one.candidate.term for one in batch])
        keys = self._oracle.signatures(maps)
        kept = []
        for index, one in enumerate(batch):
            if not bool(finite[index].all()):
                image = self._oracle.cache.images.names[int((~finite[index]).nonzero()[0, 0])]
                tried.append(_unscored(one, "invalid", f"NaN or infinite on {image}"))
            elif (earlier := self._proved(one)) is not None:
                tried.append(_unscored(one, "same-heatmap", f"heatmap of candidate {earlier}, proved"))
            else:
                if self._heatmaps:
                    self._heatmaps.stands(one.candidate.term, one.number)
                earlier = None if self._seen is None else self._seen.get(keys[index])
                if earlier is not None and earlier < one.number:
                    tried.append(_unscored(one, "same-on-images", f"heatmaps of candidate {earlier} on these images"))
                else:
                    kept.append(index)
                    if self._seen is not None:
                        self._seen[keys[index]] = one.number
        return [batch[i] for i in kept], maps[torch.tensor(kept, dtype=torch.int64, device=maps.device)], tried

    def _not_drawn_yet(self, batch: Sequence[Queued]) -> tuple[list[Queued], list[Tried]]:
        """Candidates without those that are proved to draw the heatmap of one of an earlier batch."""
        if self._heatmaps is None:
            return list(batch), []
        self._heatmaps.classify([one.candidate.term for one in batch])
        proved = [(one, self._proved(one)) for one in batch]
        tried = [
            _unscored(one, "same-heatmap", f"heatmap of candidate {earlier}, proved")
            for one, earlier in proved
            if earlier is not None
        ]
        return [one for one, earlier in proved if earlier is None], tried

    def _proved(self, one: Queued) -> int | None:
        """The number of the candidate that stands for the heatmap of this one, where it comes before it."""
        earlier = self._heatmaps.earlier(one.candidate.term) if self._heatmaps else None
        return earlier if earlier is not None and earlier < one.number else None


def _unscored(one: Queued, status: str, reason: str) -> Tried:
    return Tried(one.number, one.candidate.term, one.candidate.cost, status, reason=reason)
