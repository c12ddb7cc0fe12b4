"""Images with labels and ground truth: read them, and split them into search and held-out."""

from sycam.images.datasets import DATASETS, load_dataset
from sycam.images.imageset import ImageSet
from sycam.images.read import load_images
from sycam.images.source import ImageSource
from sycam.images.split import split

__all__ = ["DATASETS", "ImageSet", "ImageSource", "load_dataset", "load_images", "split"]
