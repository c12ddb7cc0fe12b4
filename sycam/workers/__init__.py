"""Scoring on several devices and machines: images are shared out in blocks, and each worker keeps the terminals of its own."""

from .pool import Pool, open_pool
from .remote import RemoteOracle, RemoteTerminals, gather_on, tabulate_on

__all__ = ["Pool", "RemoteOracle", "RemoteTerminals", "gather_on", "open_pool", "tabulate_on"]
