"""ADCC and its parts (Poppi et al., CVPR Workshops 2021): does the CAM find itself again, small, without losing the class?

One masked pass gives the probability that the drop needs and, where the CAM's terminals follow from it, the second heatmap.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.metrics.correlation import correlation
from sycam.metrics.masking import average_drop
from sycam.metrics.query import Query
from sycam.metrics.registry import Part, register_metric

SOURCE = "ADCC: Poppi et al., CVPR Workshops 2021"


@register_metric("coherency", direction="high", bounds=(0.0, 1.0), passes=1, redraws=True, source=SOURCE)
def coherency(query: Query) -> Tensor:
    """(ρ + 1)/2 with ρ = Pearson(CAM(x), CAM(x ⊙ CAM(x))), of the same image class; 0 where either heatmap is constant.

    A heatmap that says nothing coheres with nothing: the correlation is undefined there, and the worst value is taken.
    The published code takes whichever class is on top for the plain image even when a target is given; this takes one throughout.

    >>> from sycam.metrics.probe import probe
    >>> S = [[[0.0, 1.0], [0.0, 1.0]]]
    >>> coherency(probe(S * 3, masked=[[[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    tensor([1., 0., 0.])
    """
    return (correlation(query.heatmaps, query.masked[0], undefined=-1.0) + 1) / 2


@register_metric("complexity", direction="low", bounds=(0.0, 1.0), passes=0, source=SOURCE)
def complexity(query: Query) -> Tensor:
    """Mean of the heatmap over pixels: its L1 norm as a share of the image.

    >>> from sycam.metrics.probe import probe
    >>> complexity(probe([[[1.0, 0.5], [0.0, 0.0]]]))
    tensor([0.3750])
    """
    return query.heatmaps.mean((-2, -1))


def harmonic(parts: Tensor) -> Tensor:
    """ADCC of (coherency, complexity, drop), [..., 3] to [...]: 3 / (1/coherency + 1/(1 − complexity) + 1/(1 − drop)); 0 where
    one of these three is 0, which is the limit.

    >>> harmonic(torch.tensor([[0.5, 0.5, 0.5], [1.0, 0.25, 1.0]]))
    tensor([0.5000, 0.0000])
    """
    good = torch.stack([parts[..., 0], 1 - parts[..., 1], 1 - parts[..., 2]], -1)
    some = good.amin(-1) > torch.finfo(good.dtype).tiny  # a smaller number has no finite reciprocal
    # A sum of reciprocals would round 3/(1 + 1 + 1/g) of a tiny g to g·3 well enough; of 0 it would divide by 0.
    return torch.where(some, 3 / torch.where(some[..., None], good, 1).reciprocal().sum(-1), 0)


@register_metric("adcc", direction="high", bounds=(0.0, 1.0), passes=1, redraws=True, source=SOURCE)
def adcc(query: Query) -> Tensor:
    """Harmonic mean of coherency, 1 − complexity and 1 − average drop, per image; 0 where one of these is 0.

    This is the published function. Published tables are `adcc-of-means`, which is higher.

    >>> from sycam.metrics.probe import probe
    >>> adcc(probe([[[0.0, 1.0], [0.0, 1.0]]], p=[0.8], o=[0.4], masked=[[[0.0, 1.0], [0.0, 1.0]]]))
    tensor([0.6000])
    """
    return harmonic(_parts(query))


@register_metric(
    "adcc-of-means",
    direction="high",
    bounds=(0.0, 1.0),
    passes=1,
    redraws=True,
    parts=(Part("coherency", "high"), Part("complexity", "low"), Part("average-drop", "low")),
    combine=harmonic,
    source=SOURCE + ", as its tables have it",
)
def adcc_of_means(query: Query) -> Tensor:
    """Harmonic mean of the mean coherency, 1 − the mean complexity and 1 − the average drop: not a mean over images.

    For comparison with published tables, whose ADCC is this. It is searched for by bounds on its parts alone.

    >>> from sycam.metrics.probe import probe
    >>> S = [[[0.0, 1.0], [0.0, 1.0]]]
    >>> parts = adcc_of_means(probe(S * 2, p=[0.8, 0.5], o=[0.4, 0.5], masked=S * 2))
    >>> parts, adcc_of_means.aggregate(parts)
    (tensor([[1.0000, 0.5000, 0.5000],
            [1.0000, 0.5000, 0.0000]]), tensor(0.6923))
    """
    return _parts(query)


def _parts(query: Query) -> Tensor:
    """Coherency, complexity and drop of each job, [N, 3]; the second heatmap first, whose pass answers the drop as well."""
    coherent = coherency(query)
    return torch.stack([coherent, complexity(query).to(coherent), average_drop(query).to(coherent)], 1)
