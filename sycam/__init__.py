"""sycam synthesises class activation maps.

A person writes a grammar of CAM expressions as a SyGuS-IF file, names a saliency metric, a CNN and images, and gets back the
expression whose heatmaps score best. See `synthesize`, `heatmaps` and `score`; `sycam --help` does the same from a shell.
"""

from .api import heatmaps, score
from .cams import Cam, find_cam, find_cams, known_cams
from .errors import SycamError
from .images import ImageSet, load_images
from .metrics.query import Query
from .metrics.registry import METRICS, Metric, register_metric
from .network import Network, Preprocessing, load_network
from .run.result import Result
from .synthesis.observe import Observer, Progress
from .synthesis.settings import Settings
from .synthesis.synthesize import synthesize
from .terminals import TERMINALS, TerminalSettings, View, register_terminal

__all__ = [
    "METRICS", "TERMINALS", "Cam", "ImageSet", "Metric", "Network", "Observer", "Preprocessing", "Progress", "Query", "Result",
    "Settings", "SycamError", "TerminalSettings", "View", "find_cam", "find_cams", "heatmaps", "known_cams", "load_images",
    "load_network", "register_metric", "register_terminal", "score", "synthesize",
]  # fmt: skip
