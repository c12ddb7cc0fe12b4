"""The metric oracle: scores candidates on images, many at once, from terminals computed once."""

from .cache import TerminalCache
from .drawer import Drawable, Drawer
from .failures import Failures
from .metric_oracle import MetricOracle, Spent

__all__ = ["Drawable", "Drawer", "Failures", "MetricOracle", "Spent", "TerminalCache"]
