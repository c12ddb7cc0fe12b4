"""A second run against the first: terminals computed and kept, then found on disk; and the memory that it takes.

    python benchmarks/cache.py [--images 50] [--rounds 3] [--threads 1] [--data ../shared/data] [--wide 5000]

MobileNetV2 at 224 x 224, the terminals of `gradient.sy` (A, G, y); times are of `gather` alone, network loaded and images
read, each run a process of its own. "without" computes and keeps nothing; "first" computes and writes to an empty store; "second"
finds all; "mapped" does so and holds nothing on the device. Files stay in the system's page cache between runs, as they do for a
user who runs twice. RssAnon is memory that no file backs; RssFile are mapped pages, which the system drops when it needs them.

`--wide N` instead: N images whose A and G have the shapes of ResNet50's, 2048 x 7 x 7 in float32 (a layer of such maps on images
of 7 pixels, so that nothing but the terminals takes time), and the highest RssAnon of a first and of a second run, one term
evaluated on all.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

NAMES = ["G", "y"]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def memory() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {k: int(v.split()[0]) / 1024 for k, v in (line.split(":") for line in lines if line.startswith("Rss"))}


def once(given: argparse.Namespace, folder: str | None, resident: int | None) -> None:
    """One run; prints its figures as JSON."""
    import torch

    from sycam.images import load_images
    from sycam.network import load_network
    from sycam.scoring import Batches, Wanted, gather
    from sycam.store import TerminalStore

    torch.set_num_threads(given.threads)
    weights = given.data / "weights/mobilenet_v2.safetensors"
    network = load_network("mobilenet_v2", weights=weights, size=224, resize="squash", mean=0.5, std=0.5)
    images = load_images(given.data / "imagenet", network.preprocessing, limit=given.images)
    store = TerminalStore(folder, 10**10) if folder else None
    before, start, cpu = memory(), time.perf_counter(), time.process_time()
    cache = gather(network, images, Wanted(NAMES), Batches(resident=resident), store)
    found = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    sums = [float(cache.values[name][i : i + 16].double().sum()) for name in cache.values for i in range(0, len(images), 16)]
    after = memory()
    found |= {name: after[name] - before[name] for name in after}
    found |= {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "sums": sums, "passes": network.passes.full}
    found |= {"read": cache.stored.images_read, "written": cache.stored.bytes_written}
    print(json.dumps(found))


def wide(given: argparse.Namespace, folder: str) -> None:
    """One run with values of ResNet50's shapes; prints its figures as JSON."""
    import torch
    from torch import nn

    from sycam.cams import find_cam
    from sycam.images import ImageSet
    from sycam.metrics.own.find import find_metric
    from sycam.network import Network, Preprocessing
    from sycam.scoring import MetricOracle, Wanted, gather
    from sycam.store import TerminalStore

    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 2048, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 10)]
    network = Network(nn.Sequential(*layers).eval(), Preprocessing(7, (0.5,) * 3, (0.5,) * 3), "1")
    pixels = torch.randint(0, 256, (given.wide, 3, 7, 7), dtype=torch.uint8)
    images = ImageSet([str(i) for i in range(given.wide)], pixels, torch.zeros(given.wide, dtype=torch.int64))
    before, peak, done = memory()["RssAnon"], [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], memory()["RssAnon"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    cache = gather(network, images, Wanted(["G"]), store=TerminalStore(folder, 10**11))
    gathered = time.perf_counter() - start
    maps, _ = MetricOracle(cache, find_metric("average-gain")).maps([find_cam("gradcam").term])
    evaluated = time.perf_counter() - start - gathered
    done.set()
    watcher.join()
    found = {"gathered": gathered, "evaluated": evaluated, "RssAnon": peak[0] - before, "sum": float(maps.double().sum())}
    found |= {"RssFile": memory()["RssFile"], "passes": network.passes.full, "written": cache.stored.bytes_written}
    print(json.dumps(found))


def run(given: argparse.Namespace, folder: str | None, resident: int | None = None) -> dict:
    command = [
        sys.executable,
        __file__,
        "--images",
        str(given.images),
        "--threads",
        str(given.threads),
        "--data",
        str(given.data),
    ]
    command += ["--wide", str(given.wide), "--one", json.dumps([folder, resident])]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": str(given.threads)}
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SYCAM_DATA", SHARED)))
    parser.add_argument("--wide", type=int, default=0)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.wide and given.one:
        wide(given, json.loads(given.one)[0])
        return
    if given.wide:
        with tempfile.TemporaryDirectory() as folder:
            for what in ("first", "second"):
                print(what, {k: round(v, 1) for k, v in run(given, folder).items()})
        return
    if given.one:
        once(given, *json.loads(given.one))
        return
    rounds = []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append({"without": run(given, None), "first": run(given, folder), "second": run(given, folder)})
            rounds[-1]["mapped"] = run(given, folder, 0)
        assert rounds[-1]["first"]["sums"] == rounds[-1]["second"]["sums"] == rounds[-1]["mapped"]["sums"]
    print(f"{given.images} images, {given.threads} thread(s), {given.rounds} rounds: median (range)")
    for what in ("without", "first", "second", "mapped"):
        of = [one[what] for one in rounds]
        row = [f"{what:8} passes {of[0]['passes']:4}, read {of[0]['read']:4}, {of[0]['written'] / 1e6:6.1f} MB written"]
        for unit in ("seconds", "cpu"):
            values = [one[unit] for one in of]
            row.append(f"{unit} {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        row.append(f"RssAnon +{statistics.median(one['RssAnon'] for one in of):.0f} MB, RssFile +{of[0]['RssFile']:.0f} MB")
        print("; ".join(row))
    for unit in ("seconds", "cpu"):
        for what, to in (("first", "without"), ("first", "second"), ("without", "second")):
            ratios = [one[what][unit] / one[to][unit] for one in rounds]
            print(f"{what} / {to}, {unit}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
