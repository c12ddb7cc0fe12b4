"""The claims of a run as files for any solver: what was proved, and what no proof decided."""

from __future__ import annotations

from pathlib import Path

from sycam.errors import SycamError
from sycam.search import SameHeatmap
from sygus import Equivalence, Merge, Proportional
from sygus.constraints import ConstraintOracle
from sygus.solver.smtlib import write_smt2

Relation = Equivalence | Proportional


def dump_claims(
    folder: Path,
    merges: list[tuple[str, Merge]],
    classes: Equivalence,
    heatmaps: SameHeatmap | None,
    laws: ConstraintOracle | None,
) -> None:
    """Every proved and every undecided pair, and every law neither proved nor refuted of a candidate, as one `.smt2` file.

    A solver answers unsat where the claim holds. The comment says what was proved and how, or why it was left undecided.

    Args:
        folder: made where it is not there.
        merges: proved pairs by their relation, as the journal keeps them.
    """
    relations: dict[str, tuple[str, str, Relation]] = {"equal": ("undecided", "Is {}\nequal to {} ?", classes)}
    if heatmaps:
        relations["same heatmap"] = ("heatmap", "Has {}\nthe heatmap of {} ?", heatmaps.classes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (relation, merge) in enumerate(merges, start=1):
            _, question, known = relations[relation]
            comment = f"{question.format(merge.term, merge.representative)}  unsat: yes.  Proved: {merge.proof}"
            write_smt2(known.claim(merge.term, merge.representative), folder / f"proved-{number:04}.smt2", comment)
        for name, question, known in relations.values():
            for number, pair in enumerate(known.undecided, start=1):
                comment = f"{question.format(pair.left, pair.right)}  unsat: yes.  Left undecided: {pair.reason}"
                write_smt2(known.claim(pair.left, pair.right), folder / f"{name}-{number:04}.smt2", comment)
        for number, open_law in enumerate(laws.unproved if laws else [], start=1):
            place, term = open_law.law.place, open_law.candidate
            comment = f"Does {term}\nobey the constraint at {place} ?  unsat: yes.  Left undecided: {open_law.reason}"
            write_smt2(open_law.claim, folder / f"constraint-{number:04}.smt2", comment)
    except OSError as error:
        raise SycamError(f"cannot write the claims to {folder}: {error.strerror}") from None
