"""Where candidates come from: iterators of terms with their cost. Every file of this folder is read: none can be forgotten."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
