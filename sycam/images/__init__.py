"""Images with labels and masks: read them, and split them into search and held-out."""

from sycam.images.imageset import ImageSet
from sycam.images.read import load_images
from sycam.images.split import split

__all__ = ["ImageSet", "load_images", "split"]
