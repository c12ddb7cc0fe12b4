"""A metric asked about masked activations: a cheap relative of what it says about masked images."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor

from sycam.errors import Unavailable

from .query import Query


class TailQuery(Query):
    """A query whose images are activations [B, K, h, w], whose heatmaps have their size, and whose network is the tail.

    What asks for probabilities alone works as it stands: `p`, `o`, `d`, `probability_after`. What looks at pixels, at ground
    truth, or at the candidate elsewhere has no meaning here.

    Raises:
        Unavailable: by everything that does.
    """

    def _none(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Unavailable("the metric looks at more than probabilities on masked images, so masked activations do not do")

    @property
    def images(self) -> Tensor:
        """None here."""
        self._none()

    @property
    def masks(self) -> Tensor:
        """None here."""
        self._none()

    @property
    def boxes(self) -> Tensor:  # type: ignore[override]
        """None here."""
        self._none()

    @property
    def blank(self) -> Tensor:  # type: ignore[override]
        """None here."""
        self._none()

    redrawn = curve = once = once_an_image = images_of = _none  # type: ignore[assignment]
