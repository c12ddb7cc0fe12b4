"""How fast candidates are scored, beside pytorch-grad-cam subclasses that compute the same candidates one at a time.

    python benchmarks/scoring.py                                        # the embedded network and images, on the CPU
    python benchmarks/scoring.py --model mobilenet_v2 --candidates 8 --images 32
    python benchmarks/scoring.py --model small_vgg --grammar perturbation --candidates 12 --images 8 --batches 32
    python benchmarks/scoring.py --device cuda --batches 64,128,256

The candidates are the first classes that the enumerator finds in the grammar. Both sides answer the same question: the average
gain of every candidate on every image, no candidate stopped early.

sycam: `gather` and `MetricOracle`, from pixels to scores, the terminals' time included. pytorch-grad-cam: for each
candidate a `BaseCAM`, or where it uses `drop` an `AblationCAM`, whose `get_cam_weights` is that term in numpy; its heatmaps,
then the masked images through the same network, at batch 1 and at the fastest of `--batches`. Its images are normalised
beforehand, its plain probabilities come with its own forward pass, and its hooks are off during the masked passes. Time is CPU
time on a CPU.

Candidates of `perturbation.sy` that use `score` are left out: pytorch-grad-cam's masks are upsampled with aligned corners, so its
values are others.

The rounds are interleaved, and every ratio is of neighbours in time. One table is printed; below it, how far the scores differ.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam.ablation_cam import AblationCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from sycam.images import ImageSet, load_images
from sycam.metrics.own.find import find_metric
from sycam.network import Network, load_network
from sycam.run.problem import read_problem
from sycam.scoring import MetricOracle, Wanted, gather
from sygus import Enumerator, Equivalence, Solver, Term
from sygus.terms import subterms

DATA = Path(os.environ.get("SYCAM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def subject(name: str, device: str, count: int) -> tuple[Network, nn.Module, ImageSet]:
    """Our network, another instance of the model for the other side, and images."""
    if name == "embedded":
        from sycam import embedded

        network = load_network("embedded", device=device)
        return network, embedded.load_network(device), load_images(embedded.images_csv(), network.preprocessing, limit=count)
    spec = importlib.util.spec_from_file_location("sycam_data_models", DATA / "models.py")
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    if name == "mobilenet_v2":
        weights = DATA / "weights/mobilenet_v2.safetensors"
        network = load_network(name, weights=weights, resize=256, mean=0.5, std=0.5, device=device)
        folder = "imagenet"
    else:
        name, folder = "small_vgg_tiny20", "tiny-imagenet"
        network = load_network(f"{DATA}/models.py:load:{name}", size=64, layer=models.MODELS[name].layer, device=device)
    return network, models.load(name, device), load_images(DATA / folder, network.preprocessing, limit=count)


def first_classes(grammar: str, network: Network, images: ImageSet, count: int) -> list[Term]:
    """The first classes of the grammar, as a run would find them, but for those over `score`."""
    problem = read_problem(grammar)
    context, _ = problem.verified([gather(network, images, Wanted(problem.terminals))])
    with Solver() as solver:
        classes = Equivalence(context, problem.inputs(), solver)
        found = []
        for candidate in Enumerator(problem.target.grammar, classes, limit=30):
            if "score" not in {part.name for part in subterms(candidate.term)}:
                found.append(candidate.term)
            if len(found) == count:
                break
    return found


def ours(
    grammar: str, network: Network, images: ImageSet, terms: list[Term], batch: int | None
) -> tuple[Tensor, MetricOracle, float]:
    """Scores [C, N], the oracle, and the seconds that the terminals took."""
    start = clock(network.device)
    names = {name for term in terms for name in used(term)}
    cache = gather(network, images, Wanted([name for name in read_problem(grammar).terminals if name in names]))
    oracle = MetricOracle(cache, find_metric("average-gain"), batch)
    synchronize(network.device)
    terminals = clock(network.device) - start
    maps, finite = oracle.maps(terms)
    scores = oracle.score(maps, torch.arange(len(images)))
    return torch.where(finite.all(1).cpu()[:, None], scores, torch.nan), oracle, terminals


def used(term: Term) -> set[str]:
    """The terminals of a term."""
    return {part.name for part in subterms(term) if part.is_variable}


def weights_of(term: Term, given: Mapping[str, np.ndarray]) -> np.ndarray:
    """The value of a term in numpy, from activations A and gradients G [B, K, h, w], the logit y [B, 1] and drop [B, K]."""
    if term.is_literal:
        return np.float32(term.value)
    if term.is_variable:
        return given[term.name]
    first, *rest = (weights_of(arg, given) for arg in term.args)
    if term.name in ("gap", "gmax"):
        return first.mean(axis=(2, 3)) if term.name == "gap" else first.max(axis=(2, 3))
    if term.name in ("relu", "mrelu"):
        return np.maximum(first, 0)
    for other in rest:
        if term.name == "/":
            first = np.where(other == 0, 0, first / np.where(other == 0, 1, other))
        else:
            first = {"+": np.add, "-": np.subtract, "*": np.multiply, "m*": np.multiply}[term.name](first, other)
    return first


class Candidate(BaseCAM):
    """A term as pytorch-grad-cam wants a method to be."""

    def __init__(self, model: nn.Module, layer: nn.Module, term: Term, batch: int) -> None:
        super().__init__(model, [layer])
        self.term = term

    def get_cam_weights(self, input_tensor, target_layers, targets, activations, grads):
        y = np.array([[target(output).item()] for target, output in zip(targets, self.outputs, strict=True)], dtype=np.float32)
        return np.broadcast_to(weights_of(self.term, {"A": activations, "G": grads, "y": y}), activations.shape[:2])


class AblatingCandidate(AblationCAM):
    """The same of a term over `drop`: their weights are (y - y_k) / y, so drop is y times them."""

    def __init__(self, model: nn.Module, layer: nn.Module, term: Term, batch: int) -> None:
        super().__init__(model, [layer], batch_size=batch)
        self.term, self.uses_gradients = term, True

    def get_cam_weights(self, input_tensor, target_layers, targets, activations, grads):
        y = np.array([[target(output).item()] for target, output in zip(targets, self.outputs, strict=True)], dtype=np.float32)
        drop = y * super().get_cam_weights(input_tensor, target_layers, targets, activations, grads)
        given = {"A": activations, "G": grads, "y": y, "drop": drop}
        return np.broadcast_to(weights_of(self.term, given), activations.shape[:2])


def theirs(model: nn.Module, name: str, images: Tensor, classes: Tensor, term: Term, batch: int) -> Tensor:
    """Average gain [N] of one candidate on normalised images [N, 3, H, W]."""
    layer, heatmaps, p, o = model.get_submodule(name), [], [], []
    made = AblatingCandidate if "drop" in used(term) else Candidate
    with made(model, layer, term, batch) as cam:
        for x, c in zip(images.split(batch), classes.split(batch), strict=True):
            heatmaps.append(torch.from_numpy(cam(x, [ClassifierOutputTarget(i) for i in c.tolist()])).to(images.device))
            p.append(cam.outputs.detach().softmax(1).gather(1, c[:, None])[:, 0])
    with torch.inference_mode():
        for x, c, heatmap in zip(images.split(batch), classes.split(batch), heatmaps, strict=True):
            o.append(model(x * heatmap[:, None]).softmax(1).gather(1, c[:, None])[:, 0])
    before, after = torch.cat(p).double(), torch.cat(o).double()
    return ((after - before).clamp_min(0) / (1 - before).clamp_min(1e-12)).cpu()


def bare(network: Network, images: Tensor, passes: int, batch: int) -> None:
    """So many images through the network at that batch size, and nothing else."""
    images = images.repeat(-(-batch // len(images)), 1, 1, 1)[:batch].contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for start in range(0, passes, batch):
            network.model(images[: min(batch, passes - start)])


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, call: Callable) -> tuple[float, object]:
    synchronize(device)
    start = clock(device)
    result = call()
    synchronize(device)
    return clock(device) - start, result


def clock(device: torch.device) -> float:
    """Wall time on a GPU; on a CPU CPU time, which other load changes little."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def spread(values: list[float], form: str = ".1f") -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def machine(device: str) -> str:
    where = torch.cuda.get_device_name(0) if device == "cuda" else f"{cpu_name()}, {torch.get_num_threads()} threads"
    return f"{where}; Python {platform.python_version()}, torch {torch.__version__}, grad-cam {version('grad-cam')}"


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["embedded", "small_vgg", "mobilenet_v2"], default="embedded")
    parser.add_argument("--grammar", choices=["gradient", "perturbation"], default="gradient")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=None, help="of sycam's masked passes; its own default where not given")
    parser.add_argument("--batches", default="16,32,64", help="what pytorch-grad-cam may choose from")
    parser.add_argument("--no-batch-1", action="store_true", help="leave batch 1 out, which takes most of the time")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    network, model, images = subject(args.model, args.device, args.images)
    layer, device = network.layer, network.device
    terms = first_classes(args.grammar, network, images, args.candidates)
    normalised = images.normalised(slice(None), network)
    _, oracle, _ = ours(args.grammar, network, images, terms[:4], args.batch)  # warms up
    classes = oracle.cache.classes

    def their_scores(batch: int, some: list[Term] = terms) -> Tensor:
        return torch.stack([theirs(model, layer, normalised, classes, term, batch) for term in some])

    batches, tried = [int(part) for part in args.batches.split(",")], {}
    for batch in batches if len(batches) > 1 else []:
        theirs(model, layer, normalised, classes, terms[0], batch)
        tried[batch] = min(timed(device, lambda b=batch: their_scores(b, terms[:3]))[0] for _ in range(2)) / 3
    best = min(tried, key=tried.__getitem__) if tried else batches[0]
    sides = {f"pytorch-grad-cam, batch {b}": b for b in ([] if args.no_batch_1 else [1]) + [best]}

    seconds: dict[str, list[float]] = {name: [] for name in ("sycam", "terminals", "bare", *sides)}
    ratios: dict[str, list[float]] = {name: [] for name in ("bare", "scoring", *sides)}
    differences: dict[str, Tensor] = {}
    for _ in range(args.rounds):
        for name, batch in sides.items():
            took, (scores, oracle, terminals) = timed(device, lambda: ours(args.grammar, network, images, terms, args.batch))
            other, found = timed(device, lambda b=batch: their_scores(b))
            again, _ = timed(device, lambda: ours(args.grammar, network, images, terms, args.batch))
            mine = statistics.mean([took, again])
            seconds["sycam"] += [took, again]
            seconds[name].append(other)
            ratios[name].append(other / mine)
            differences[name] = (scores - found).abs()
        for _ in range(2):
            took, (scores, oracle, terminals) = timed(device, lambda: ours(args.grammar, network, images, terms, args.batch))
            passes, size = oracle.spent.passes, oracle.batch
            forward, _ = timed(device, lambda n=passes, b=size: bare(network, normalised, n, b))
            seconds["terminals"].append(terminals)
            seconds["bare"].append(forward)
            ratios["bare"].append(took / forward)
            ratios["scoring"].append((took - terminals) / forward)

    asked, (h, w) = len(terms) * len(images), network.map_size
    print(f"# Scoring: {len(terms)} classes of {args.grammar}.sy, {len(images)} images, average-gain")
    print(
        f"{args.model}, layer {network.layer} ({network.channels}×{h}×{w}). {machine(args.device)}. {args.rounds} rounds; ",
        end="",
    )
    print(f"{passes} masked passes for {asked} scores (equal heatmaps of an image share one).\n")
    print("| what | seconds, median (range) | scores/s | ratio, median (range) |\n| --- | --- | --- | --- |")
    rate = asked / statistics.median(seconds["sycam"])
    print(f"| sycam, batch {size}, terminals included | {spread(seconds['sycam'], '.2f')} | {rate:,.0f} | 1 |")
    for name in sides:
        rate = asked / statistics.median(seconds[name])
        print(f"| {name} | {spread(seconds[name], '.2f')} | {rate:,.0f} | sycam is {spread(ratios[name])} times as fast |")
    whole, scoring = spread(ratios["bare"], ".2f"), spread(ratios["scoring"], ".2f")
    print(
        f"| bare forward passes, {passes} at batch {size} | {spread(seconds['bare'], '.2f')} | | sycam takes {whole} of it; ",
        end="",
    )
    print(f"{scoring} without the terminals' {statistics.median(seconds['terminals']):.2f} s |\n")
    if tried:
        print("pytorch-grad-cam's seconds a candidate: " + ", ".join(f"batch {b}: {t:.3f}" for b, t in tried.items()))
    print(f"candidates that are not finite in ours: {int(scores.isnan().any(1).sum())}")
    for name, difference in differences.items():
        above = difference > 1e-4
        print(
            f"{name}: scores differ by at most {float(difference.max()):.1e} ({terms[int(difference.amax(1).argmax())]}); ",
            end="",
        )
        print(f"{int(above.sum())} of {asked} by more than 1e-4, in {int(above.any(1).sum())} candidates")


if __name__ == "__main__":
    main()
