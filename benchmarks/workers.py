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

    python benchmarks/workers.py --ray local --images 200 --candidates 24

compares n processes (`workers`) with n actors of a Ray cluster (`ray`). Each round starts both, each from a fresh process,
times them in turn, and then ends one worker of each in the middle of a scoring. Others' work on the machine is in the wall times;
CPU seconds are those of the run and of all processes below it, Ray's own among them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from scoring import bare, cpu_name, first_classes, spread, subject

from sycam.job import ScoringSpec
from sycam.metrics.own.find import find_metric
from sycam.metrics.protocol import DEFAULT
from sycam.network.batching import images_at_once
from sycam.scoring import Wanted
from sycam.workers import RemoteOracle, gather_on, open_pool


class Workers:
    """`count` workers that hold the terminals, and one scoring by them."""

    def __init__(self, count: int, network, images, terms, ray: str | None = None) -> None:
        self.warnings: list[float] = []  # when a worker was found to have ended
        warn = lambda text: self.warnings.append(time.perf_counter())  # noqa: E731
        start = time.perf_counter()
        self.context = open_pool(ScoringSpec(workers=count, ray=ray), network, DEFAULT, warn)
        self.pool = self.context.__enter__()
        gather_on(self.pool, network, images.select(slice(0, 16)), Wanted(["A", "G", "y"]))
        self.started = time.perf_counter() - start
        self.oracle = RemoteOracle(gather_on(self.pool, network, images, Wanted(["A", "G", "y"])), find_metric("average-gain"))
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


def below(process: int) -> list[int]:
    """The process and all below it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_seconds(processes: list[int]) -> float:
    """What they used so far, with those of theirs that ended."""
    stats = [Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in processes]
    return sum(int(field) for stat in stats for field in stat[11:15]) / os.sysconf("SC_CLK_TCK")


def megabytes(processes: list[int]) -> float:
    """Their memory, what several share counted once (PSS)."""
    rollups = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes]
    return sum(int(re.search(r"^Pss: +(\d+)", text, re.MULTILINE).group(1)) for text in rollups) / 1000


def serve(args: argparse.Namespace) -> None:
    """One side of `against_ray`: answers each line of stdin with figures."""
    network, _, images = subject(args.model, "cpu", args.images)
    terms = first_classes("gradient", network, images, args.candidates)
    print(json.dumps({}), flush=True)
    sys.stdin.readline()
    before = cpu_seconds([os.getpid()])
    workers = Workers(args.workers, network, images, terms, args.serve if args.serve != "processes" else None)
    seconds, expected = workers.score()
    processes = below(os.getpid())
    figures = {
        "seconds from the start to the terminals of 16 images": workers.started,
        "CPU seconds from the start to the first scores": cpu_seconds(processes) - before,
        "processes below the run": len(processes) - 1,
        "MB, all together": megabytes(processes),
    }
    print(json.dumps(figures), flush=True)
    for line in sys.stdin:
        warned, killed = len(workers.warnings), [0.0]
        if line.strip() == "kill":
            name = workers.pool._slots[0].worker.name
            process = int(re.search(r"process (\d+)", name).group(1))

            def end(process: int = process, killed: list[float] = killed) -> None:
                killed[0] = time.perf_counter()
                os.kill(process, signal.SIGKILL)

            threading.Timer(seconds / 2, end).start()
            took, values = workers.score()
            figures = {
                "seconds until the death of a worker is noticed": workers.warnings[warned] - killed[0],
                "seconds of the scoring in which it dies": took,
                "workers after it": len(workers.pool),
            }
        else:
            before = cpu_seconds(below(os.getpid()))
            seconds, values = workers.score()
            figures = {"seconds of a scoring": seconds, "CPU seconds of a scoring": cpu_seconds(below(os.getpid())) - before}
        if not torch.equal(values, expected):
            raise SystemExit("scores differ")
        print(json.dumps(figures), flush=True)
    workers.context.__exit__(None, None, None)


class Side:
    """A process of its own that runs `serve`."""

    def __init__(self, args: argparse.Namespace, where: str) -> None:
        command = [sys.executable, __file__, "--serve", where, "--model", args.model]
        command += [f"--{name}={getattr(args, name)}" for name in ("workers", "candidates", "images")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()

    def ask(self, what: str) -> dict[str, float]:
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.read()

    def read(self) -> dict[str, float]:
        for line in self.process.stdout:
            if line.startswith("{"):  # Ray writes there as well
                return json.loads(line)
        raise SystemExit("a side ended")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def against_ray(args: argparse.Namespace) -> None:
    """The table of n processes and n actors of Ray."""
    places = {"processes": "processes", "Ray": args.ray}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in places}
    ratios: dict[str, list[float]] = {"seconds of a scoring": [], "CPU seconds of a scoring": []}
    load = os.getloadavg()[0]
    for number in range(args.rounds):
        order = list(places.items())[:: 1 if number % 2 else -1]
        sides = {name: Side(args, where) for name, where in order}
        for step in ("start", *["score"] * 4, "kill"):
            answers = {name: sides[name].ask(step) for name in sides}
            for name, figures in answers.items():
                for what, value in figures.items():
                    found[name].setdefault(what, []).append(value)
            if step == "score":
                for what, values in ratios.items():
                    values.append(answers["Ray"][what] / answers["processes"][what])
        for side in sides.values():
            side.close()
    print(f"# {args.workers} workers: processes, and actors of Ray ({args.ray}): {args.candidates} classes of gradient.sy, "
          f"{args.images} images, average-gain, {args.model}")  # fmt: skip
    print(f"{cpu_name()}, {os.cpu_count()} cores, load {load:.1f} as it began; one thread each; {args.rounds} rounds, in each "
          "four scorings; the scores of all are equal bit for bit; medians (ranges).\n")  # fmt: skip
    print("| what | processes | Ray | Ray to processes |\n| --- | --- | --- | --- |")
    for what in found["Ray"]:
        ours, theirs = (found[name][what] for name in ("processes", "Ray"))
        ratio = spread(ratios[what], ".2f") if what in ratios else f"{statistics.median(theirs) / statistics.median(ours):.2f}"
        print(f"| {what} | {spread(ours, '.2f')} | {spread(theirs, '.2f')} | {ratio} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["embedded", "small_vgg", "mobilenet_v2"], default="small_vgg")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=32)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ray", metavar="ADDRESS", help="compare processes with actors of that cluster, such as local")
    parser.add_argument("--calibrate", help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    if args.calibrate:
        calibrate(args)
    elif args.serve:
        serve(args)
    elif args.ray:
        against_ray(args)
    else:
        against_one(args)


def against_one(args: argparse.Namespace) -> None:
    """The table of n workers, one worker and what the machine gives."""
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
