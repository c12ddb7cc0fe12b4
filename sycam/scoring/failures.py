"""What becomes of a run whose oracle fails: the candidate that it fails on is found, and left out, or the run ends in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from sycam.errors import OracleError, SycamError

IN_A_ROW = 20  # failures without one answer between them: then the oracle works on nothing, and asking on is a waste
HANGS = 3
KEPT = 1000

T = TypeVar("T")
Ask = Callable[[Tensor, Tensor], Tensor]
"""Places of candidates [c] and of images [b] to their scores [c, b], float64 on the CPU; [c, b, P] of a metric with P parts."""


@dataclass
class Failures:
    """How a run takes failures of its oracles, and which there were.

    Args:
        on_error: "stop" ends the run at the first failure, "skip" leaves out the candidate and goes on.
        told: called with each failure, for a log.

    Attributes:
        found: the failures so far, the first 1,000.
        given_up: why nothing is asked any more: the first failure under "stop"; under "skip" one after which the oracle has
            failed 20 times in a row, or needed too long three times.
    """

    on_error: str = "stop"
    told: Callable[[OracleError], None] = lambda error: None
    found: list[OracleError] = field(default_factory=list)
    given_up: OracleError | None = None
    _in_a_row: int = 0
    _hangs: int = 0

    def __post_init__(self) -> None:
        if self.on_error not in ("stop", "skip"):
            raise SycamError(f"`on_error` must be 'stop' or 'skip', not {self.on_error!r}")

    def attempt(
        self, ask: Ask, candidates: int, images: int, *, parts: int = 0, known: OracleError | None = None
    ) -> tuple[Tensor, dict[int, OracleError | None]]:
        """The scores of candidates on images, and which candidates have none.

        All are asked about at once; only where that fails they are asked about in halves, until the candidate and its image
        are found.

        Args:
            ask: raises `OracleError` where the oracle fails.
            candidates, images: how many there are.
            parts: of the metric, where it has such.
            known: how it failed when it was asked about all of them at once, where that was done.

        Returns:
            [candidates, images] or [candidates, images, parts], with NaN for those that failed; by their places why they did, or
            None where they were not asked about any more.
        """
        scores: dict[int, Tensor] = {}
        failed: dict[int, OracleError | None] = {}
        columns = torch.arange(images)

        def halve(rows: Tensor, known: OracleError | None = None) -> None:
            if self.given_up is not None:
                failed.update(dict.fromkeys(rows.tolist()))
                return
            try:
                if known is not None:
                    raise known
                found = ask(rows, columns)
            except OracleError as error:
                if len(rows) == 1:
                    failed[int(rows[0])] = self._count(_pinned(ask, rows, columns, error))
                elif error.timed_out and self.on_error == "stop":  # to find out who hangs is to hang again and again
                    self._count(error)
                    failed.update(dict.fromkeys(rows.tolist()))
                else:
                    for half in rows.tensor_split(2):
                        halve(half)
            else:
                self.answered()
                scores.update(zip(rows.tolist(), found, strict=True))

        if candidates:
            halve(torch.arange(candidates), known)
        found = torch.full((candidates, images, *([parts] if parts else [])), torch.nan, dtype=torch.float64)
        for row, values in scores.items():
            found[row] = values
        return found, failed

    def once(self, ask: Callable[[], T]) -> tuple[T | None, OracleError | None]:
        """The answer to one question, and why there is none; None and None where nothing is asked any more."""
        if self.given_up is not None:
            return None, None
        try:
            found = ask()
        except OracleError as error:
            return None, self._count(error)
        self.answered()
        return found, None

    def answered(self) -> None:
        """An oracle that answers is not given up for what it failed on before."""
        self._in_a_row = 0

    def _count(self, error: OracleError) -> OracleError:
        self.told(error)
        if len(self.found) < KEPT:
            self.found.append(error)
        self._in_a_row += 1
        self._hangs += error.timed_out
        if self.on_error == "stop" or self._in_a_row >= IN_A_ROW or self._hangs >= HANGS:
            self.given_up = error
        return error


def _pinned(ask: Ask, row: Tensor, columns: Tensor, error: OracleError) -> OracleError:
    """The error about the first image on which this candidate fails alone; the given one where it fails only on several."""
    if error.timed_out:
        return error
    while len(columns) > 1:
        first, rest = columns.tensor_split(2)
        try:
            ask(row, first)
        except OracleError as narrower:
            columns, error = first, narrower
        else:
            columns = rest
    try:
        ask(row, columns)
    except OracleError as narrowest:
        return narrowest
    return error
