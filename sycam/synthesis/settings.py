"""How a synthesis is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Settings:
    """How a synthesis is run, beside grammar, metric, network and images.

    Attributes:
        budget: see `Budget.parse`. max_size: the highest cost of a term. target: a score that is good enough.
        held_out: the share of images that the search never sees, 0 for none. seed: of the split and all orders.
        classes: "predicted" or "labelled", the image class that is explained.
        batch: masked images per pass, None for what suits the device (`MetricOracle`).
        dump_smt2: a folder for the queries that cvc5 leaves undecided.
    """

    budget: str | int = 1000
    max_size: int = 15
    target: float | None = None
    held_out: float = 0.5
    seed: int = 0
    classes: str = "predicted"
    batch: int | None = None
    dump_smt2: Path | None = None
