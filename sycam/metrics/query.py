"""What a metric oracle is asked: N heatmaps, each on an image, and ways to ask the network and the candidates about others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sycam.errors import SycamError
from sygus.registry import Registry

from .components import boxes_of_parts

Ask = Callable[[Tensor], Tensor]
Edit = Callable[[Tensor, Tensor], Tensor]
Redraw = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Images [b, 3, H, W] and the jobs [b] they are edited for, to each job's candidate's heatmaps [b, H, W] on them, for the job's
class, and the network's probabilities [b, C]."""
Step = Callable[["Query", Tensor, Tensor], Tensor]
"""Query, jobs [b] and steps [b], to the edited images [b, 3, H, W]."""

# Half-precision softmaxes stray from [0, 1] by about this much; logits by far more.
PROBABILITY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Curve:
    """Points along which images are edited.

    Attributes:
        points: height and width of the images, to how many points a job has that must be asked.
        edit: query, jobs [b] and steps [b] from 0, to images [b, 3, H, W].
    """

    points: Callable[[int, int], int]
    edit: Step


CURVES: Registry[Curve] = Registry("curve", "sycam.metrics.kinds", SycamError)
"""By the name that a metric states in `curves`. Every file of `kinds/` is looked through."""


def register_curve(name: str, points: Callable[[int, int], int]) -> Callable[[Step], Step]:
    """Decorator: the edit of a new curve.

    Raises:
        SycamError: the name is taken.
    """

    def register(edit: Step) -> Step:
        CURVES.add(name, Curve(points, edit), edit.__module__)
        return edit

    return register


class Query:
    """N jobs; a job is one candidate's heatmap on one image.

    Many jobs share an image, so what belongs to images is given once per image, [B, ...], with `image_index` [N] from
    job to image; the properties of the same names give one row per job. Answers of the network are kept, so all metrics
    that ask the same query for `o` cost one masked pass per job together.

    Args:
        heatmaps: [N, H, W] in [0, 1].
        images: [B, 3, H, W], normalised as the network wants them.
        classes: [B] integer, the image class that is explained.
        p: [B], probability of that class on the plain image.
        ask: [M, 3, H, W] -> probabilities (not logits) [M, C]. Called with at most `batch` images at a time.
        image_index: [N] integer, the image of each job; by default job n is about image n.
        masks: [B, H, W] boolean, true on the object (the union of its boxes, or its mask); None where unknown.
        names: B names for error messages; by default `image 0`, `image 1`, ...
        batch: how many edited images exist at once.
        fill: [3], what masked pixels become in normalised space: 0, the mean colour, by default; −mean/std, black.
        labels: [B] integer, the true class of each image, negative where unknown; None where all are.
        predicted: [B] integer, the class that the network gives the plain image; None for the explained one.
        boxes: for each image its objects' boxes [n, 4], (x0, y0, x1, y1) in pixels of the images here, x1 and y1 exclusive; None
            for the boxes of the masks' connected parts.
        redraw: draws the jobs' candidates on other images; None where only their heatmaps are known.
        curves: names of all curves that the metrics asked of this query read, so that they are one stream.

    Raises:
        SycamError: shapes that do not fit one another.

    One black image and one white one, and a network that believes in class 1 as much as the image is bright:

    >>> images = torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)])
    >>> def ask(x):
    ...     bright = x.mean((1, 2, 3))
    ...     return torch.stack([1 - bright, bright], dim=1)
    >>> half = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    >>> query = Query(half[None], images, torch.tensor([1, 1]), torch.tensor([0.0, 1.0]), ask,
    ...               image_index=torch.tensor([1]))
    >>> len(query), query.p, query.o, query.d
    (1, tensor([1.]), tensor([0.5000]), tensor([0.5000]))
    """

    def __init__(
        self,
        heatmaps: Tensor,
        images: Tensor,
        classes: Tensor,
        p: Tensor,
        ask: Ask,
        *,
        image_index: Tensor | None = None,
        masks: Tensor | None = None,
        names: list[str] | None = None,
        batch: int = 64,
        fill: Tensor | None = None,
        labels: Tensor | None = None,
        predicted: Tensor | None = None,
        boxes: Sequence[Tensor] | None = None,
        redraw: Redraw | None = None,
        curves: Sequence[str] = (),
    ) -> None:
        if heatmaps.dim() != 3:
            raise SycamError(f"heatmaps must have the shape [N, H, W], not {list(heatmaps.shape)}")
        count, *size = heatmaps.shape
        if images.dim() != 4 or list(images.shape[-2:]) != size:
            raise SycamError(
                f"images must have the shape [B, 3, {size[0]}, {size[1]}], as the heatmaps do, not {list(images.shape)}"
            )
        unique = images.shape[0]
        if image_index is None and count != unique:
            raise SycamError(f"{count} heatmaps on {unique} images: say with image_index [{count}] which image each is of")
        if image_index is not None and image_index.shape != (count,):
            raise SycamError(f"image_index must have the shape [{count}], one per heatmap, not {list(image_index.shape)}")
        for what, given, wanted in (
            ("classes", classes, [unique]),
            ("p", p, [unique]),
            ("masks", masks, [unique, *size]),
            ("fill", fill, [images.shape[1]]),
            ("labels", labels, [unique]),
            ("predicted", predicted, [unique]),
        ):
            if given is not None and list(given.shape) != wanted:
                raise SycamError(f"{what} must have the shape {wanted}, not {list(given.shape)}")
        if masks is not None and masks.dtype != torch.bool:
            raise SycamError(f"masks must be boolean, not {masks.dtype}: compare with a threshold first, as masks > 0.5 does")
        if names is not None and len(names) != unique:
            raise SycamError(f"{len(names)} names for {unique} images: give one each")
        if boxes is not None and len(boxes) != unique:
            raise SycamError(f"boxes of {len(boxes)} images for {unique}: give each its own, [n, 4]")
        if batch < 1:
            raise SycamError(f"batch must be at least 1, not {batch}")
        self.heatmaps = heatmaps
        self.image_index = image_index if image_index is not None else torch.arange(count, device=images.device)
        self.batch = batch
        self._images, self._classes, self._p, self._masks = images, classes, p, masks
        self._names = names if names is not None else [f"image {row}" for row in range(unique)]
        self._ask = ask
        self._labels, self._predicted, self._boxes = labels, predicted, boxes
        self._redraw, self._curves = redraw, tuple(curves)
        self._answered: dict[str, Tensor] = {}
        self._fill = None if fill is None else fill.to(images)[:, None, None]  # [3, 1, 1]

    def __len__(self) -> int:
        return self.heatmaps.shape[0]

    @property
    def images(self) -> Tensor:
        """The plain image of each job, [N, 3, H, W]: a copy of N images; `probability_after` copies fewer at once."""
        return self._images.index_select(0, self.image_index)

    @cached_property
    def classes(self) -> Tensor:
        """The image class of each job, [N] integer."""
        return self._classes.index_select(0, self.image_index)

    @cached_property
    def p(self) -> Tensor:
        """Probability of each job's class on the plain image, [N] in [0, 1]. Computed once per image, so free here."""
        return _checked(self._p.index_select(0, self.image_index), self)

    @property
    def has_masks(self) -> bool:
        """Whether the images have ground-truth masks."""
        return self._masks is not None

    @property
    def masks(self) -> Tensor:
        """The ground-truth mask of each job, [N, H, W] boolean.

        Raises:
            SycamError: the images have none. A metric that says `needs_masks=True` is refused before it gets here.
        """
        if self._masks is None:
            raise SycamError("these images have no masks; a metric that reads them must say needs_masks=True")
        return self._masks.index_select(0, self.image_index)

    @property
    def labels(self) -> Tensor:
        """The true class of each job's image, [N] integer; that explained where it is unknown."""
        if self._labels is None:
            return self.classes
        labels = self._labels.to(self.classes.device).index_select(0, self.image_index)
        return torch.where(labels < 0, self.classes, labels)

    @property
    def predicted(self) -> Tensor:
        """The class that the network gives each job's plain image, [N] integer."""
        return self.classes if self._predicted is None else self._predicted.index_select(0, self.image_index)

    @cached_property
    def boxes(self) -> Tensor:
        """The boxes of each job's image, [N, M, 4] float (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; rows beyond an image's
        own are empty, all zeros. Where no boxes were given: those around the connected parts of its mask.

        Raises:
            SycamError: the images have neither boxes nor masks.
        """
        if self._boxes is None:
            if self._masks is None:
                raise SycamError("these images have neither boxes nor masks; a metric that reads them must say needs_masks=True")
            found = boxes_of_parts(self._masks)  # [B, M, 4]
        else:
            most = max([1, *(len(boxes) for boxes in self._boxes)])
            found = self.heatmaps.new_zeros(len(self._boxes), most, 4)
            for row, boxes in enumerate(self._boxes):
                found[row, : len(boxes)] = boxes.to(found)
        return found.to(self.heatmaps).index_select(0, self.image_index)

    @cached_property
    def names(self) -> list[str]:
        """The name of each job's image, N of them."""
        return [self._names[row] for row in self.image_index.tolist()]

    def ask(self, images: Tensor) -> Tensor:
        """Probabilities [M, C] of images [M, 3, H, W], asked `batch` at a time.

        Raises:
            SycamError: the network answers with NaN, or with anything but probabilities.
        """
        answers = [self._ask(chunk) for chunk in images.split(self.batch)]
        return _checked(torch.cat(answers), None)

    def probability(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Probability of each job's class on that job's edited image.

        Args:
            images: [N, 3, H, W]; or [M, 3, H, W] with `classes`.
            classes: [M] integer; by default the jobs' own.

        Returns:
            [N], or [M], in [0, 1].

        Raises:
            SycamError: as many images as jobs were expected; or the network answers with anything but probabilities.
        """
        if classes is None:
            if images.shape[0] != len(self):
                raise SycamError(f"{images.shape[0]} images for {len(self)} jobs: say with classes [M] which class each asks")
            classes = self.classes
        return self.ask(images).gather(1, classes[:, None]).squeeze(1)

    def probability_after(self, edit: Edit) -> Tensor:
        """Probability of each job's class on its image after `edit`, [N] in [0, 1]. Holds `batch` images at once.

        Args:
            edit: (images [b, 3, H, W], heatmaps [b, 1, H, W]) -> images [b, 3, H, W], for b consecutive jobs. The
                images are a copy made for it, so it may write into them; the heatmaps are not.

        Raises:
            SycamError: the network answers with NaN (the images are named), or with anything but probabilities.

        The query's own `o` is `query.probability_after(query.keep)`. To ask about black and white negatives instead:
        `query.probability_after(lambda x, s: -x * s)`.
        """
        return self.probability_of_jobs(
            lambda jobs: edit(self._images.index_select(0, self.image_index[jobs]), self.heatmaps[jobs, None])
        )

    def probability_of_jobs(self, make: Callable[[Tensor], Tensor]) -> Tensor:
        """Probability of each job's class on the image that `make` makes for it, [N]: jobs [b] to images [b, 3, H, W]."""
        answers = [self.p[:0]]
        for jobs in torch.arange(len(self), device=self.image_index.device).split(self.batch):
            answers.append(self._ask(make(jobs)).gather(1, self.classes[jobs, None]).squeeze(1))
        return _checked(torch.cat(answers[1:] if len(answers) > 1 else answers), self)

    def keep(self, images: Tensor, weights: Tensor) -> Tensor:
        """Images masked by `weights` [b, 1, H, W]: x ⊙ S + fill ⊙ (1 − S). Overwrites `images` [b, 3, H, W]."""
        if self._fill is None:
            return images.mul_(weights)
        return images.sub_(self._fill).mul_(weights).add_(self._fill)

    @cached_property
    def o(self) -> Tensor:
        """Probability of each job's class on x masked by its heatmap, x ⊙ S, [N]. Costs one pass per job, once; none where
        `masked` was asked for before."""
        if "masked" in vars(self):
            return self.masked[1]
        return self.probability_after(self.keep)

    @cached_property
    def d(self) -> Tensor:
        """Probability of each job's class on x with its heatmap taken out, x ⊙ (1 − S), [N]. One pass per job, once."""
        return self.probability_after(lambda images, heatmaps: self.keep(images, 1 - heatmaps))

    @cached_property
    def masked(self) -> tuple[Tensor, Tensor]:
        """Each job's candidate redrawn on x masked by its heatmap, [N, H, W] in [0, 1], and the probability there, [N].

        One pass per job gives both where the candidate's terminals need no other; ask before `o`, which it answers too.
        """
        return self.redrawn(self.keep)

    def redrawn(self, edit: Edit) -> tuple[Tensor, Tensor]:
        """Each job's candidate on its image after `edit`, for the job's class whatever the network sees there.

        Args:
            edit: see `probability_after`.

        Returns:
            Heatmaps [N, H, W] in [0, 1], and the probability of the job's class on the edited image, [N].

        Raises:
            SycamError: only heatmaps are known, not what drew them; or as for `probability_after`.
        """
        maps, answers = [self.heatmaps[:0]], [self.p[:0]]
        everyone = torch.arange(len(self), device=self.image_index.device)
        for jobs in everyone.split(self.batch):
            images = self._images.index_select(0, self.image_index[jobs])
            drawn, probabilities = self.redraw(edit(images, self.heatmaps[jobs, None]), jobs)
            maps.append(drawn.to(self.heatmaps.dtype))
            answers.append(probabilities.gather(1, self.classes[jobs, None]).squeeze(1).to(self.p))
        return torch.cat(maps), _checked(torch.cat(answers), self)

    def redraw(self, images: Tensor, jobs: Tensor) -> tuple[Tensor, Tensor]:
        """The candidates of some jobs [b] on images of the caller's making [b, 3, H, W]: heatmaps [b, H, W] for the jobs'
        classes, and the network's probabilities there, [b, C].

        Raises:
            SycamError: only heatmaps are known, not what drew them.
        """
        if self._redraw is None:
            raise SycamError(
                "this metric asks for the CAM's heatmap on other images, and only its heatmaps are known here: name the CAM, "
                "and let a metric that redraws say redraws=True"
            )
        return self._redraw(images, jobs)

    @cached_property
    def ranks(self) -> Tensor:
        """The place of each pixel in the order of the heatmap, hottest first, ties in row-major order: [N, H, W] int32."""
        order = self.heatmaps.flatten(1).argsort(dim=1, descending=True, stable=True)
        places = torch.arange(order.shape[1], device=order.device, dtype=torch.int32).expand_as(order)
        return torch.empty_like(places).scatter_(1, order, places).view_as(self.heatmaps)

    @cached_property
    def blank(self) -> Tensor:
        """Probability of each job's class on an image of the mean colour all over, [N]. One pass for the query."""
        return self.ask(torch.zeros_like(self._images[:1]))[0].gather(0, self.classes)

    def once(self, what: str, edit: Callable[[Tensor], Tensor]) -> Tensor:
        """`edit` of all plain images [B, 3, H, W], kept under a name of the caller's choosing."""
        if what not in self._answered:
            self._answered[what] = torch.cat([edit(images) for images in self._images.split(self.batch)])
        return self._answered[what]

    def once_an_image(self, edit: Callable[[Tensor], Tensor]) -> Tensor:
        """Probability of each job's class on its image after an edit that knows no heatmap, [N]: one pass an image."""
        answers = [self._ask(edit(images)) for images in self._images.split(self.batch)]
        return _checked(torch.cat(answers)[self.image_index].gather(1, self.classes[:, None]).squeeze(1), self)

    def curve(self, name: str) -> Tensor:
        """Probability of each job's class along a registered curve, [N, points].

        The first call runs every curve that was announced as one stream of (job, curve, step), so that batches stay full.

        Raises:
            SycamError: as for `probability_after`.
        """
        if name not in self._answered:
            names = [name, *(other for other in self._curves if other != name and other not in self._answered)]
            steps = [CURVES[each].points(*self.heatmaps.shape[-2:]) for each in names]
            found = self._stream([CURVES[each].edit for each in names], steps)
            self._answered.update(zip(names, found.split(steps, 1), strict=True))
        return self._answered[name]

    def _stream(self, edits: Sequence[Step], steps: Sequence[int]) -> Tensor:
        """Probabilities [N, sum(steps)]: every job's every step, in full batches."""
        each = sum(steps)
        answers = [self.p[:0]]
        device = self.image_index.device
        starts = [sum(steps[:i]) for i in range(len(steps) + 1)]
        for start in range(0, len(self) * each, self.batch):
            place = torch.arange(start, min(start + self.batch, len(self) * each), device=device)
            job, step = place // each, place % each
            parts = []
            for edit, first, last in zip(edits, starts, starts[1:], strict=False):
                # Which rows are of this curve is arithmetic on places known here: no transfer from the device.
                rows = [row for row in range(len(place)) if first <= (start + row) % each < last]
                if rows:
                    here = torch.tensor(rows, device=device)
                    parts.append((rows, edit(self, job[here], step[here] - first)))
            images = parts[0][1]
            if len(parts) > 1:
                images = images.new_empty(len(place), *images.shape[1:])
                for rows, edited in parts:
                    images[torch.tensor(rows, device=device)] = edited
            answers.append(self._ask(images).gather(1, self.classes[job, None]).squeeze(1).to(self.p))
        return _checked(torch.cat(answers).view(len(self), each), self)

    def images_of(self, jobs: Tensor) -> Tensor:
        """The plain images of some jobs [b]: [b, 3, H, W], a copy."""
        return self._images.index_select(0, self.image_index[jobs])


def _checked(probabilities: Tensor, query: Query | None) -> Tensor:
    """Probabilities, a row for each job, as float32 or wider, clamped to [0, 1] against rounding; an error where they are
    none."""
    wide = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
    wrong = ~((wide >= -PROBABILITY_TOLERANCE) & (wide <= 1 + PROBABILITY_TOLERANCE))  # NaN is wrong too
    if wrong.any():
        first = wide[wrong][0].item()
        where = ""
        if query is not None:
            named = dict.fromkeys(query.names[job] for job in wrong.nonzero()[:, 0].tolist())
            more = f" and {len(named) - 3} more images" if len(named) > 3 else ""
            where = f" on {', '.join(list(named)[:3])}{more}"
        what = "NaN" if first != first else f"{first:g}"
        raise SycamError(
            f"the network answered {what}{where} where a probability in [0, 1] was expected: ask it through a softmax "
            f"(or sigmoid), and look for weights and inputs that are not finite"
        )
    return wide.clamp(0, 1)


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
