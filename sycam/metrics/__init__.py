"""Saliency metrics: one number for each (heatmap, image), with a direction and bounds.

A metric is one function in one module of this folder, registered by `sycam.metrics.registry.register_metric`. Importing
this package imports every module in it, so a new file here needs no other edit.
"""

import pkgutil
from importlib import import_module

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
