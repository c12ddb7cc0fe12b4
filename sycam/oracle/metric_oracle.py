"""Scores many candidates on many images: terms from the cache, masked images of all of them in full batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.heatmap import post
from sycam.images import ImageSet
from sycam.metrics.query import Query
from sycam.metrics.registry import Metric
from sycam.network.batching import images_at_once
from sycam.theory import combined_maps
from sygus import Term

from .cache import TerminalCache

BYTES_OF_HEATMAPS = 31 << 20  # at most so much for the heatmaps of one query on a CPU; on a GPU four times that


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


class MetricOracle:
    """One metric on one set of images.

    Args:
        cache: the images with their terminals.
        metric: what is measured.
        batch: masked images per forward pass; None for 512 on a GPU, and on a CPU for as many as have 2^18 pixels (64 of 64×64,
            5 of 224×224), at most 128. Halved when memory runs out.

    Raises:
        SycamError: the metric needs masks and an image has none.
    """

    norm = "minmax"
    """How heatmaps are normalised (`post`)."""

    def __init__(self, cache: TerminalCache, metric: Metric, batch: int | None = None) -> None:
        self.cache, self.metric = cache, metric
        self.spent = Spent()
        images = cache.images
        self._size = (images.pixels.shape[-2], images.pixels.shape[-1])
        self.batch = batch or images_at_once(cache.network.device, *self._size)
        require_masks(metric, images)
        device = cache.network.device
        self._masks = images.masks.to(device) if metric.needs_masks and images.masks is not None else None
        self._pixels = images.pixels if device.type == "cpu" else images.pixels.to(device)

    def maps(self, terms: Sequence[Term], places: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Low-resolution heatmaps of terms, and where they are finite, without a pass of the network.

        Args:
            terms: candidates.
            places: which images; all where None.

        Returns:
            [C, B, h, w] float32 in [0, 1], and a Bool [C, B].
        """
        chosen = torch.arange(len(self.cache)) if places is None else places
        maps, finite = [], []
        for part in chosen.split(self._images_at_once()):
            evaluated = combined_maps(terms, self.cache.evaluator(part.to(self.cache.network.device)))
            maps.append(evaluated[0])
            finite.append(evaluated[1])
        return torch.cat(maps, 1), torch.cat(finite, 1)

    def signatures(self, maps: Tensor) -> list[bytes]:
        """A key for each candidate's maps [C, N, h, w] on all images: equal keys, equal bits."""
        first, second = _hashes(maps.flatten(1, 2))
        return [bytes(row) for row in torch.stack([first, second], 1).cpu().numpy()]

    def _images_at_once(self) -> int:
        """How many images are evaluated together, so that a few dozen shared maps fit into 1 GiB of float64."""
        one = 8 * self.cache.values["A"][0].numel()
        return max(1, min(64, (1 << 30) // (24 * one)))

    def score(self, maps: Tensor, places: Tensor) -> Tensor:
        """The metric of each candidate on each image.

        Args:
            maps: [C, B, h, w] of `maps` at these places.
            places: [B], which images.

        Returns:
            [C, B] float64 on the CPU, in the metric's own units.

        Equal maps of one image are scored once.
        """
        candidates, images = maps.shape[:2]
        flat = maps.flatten(0, 1)  # [C·B, h, w], candidate by candidate
        image = torch.arange(images, device=maps.device).repeat(candidates)  # [C·B]
        keys = torch.stack([image, *_hashes(flat)], 1)
        unique, inverse = torch.unique(keys, dim=0, return_inverse=True)
        first = torch.full((len(unique),), len(flat), device=maps.device).scatter_reduce(
            0, inverse, torch.arange(len(flat), device=maps.device), "amin"
        )
        # Image by image, so that a query needs few images; never by hash, so that a repeated run fills the same batches.
        order = first[(first % images * candidates + first // images).argsort()]
        values = torch.empty(len(flat), dtype=torch.float64, device=maps.device)
        for jobs in order.split(self._jobs_at_once()):
            values[jobs] = self._ask(flat[jobs], places.to(maps.device)[image[jobs]])
        self.spent.asked += len(flat)
        self.spent.shared += len(flat) - len(order)
        return values[first[inverse]].view(candidates, images).cpu()

    def _jobs_at_once(self) -> int:
        budget = BYTES_OF_HEATMAPS * (1 if self.cache.network.device.type == "cpu" else 4)
        return max(self.batch, budget // (4 * self._size[0] * self._size[1]) // self.batch * self.batch)

    def _ask(self, maps: Tensor, places: Tensor) -> Tensor:
        """The metric of jobs: maps [M, h, w], each on the image at `places` [M]; [M] float64."""
        used, index = places.unique(return_inverse=True)
        network, cache = self.cache.network, self.cache
        images = network.preprocessing.normalise(self._pixels[used.to(self._pixels.device)], network.device)
        names = [cache.images.names[i] for i in used.tolist()]
        while True:
            query = Query(
                post(maps, self._size, norm=self.norm), images, cache.classes[used], cache.p[used].float(), self._probabilities,
                image_index=index, masks=None if self._masks is None else self._masks[used], names=names, batch=self.batch,
            )  # fmt: skip
            try:
                return self.metric(query).double()
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise SycamError(f"{network.device} has too little memory for one image: use another device") from None
                self.batch //= 2
                self.spent.halvings += 1
                torch.cuda.empty_cache()

    def _probabilities(self, images: Tensor) -> Tensor:
        self.spent.passes += len(images)
        return self.cache.network.logits(images).softmax(1)


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


def _hashes(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Two 63-bit hashes of the bits of each map: [M] int64 each."""
    bits = flat.flatten(1).contiguous().view(torch.int32).to(torch.int64)
    generator = torch.Generator().manual_seed(0x5CA)
    factors = torch.randint(-(2**62), 2**62, (2, bits.shape[1]), generator=generator).to(flat.device) | 1
    return (bits * factors[0]).sum(1), (bits * factors[1]).sum(1)
