"""A query with answers written in by hand: to try a metric on numbers that one can check on paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.metrics.query import Ask, Query


def probe(
    heatmaps: Sequence[Any] | Tensor | None = None,
    *,
    p: Sequence[float] | None = None,
    o: Sequence[float] | None = None,
    d: Sequence[float] | None = None,
    masks: Sequence[Any] | Tensor | None = None,
    masked: Sequence[Any] | Tensor | None = None,
    labels: Sequence[int] | None = None,
    ask: Ask | None = None,
    redraw: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Query:
    """A query of N jobs on N black images, without a network.

    Args:
        heatmaps: [N, H, W] in [0, 1]; by default N empty ones of 1×1.
        p, o, d: N probabilities of the class: plain, through the heatmap, without what it shows. p is 0.5 by default.
        masks: [N, H, W] true on the object; none by default.
        masked: [N, H, W], the heatmaps on the images masked by their heatmaps.
        labels: N true classes; all that is explained, and predicted, is class 0.
        ask: the network, if there is one: images to probabilities.
        redraw: images and jobs to heatmaps, as if by the CAM.

    Raises:
        SycamError: when a metric asks for an answer that was not given.

    >>> query = probe([[[0.0, 1.0]]], p=[0.8], o=[0.6])
    >>> query.heatmaps.shape, query.o
    (torch.Size([1, 1, 2]), tensor([0.6000]))
    >>> query.d
    Traceback (most recent call last):
    sycam.errors.SycamError: this probe has no network to ask: write the answers in, as probe(..., o=[0.6]) does
    """
    given = next((known for known in (heatmaps, p, o, d) if known is not None), [0])
    count = len(given)
    heat = torch.zeros(count, 1, 1) if heatmaps is None else torch.as_tensor(heatmaps)
    plain = torch.full((count,), 0.5) if p is None else torch.tensor(p)
    query = Query(
        heat,
        heat.new_zeros(count, 3, *heat.shape[-2:]),
        torch.zeros(count, dtype=torch.long),
        plain,
        ask or _no_network,
        masks=None if masks is None else torch.as_tensor(masks),
        labels=None if labels is None else torch.tensor(labels),
        redraw=None if redraw is None else lambda images, jobs: (redraw(images, jobs), plain[jobs, None]),
    )
    # `o` and `d` are cached properties: what stands in the instance is what they answer.
    vars(query).update({name: torch.tensor(known) for name, known in (("o", o), ("d", d)) if known is not None})
    if masked is not None:
        vars(query)["masked"] = (torch.as_tensor(masked), query.o if o is not None else plain)
    return query


def _no_network(images: Tensor) -> Tensor:
    raise SycamError("this probe has no network to ask: write the answers in, as probe(..., o=[0.6]) does")
