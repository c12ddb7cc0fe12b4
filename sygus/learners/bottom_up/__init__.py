"""Bottom-up enumeration in order of cost: values in banks, derivations in tables, equations between them."""

from .enumerator import Enumerator

__all__ = ["Enumerator"]
