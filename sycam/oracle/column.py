"""One terminal of many images whose rows lie in several tensors, in memory or mapped from files."""

from __future__ import annotations

import torch
from torch import Tensor


class Column:
    """N rows, each somewhere; indexing gathers some of them into one tensor on the device.

    Args:
        count: N.
        device: where what is gathered lies.

    Attributes:
        bytes: of the parts in memory; those of mapped files are not counted.

    >>> column = Column(3, torch.device("cpu"))
    >>> column.put(torch.tensor([2, 0]), torch.tensor([[5.0], [6.0]]))
    >>> column.present.tolist(), column[torch.tensor([0, 2])].tolist()
    ([True, False, True], [[6.0], [5.0]])
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self.device = device
        self.bytes = 0
        self._parts: list[Tensor] = []
        self._part = torch.full((count,), -1, dtype=torch.int32)
        self._row = torch.zeros(count, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._part)

    @property
    def shape(self) -> torch.Size:
        """[N, ...]."""
        return torch.Size([len(self), *self._parts[0].shape[1:]])

    @property
    def dtype(self) -> torch.dtype:
        """Of every row."""
        return self._parts[0].dtype

    @property
    def present(self) -> Tensor:
        """Which rows are there yet, bool [N]."""
        return self._part >= 0

    def put(self, places: Tensor, part: Tensor, rows: Tensor | None = None, mapped: bool = False) -> None:
        """The rows at `places` [n] are those of `part` at `rows` [n], its first n where None."""
        self._part[places] = len(self._parts)
        self._row[places] = torch.arange(len(places)) if rows is None else rows
        self._parts.append(part)
        self.bytes += 0 if mapped else part.numel() * part.element_size()

    def __getitem__(self, places: int | slice | Tensor) -> Tensor:
        if isinstance(places, int):
            return self._parts[int(self._part[places])][int(self._row[places])].to(self.device)
        if isinstance(places, Tensor):
            places = places.cpu()
        of, rows = self._part[places], self._row[places]
        present = of.unique().tolist()
        if len(present) == 1:
            return _rows(self._parts[present[0]], rows).to(self.device)
        gathered = torch.empty(len(of), *self.shape[1:], dtype=self.dtype, device=self.device)
        for part in present:
            here = (of == part).nonzero()[:, 0]
            gathered[here.to(self.device)] = _rows(self._parts[part], rows[here]).to(self.device)
        return gathered

    def select(self, places: Tensor) -> Column:
        """Some of the rows, without copying any."""
        chosen = Column(len(places), self.device)
        chosen.bytes, chosen._parts = self.bytes, self._parts
        chosen._part, chosen._row = self._part[places], self._row[places]
        return chosen


def _rows(part: Tensor, rows: Tensor) -> Tensor:
    """Rows of a tensor; a view where they follow one another."""
    first = int(rows[0]) if len(rows) else 0
    if torch.equal(rows, torch.arange(first, first + len(rows))):
        return part[first : first + len(rows)]
    return part[rows.to(part.device)]
