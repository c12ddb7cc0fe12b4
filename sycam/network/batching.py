"""How many images go through a network together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .network import Network

# glibc takes allocations above 32 MiB from the system and gives them back at once; the next layer faults their pages in again.
PIXELS_ON_CPU = 1 << 18
ON_GPU = 512
GAIN = 0.85
"""Another batch is taken only where it needs at most this share of the default's time: two runs should not differ by noise."""
WORTH = 60.0
"""Passes that take fewer seconds than this in all do not pay for trying."""

_found: dict[tuple[str, ...], int] = {}


def images_at_once(device: torch.device, height: int, width: int) -> int:
    """The batch that suits a device: on a CPU as many images as have 2^18 pixels, from 1 to 128; on a GPU 512.

    >>> cpu = torch.device("cpu")
    >>> images_at_once(cpu, 64, 64), images_at_once(cpu, 224, 224), images_at_once(torch.device("cuda"), 224, 224)
    (64, 5, 512)
    """
    return max(1, min(128, PIXELS_ON_CPU // (height * width))) if device.type == "cpu" else ON_GPU


def batch_by_trying(network: Network, size: Sequence[int], passes: int, seconds: float = 3.0) -> int:
    """The batch at which masked images of `size` go fastest through a network, found once a process.

    The default batch of the device, a quarter, half, two and four times as many are tried in turns; another than the default is
    taken where it saves 15% in the median. On a CPU CPU time counts, which other load hardly changes.

    Args:
        network: the CNN, on its device.
        size: of the images, pixels.
        passes: how many images are expected in all, at most. Where these take less than a minute nothing is tried.
        seconds: trying ends after the round in which so much time is spent.

    >>> from sycam.network import load_network
    >>> batch_by_trying(load_network("embedded"), (64, 64), passes=100)
    64
    """
    default = images_at_once(network.device, size[0], size[1])
    key = (network.weights_digest(), network.precision, f"{network.device} {tuple(size)} {torch.get_num_threads()}")
    if passes <= default:
        return _found.get(key, default)
    if key not in _found:
        trial = _Trial(network, size)
        took = (trial(default), trial(default))[1]  # the first warms up
        if took is not None and passes * took < WORTH:
            return default
        choices = [default, *dict.fromkeys(max(1, n) for n in (default // 4, default // 2, default * 2, default * 4))]
        _found[key] = fastest(trial, list(dict.fromkeys(choices)), seconds)
    return _found[key]


def fastest(trial: Callable[[int], float | None], choices: Sequence[int], seconds: float, rounds: int = 5) -> int:
    """The choice with the least time an image in the median of the rounds; the first unless another saves 15%.

    Args:
        trial: seconds an image at a batch, None where memory does not suffice.
        choices: batches, the default first.
        seconds: no round begins after so much time; one round, which warms up, does not count.

    >>> fastest({8: 1.0, 4: 0.9, 16: 0.5, 32: None}.get, [8, 4, 16, 32], 1.0)
    16
    >>> fastest({8: 1.0, 4: 0.9}.get, [8, 4], 1.0)
    8
    """
    times: dict[int, list[float]] = {}
    start, left = time.monotonic(), list(choices)
    for number in range(rounds + 1):
        for batch in list(left):
            took = trial(batch)
            if took is None:
                left.remove(batch)
            elif number:
                times.setdefault(batch, []).append(took)
        if number and time.monotonic() - start > seconds:
            break
    medians = {batch: statistics.median(times[batch]) for batch in left}
    if not medians:
        return 1
    best = min(medians, key=medians.__getitem__)
    default = choices[0]
    return best if default not in medians or medians[best] <= GAIN * medians[default] else default


class _Trial:
    """Seconds an image at a batch, of random images; what is not the run's own passes is not counted among them."""

    def __init__(self, network: Network, size: Sequence[int]) -> None:
        self.network = network
        generator = torch.Generator().manual_seed(0)
        self.image = torch.rand(1, network.preprocessing.channels, *size, generator=generator).to(network.device)

    def __call__(self, batch: int) -> float | None:
        network, passes = self.network, self.network.passes.full
        try:
            images = self.image.repeat(batch, 1, 1, 1)
            start = self._now()
            network.logits(images)
            return (self._now() - start) / batch
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if network.device.type == "cuda":
                torch.cuda.empty_cache()
            return None
        finally:
            network.passes.full = passes

    def _now(self) -> float:
        if self.network.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.network.device)
        return time.perf_counter()


def out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out: the GPU's, or on a CPU what the system gives, for which torch has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
