"""sycam synthesises class activation maps.

A person writes a grammar of CAM expressions as a SyGuS-IF file, names a saliency metric, a CNN and images, and gets back the
expression whose heatmaps score best. See `synthesize`, `heatmaps` and `score`; `sycam --help` does the same from a shell.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .errors import SycamError, Unavailable

if TYPE_CHECKING:
    from .api import heatmaps, score
    from .cams import Cam, find_cam, find_cams, known_cams
    from .images import ImageSet, ImageSource, load_dataset, load_images
    from .job import Job, TerminalSettings
    from .metrics.metric import METRICS, Metric, register_metric
    from .metrics.query import Query
    from .network import Network, Preprocessing, load_network
    from .run.observe import Observer, Progress
    from .run.result import Result
    from .run.synthesize import synthesize
    from .store import TerminalStore
    from .terminals import TERMINALS, View, register_terminal

__all__ = [
    "METRICS", "TERMINALS", "Cam", "ImageSet", "ImageSource", "Job", "Metric", "Network", "Observer", "Preprocessing", "Progress",
    "Query", "Result", "SycamError", "TerminalSettings", "TerminalStore",
    "Unavailable", "View", "find_cam", "find_cams", "heatmaps", "known_cams", "load_dataset", "load_images", "load_network",
    "register_metric", "register_terminal", "score", "synthesize",
]  # fmt: skip

_HOMES = {
    "Cam": "cams", "ImageSet": "images", "ImageSource": "images", "METRICS": "metrics.metric",
    "Metric": "metrics.metric", "Network": "network", "Job": "job", "Observer": "run.observe", "Preprocessing": "network",
    "Progress": "run.observe", "Query": "metrics.query", "Result": "run.result",
    "TERMINALS": "terminals", "TerminalSettings": "job",
    "TerminalStore": "store", "View": "terminals", "find_cam": "cams", "find_cams": "cams", "heatmaps": "api",
    "known_cams": "cams", "load_dataset": "images", "load_images": "images", "load_network": "network",
    "register_metric": "metrics.metric", "register_terminal": "terminals", "score": "api",
    "synthesize": "run.synthesize",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562). Loading torch takes seconds, in which the command line must already answer Ctrl-C."""
    if name in _HOMES:
        value = getattr(import_module(f"sycam.{_HOMES[name]}"), name)
    elif not name.startswith("_") and find_spec(f"sycam.{name}") is not None:
        value = import_module(f"sycam.{name}")
    else:
        raise AttributeError(f"module 'sycam' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
