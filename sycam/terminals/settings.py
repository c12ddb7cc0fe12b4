"""What terminals may be told: samples, steps, orderings, seeds. One record, so that equal settings give equal values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from sycam.errors import SycamError


@dataclass(frozen=True)
class TerminalSettings:
    """How terminals that sample, integrate or optimise do so. Hashable: it belongs in every key under which values are kept.

    Attributes:
        seed: of all noise and orderings, from 0. Each image draws from the seed and its own pixels, so that neither its place nor
            its batch matters.
        noise_samples: n of `G_noise`, `G2_noise`, `G3_noise` and `score_noise`; 10 as in SS-CAM.
        noise_level: standard deviation of that noise as a share of the image's, or the map's, range; 0.15 as in SmoothGrad.
        path_steps: n of `G_path` and `score_path`; 10 as in IS-CAM.
        shap_orderings: sampled for `shap`, at least 2, which a standard error needs.
        opti_steps, opti_rate: of Adam in `opti`; 100 and 0.1 as in Opti-CAM.
        finer_classes, finer_strength: how many similar classes `G_diff` compares with, and γ; 3 and 1 as in Finer-CAM's code.

    >>> TerminalSettings(shap_orderings=100).describe()["shap_orderings"]
    100
    >>> TerminalSettings(path_steps=0)
    Traceback (most recent call last):
    sycam.errors.SycamError: terminal setting path-steps must be a whole number, at least 1, not 0
    """

    seed: int = 0
    noise_samples: int = 10
    noise_level: float = 0.15
    path_steps: int = 10
    shap_orderings: int = 32
    opti_steps: int = 100
    opti_rate: float = 0.1
    finer_classes: int = 3
    finer_strength: float = 1.0

    def __post_init__(self) -> None:
        least = {"seed": 0, "noise_samples": 1, "path_steps": 1, "shap_orderings": 2, "opti_steps": 1, "finer_classes": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise SycamError(
                    f"terminal setting {name.replace('_', '-')} must be a whole number, at least {low}, not {value!r}"
                )
        for name in ("noise_level", "opti_rate", "finer_strength"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise SycamError(f"terminal setting {name.replace('_', '-')} must be a finite number, at least 0, not {value!r}")

    def describe(self) -> dict[str, int | float]:
        """The settings as plain data, for a manifest."""
        return asdict(self)
