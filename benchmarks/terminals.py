"""Each terminal beside the peers' way of computing the same, on three networks, in one table.

    python benchmarks/terminals.py                                 # some 8 minutes on 2 idle cores
    python benchmarks/terminals.py --only drop --networks vgg16
    python benchmarks/terminals.py --only G --clock cpu            # CPU time of the process: on a machine with other work

MobileNetV2 with its weights on photographs (SYCAM_DATA); ResNet50 and VGG16 with random weights, on noise. Every time is from
normalised images to the terminal, so each contains one forward pass; what a network is asked once and for all (whether it has a
linear head, how its tail is taken apart) is asked before. The peers' ways are in `peers.py`. Both sides alternate within a round
and change order with every round; a ratio is of one round's two times.
The last column shows how far the values differ: pytorch-grad-cam upsamples masks with aligned corners, so its scores are others.

What needs a pass for each channel is measured on one image, outside MobileNetV2 at 64×64 pixels: that flatters the peers, since a
smaller network costs us more per pass (the classifier of VGG16 stays as large) and their masks less memory. `--size 224` gives
all images their full size, and takes an hour.

Below the table: the memory of score, each side in a process of its own; lift beside a backward pass of the head; opti beside its
own forward and backward passes.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from peers import WAYS, Case
from torch import Tensor, nn

from sycam.images import load_images
from sycam.network import Network, Preprocessing, linear_head
from sycam.network.batching import images_at_once
from sycam.terminals import TERMINALS, TerminalSettings, View

DATA = Path(os.environ.get("SYCAM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
NETWORKS = ("mobilenet_v2", "resnet50", "vgg16")
MASKED = ("score", "score_logit", "score_out", "score_noise", "score_path")
MANY = ("drop", "keep", "shap", *MASKED)
"""Terminals of at least one pass for each channel."""
FULL_SIZE = ("drop", "score")
"""Of MANY, those that MobileNetV2 is asked at full size."""
ONE_NETWORK = tuple(name for name in MASKED if name != "score")
"""As many passes as score: measured on MobileNetV2 alone."""
SETTINGS = TerminalSettings(noise_samples=2, path_steps=2, shap_orderings=2, opti_steps=3)
TARGETS = {("drop", "resnet50"): 100, ("drop", "vgg16"): 2, ("G", "resnet50"): 2}


class Subject(NamedTuple):
    """A network of ours, and the same as the peers see it."""

    network: Network
    case: Case


class Row(NamedTuple):
    """One line of the table; `theirs` is empty where no peer has the terminal."""

    ours: list[float]
    theirs: list[float]
    note: str

    @property
    def ratios(self) -> list[float]:
        return [b / a for a, b in zip(self.ours, self.theirs, strict=True)]


def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name != "mobilenet_v2":
        return getattr(torchvision.models, name)(weights=None).eval()
    spec = importlib.util.spec_from_file_location("sycam_data_models", DATA / "models.py")
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    return models.load(name)


def head_of(name: str, model: nn.Module) -> nn.Module:
    """What follows the usual layer, written down by hand, with activations that are not in place."""
    pool = model.avgpool if name != "mobilenet_v2" else nn.AdaptiveAvgPool2d(1)
    last = model.fc if name == "resnet50" else model.classifier
    parts = [nn.ReLU() if isinstance(part, nn.ReLU) else part for part in (last if isinstance(last, nn.Sequential) else [last])]
    return nn.Sequential(pool, nn.Flatten(), *parts).eval()


def subject(name: str, count: int, size: int) -> Subject:
    preprocessing = Preprocessing(size, (0.5,) * 3, (0.5,) * 3)
    network = Network(model_of(name), preprocessing, own=True)
    if name == "mobilenet_v2" and (DATA / "imagenet").is_dir():
        images = load_images(DATA / "imagenet", preprocessing, limit=count).normalised(slice(None), network)
    else:
        images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))
    classes = network.logits(images).argmax(1)
    model = model_of(name)
    linear_head(network)
    return Subject(network, Case(model, network.layer, images, classes, SETTINGS, head_of(name, model)))


def ours(subject: Subject, name: str) -> Tensor:
    """The terminal from pixels, forward pass included."""
    view = View(subject.network, subject.case.images, subject.case.classes, settings=SETTINGS)
    view["A"]
    return view[name]


def as_theirs(subject: Subject, name: str, package: str, found: Tensor) -> Tensor | None:
    """Our terminal in the form that the package returns, or None where it computes something else, or draws other samples."""
    view = View(subject.network, subject.case.images, subject.case.classes)
    if name == "drop":
        return found / view["y"]
    if name in ("score", "score_logit") and package == "pytorch-grad-cam":
        return found.softmax(1)
    if (name, package) == ("G", "captum"):
        return found * view.A
    if package == "torchcam" and name not in ("G", "fc"):
        return None
    linear = linear_head(subject.network) is not None
    return None if name == "lrp" or (name == "shap" and not linear) else found


def agreement(subject: Subject, name: str, package: str, found: Tensor, theirs: Tensor) -> str:
    mine = as_theirs(subject, name, package, found)
    if mine is None:
        return "other values"
    return f"{float((mine - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30)):.0e}"


def row(subject: Subject, name: str, package: str, rounds: int, clock: Callable[[], float]) -> Row:
    def timed(call: Callable[[], Tensor]) -> tuple[float, Tensor]:
        start = clock()
        found = call()
        return clock() - start, found

    def mine() -> Tensor:
        return ours(subject, name)

    if name not in MANY:  # one pass warms up as well as thousands, and those cost minutes
        mine()
    if not package:
        return Row([timed(mine)[0] for _ in range(rounds)], [], "no peer has it")
    try:
        if name not in MANY:
            WAYS[name][package](subject.case)
        a, b, note = [], [], ""
        for place in range(rounds):
            both = {True: mine, False: lambda: WAYS[name][package](subject.case)}
            took = {side: timed(both[side]) for side in ((True, False) if place % 2 == 0 else (False, True))}
            a.append(took[True][0])
            b.append(took[False][0])
            note = note or agreement(subject, name, package, took[True][1], took[False][1])
        return Row(a, b, note)
    except Exception as problem:  # noqa: BLE001 - what a peer cannot do is part of the table
        first = (str(problem).splitlines() or [""])[0]
        return Row([timed(mine)[0] for _ in range(rounds)], [], f"fails: {type(problem).__name__}: {first[:80]}")


def spread(values: list[float]) -> str:
    """Median and range, three digits."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{digits(median)} ({digits(low)} to {digits(high)})"


def digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(names: list[str], networks: list[str], args: argparse.Namespace, clock: Callable[[], float]) -> None:
    print("| terminal | network | images | peer | sycam, ms | peer, ms | sycam is so many times as fast | largest difference |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for network in networks:
        made: dict[tuple[int, int], Subject] = {}
        for name in names:
            if name in ONE_NETWORK and network != "mobilenet_v2" and args.size != 224:
                continue
            full = name not in MANY or args.size == 224 or (network == "mobilenet_v2" and name in FULL_SIZE)
            shape = (1 if name in MANY else 2, 224 if full else 64)
            if shape not in made:
                made[shape] = subject(network, *shape)
            if name == "fc" and linear_head(made[shape].network) is None:
                continue
            for package in WAYS.get(name, {"": None}):
                found = row(made[shape], name, package, args.rounds, clock)
                goal = TARGETS.get((name, network)) if package in ("pytorch-grad-cam", "torchcam") else None
                aim = f" (wanted: {goal})" if goal else ""
                milliseconds = [[1e3 * second for second in side] for side in (found.ours, found.theirs)]
                ratio = spread(found.ratios) + aim if found.theirs else ""
                print(f"| {name} | {network} | {shape[0]} of {shape[1]}² | {package} | {spread(milliseconds[0])} | "
                      f"{spread(milliseconds[1]) if found.theirs else ''} | {ratio} | {found.note} |", flush=True)  # fmt: skip


def memory(side: str, count: int) -> float:
    """Peak resident memory, MiB, of score on MobileNetV2 above what the process held before; run in a process of its own."""
    network, case = subject("mobilenet_v2", count, 224)
    case.model(case.images[:1])
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is freed already must not serve what is measured
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = resident("VmRSS")
    if side == "sycam":
        ours(Subject(network, case), "score")
    else:
        WAYS["score"]["pytorch-grad-cam"](case)
    return resident("VmHWM") - before


def resident(field: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def memories(count: int, threads: int) -> None:
    found = {}
    for side in ("sycam", "pytorch-grad-cam"):
        command = [sys.executable, __file__, "--memory", side, "--memory-images", str(count), "--threads", str(threads)]
        found[side] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    share = found["sycam"] / found["pytorch-grad-cam"]
    print(f"score, peak memory of {count} images of MobileNetV2: sycam {found['sycam']:,.0f} MiB, pytorch-grad-cam "
          f"{found['pytorch-grad-cam']:,.0f} MiB: {share:.3f} of it (wanted: 0.25)", flush=True)  # fmt: skip


def lift_beside_its_head(count: int, rounds: int, clock: Callable[[], float]) -> None:
    """VGG16's head for a batch: lift's time beyond the forward pass, beside one backward pass of the head and both passes."""
    network, case = subject("vgg16", count, 224)
    A, logits = network.activations(case.images)
    given = {"activations": A, "logits": logits, "settings": SETTINGS}
    lift, backward, both = [], [], []
    for place in range(rounds + 1):  # the first warms up
        view = View(network, case.images, case.classes, **given)
        start = clock()
        view["lift"]
        lifted = clock()
        leaf = A.clone().requires_grad_()
        y = network.tail(leaf).gather(1, case.classes[:, None]).sum()
        middle = clock()
        torch.autograd.grad(y, leaf)
        end = clock()
        if place:
            lift.append(lifted - start)
            backward.append(end - middle)
            both.append(end - lifted)
    ratios = [a / b for a, b in zip(lift, backward, strict=True)]
    passes = [a / b for a, b in zip(lift, both, strict=True)]
    print(f"lift, VGG16's head, {count} images: {spread([1e3 * t for t in lift])} ms, {spread(ratios)} times one backward pass "
          f"(wanted: 3), {spread(passes)} times its forward and backward pass", flush=True)  # fmt: skip


def opti_beside_its_passes(name: str, rounds: int, clock: Callable[[], float]) -> None:
    """opti of 8 images beside as many forward passes, and backward passes to the image, in the same batches."""
    network, case = subject(name, 8, 224)
    A, logits = network.activations(case.images)
    size = images_at_once(network.device, 224, 224)
    found, bare = [], []
    for place in range(rounds + 1):
        view = View(network, case.images, case.classes, activations=A, logits=logits, settings=SETTINGS)
        start = clock()
        view["opti"]
        middle = clock()
        for images, classes in zip(case.images.split(size), case.classes.split(size), strict=True):
            for _ in range(SETTINGS.opti_steps):
                leaf = images.clone().requires_grad_()
                torch.autograd.grad(network.differentiable(leaf).gather(1, classes[:, None]).sum(), leaf)
        end = clock()
        if place:
            found.append(middle - start)
            bare.append(end - middle)
    ratios = [a / b for a, b in zip(found, bare, strict=True)]
    print(f"opti, {name}, 8 images, {SETTINGS.opti_steps} steps: {spread([1e3 * t for t in found])} ms, {spread(ratios)} times "
          "its forward and backward passes (wanted: 1.2)", flush=True)  # fmt: skip


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="terminals, with commas between; all where not given")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--size", type=int, choices=[64, 224], default=64, help="of images for terminals of many passes")
    parser.add_argument("--memory", choices=["sycam", "pytorch-grad-cam"], help="measure this side's memory, in this process")
    parser.add_argument("--memory-images", type=int, default=2)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    logging.getLogger().setLevel(logging.ERROR)  # torchcam says which layer it takes
    if args.memory:
        print(memory(args.memory, args.memory_images))
        return
    names, networks = args.only.split(",") if args.only else list(TERMINALS), args.networks.split(",")
    unknown = [*(set(names) - set(TERMINALS)), *(set(networks) - set(NETWORKS))]
    if unknown:
        parser.error(f"no terminal or network {', '.join(unknown)}; networks are {', '.join(NETWORKS)}")
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    versions = ", ".join(f"{p} {version(p)}" for p in ("torch", "grad-cam", "torchcam", "captum"))
    print(f"# Terminals\n{cpu_name()}, {args.threads} threads, {args.clock} time, {args.rounds} rounds; median (range). Python "
          f"{platform.python_version()}, {versions}\n")  # fmt: skip
    table(names, networks, args, clock)
    print()
    if "score" in names and "mobilenet_v2" in networks:
        memories(args.memory_images, args.threads)
    if "lift" in names and "vgg16" in networks:
        for count in (8, 32):
            lift_beside_its_head(count, max(5, args.rounds), clock)
    if "opti" in names:
        for name in networks:
            opti_beside_its_passes(name, args.rounds, clock)


if __name__ == "__main__":
    main()
