"""CAMs by name, by file and by text: what `score`, `explain` and `heatmaps` may be given; terms, and baselines."""

from .baseline import BASELINES, Baseline, register_baseline
from .cam import Cam, by_class, contribution, file_text, of_class, terminal_variable, terminals_of
from .find import GROUPS, AnyCam, cam_from_text, cams_in, find_cam, find_cams, known_cams

__all__ = [
    "BASELINES", "GROUPS", "AnyCam", "Baseline", "Cam", "by_class", "cam_from_text", "cams_in", "contribution", "file_text",
    "find_cam", "find_cams", "known_cams", "of_class", "register_baseline", "terminal_variable", "terminals_of",
]  # fmt: skip
