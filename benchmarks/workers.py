"""Scoring on n workers against one, one thread each, beside what n independent processes reach at once on the same machine.

    python benchmarks/workers.py                                        # the small VGG, 200 images, 32 classes, 2 workers
    python benchmarks/workers.py --model embedded --images 100

Each round measures, one after the other, one worker, n workers, one calibration process, n of these at once. A worker
scores every candidate on every image (`RemoteOracle.score`: heatmaps out, masked passes there, scores back), no candidate stopped
early; its terminals are computed before. A calibration process makes the bare forward passes of that scoring, knows nothing of
the others, and n of them make n times as many passes. What they lose against one is the machine's (memory, caches, other work on
it), and no workers could win it back:

    efficiency = (seconds of 1 worker / (n · seconds of n workers)) / (seconds of 1 process / seconds of n processes)

Ratios are of neighbours in time; one table is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import torch
from scoring import bare, cpu_name, first_classes, spread, subject

from sycam.job import ScoringSpec
from sycam.metrics.protocol import DEFAULT
from sycam.metrics.registry import metric
from sycam.network.batching import images_at_once
from sycam.scoring import Wanted
from sycam.workers import RemoteOracle, gather_on, open_pool


class Workers:
    """`count` workers that hold the terminals, and one scoring by them."""

    def __init__(self, count: int, network, images, terms) -> None:
        self.context = open_pool(ScoringSpec(workers=count), network, DEFAULT)
        pool = self.context.__enter__()
        self.oracle = RemoteOracle(gather_on(pool, network, images, Wanted(["A", "G", "y"])), metric("average-gain"))
        self.maps, _ = self.oracle.maps(terms)
        self.places = torch.arange(len(images))

    def score(self) -> tuple[float, torch.Tensor]:
        start = time.perf_counter()
        values = self.oracle.score(self.maps, self.places)
        return time.perf_counter() - start, values


class Calibration:
    """A process that makes so many bare forward passes whenever it is told to."""

    def __init__(self, args: argparse.Namespace, passes: int, batch: int) -> None:
        command = [
            sys.executable,
            __file__,
            "--calibrate",
            f"{passes},{batch}",
            "--model",
            args.model,
            "--images",
            str(args.images),
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        self.wait()

    def go(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def wait(self) -> None:
        if not self.process.stdout.readline():
            raise SystemExit("a calibration process ended")


def calibrate(args: argparse.Namespace) -> None:
    passes, batch = map(int, args.calibrate.split(","))
    network, _, images = subject(args.model, "cpu", args.images)
    normalised = images.normalised(slice(0, batch), network)
    bare(network, normalised, batch, batch)
    print("ready", flush=True)
    for _ in sys.stdin:
        bare(network, normalised, passes, batch)
        print("done", flush=True)


def at_once(processes: list[Calibration]) -> float:
    start = time.perf_counter()
    for process in processes:
        process.go()
    for process in processes:
        process.wait()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["embedded", "small_vgg", "mobilenet_v2"], default="small_vgg")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=32)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calibrate", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    if args.calibrate:
        calibrate(args)
        return
    n = args.workers
    network, _, images = subject(args.model, "cpu", args.images)
    terms = first_classes("gradient", network, images, args.candidates)
    one, several = (Workers(count, network, images, terms) for count in (1, n))
    _, expected = one.score()  # warms up, and counts the passes
    passes, batch = one.oracle.spent.passes, images_at_once(network.device, *images.pixels.shape[-2:])
    calibrations = [Calibration(args, passes, batch) for _ in range(n)]
    rows: dict[str, list[float]] = {name: [] for name in ("one", "n", "alone", "at once", "workers", "machine", "efficiency")}
    for _ in range(args.rounds):
        first, values = one.score()
        second, found = several.score()
        if not torch.equal(values, expected) or not torch.equal(found, expected):
            raise SystemExit("the scores of one worker and of several differ")
        alone, together = at_once(calibrations[:1]), at_once(calibrations)
        speedup, possible = first / second, n * alone / together
        for name, value in zip(rows, (first, second, alone, together, speedup, possible, speedup / possible), strict=True):
            rows[name].append(value)
    print(f"# {n} workers against one: {len(terms)} classes of gradient.sy, {len(images)} images, average-gain, {args.model}")
    print(
        f"{cpu_name()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; one thread a process; {passes} masked passes; ",
        end="",
    )
    print(f"{args.rounds} rounds; the scores of all are equal bit for bit.\n")
    print("| what | seconds, median (range) | times one |\n| --- | --- | --- |")
    print(f"| one worker | {spread(rows['one'], '.2f')} | 1 |")
    print(f"| {n} workers | {spread(rows['n'], '.2f')} | {spread(rows['workers'], '.2f')} |")
    print(f"| one calibration process, {passes} bare passes | {spread(rows['alone'], '.2f')} | 1 |")
    print(f"| {n} at once, {passes} passes each | {spread(rows['at once'], '.2f')} | {spread(rows['machine'], '.2f')} |")
    print(f"\nefficiency, of what the machine gives: {spread(rows['efficiency'], '.2f')}; to reach: 0.85")
    for process in calibrations:
        process.process.stdin.close()
        process.process.wait()
    for workers in (one, several):
        workers.context.__exit__(None, None, None)


if __name__ == "__main__":
    main()
