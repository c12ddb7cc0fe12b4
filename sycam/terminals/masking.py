"""Terminals that mask the image with each channel's own map and ask the whole network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sycam.heatmap import minmax, upsample
from sycam.network.batching import images_at_once
from sycam.terminals.terminal import View, image_keys, normal, register_terminal

Masking = Callable[[Tensor, Tensor], Tensor]
"""Images and channels, [jobs] each, to masks in the image's size, [jobs, H, W]."""


@register_terminal(
    "score",
    settings=(),
    sort="Real",
    level="channel",
    passes="K forward, less the constant channels",
    source="Score-CAM: Wang et al., CVPR Workshops 2020",
)
def mask_score(view: View) -> Tensor:
    """Probability of the class on the image masked by the channel's map, upsampled and scaled to [0, 1].

    Masked pixels take the mean colour. A constant map masks everything.
    """
    return masked_logits(view)[1]


@register_terminal(
    "score_logit",
    settings=(),
    sort="Real",
    level="channel",
    passes="K forward, less the constant channels; shared with score",
    source="Score-CAM: Wang et al., CVPR Workshops 2020, equation 6",
)
def mask_score_logit(view: View) -> Tensor:
    """Logit of the class on the image masked by the channel's map, upsampled and scaled to [0, 1]."""
    return masked_logits(view)[0]


@register_terminal(
    "score_out",
    settings=(),
    sort="Real",
    level="channel",
    passes="K forward, less the constant channels",
    source="the complement of Score-CAM's mask: Wang et al., CVPR Workshops 2020",
)
def mask_out_score(view: View) -> Tensor:
    """Probability of the class, less that on the image from which the channel's map is taken out.

    The mask is one minus the map, upsampled and scaled to [0, 1]. A constant map takes out nothing: 0.
    """
    if "score_out" not in view.extra:
        image, channel = _varying(view).nonzero(as_tuple=True)  # [jobs] each
        probability = _run(view, image, channel, lambda of, k: 1 - _mask(view, view.A[of, k]))[1]
        drop = view.A.new_zeros(view.A.shape[:2])
        drop[image, channel] = view["p"][image, 0] - probability
        view.extra["score_out"] = (drop,)
    return view.extra["score_out"][0]


@register_terminal(
    "score_noise",
    settings=("seed", "noise_samples", "noise_level"),
    sort="Real",
    level="channel",
    passes="n·K forward, less the constant channels",
    source="SS-CAM, smooth on the feature map: Wang et al., 2020, arXiv 2006.14255",
)
def noisy_mask_score(view: View) -> Tensor:
    """Mean of score over `noise_samples` maps with Gaussian noise of `noise_level` times the map's range.

    The noise is added to the h x w map, before upsampling. A constant map has no range: it masks everything, as in score.
    """
    settings, A = view.settings, view.A
    keys, (low, high) = image_keys(view), torch.aminmax(A.flatten(2), dim=-1)
    scale = settings.noise_level * (high - low)  # [N, K]

    def noisy(of: Tensor, k: Tensor, sample: int) -> Tensor:
        pairs = zip(of.tolist(), k.tolist(), strict=True)
        noise = torch.stack([normal((A.shape[2], A.shape[3]), keys[n], "noisy map", c, sample) for n, c in pairs])
        return _mask(view, A[of, k] + scale[of, k][:, None, None] * noise.to(A))

    return _mean_score(view, settings.noise_samples, noisy)


@register_terminal(
    "score_path",
    settings=("path_steps",),
    sort="Real",
    level="channel",
    passes="n·K forward, less the constant channels",
    source="IS-CAM: Naidu et al., 2020, arXiv 2010.03023",
)
def path_mask_score(view: View) -> Tensor:
    """Mean of score over the masks i/n · n(up(A_k)), i from 1 to n = `path_steps`: the path from the image masked everywhere."""
    steps = view.settings.path_steps
    return _mean_score(view, steps, lambda of, k, i: (i + 1) / steps * _mask(view, view.A[of, k]))


def masked_logits(view: View) -> tuple[Tensor, Tensor]:
    """Logit and probability of the class under each channel's mask, [N, K] each; computed once for a view.

    Jobs (image, channel) are one stream over the batch, so that chunks stay full, and a mask is built from its h x w
    map inside its chunk: never N·K masks at once. All constant maps give one mask, all zeros, and one image, of the
    mean colour all over: it is run once for the view.
    """
    if "masked logits" not in view.extra:
        image, channel = _varying(view).nonzero(as_tuple=True)  # [jobs] each
        logit, probability = _blank(view)
        logit[image, channel], probability[image, channel] = _run(view, image, channel, lambda of, k: _mask(view, view.A[of, k]))
        view.extra["masked logits"] = (logit, probability)
    logit, probability = view.extra["masked logits"]
    return logit, probability


def _mean_score(view: View, count: int, masking: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor:
    """Mean probability over `count` masks of each channel, [N, K]; the constant channels' is that of the blank image."""
    image, channel = _varying(view).nonzero(as_tuple=True)
    score = _blank(view)[1]
    total = score.new_zeros(len(image))
    for i in range(count):
        total += _run(view, image, channel, lambda of, k, i=i: masking(of, k, i))[1]  # type: ignore[misc]
    score[image, channel] = total / count
    return score


def _varying(view: View) -> Tensor:
    """Where a channel's map is not constant, [N, K]."""
    low, high = torch.aminmax(view.A.flatten(2), dim=-1)
    return low != high


def _mask(view: View, maps: Tensor) -> Tensor:
    """n(up(maps)): [jobs, h, w] to [jobs, H, W]."""
    return minmax(upsample(maps, (view.images.shape[2], view.images.shape[3])))


@torch.no_grad()
def _blank(view: View) -> tuple[Tensor, Tensor]:
    """Logit and probability of the class on the image masked everywhere, for every channel, [N, K] each; not run where no map is
    constant."""
    if bool(_varying(view).all()):
        return view.A.new_zeros(view.A.shape[:2]), view.A.new_zeros(view.A.shape[:2])
    if "blank" not in view.extra:
        view.extra["blank"] = (view.network.logits(torch.zeros_like(view.images[:1])),)  # [1, C]
    (blank,) = view.extra["blank"]
    logit, probability = blank[0, view.classes, None], blank.softmax(1)[0, view.classes, None]
    return logit.repeat(1, view.A.shape[1]), probability.repeat(1, view.A.shape[1])


@torch.no_grad()
def _run(view: View, image: Tensor, channel: Tensor, masking: Masking) -> tuple[Tensor, Tensor]:
    """Logit and probability of each job's class on its masked image, [jobs] each, in full chunks."""
    images, network = view.images, view.network
    logit, probability = view.A.new_empty(len(image)), view.A.new_empty(len(image))
    chunk = min(view.chunk, images_at_once(network.device, *images.shape[-2:]))
    for start in range(0, len(image), chunk):
        part = slice(start, start + chunk)
        of = image[part]
        logits = network.logits(images[of] * masking(of, channel[part])[:, None])
        logit[part] = logits.gather(1, view.classes[of, None])[:, 0]
        probability[part] = logits.softmax(1).gather(1, view.classes[of, None])[:, 0]
    return logit, probability
