"""The metric oracle: scores candidates on images, many at once, from terminals computed once."""

from .cache import TerminalCache
from .failures import Failures
from .metric_oracle import MetricOracle, Spent

__all__ = ["Failures", "MetricOracle", "Spent", "TerminalCache"]
