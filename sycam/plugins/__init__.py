"""Oracles that people plug in: how a query leaves this process, and how long one waits for the answer."""
