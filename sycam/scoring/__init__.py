"""Scoring candidates on images, many at once, from terminals that are computed once."""

from .failures import Failures
from .gathering import Batches, Wanted
from .oracle import MetricOracle
from .scorer import Drawable, Scorer, Spent, Terminals, signatures
from .terminals import TerminalCache, gather

__all__ = [
    "Batches", "Drawable", "Failures", "MetricOracle", "Scorer", "Spent", "TerminalCache", "Terminals", "Wanted", "gather",
    "signatures",
]  # fmt: skip
