"""What a metric oracle is asked: N heatmaps, each on an image, and a way to ask the network about masked images."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from sycam.errors import SycamError

Ask = Callable[[Tensor], Tensor]
Edit = Callable[[Tensor, Tensor], Tensor]

# Half-precision softmaxes stray from [0, 1] by about this much; logits by far more.
PROBABILITY_TOLERANCE = 1e-3


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
        ):
            if given is not None and list(given.shape) != wanted:
                raise SycamError(f"{what} must have the shape {wanted}, not {list(given.shape)}")
        if masks is not None and masks.dtype != torch.bool:
            raise SycamError(f"masks must be boolean, not {masks.dtype}: compare with a threshold first, as masks > 0.5 does")
        if names is not None and len(names) != unique:
            raise SycamError(f"{len(names)} names for {unique} images: give one each")
        if batch < 1:
            raise SycamError(f"batch must be at least 1, not {batch}")
        self.heatmaps = heatmaps
        self.image_index = image_index if image_index is not None else torch.arange(count, device=images.device)
        self.batch = batch
        self._images, self._classes, self._p, self._masks = images, classes, p, masks
        self._names = names if names is not None else [f"image {row}" for row in range(unique)]
        self._ask = ask
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
        answers = []
        for start in range(0, len(self), self.batch):
            jobs = slice(start, start + self.batch)
            images = self._images.index_select(0, self.image_index[jobs])
            edited = edit(images, self.heatmaps[jobs, None])
            answers.append(self._ask(edited).gather(1, self.classes[jobs, None]).squeeze(1))
        if not answers:
            return self.p.new_empty(0)
        return _checked(torch.cat(answers), self)

    def keep(self, images: Tensor, weights: Tensor) -> Tensor:
        """Images masked by `weights` [b, 1, H, W]: x ⊙ S + fill ⊙ (1 − S). Overwrites `images` [b, 3, H, W]."""
        if self._fill is None:
            return images.mul_(weights)
        return images.sub_(self._fill).mul_(weights).add_(self._fill)

    @cached_property
    def o(self) -> Tensor:
        """Probability of each job's class on x masked by its heatmap, x ⊙ S, [N]. Costs one pass per job, once."""
        return self.probability_after(self.keep)

    @cached_property
    def d(self) -> Tensor:
        """Probability of each job's class on x with its heatmap taken out, x ⊙ (1 − S), [N]. One pass per job, once."""
        return self.probability_after(lambda images, heatmaps: self.keep(images, 1 - heatmaps))


def _checked(probabilities: Tensor, query: Query | None) -> Tensor:
    """Probabilities as float32 or wider, clamped to [0, 1] against rounding; an error where they are none."""
    wide = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
    wrong = ~((wide >= -PROBABILITY_TOLERANCE) & (wide <= 1 + PROBABILITY_TOLERANCE))  # NaN is wrong too
    if wrong.any():
        first = wide[wrong][0].item()
        where = ""
        if query is not None:
            named = dict.fromkeys(query.names[job] for job in wrong.nonzero().flatten().tolist())
            more = f" and {len(named) - 3} more images" if len(named) > 3 else ""
            where = f" on {', '.join(list(named)[:3])}{more}"
        what = "NaN" if first != first else f"{first:g}"
        raise SycamError(
            f"the network answered {what}{where} where a probability in [0, 1] was expected: ask it through a softmax "
            f"(or sigmoid), and look for weights and inputs that are not finite"
        )
    return wide.clamp(0, 1)
