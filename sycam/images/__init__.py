"""Images with labels and ground truth: read them, and split them into search and held-out."""

from sycam.images.datasets import DATASETS, ImageSource, load_dataset
from sycam.images.imageset import ImageSet, split
from sycam.images.read import load_images

__all__ = ["DATASETS", "ImageSet", "ImageSource", "load_dataset", "load_images", "split"]
