"""Where candidates come from: iterators of terms with their cost."""

from importlib import import_module
from pkgutil import walk_packages


def import_all() -> None:
    """Imports every file of this folder and of those in it, so that none that registers a learner can be forgotten.

    `sygus` does so last of all: a learner may import from it what it likes.
    """
    for module in walk_packages(__path__, f"{__name__}."):
        import_module(module.name)
