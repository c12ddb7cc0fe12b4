"""Scores many candidates on many images: terms from the cache, masked images of all of them in full batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sycam.cams import Baseline
from sycam.errors import OracleError, SycamError
from sycam.heatmap import post
from sycam.images import ImageSet
from sycam.metrics.metric import Metric
from sycam.metrics.protocol import DEFAULT, Protocol
from sycam.metrics.query import Query
from sycam.network import Network
from sycam.network.batching import images_at_once, out_of_memory
from sycam.terminals import TerminalSettings, View
from sycam.theory import Evaluator, combined_maps
from sygus import Term
from sygus.terms import expand, subterms

from .blocks import within_blocks
from .scorer import Drawable, Spent, drawn_again, hashes, redraws, require_masks
from .terminals import TerminalCache

BYTES_OF_HEATMAPS = 31 << 20  # at most so much for the heatmaps of one query on a CPU; on a GPU four times that


class MetricOracle:
    """One metric, or several that share all passes, on one set of images.

    Args:
        cache: the images with their terminals.
        metric: what is measured; of several, `score` gives the first and `score_each` all.
        batch: masked images per forward pass; None for 512 on a GPU, and on a CPU for as many as have 2^18 pixels (64 of 64×64,
            5 of 224×224), at most 128. Halved when memory runs out.
        protocol: what masked pixels become.

    Raises:
        SycamError: a metric needs masks and an image has none.
    """

    norm = "minmax"
    """How heatmaps are normalised (`post`)."""
    agree = 0.0
    """Low-resolution maps of an image that differ nowhere by more share one pass; 0 for those that are equal bit for bit."""

    def __init__(
        self, cache: TerminalCache, metric: Metric | Sequence[Metric], batch: int | None = None, protocol: Protocol = DEFAULT
    ) -> None:
        self.cache = cache
        self.metrics = [metric] if isinstance(metric, Metric) else list(metric)
        self.metric, self.protocol = self.metrics[0], protocol
        self.spent = Spent()
        images = cache.images
        self._size = (images.pixels.shape[-2], images.pixels.shape[-1])
        self.batch = batch or images_at_once(cache.network.device, *self._size)
        for one in self.metrics:
            require_masks(one, images)
        device = cache.network.device
        needs_masks = any(one.needs_masks for one in self.metrics)
        self._masks = images.masks.to(device) if needs_masks and images.masks is not None else None
        self._boxes: Sequence[Tensor] | None = getattr(images, "boxes", None)
        self._labels, self._fill = images.labels.to(device), protocol.fill(cache.network.preprocessing)
        self._curves = tuple(dict.fromkeys(name for one in self.metrics for name in one.curves))
        self._pixels = images.pixels if device.type == "cpu" else images.pixels.to(device)

    def __len__(self) -> int:
        return len(self.cache)

    @property
    def images(self) -> ImageSet:
        """On which it scores."""
        return self.cache.images

    def maps(self, terms: Sequence[Term], places: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Low-resolution heatmaps of terms, and where they are finite, without a pass of the network.

        Args:
            terms: candidates.
            places: which images; all where None.

        Returns:
            [C, B, h, w] float32 in [0, 1], and a Bool [C, B].
        """
        chosen = torch.arange(len(self.cache)) if places is None else places
        device, size = self.cache.network.device, self.cache.network.map_size
        maps = torch.empty(len(terms), len(chosen), *size, device=device)
        finite = torch.empty(len(terms), len(chosen), dtype=torch.bool, device=device)
        for part in within_blocks(self.cache.block[chosen], self._images_at_once()):
            rows = part.to(device)
            maps[:, rows], finite[:, rows] = combined_maps(terms, self.cache.evaluator(chosen[part].to(device)))
        return maps, finite

    def _images_at_once(self) -> int:
        """How many images are evaluated together, so that a few dozen shared maps fit into 1 GiB of float64."""
        one = 8 * self.cache.values["A"][0].numel()
        return max(1, min(64, (1 << 30) // (24 * one)))

    def of(self, metric: Metric) -> MetricOracle:
        """Another metric on the same images; the two count what they spend together."""
        other = MetricOracle(self.cache, metric, self.batch, self.protocol)
        other.spent = self.spent
        return other

    @property
    def redraws(self) -> bool:
        """Whether a metric asks for candidates' heatmaps on other images, so that `score` must be told the candidates."""
        return redraws(self.metrics)

    def score(self, maps: Tensor, places: Tensor, cams: Sequence[Drawable] | None = None) -> Tensor:
        """The first metric of each candidate on each image.

        Args:
            maps: [C, B, h, w] of `maps` at these places.
            places: [B], which images.
            cams: the candidates, terms or baselines, C of them; needed where `redraws`.

        Returns:
            [C, B] float64 on the CPU, in the metric's own blocks; [C, B, P] of a metric with P parts.

        Maps of one image that are equal, or differ by at most `agree`, are scored once, unless a metric redraws: these candidates
        may differ on other images.

        Raises:
            SycamError: a metric redraws, and the candidates were not given.
        """
        return self.score_each(maps, places, cams)[0]

    def score_each(
        self,
        maps: Tensor,
        places: Tensor,
        cams: Sequence[Drawable] | None = None,
        lost: dict[str, OracleError] | None = None,
        stop: bool = False,
    ) -> list[Tensor]:
        """As `score`, for every metric in order.

        Where a metric fails this raises, or, where `lost` is given, adds the error there by the metric's name: that metric has
        NaN then, and the others have their scores; with `stop` only as far as all had come by then, image by image.
        """
        drawn = drawn_again(self.metrics, cams, len(maps))
        drawer = None if drawn is None else Drawer(self.cache.network, drawn, self.cache.settings, self.norm)
        candidates, images = maps.shape[:2]
        flat = maps.flatten(0, 1)  # [C·B, h, w], candidate by candidate
        image = torch.arange(images, device=maps.device).repeat(candidates)  # [C·B]
        candidate = torch.arange(candidates, device=maps.device).repeat_interleave(images)
        keys = torch.stack([image, *self._alike(maps, candidate)], 1)
        unique, inverse = torch.unique(keys, dim=0, return_inverse=True)
        first = torch.full((len(unique),), len(flat), device=maps.device).scatter_reduce(
            0, inverse, torch.arange(len(flat), device=maps.device), "amin"
        )
        # Image by image, so that a query needs few images; never by hash, so that a repeated run fills the same batches.
        order = first[(first % images * candidates + first // images).argsort()]
        block = self.cache.block[places.cpu()][(order % images).cpu()]
        values = [
            torch.full((len(flat), *([len(one.parts)] if one.parts else [])), torch.nan, dtype=torch.float64, device=maps.device)
            for one in self.metrics
        ]
        for together in within_blocks(block, self._jobs_at_once()):
            if lost and stop:
                break
            jobs = order[together.to(maps.device)]
            found = self._ask(flat[jobs], places.to(maps.device)[image[jobs]], drawer, candidate[jobs], lost)
            for known, new in zip(values, found, strict=True):
                known[jobs] = new
        self.spent.asked += len(flat)
        self.spent.shared += len(flat) - len(order)
        return [known[first[inverse]].unflatten(0, (candidates, images)).cpu() for known in values]

    def _alike(self, maps: Tensor, candidate: Tensor) -> Sequence[Tensor]:
        """What tells the maps of one image apart, each [C·B]: candidates whose maps share a pass there have the same."""
        if self.redraws:
            return [candidate]
        return [_leaders(maps, self.agree).flatten()] if self.agree else hashes(maps.flatten(0, 1))

    def _jobs_at_once(self) -> int:
        budget = BYTES_OF_HEATMAPS * (1 if self.cache.network.device.type == "cpu" else 4)
        return max(self.batch, budget // (4 * self._size[0] * self._size[1]) // self.batch * self.batch)

    def _ask(
        self, maps: Tensor, places: Tensor, drawer: Drawer | None, candidates: Tensor, lost: dict[str, OracleError] | None
    ) -> list[Tensor]:
        """Each metric of jobs: maps [M, h, w], each on the image at `places` [M] and of the candidate at `candidates` [M]; [M] or
        [M, P] float64."""
        used, index = places.unique(return_inverse=True)
        network, cache = self.cache.network, self.cache
        images = network.preprocessing.normalise(self._pixels[used.to(self._pixels.device)], network.device)
        names = [cache.images.names[i] for i in used.tolist()]
        boxes = None if self._boxes is None or self._masks is None else [self._boxes[i] for i in used.tolist()]
        classes = cache.classes[places]

        def redraw(edited: Tensor, jobs: Tensor) -> tuple[Tensor, Tensor]:
            assert drawer is not None
            self.spent.passes += len(edited)
            return drawer(edited, candidates[jobs], classes[jobs])

        # Whatever redraws goes first: its masked pass answers the drop as well.
        order = sorted(range(len(self.metrics)), key=lambda place: not self.metrics[place].redraws)
        while True:
            query = Query(
                post(maps, self._size, norm=self.norm), images, cache.classes[used], cache.p[used].float(), self._probabilities,
                image_index=index, masks=None if self._masks is None else self._masks[used], names=names, batch=self.batch,
                fill=self._fill, labels=self._labels[used], predicted=cache.predicted[used], boxes=boxes,
                redraw=None if drawer is None else redraw, curves=self._curves,
            )  # fmt: skip
            try:
                found = {place: self._answer(self.metrics[place], query, lost) for place in order}
                return [found[place] for place in range(len(found))]
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if self.batch == 1:
                    raise SycamError(f"{network.device} has too little memory for one image: use another device") from None
                self.batch //= 2
                self.spent.halvings += 1
                if network.device.type == "cuda":
                    torch.cuda.empty_cache()

    def _answer(self, metric: Metric, query: Query, lost: dict[str, OracleError] | None) -> Tensor:
        """[N] or [N, P] float64; NaN of a metric that fails or has failed before, where `lost` takes it."""
        if lost is None or metric.name not in lost:
            try:
                return metric(query).double()
            except OracleError as error:
                if lost is None:
                    raise
                lost[metric.name] = error
        shape = (len(query), *([len(metric.parts)] if metric.parts else []))
        return torch.full(shape, torch.nan, dtype=torch.float64, device=query.heatmaps.device)

    def _probabilities(self, images: Tensor) -> Tensor:
        self.spent.passes += len(images)
        return self.cache.network.logits(images).softmax(1)


def _leaders(maps: Tensor, tolerance: float) -> Tensor:
    """For maps [C, B, h, w] the first candidate whose map of the same image differs nowhere by more than the tolerance, and that
    has no such candidate before it: [C, B] int64. Where the only ones near follow others themselves, the candidate's own."""
    places = torch.arange(len(maps), device=maps.device)
    found = []
    for part in maps.flatten(2).transpose(0, 1).split(64):  # [b, C, h·w]
        near = torch.cdist(part, part, p=torch.inf) <= tolerance
        near = (near | torch.eye(len(maps), dtype=torch.bool, device=maps.device)).tril()
        leads = near.int().argmax(2) == places  # [b, C]
        followed = near & leads[:, None]
        found.append(torch.where(followed.any(2), followed.int().argmax(2), places))
    return torch.cat(found).T


class Drawer:
    """Heatmaps of candidates on other images, each on its own.

    One forward pass of a batch gives activations and probabilities; from these follow A, G, fc and whatever has a closed form
    on a verified GAP + linear head, so that scoring coherency costs the pass that the drop costs. Other terminals are computed
    once for the batch and shared by all candidates in it.

    Args:
        network: the CNN.
        cams: the candidates.
        settings: of terminals.
        norm: how heatmaps are normalised (`post`).
    """

    def __init__(self, network: Network, cams: Sequence[Drawable], settings: TerminalSettings, norm: str = "minmax") -> None:
        self.network, self.cams, self.settings, self.norm = network, cams, settings, norm
        self._terminals = [_terminals(cam) for cam in cams]

    def __call__(self, images: Tensor, candidates: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps [b, H, W] in [0, 1] of candidates [b] for classes [b] on images [b, 3, H, W], and the network's
        probabilities there, [b, C]. Where a candidate is not finite its heatmap is empty.

        Raises:
            SycamError: the network cannot give a terminal, or a baseline.
        """
        size = (images.shape[-2], images.shape[-1])
        activations, logits = self.network.activations(images)
        view = View(self.network, images, classes, activations=activations, logits=logits, settings=self.settings)
        heatmaps = images.new_zeros(len(images), *size)
        present = candidates.unique().tolist()
        names = sorted({name for place in present for name in self._terminals[place]} | {"A"})
        values = {name: view[name] for name in names} if any(isinstance(self.cams[place], Term) for place in present) else {}
        drawn: dict[Baseline, Tensor] = {}
        for place in present:
            cam, rows = self.cams[place], (candidates == place).nonzero()[:, 0]
            if isinstance(cam, Term):
                part = Evaluator({name: values[name][rows] for name in (*self._terminals[place], "A")})
                heatmaps[rows] = post(combined_maps([cam], part)[0][0], size, norm=self.norm).to(heatmaps)
            else:
                if cam not in drawn:
                    drawn[cam] = post(cam.maps(view)[0], size, norm=self.norm).to(heatmaps)
                heatmaps[rows] = drawn[cam][rows]
        return heatmaps, logits.softmax(1)


def _terminals(cam: Drawable) -> list[str]:
    if isinstance(cam, Baseline):
        return []
    return sorted({part.name for part in subterms(expand(cam)) if part.is_variable})
