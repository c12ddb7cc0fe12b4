"""Metrics that ask the network about the image seen through the heatmap: drop, increase, gain, and ADCC with its parts.

p is the probability of the class on the plain image x, o on x ⊙ S, d on x ⊙ (1 − S), S the heatmap; all share one masked pass,
which also gives the second heatmap that coherency needs where the CAM's terminals follow from it. A map that changes nothing
(Fake-CAM: ones but a corner) has a near perfect drop and increase, and a gain near 0: read drop beside gain.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.metrics.kinds.ground_truth import correlation
from sycam.metrics.metric import Part, register_metric
from sycam.metrics.query import Query

ADCC = "ADCC: Poppi et al., CVPR Workshops 2021"


@register_metric("average-drop", direction="low", bounds=(0.0, 1.0), passes=1, source="Grad-CAM++ (Chattopadhyay et al. 2018)")
def average_drop(query: Query) -> Tensor:
    """Share of the class's probability that is lost when the heatmap masks the image: (p − o)₊ / p; 0 where p = 0.

    >>> from sycam.metrics.query import probe
    >>> average_drop(probe(p=[0.8, 0.5, 0.0], o=[0.2, 0.9, 0.4]))
    tensor([0.7500, 0.0000, 0.0000])
    """
    return _ratio((query.p - query.o).relu(), query.p)


@register_metric(
    "average-increase", direction="high", bounds=(0.0, 1.0), passes=1, source="Grad-CAM++ (Chattopadhyay et al. 2018)"
)
def average_increase(query: Query) -> Tensor:
    """Whether the class's probability rises when the heatmap masks the image: 1[o > p].

    >>> from sycam.metrics.query import probe
    >>> average_increase(probe(p=[0.8, 0.5, 0.5], o=[0.2, 0.9, 0.5]))
    tensor([0., 1., 0.])
    """
    return (query.o > query.p).to(query.p.dtype)


@register_metric("average-gain", direction="high", bounds=(0.0, 1.0), passes=1, source="Opti-CAM (Zhang et al. 2024)")
def average_gain(query: Query) -> Tensor:
    """Share of the doubt that is removed when the heatmap masks the image: (o − p)₊ / (1 − p); 0 where p = 1.

    >>> from sycam.metrics.query import probe
    >>> average_gain(probe(p=[0.8, 0.5, 1.0], o=[0.2, 0.9, 1.0]))
    tensor([0.0000, 0.8000, 0.0000])
    """
    return _ratio((query.o - query.p).relu(), 1 - query.p)


@register_metric("drop-in-deletion", direction="high", bounds=(-torch.inf, 1.0), passes=1, source="LIFT-CAM (Jung & Oh 2021)")
def drop_in_deletion(query: Query) -> Tensor:
    """Share of the class's probability lost when the heatmap is taken out: (p − d) / p, not clipped; 0 where p = 0.

    A probability that rises by any factor makes it as negative as one likes, so it is bounded above only. A p below the
    smallest normal number counts as 0, since dividing by it would overflow.

    >>> from sycam.metrics.query import probe
    >>> drop_in_deletion(probe(p=[0.8, 0.1], d=[0.2, 0.9]))
    tensor([ 0.7500, -8.0000])
    """
    p = query.p
    return _ratio(p - query.d, torch.where(p < torch.finfo(p.dtype).tiny, 0, p))


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, and 0 where below is 0; both [N]."""
    return torch.where(below > 0, above / torch.where(below > 0, below, 1), 0)


@register_metric("coherency", direction="high", bounds=(0.0, 1.0), passes=1, redraws=True, source=ADCC)
def coherency(query: Query) -> Tensor:
    """(ρ + 1)/2 with ρ = Pearson(CAM(x), CAM(x ⊙ CAM(x))), of the same image class; 0 where either heatmap is constant.

    A heatmap that says nothing coheres with nothing: the correlation is undefined there, and the worst value is taken.
    The published code takes whichever class is on top for the plain image even when a target is given; this takes one throughout.

    >>> from sycam.metrics.query import probe
    >>> S = [[[0.0, 1.0], [0.0, 1.0]]]
    >>> coherency(probe(S * 3, masked=[[[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    tensor([1., 0., 0.])
    """
    return (correlation(query.heatmaps, query.masked[0], undefined=-1.0) + 1) / 2


@register_metric("complexity", direction="low", bounds=(0.0, 1.0), passes=0, source=ADCC)
def complexity(query: Query) -> Tensor:
    """Mean of the heatmap over pixels: its L1 norm as a share of the image.

    >>> from sycam.metrics.query import probe
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


@register_metric("adcc", direction="high", bounds=(0.0, 1.0), passes=1, redraws=True, source=ADCC)
def adcc(query: Query) -> Tensor:
    """Harmonic mean of coherency, 1 − complexity and 1 − average drop, per image; 0 where one of these is 0.

    This is the published function. Published tables are `adcc-of-means`, which is higher.

    >>> from sycam.metrics.query import probe
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
    source=ADCC + ", as its tables have it",
)
def adcc_of_means(query: Query) -> Tensor:
    """Harmonic mean of the mean coherency, 1 − the mean complexity and 1 − the average drop: not a mean over images.

    For comparison with published tables, whose ADCC is this. It is searched for by bounds on its parts alone.

    >>> from sycam.metrics.query import probe
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
