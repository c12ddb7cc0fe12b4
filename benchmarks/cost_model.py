"""What scoring costs, as a model fitted to small configurations, and how well it predicts one that is ten times larger.

    python benchmarks/cost_model.py                                     # small VGG, Tiny-ImageNet
    python benchmarks/cost_model.py --model mobilenet_v2

Three phases, each fitted to its own measurements by least squares of relative errors, no coefficient negative; C candidates on N
images, K channels of P pixels at the target layer:

    terminals    per unit of images, per image, and per image and value of the layer (N K P)
    evaluation   per unit, per candidate and image (C N), and per value of the layer (C N K P)
    scoring      per batch, which lies within one unit, and per masked pass, of which there are C N: the candidates are those that
                 differ on the images

The phases take CPU time on a CPU, in one thread, so that other load shows little. The fit is to three layers and at most 256
scores; the test is 48 candidates on 54 images at the usual layer, 2,592 scores, and nothing is fitted to it.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import nnls
from scoring import clock, first_classes, machine, subject, synchronize

from sycam.images import ImageSet
from sycam.job.job import find_grammar
from sycam.metrics.own.find import find_metric
from sycam.network import Network, load_network
from sycam.network.batching import images_at_once
from sycam.run.problem import read_problem
from sycam.scoring import MetricOracle, Wanted, gather, signatures
from sycam.scoring.blocks import BLOCKS, block_of
from sygus import Term

GRAMMAR = "gradient"
LAYERS = {
    "embedded": ("features.14", "features.10", "features.6"),
    "small_vgg": ("features.26", "features.19", "features.12"),
    "mobilenet_v2": ("features.18", "features.17", "features.13"),
}
SMALL = ((8, 4), (16, 8), (4, 16), (16, 16), (4, 48), (8, 32))  # candidates, images
LARGE = (48, 54)
PHASES = ("terminals", "evaluation", "scoring")


@dataclass
class Configuration:
    """Candidates on images at a layer, and the seconds that each phase took, round by round."""

    network: Network
    candidates: int
    images: int
    seconds: dict[str, list[float]] = field(default_factory=lambda: {phase: [] for phase in PHASES})

    def features(self, phase: str) -> list[float]:
        """What the phase's time is a sum of."""
        values = self.network.channels * self.network.map_size[0] * self.network.map_size[1]
        scores, blocks = self.candidates * self.images, min(BLOCKS, self.images)
        return {
            "terminals": [blocks, self.images, self.images * values],
            "evaluation": [blocks, scores, scores * values],
            "scoring": [self.batches(), scores],
        }[phase]  # fmt: skip

    def batches(self) -> int:
        """How many batches the masked passes fill, each within one unit."""
        most = images_at_once(self.network.device, *[self.network.preprocessing.size] * 2)
        return sum(-(-self.candidates * images // most) for images in block_of(self.images).bincount().tolist())

    def median(self, phase: str) -> float:
        """Seconds of a phase."""
        return statistics.median(self.seconds[phase])


def measure(one: Configuration, images: ImageSet, terms: list[Term]) -> None:
    """One round of a configuration."""
    device, names = one.network.device, read_problem(find_grammar(GRAMMAR)).terminals
    start = clock(device)
    oracle = MetricOracle(gather(one.network, images.select(slice(0, one.images)), Wanted(names)), find_metric("average-gain"))
    synchronize(device)
    one.seconds["terminals"].append(clock(device) - start)
    start = clock(device)
    maps, _ = oracle.maps(terms[: one.candidates])
    synchronize(device)
    one.seconds["evaluation"].append(clock(device) - start)
    start = clock(device)
    oracle.score(maps, torch.arange(one.images))
    synchronize(device)
    one.seconds["scoring"].append((clock(device) - start) / max(oracle.spent.passes, 1) * one.candidates * one.images)


def distinct(network: Network, images: ImageSet, count: int) -> list[Term]:
    """The first classes of the grammar that are finite and differ from each other on the images, as the loop scores them."""
    found = first_classes(GRAMMAR, network, images, 8 * count)
    oracle = MetricOracle(gather(network, images, Wanted(read_problem(GRAMMAR).terminals)), find_metric("average-gain"))
    maps, finite = oracle.maps(found)
    keys = signatures(maps)
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    return [found[place] for place in sorted(first.values()) if bool(finite[place].all())][:count]


def fit(configurations: list[Configuration], phase: str) -> np.ndarray:
    """The phase's coefficients, seconds a unit."""
    measured = np.array([one.median(phase) for one in configurations])
    features = np.array([one.features(phase) for one in configurations], dtype=float)
    scale = features.max(0)
    return nnls(features / scale / measured[:, None], np.ones(len(measured)))[0] / scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(LAYERS), default="small_vgg")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    usual, model, images = subject(args.model, args.device, LARGE[1])
    at = {"size": usual.preprocessing.size, "mean": usual.preprocessing.mean, "std": usual.preprocessing.std}
    networks = [usual] + [load_network(model, layer=layer, device=args.device, **at) for layer in LAYERS[args.model][1:]]
    terms = distinct(usual, images.select(slice(0, 4)), LARGE[0])
    small = [Configuration(network, *shape) for network in networks for shape in SMALL]
    large = Configuration(usual, *LARGE)
    measure(Configuration(usual, 4, 8), images, terms)  # warms up
    for _ in range(args.rounds):
        for one in small:
            measure(one, images, terms)
        measure(large, images, terms)
    coefficients = {phase: fit(small, phase) for phase in PHASES}

    def predicted(one: Configuration, phase: str) -> float:
        return float(np.dot(one.features(phase), coefficients[phase]))

    batch = images_at_once(usual.device, *images.pixels.shape[-2:])
    print(f"# Cost model: {args.model}, {GRAMMAR}.sy, average-gain, batch {batch}")
    print(f"{machine(args.device)}; {len(small)} small configurations, {args.rounds} rounds; {len(terms)} candidates\n")
    print(
        f"| phase | coefficients, µs | {large.candidates} × {large.images}: predicted, s | measured, s | predicted / measured |"
    )
    print("| --- | --- | --- | --- | --- |")
    names = {
        "terminals": ("a unit", "an image", "an image and value"),
        "evaluation": ("a unit", "a score", "a score and value"),
        "scoring": ("a batch", "a pass"),
    }
    totals = [0.0, 0.0]
    for phase in PHASES:
        said = ", ".join(f"{1e6 * c:.3g} {what}" for c, what in zip(coefficients[phase], names[phase], strict=True))
        guess, true = predicted(large, phase), large.median(phase)
        totals = [totals[0] + guess, totals[1] + true]
        print(f"| {phase} | {said} | {guess:.3f} | {true:.3f} | {guess / true:.2f} |")
    print(f"| all | | {totals[0]:.2f} | {totals[1]:.2f} | {totals[0] / totals[1]:.2f} |\n")
    errors = [sum(predicted(one, p) for p in PHASES) / sum(one.median(p) for p in PHASES) for one in small]
    print(f"Predicted / measured of the small ones, which were fitted: {min(errors):.2f} to {max(errors):.2f}.\n")
    print("| candidates | images | scores asked | terminals, CPU time | evaluation | scoring |\n" + "| --- " * 6 + "|")
    for candidates, count, share in ((500, 1_000, 1.0), (100_000, 50_000, 1.0), (100_000, 50_000, 0.01)):
        one = Configuration(usual, candidates, count)
        one_phase = {phase: predicted(one, phase) * (share if phase == "scoring" else 1) for phase in PHASES}
        print(
            f"| {candidates:,} | {count:,} | {share:.0%} | " + " | ".join(duration(one_phase[phase]) for phase in PHASES) + " |"
        )


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


if __name__ == "__main__":
    main()
