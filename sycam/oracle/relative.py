"""The cheap relative of a metric: heatmaps mask the layer's activations instead of the image, and only the tail runs."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.errors import Unavailable
from sycam.heatmap import post
from sycam.metrics.arithmetic import is_arithmetic
from sycam.metrics.registry import METRICS
from sycam.metrics.tail_query import TailQuery

from .metric_oracle import MetricOracle

BYTES = 1 << 25  # of masked activations at once


class Relative:
    """Scores candidates by a few images' masked activations. It orders candidates; nothing is rejected by it.

    Args:
        oracle: of the metric; its counts are not touched, tail passes are counted by the network.
        places: [P], the images.

    Raises:
        Unavailable: the metric is the user's own; it needs no pass of the network, or more than probabilities on masked images;
            or the network has no tail that runs without the images.
    """

    def __init__(self, oracle: MetricOracle, places: Tensor) -> None:
        network, cache = oracle.cache.network, oracle.cache
        self.metric, self.network, self._norm = oracle.metric, network, oracle.norm
        if METRICS.get(self.metric.name) is not self.metric and not is_arithmetic(self.metric.name):
            raise Unavailable(f"{self.metric.name} is not one of sycam's own metrics, so nothing is known of what it looks at")
        if not self.metric.passes or self.metric.needs_masks or self.metric.redraws:
            raise Unavailable(f"{self.metric.name} asks the network about no masked image alone")
        if network.needs_images:
            raise Unavailable(f"{network.name} has no tail of its own at {network.layer}: {network.cut_reason}")
        here = places.to(network.device)
        self._activations = cache.values["A"][here].to(network.dtype)
        self._classes, self._p = cache.classes[here], cache.p[here].float()
        self._batch = max(1, BYTES // (self._activations[0].numel() * self._activations.element_size()))
        nothing = torch.zeros(1, len(places), *self._activations.shape[2:], device=network.device)
        self(nothing)  # a metric that looks elsewhere says so now

    def __call__(self, maps: Tensor) -> Tensor:
        """The relative's score of each candidate, [C] float64 on the CPU, in the metric's units.

        Args:
            maps: [C, P, h, w], low-resolution heatmaps at these places. Equal maps have equal scores, to the bit.
        """
        unique, inverse = torch.unique(maps.flatten(1), dim=0, return_inverse=True)
        size = (maps.shape[2], maps.shape[3])
        jobs = unique.view(-1, *size)  # [U·P, h, w]
        image = torch.arange(maps.shape[1], device=maps.device).repeat(len(unique))
        query = TailQuery(
            post(jobs, size, norm=self._norm), self._activations, self._classes, self._p, self._probabilities,
            image_index=image, batch=self._batch,
        )  # fmt: skip
        values = self.metric(query).double().view(len(unique), -1)
        return values.mean(1)[inverse].cpu()

    def _probabilities(self, activations: Tensor) -> Tensor:
        with torch.no_grad():
            return self.network.tail(activations).softmax(1)
