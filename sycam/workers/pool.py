"""Several workers that share units of images: who holds which, and what becomes of it when one ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sycam.errors import SycamError
from sycam.interrupt import held_back

from .message import Answer, Job, Key, pack_parts, unpack_answers, unpack_error

RESTARTS = 1
"""How often a worker that ended is started again before the others take its images."""
OUT_OF_MEMORY = 75
"""Exit status of a worker that has too little memory for what it was asked."""
DEATHS = 4
"""How many workers may end over the same images."""


class Died(Exception):
    """A worker has ended; the words say how."""


class Worker(Protocol):
    """One worker, wherever it runs. It answers each message, in order."""

    name: str

    def send(self, message: bytes) -> None:
        """Raises `Died`."""

    def receive(self) -> bytes:
        """The next answer; raises `Died`."""

    def interrupt(self) -> None:
        """Asks it to leave the message that it is at."""

    def close(self) -> None:
        """Ends it."""


W = TypeVar("W", bound=Worker)


class Transport(Protocol[W]):
    """Where workers run."""

    count: int
    where: str

    def start(self, number: int) -> W | None:
        """A new worker; None where there is no room for another."""

    def options(self, number: int) -> dict[str, object]:
        """The device and the threads of that worker."""

    def wait(self, workers: Sequence[W]) -> list[W]:
        """Those that have answered or ended, at least one."""

    def close(self) -> None:
        """Ends what it began."""


@dataclass(eq=False)
class _Slot:
    """The place of one worker."""

    number: int
    worker: Worker | None
    ready: bool = False
    queue: deque[tuple[int, Job]] = field(default_factory=deque)
    at: list[tuple[int | None, Job]] = field(default_factory=list)  # what it was sent and has not answered
    stale: bool = False  # nobody waits for that any more
    held: set[Key] = field(default_factory=set)
    deaths: int = 0


class Pool:
    """n workers. Use as a context manager: at its end they are ended.

    Args:
        transport: where they run.
        start: the job with which each begins; its head gets the transport's `options`.
        on_warning: told in one line of each worker that ends.

    A worker that ends is started again once; after that the others take its units. Either way these are computed anew, and what
    it was asked is asked again, so no answer is lost, and none depends on it.
    """

    def __init__(self, transport: Transport[Any], start: Job, on_warning: Callable[[str], None] = lambda text: None) -> None:
        self._transport, self._start, self._warn = transport, start, on_warning
        self._slots = [_Slot(number, transport.start(number)) for number in range(transport.count)]
        self._owners: dict[Key, _Slot] = {}
        self._holds: dict[Key, Job] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many workers there are still."""
        return len(self._living)

    def describe(self) -> dict[str, object]:
        """How many there were at the start, where, and on what: scores depend, in their last bits, on the threads."""
        return {"count": self._transport.count, "where": self._transport.where, **self._transport.options(0)}

    def close(self) -> None:
        """Ends the workers."""
        for slot in self._living:
            assert slot.worker is not None
            slot.worker.close()
            slot.worker = None
        self._transport.close()

    def hold(self, jobs: Sequence[Job], on_answer: Callable[[int], None] = lambda place: None) -> list[Answer]:
        """The answers to `hold` jobs, whose units the workers share from now on; `on_answer` is told the place of each."""
        for job in jobs:
            assert job.unit is not None
            self._holds[job.unit] = job
            self._owners[job.unit] = self._lightest(job.unit)
        return self.ask(jobs, together=False, on_answer=on_answer)

    def ask(
        self, jobs: Sequence[Job], *, together: bool = True, on_answer: Callable[[int], None] = lambda place: None
    ) -> list[Answer]:
        """An answer for each job, in order.

        Args:
            jobs: with a unit, for the worker that holds it; without, for whoever is free.
            together: whether a worker gets all its jobs in one message.
            on_answer: told the place of each job that was answered.

        Raises:
            SycamError: of the first job that failed; or workers end again and again over the same job.
        """
        answers: dict[int, Answer] = {}
        free: deque[tuple[int, Job]] = deque()
        for slot in self._slots:
            slot.queue.clear()
        for place, job in enumerate(jobs):
            job.deaths = 0
            (free if job.unit is None else self._owners[job.unit].queue).append((place, job))
        try:
            while len(answers) < len(jobs):
                for slot in self._living:
                    if not slot.at:
                        with held_back():
                            self._send(slot, free, together)
                for slot in self._answered():
                    with held_back():
                        received = self._receive(slot, free)
                    for place, answer in received:
                        answers[place] = answer
                        on_answer(place)
        except BaseException:
            for slot in self._living:
                slot.stale = bool(slot.at)
                if slot.stale and slot.ready and slot.worker is not None:
                    slot.worker.interrupt()
            raise
        found = [answers[place] for place in range(len(jobs))]
        for answer in found:
            _raise_failure(answer)
        return found

    @property
    def _living(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.worker is not None]

    def _lightest(self, unit: Key) -> _Slot:
        """Who has the fewest images of the unit's set."""
        images = dict.fromkeys(self._living, 0)
        for other, owner in self._owners.items():
            if other[0] == unit[0] and other != unit and owner in images:
                images[owner] += len(self._holds[other].head["names"])
        return min(self._living, key=images.__getitem__)

    def _send(self, slot: _Slot, free: deque[tuple[int, Job]], together: bool) -> None:
        """The next message to an idle worker: first what it needs in order to answer."""
        assert slot.worker is not None
        missing = next((j.unit for _, j in slot.queue if j.unit not in slot.held and j is not self._holds[j.unit]), None)  # type: ignore[index]
        jobs: list[tuple[int | None, Job]]
        if not slot.ready:
            if not slot.queue and not free:
                return
            start = self._start
            jobs = [(None, Job(start.do, {**start.head, **self._transport.options(slot.number)}, start.tensors))]
        elif missing is not None:
            jobs = [(None, self._holds[missing])]
        elif slot.queue:
            jobs = [slot.queue.popleft() for _ in range(len(slot.queue) if together else 1)]
        elif free:
            jobs = [free.popleft()]
        else:
            return
        slot.at, slot.stale = jobs, False
        try:
            slot.worker.send(pack_parts({}, [job for _, job in jobs]))
        except Died as death:
            self._lost(slot, str(death), free)

    def _answered(self) -> Iterable[_Slot]:
        busy = {slot.worker: slot for slot in self._living if slot.at and slot.worker is not None}
        return [busy[worker] for worker in self._transport.wait(list(busy))] if busy else []

    def _receive(self, slot: _Slot, free: deque[tuple[int, Job]]) -> list[tuple[int, Answer]]:
        """Answers that someone waits for."""
        assert slot.worker is not None
        try:
            _, answers = unpack_answers(slot.worker.receive())
        except Died as death:
            self._lost(slot, str(death), free)
            return []
        sent, stale = slot.at, slot.stale
        slot.at, slot.stale = [], False
        wanted = []
        for place, job in reversed(sent[len(answers) :]):  # someone interrupted the worker
            if place is not None and not stale:
                (free if job.unit is None else slot.queue).appendleft((place, job))
        for (place, job), answer in zip(sent, answers, strict=False):
            failed = "error" in answer.head or "bug" in answer.head
            if job.do == "start" and not failed:
                slot.ready = True
            elif job.do == "hold" and not failed:
                assert job.unit is not None
                slot.held.add(job.unit)
                job.deaths = 0
            if place is None:
                _raise_failure(answer)
            elif not stale:
                wanted.append((place, answer))
        return wanted

    def _lost(self, slot: _Slot, how: str, free: deque[tuple[int, Job]]) -> None:
        """Another worker in the place of one that ended, or its units to the others."""
        assert slot.worker is not None
        name, stale = slot.worker.name, slot.stale
        slot.worker.close()
        slot.deaths += 1
        units = [unit for unit, owner in self._owners.items() if owner is slot]
        images = sum(len(self._holds[unit].head["names"]) for unit in units)
        sent, slot.at, slot.stale, slot.ready, slot.worker = slot.at, [], False, False, None
        slot.held.clear()
        for place, job in reversed(sent):
            job.deaths += 1
            if job.deaths >= DEATHS:
                raise SycamError(f"{DEATHS} workers ended over the same images, the last as {name} {how}: give them more memory, "
                                 "or use fewer workers or a smaller --batch")  # fmt: skip
            if place is not None and not stale:
                (free if job.unit is None else slot.queue).appendleft((place, job))
        if slot.deaths <= RESTARTS:
            slot.worker = self._transport.start(slot.number)
        if slot.worker is not None:
            self._warn(f"{name} {how}: another takes its place and computes the terminals of its {images} images anew")
            return
        if not self._living:
            raise SycamError(f"{name} {how}, and it was the last worker: give them more memory, or use fewer workers")
        self._warn(f"{name} {how}: the others take its {images} images and compute their terminals anew")
        for unit in units:
            self._owners[unit] = self._lightest(unit)
        for place, job in slot.queue:
            assert job.unit is not None
            self._owners[job.unit].queue.append((place, job))
        slot.queue.clear()


def _raise_failure(answer: Answer) -> None:
    if "bug" in answer.head:
        raise RuntimeError(f"in a worker:\n{answer.head['bug']}")
    if "error" in answer.head:
        raise unpack_error(answer.head["error"])
