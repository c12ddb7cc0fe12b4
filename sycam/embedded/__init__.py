"""The embedded default: a small CNN and a few hundred images with masks, shipped in the package.

Everything that sycam does can be tried on it at once, without a download: `load_network` gives a trained VGG-like
classifier of digits, `images_csv` a table of images that the network never saw, with their labels and their masks.
Both are rebuilt by `benchmarks/build_embedded.py`.

>>> from sycam.embedded import LAYER, images_csv, load_network
>>> LAYER
'features.14'
>>> images_csv().name
'labels.csv'
"""

from pathlib import Path

from sycam.embedded.network import CLASSES, LAYER, MEAN, SIZE, STD, DigitVGG, build, load_network

__all__ = ["CLASSES", "LAYER", "MEAN", "SIZE", "STD", "DigitVGG", "build", "images_csv", "load_network"]


def images_csv() -> Path:
    """The table of the shipped images: `file,label,name,mask`, file names relative to its folder."""
    return Path(__file__).parent / "images" / "labels.csv"
