"""CAMs that are no terms of a grammar, and controls: Python functions behind the interface of known CAMs.

Importing the package registers those below. A new one is one registered function and one test.

>>> sorted(name for name, baseline in BASELINES.items() if baseline.kind == "control")
['Centre-Gaussian', 'Fake-CAM', 'Random-CAM']
"""

from sycam.baselines import controls, eigen, fullgrad, groupcam, integrated, polycam, reciprocam
from sycam.baselines.registry import BASELINES, Baseline, register_baseline

__all__ = [
    "BASELINES", "Baseline", "controls", "eigen", "fullgrad", "groupcam", "integrated", "polycam", "reciprocam",
    "register_baseline",
]  # fmt: skip
