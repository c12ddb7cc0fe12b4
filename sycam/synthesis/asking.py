"""How a run asks less: its stopping rule and the order of candidates, as the settings want them and the metric allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sycam.errors import Unavailable
from sycam.oracle import MetricOracle
from sycam.oracle.relative import Relative

from .queue import Preview, preview_images
from .racing import Racing, why_not
from .settings import Settings
from .similar import Similar
from .stopping import Exact, StoppingRule


@dataclass
class Asking:
    """The means of a run to ask less.

    Attributes:
        rule: when a candidate is rejected.
        preview: what orders candidates, or None.
        notes: what the user should be told of wishes that the metric or the network does not allow.
    """

    rule: StoppingRule
    preview: Preview | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings, oracle: MetricOracle) -> Asking:
        """What the settings want on the search images.

        A relative that cannot be had is worth a note only where the user asked for one.
        """
        asking = cls(Exact())
        if settings.stopping == "racing":
            reason = why_not(oracle.metric)
            if reason:
                asking.notes.append(f"{reason}, so no race decides on it: the stopping rule is exact")
            else:
                asking.rule = Racing(settings.error, settings.seed)
        similar = None if settings.similar is None else Similar(settings.similar)
        relative = None
        if settings.look_ahead:
            try:
                relative = Relative(oracle, preview_images(len(oracle.cache), settings.seed))
            except Unavailable as reason:
                asking.notes.append(f"candidates keep the learner's order: {reason}")
        if relative or similar:
            asking.preview = Preview(oracle, settings.seed, relative, similar, settings.look_ahead or 1)
        return asking

    def describe(self) -> dict[str, Any]:
        """What a manifest says."""
        preview = self.preview
        return {
            "stopping_rule": self.rule.name,
            "error": self.rule.error if isinstance(self.rule, Racing) else 0.0,
            "look_ahead": preview.look_ahead if preview and preview.relative else 0,
            "similar": preview.similar.distance if preview and preview.similar else None,
        }
