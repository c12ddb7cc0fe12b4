"""A run: one synthesis in one folder."""

from .journal import Journal
from .result import Result, Row

__all__ = ["Journal", "Result", "Row"]
