"""How a synthesis is run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from sycam.errors import SycamError
from sycam.metrics.protocol import Protocol, find_protocol
from sycam.terminals import TerminalSettings
from sycam.workers.crew import Crew
from sygus import LEARNERS


@dataclass
class Settings:
    """How a synthesis is run, beside grammar, metric, network and images.

    Attributes:
        budget: see `Budget.parse`. max_size: the highest cost of a term. cost: what that is, "size" or a weight that the file
        declares; None for what the file says (`find_goals`). learner: a name of `sygus.LEARNERS`; "uniform" gives terms of
        exactly the cost `max_size`. target: a score that is good enough.
        held_out: the share of images that the search never sees, 0 for none. seed: of the split and all orders.
        classes: "predicted" or "labelled", the image class that is explained; None for what the protocol says.
        protocol: a name of `PROTOCOLS`, a TOML file, or a `Protocol`; None for `adcc`.
        batch: masked images per pass, None for what suits the device (`MetricOracle`).
        terminals: samples, steps and orderings of terminals; None for the defaults with this seed.
        dump_smt2: a folder for the queries that cvc5 leaves undecided.
        on_error: "stop" or "skip": what happens when an oracle fails on a candidate; see `Failures`. oracle_timeout: seconds that
            an oracle of the user's own may need for a query, None for what it says itself.
        stopping: "exact" or "racing", when a candidate is rejected; error: under "racing", the probability that the term an
            exhaustive run would return is rejected. look_ahead: of so many candidates those that a cheap relative of the metric
            likes go first, 0 for the learner's order. similar: candidates whose heatmaps differ from a scored one's by no more,
            on average, come last; None for none.
        workers, ray: who scores, see `Crew`; None and None for this process.
    """

    budget: str | int = 500
    max_size: int = 15
    cost: str | None = None
    learner: str = "bottom-up"
    target: float | None = None
    held_out: float = 0.5
    seed: int = 0
    classes: str | None = None
    batch: int | None = None
    dump_smt2: Path | None = None
    terminals: TerminalSettings | None = None
    protocol: str | Path | Protocol | None = None
    on_error: str = "stop"
    oracle_timeout: float | None = None
    stopping: str = "exact"
    error: float = 0.05
    look_ahead: int = 0
    similar: float | None = None
    workers: int | str | None = None
    ray: str | None = None

    @property
    def crew(self) -> Crew:
        """Who scores.

        Raises:
            SycamError: no such number of workers.
        """
        return Crew(self.workers, self.ray)

    @property
    def the_protocol(self) -> Protocol:
        """The protocol with the class that was given."""
        return find_protocol(self.protocol).changed(classes=self.classes)

    @property
    def terminal_settings(self) -> TerminalSettings:
        """Those given, or the defaults with the seed of the run."""
        return self.terminals or TerminalSettings(self.seed)

    def checked(self) -> Settings:
        """These settings.

        Raises:
            SycamError: one of them makes no sense.
        """
        accepted = {
            "max_size": (self.max_size, isinstance(self.max_size, int) and self.max_size >= 1, "a size of at least 1"),
            "learner": (self.learner, self.learner in LEARNERS, f"one of {', '.join(LEARNERS)}"),
            "target": (self.target, self.target is None or math.isfinite(self.target), "a finite score"),
            "held_out": (self.held_out, 0 <= self.held_out < 1, "a share, at least 0 and below 1"),
            "seed": (self.seed, isinstance(self.seed, int) and 0 <= self.seed < 2**63, "a whole number from 0 below 2^63"),
            "classes": (self.classes, self.classes in (None, "predicted", "labelled"), "'predicted' or 'labelled'"),
            "on_error": (self.on_error, self.on_error in ("stop", "skip"), "'stop' or 'skip'"),
            "oracle_timeout": (
                self.oracle_timeout,
                self.oracle_timeout is None or 0 < self.oracle_timeout < math.inf,
                "a number of seconds above 0",
            ),
            "stopping": (self.stopping, self.stopping in ("exact", "racing"), "'exact' or 'racing'"),
            "error": (self.error, 0 < self.error < 1, "a probability between 0 and 1, such as 0.05"),
            "look_ahead": (
                self.look_ahead,
                isinstance(self.look_ahead, int) and self.look_ahead >= 0,
                "a number of candidates, 0 for none",
            ),
            "similar": (self.similar, self.similar is None or 0 <= self.similar < 1, "a distance from 0, below 1, such as 0.02"),
            "batch": (self.batch, self.batch is None or self.batch >= 1, "at least 1 image"),
        }
        for name, (value, fits, wanted) in accepted.items():
            if not fits:
                raise SycamError(f"{name.replace('_', '-')} must be {wanted}, not {value!r}")
        _ = self.crew
        return self
