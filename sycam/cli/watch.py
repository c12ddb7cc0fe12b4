"""The live views of a synthesis and of a comparison."""

from __future__ import annotations

from types import TracebackType

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from sycam.metrics.metric import Metric
from sycam.network import Network
from sycam.run.observe import Observer, Progress

from . import console


class Watch(Observer):
    """Shows phases and the loop on stderr; where that is no terminal, one line a phase and one every so often.

    Use as a context manager around the synthesis.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._bar = Bar(TextColumn("{task.description}"), BarColumn(40), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
        self._task = self._bar.add_task("starting", total=None, note="")
        self._state: Progress | None = None
        self._live = Live(get_renderable=self._view, console=console.err, refresh_per_second=8, transient=True)
        self._plain = not console.err.is_terminal
        self._reported = -1.0

    def __enter__(self) -> Watch:
        if not self._plain:
            self._live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._plain:
            self._live.stop()

    def phase(self, name: str) -> None:
        """A new bar."""
        self._bar.reset(self._task, description=name, total=None, note="")
        if self._plain:
            console.err.print(f"{name} ...")

    def step(self, done: int, total: int) -> None:
        """The bar moves."""
        self._bar.update(self._task, completed=done, total=total, note=f"{done}/{total} images")

    def warn(self, message: str) -> None:
        """Above the bar, and stays."""
        console.warn(message)

    def progress(self, state: Progress) -> None:
        """The loop's numbers."""
        self._state = state
        left = "" if state.left is None else f"about {_time(state.left)} left"
        self._bar.update(self._task, completed=state.share or 0, total=1 if state.share is not None else None, note=left)
        if self._plain and (state.share or 0.0) - self._reported >= 0.1:
            self._reported = state.share or 0.0
            console.err.print(Text("  " + ", ".join(f"{name} {value}" for name, value in self._numbers(state))), soft_wrap=True)

    def _numbers(self, state: Progress) -> list[tuple[str, str]]:
        score = "–" if state.score is None else f"{100 * state.score:.3f}"
        return [
            ("terms", f"{state.terms:,} (size {state.cost})"),
            ("classes", f"{state.classes:,}" + (f" ({state.undecided} pairs undecided)" if state.undecided else "")),
            ("candidates", f"{state.candidates:,}, {state.rate:.1f} a second" + _unlawful(state)),
            ("masked passes", f"{state.passes:,}"),
            (f"λ ({self.metric.name})", score),
            ("incumbent", state.incumbent or "–"),
        ]

    def _view(self) -> RenderableType:
        if self._state is None:
            return self._bar
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column()
        for name, value in self._numbers(self._state):
            grid.add_row(name, Text(value, overflow="ellipsis"))
        return Group(self._bar, grid)


class Counting:
    """Shows how far a comparison is, on stderr where that is a terminal: images whose terminals are known, passes of the network.

    Use as a context manager around the comparison, and `step` as its `on_batch`.
    """

    def __init__(self, network: Network, images: int) -> None:
        self._network, self._images = network, images
        self._bar = Bar(TextColumn("{task.description}"), BarColumn(40), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
        self._task = self._bar.add_task("terminals", total=images, note="")
        self._live = Live(get_renderable=self._view, console=console.err, refresh_per_second=4, transient=True)

    def __enter__(self) -> Counting:
        if console.err.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if console.err.is_terminal:
            self._live.stop()

    def step(self, done: int) -> None:
        """So many images have their terminals; with all of them the scores begin."""
        if done < self._images:
            self._bar.update(self._task, completed=done)
        else:
            self._bar.update(self._task, description="scores", total=None)

    def _view(self) -> RenderableType:
        passes = self._network.passes
        note = f"{passes.full:,} passes of the network" + (f", {passes.tail:,} of its tail" if passes.tail else "")
        self._bar.update(self._task, note=note)
        return self._bar


def _unlawful(state: Progress) -> str:
    return f" ({state.unlawful:,} not proved to obey the constraints)" if state.unlawful else ""


def _time(seconds: float) -> str:
    """`3 s`, `4 min`, `1.5 h`.

    >>> _time(3.2), _time(200), _time(5400)
    ('3 s', '3 min', '1.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
