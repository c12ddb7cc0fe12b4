"""Several workers that share blocks of images: who holds which, and what becomes of it when one ends."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import torch

from sycam.errors import SycamError
from sycam.interrupt import held_back
from sycam.job import ScoringSpec
from sycam.metrics.protocol import Protocol as MetricProtocol
from sycam.network import Network

from .tasks import Answer, Key, Task, describe_network, pack_parts, unpack_answers, unpack_error
from .transports import Cluster, Died, Handle, Local, Transport

RESTARTS = 1
"""How often a worker that ended is started again before the others take its images."""
DEATHS = 4
"""How many workers may end over the same images."""


@dataclass(eq=False)
class _Slot:
    """The place of one worker."""

    number: int
    worker: Handle
    ready: bool = False
    queue: deque[tuple[int, Task]] = field(default_factory=deque)
    at: list[tuple[int | None, Task]] = field(default_factory=list)  # what it was sent and has not answered
    stale: bool = False  # nobody waits for that any more
    held: set[Key] = field(default_factory=set)
    deaths: int = 0


class Pool:
    """n workers. Use as a context manager: at its end they are ended.

    Args:
        transport: where they run.
        start: the task with which each begins; its head gets the transport's `options`.
        on_warning: told in one line of each worker that ends.

    A worker that ends is started again once; after that the others take its blocks. Either way these are computed anew, and what
    it was asked is asked again, so no answer is lost, and none depends on it.
    """

    def __init__(self, transport: Transport, start: Task, on_warning: Callable[[str], None] = lambda text: None) -> None:
        self._transport, self._start, self._warn = transport, start, on_warning
        self._slots = [_Slot(number, worker) for number in range(transport.count) if (worker := transport.start(number))]
        self._owners: dict[Key, _Slot] = {}
        self._holds: dict[Key, Task] = {}
        self._free: deque[tuple[int, Task]] = deque()  # what any worker may do

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many workers there are still."""
        return len(self._slots)

    def describe(self) -> dict[str, object]:
        """How many there were at the start, where, and on what: scores depend, in their last bits, on the threads."""
        return {"count": self._transport.count, "where": self._transport.where, **self._transport.options(0)}

    def close(self) -> None:
        """Ends the workers."""
        while self._slots:
            self._slots.pop().worker.close()
        self._transport.close()

    def hold(self, tasks: Sequence[Task], on_answer: Callable[[int], None] = lambda place: None) -> list[Answer]:
        """The answers to `hold` tasks, whose blocks the workers share from now on; `on_answer` is told the place of each."""
        self._check_living()
        for task in tasks:
            assert task.block is not None
            self._holds[task.block] = task
            self._owners[task.block] = self._lightest(task.block)
        return self.ask(tasks, together=False, on_answer=on_answer)

    def ask(
        self, tasks: Sequence[Task], *, together: bool = True, on_answer: Callable[[int], None] = lambda place: None
    ) -> list[Answer]:
        """An answer for each task, in order.

        Args:
            tasks: with a block, for the worker that holds it; without, for whoever is free.
            together: whether a worker gets all its tasks in one message.
            on_answer: told the place of each task that was answered.

        Raises:
            SycamError: of the first task that failed; workers end again and again over the same task; or none is left.
        """
        self._check_living()
        answers: dict[int, Answer] = {}
        for slot in self._slots:
            slot.queue.clear()
        self._free.clear()
        for place, task in enumerate(tasks):
            task.deaths = 0
            self._queue(task).append((place, task))
        try:
            while len(answers) < len(tasks):
                for slot in [slot for slot in self._slots if not slot.at]:
                    with held_back():
                        self._send(slot, together)
                for slot in self._answered():
                    with held_back():
                        received = self._receive(slot)
                    for place, answer in received:
                        answers[place] = answer
                        on_answer(place)
        except BaseException:
            for slot in self._slots:
                slot.stale = bool(slot.at)
                if slot.stale and slot.ready:
                    slot.worker.interrupt()
            raise
        for place in range(len(tasks)):
            _raise_failure(answers[place])
        return [answers[place] for place in range(len(tasks))]

    def _check_living(self) -> None:
        if not self._slots:
            raise SycamError("no worker is left: give them more memory, or use fewer workers")

    def _queue(self, task: Task) -> deque[tuple[int, Task]]:
        """Where the task waits."""
        return self._free if task.block is None else self._owners[task.block].queue

    def _lightest(self, block: Key) -> _Slot:
        """Who has the fewest images of the block's set."""
        images = dict.fromkeys(self._slots, 0)
        for other, owner in self._owners.items():
            if other[0] == block[0] and other != block and owner in images:
                images[owner] += len(self._holds[other].head["names"])
        return min(self._slots, key=images.__getitem__)

    def _send(self, slot: _Slot, together: bool) -> None:
        """The next message to an idle worker: first what it needs in order to answer."""
        holds = [(self._holds[task.block], task) for _, task in slot.queue if task.block and task.block not in slot.held]
        missing = next((hold for hold, task in holds if hold is not task), None)
        tasks: list[tuple[int | None, Task]]
        if not slot.queue and not self._free:
            return
        if not slot.ready:
            start = self._start
            tasks = [(None, Task(start.do, {**start.head, **self._transport.options(slot.number)}, start.tensors))]
        elif missing is not None:
            tasks = [(None, missing)]
        elif slot.queue:
            tasks = [slot.queue.popleft() for _ in range(len(slot.queue) if together else 1)]
        else:
            tasks = [self._free.popleft()]
        slot.at, slot.stale = tasks, False
        try:
            slot.worker.send(pack_parts({}, [task for _, task in tasks]))
        except Died as death:
            self._lost(slot, str(death))

    def _answered(self) -> list[_Slot]:
        busy = {slot.worker: slot for slot in self._slots if slot.at}
        return [busy[worker] for worker in self._transport.wait(list(busy))] if busy else []

    def _receive(self, slot: _Slot) -> list[tuple[int, Answer]]:
        """Answers that someone waits for."""
        try:
            _, answers = unpack_answers(slot.worker.receive())
        except Died as death:
            self._lost(slot, str(death))
            return []
        sent, stale = slot.at, slot.stale
        self._ask_again(slot, sent[len(answers) :])  # someone interrupted the worker
        slot.at, slot.stale = [], False
        wanted = []
        for (place, task), answer in zip(sent, answers, strict=False):
            failed = "error" in answer.head or "bug" in answer.head
            if task.do == "start" and not failed:
                slot.ready = True
            elif task.do == "hold" and not failed:
                assert task.block is not None
                slot.held.add(task.block)
                task.deaths = 0
            if place is None:
                _raise_failure(answer)
            elif not stale:
                wanted.append((place, answer))
        return wanted

    def _ask_again(self, slot: _Slot, sent: Sequence[tuple[int | None, Task]]) -> None:
        """What the worker was sent waits again, first of all, where anyone waits for it."""
        for place, task in reversed(sent):
            if place is not None and not slot.stale:
                self._queue(task).appendleft((place, task))

    def _lost(self, slot: _Slot, how: str) -> None:
        """Another worker in the place of one that ended, or its blocks to the others."""
        name, at = slot.worker.name, self._slots.index(slot)
        slot.worker.close()
        del self._slots[at]
        for _, task in slot.at:
            task.deaths += 1
        self._ask_again(slot, slot.at)
        over = any(task.deaths >= DEATHS for _, task in slot.at)
        blocks = [block for block, owner in self._owners.items() if owner is slot]
        images = sum(len(self._holds[block].head["names"]) for block in blocks)
        worker = self._transport.start(slot.number) if slot.deaths < RESTARTS and not over else None
        if worker is not None:
            heir = _Slot(slot.number, worker, queue=slot.queue, deaths=slot.deaths + 1)
            self._slots.insert(at, heir)
            self._owners.update(dict.fromkeys(blocks, heir))
            self._warn(f"{name} {how}: another takes its place and computes the terminals of its {images} images anew")
            return
        if self._slots:
            for block in blocks:
                self._owners[block] = self._lightest(block)
            for place, task in slot.queue:
                self._queue(task).append((place, task))
        if over:
            raise SycamError(f"{DEATHS} workers ended over the same images, the last as {name} {how}: give them more memory, "
                             "or use fewer workers or a smaller `batch`")  # fmt: skip
        if not self._slots:
            raise SycamError(f"{name} {how}, and it was the last worker: give them more memory, or use fewer workers")
        self._warn(f"{name} {how}: the others take its {images} images and compute their terminals anew")


def _raise_failure(answer: Answer) -> None:
    if "bug" in answer.head:
        raise RuntimeError(f"in a worker:\n{answer.head['bug']}")
    if "error" in answer.head:
        raise unpack_error(answer.head["error"])


AUTO = "auto"


@contextmanager
def open_pool(
    spec: ScoringSpec, network: Network, protocol: MetricProtocol, on_warning: Callable[[str], None] = lambda text: None
) -> Iterator[Pool | None]:
    """The workers that a run asks for, which end with the block; None for this process alone.

    Args:
        spec: `workers`, a number, or "auto" for one a CUDA device or one a CPU thread; `ray`, the address of a Ray cluster.
        network, protocol: with which they score.
        on_warning: told in one line of each worker that ends, and of those that found no room.

    Raises:
        SycamError: they cannot be had, or cannot make the network.
    """
    if spec.workers is None and spec.ray is None:
        yield None
        return
    described, tensors = describe_network(network)
    head = {
        "network": described, "protocol": asdict(protocol), "folder": os.getcwd(), "path": [p or os.getcwd() for p in sys.path],
    }  # fmt: skip
    count = _count(spec, network.device)
    transport = Local(count or 1, network.device) if spec.ray is None else Cluster(spec.ray, count, network.device)
    if transport.missing:
        on_warning(f"{transport.missing} workers found no room in the Ray cluster: {transport.count} do the work")
    with Pool(transport, Task("start", head, tensors), on_warning) as pool:
        yield pool


def _count(spec: ScoringSpec, device: torch.device) -> int | None:
    """How many workers, where the Ray cluster does not say it."""
    if spec.workers == AUTO and spec.ray is None:
        return torch.cuda.device_count() if device.type == "cuda" else torch.get_num_threads()
    return None if spec.workers in (None, AUTO) else int(spec.workers)
