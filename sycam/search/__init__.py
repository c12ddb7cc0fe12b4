"""The counterexample-guided search and what it stands on; start reading in `loop`."""

from .budget import Budget
from .candidates import SameHeatmap, Similar
from .goals import Goals, Ranking, find_goals
from .groups import Group, Incumbent, image_classes
from .loop import Policy, search
from .racing import Racing, why_not
from .state import Search, Tried
from .stopping import SLACK, Exact, StoppingRule

__all__ = [
    "SLACK", "Budget", "Exact", "Goals", "Group", "Incumbent", "Policy", "Racing", "Ranking", "SameHeatmap", "Search", "Similar",
    "StoppingRule", "Tried", "find_goals", "image_classes", "search", "why_not",
]  # fmt: skip
