"""What no proof decided, as files for another solver."""

from __future__ import annotations

from pathlib import Path

from sycam.errors import SycamError
from sygus import Equivalence, Proportional
from sygus.constraints import ConstraintOracle
from sygus.solver.smtlib import write_smt2

from .same_heatmap import SameHeatmap


def dump_undecided(classes: Equivalence, heatmaps: SameHeatmap | None, laws: ConstraintOracle | None, folder: Path) -> None:
    """Every undecided pair, and every law that was neither proved nor refuted of a candidate, as one `.smt2` file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        relations: list[tuple[str, str, Equivalence | Proportional]] = [("undecided", "Is {}\nequal to {} ?", classes)]
        if heatmaps:
            relations.append(("heatmap", "Has {}\nthe heatmap of {} ?", heatmaps.classes))
        for name, question, relation in relations:
            for number, pair in enumerate(relation.undecided, start=1):
                comment = f"{question.format(pair.left, pair.right)}  unsat: yes.  Left undecided: {pair.reason}"
                write_smt2(relation.claim(pair.left, pair.right), folder / f"{name}-{number:04}.smt2", comment)
        for number, open_law in enumerate(laws.unproved if laws else [], start=1):
            place, term = open_law.law.place, open_law.candidate
            comment = f"Does {term}\nobey the constraint at {place} ?  unsat: yes.  Left undecided: {open_law.reason}"
            write_smt2(open_law.claim, folder / f"constraint-{number:04}.smt2", comment)
    except OSError as error:
        raise SycamError(f"cannot write the undecided queries to {folder}: {error.strerror}") from None
