"""The journal of a run: every candidate, every merge and every undecided pair, in one sqlite3 file.

Rows are committed batch by batch, so a run that is killed has lost nothing that was scored. Look into it with any sqlite3:

    sqlite3 run/journal.sqlite "select number, score, term from candidate where status = 'accepted'"
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from sycam.errors import SycamError
from sycam.search import Tried
from sygus import Merge, Undecided

_TABLES = """
create table candidate (number integer primary key, cost integer, status text, score real, bound real, seen integer, reason text,
                        term text, goals text);
create table merge (term text, representative text, relation text, proof text);
create table undecided (left_term text, right_term text, relation text, reason text);
"""


class Journal:
    """Writes `journal.sqlite` in a run's folder; `None` as path keeps it in memory.

    Tables: `candidate` (what the learner handed over, and what became of it; `goals` holds its values of those goals that had to
    be known, as JSON), `merge` (pairs proved to be in a
    relation, "equal" or "same heatmap", with the proof), `undecided` (pairs that stay two classes of a relation).

    Raises:
        SycamError: the file cannot be written, at the start or later (a full disk).

    >>> with Journal(None) as journal:
    ...     journal.candidates([])
    ...     journal.count("candidate")
    0
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        try:
            self._file = sqlite3.connect(path or ":memory:")
            self._file.executescript(_TABLES)
        except sqlite3.Error as error:
            raise self._error(error) from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def merge(self, merge: Merge, relation: str = "equal") -> None:
        """A term was proved to be in a relation with a representative. Committed with the next batch of candidates."""
        row = (str(merge.term), str(merge.representative), relation, merge.proof)
        self._write("insert into merge values (?, ?, ?, ?)", [row])

    def undecided(self, pair: Undecided, relation: str = "equal") -> None:
        """Two terms stay two classes of a relation."""
        self._write("insert into undecided values (?, ?, ?, ?)", [(str(pair.left), str(pair.right), relation, pair.reason)])

    def candidates(self, tried: Iterable[Tried]) -> None:
        """A batch of candidates; commits."""
        rows = [(t.number, t.cost, t.status, t.score, t.bound, t.seen, t.reason, str(t.term), json.dumps(t.goals)) for t in tried]
        self._write("insert into candidate values (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self.commit()

    def commit(self) -> None:
        """Everything so far is on disk after this."""
        try:
            self._file.commit()
        except sqlite3.Error as error:
            raise self._error(error) from None

    def count(self, table: str) -> int:
        """How many rows a table has."""
        assert table in ("candidate", "merge", "undecided")
        return int(self._file.execute(f"select count(*) from {table}").fetchone()[0])

    def _write(self, statement: str, rows: list[tuple]) -> None:
        try:
            self._file.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._error(error) from None

    def _error(self, error: sqlite3.Error) -> SycamError:
        return SycamError(
            f"cannot write the run's journal {self.path}: {error}; free the disk or name another folder as `out`. What "
            "was committed before is kept"
        )
