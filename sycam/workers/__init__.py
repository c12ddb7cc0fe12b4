"""Scoring on several devices and machines: images are shared out in units, and each worker keeps the terminals of its own."""

from .compare import tabulate_on
from .crew import Crew
from .oracle import RemoteCache, RemoteOracle, oracle_on
from .pool import Pool

__all__ = ["Crew", "Pool", "RemoteCache", "RemoteOracle", "oracle_on", "tabulate_on"]
