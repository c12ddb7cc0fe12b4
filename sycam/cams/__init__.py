"""CAMs by name, by file and by text: what `score`, `explain` and `heatmaps` may be given."""

from sycam.cams.by_class import by_class, of_class
from sycam.cams.cam import Cam, contribution, file_text, terminal_variable, terminals_of
from sycam.cams.naming import GROUPS, AnyCam, find_cam, find_cams
from sycam.cams.reading import cam_from_text, cams_in, known_cams

__all__ = [
    "GROUPS", "AnyCam", "Cam", "by_class", "cam_from_text", "cams_in", "contribution", "file_text", "find_cam", "find_cams",
    "known_cams", "of_class", "terminal_variable", "terminals_of",
]  # fmt: skip
