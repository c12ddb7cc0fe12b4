"""CAMs that are no terms of a grammar, and controls: Python functions behind the interface of known CAMs.

A new one is one registered function in a file of this folder, and one test.

>>> sorted(name for name, baseline in BASELINES.items() if baseline.kind == "control")
['Centre-Gaussian', 'Fake-CAM', 'Random-CAM']
"""

from sycam.baselines.registry import BASELINES, Baseline, register_baseline

__all__ = ["BASELINES", "Baseline", "register_baseline"]
