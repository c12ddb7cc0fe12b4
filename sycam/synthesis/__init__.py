"""The counterexample-guided loop and what it stands on."""

from .budget import Budget
from .loop import Incumbent, Search, Tried, search

__all__ = ["Budget", "Incumbent", "Search", "Tried", "search"]
