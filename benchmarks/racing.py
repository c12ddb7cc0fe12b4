"""What the stopping rules ask, and how often racing errs.

    python benchmarks/racing.py scores --save /tmp/scores.safetensors       # minutes: every score, once
    python benchmarks/racing.py asked --load /tmp/scores.safetensors        # scores asked: exhaustive, exact, racing
    python benchmarks/racing.py error --load /tmp/scores.safetensors        # how often racing rejects the answer

`scores` measures the first classes of `gradient.sy` on every image, with all metrics that share the masked pass. The other two
run the real loop, `sycam.search.search`, on an oracle that looks scores up in that table instead of asking the network, so
that thousands of runs with a known answer are cheap.

`error` makes the answer as hard to keep as it gets. *Tied*: candidates are rescaled so that all have the same mean, but for one
that is better by 1e-9 on average; the run errs where it returns another. *Natural*: the images are drawn anew, with replacement,
and candidates are as they are. Populations that nobody measured, of which the theory says that they are hard, come beside them.
Intervals are Wilson's, 95%.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sycam.metrics.metric import Metric
from sycam.metrics.own.find import find_metric
from sycam.scoring import MetricOracle, Spent, Wanted, gather, signatures
from sycam.search import Budget, Policy, Ranking, search
from sycam.search.racing import Racing
from sycam.search.state import Incumbent
from sycam.search.stopping import Exact, StoppingRule
from sygus import Candidate, Listed

METRICS = ("average-drop", "average-gain", "average-increase", "iou", "energy-pointing", "pointing")
START = "(gap G)"


class Table:
    """An oracle that looks up scores [C, N]; the term of a candidate is its row, and its map on each image holds that."""

    redraws = False
    agree = 0.0

    def __init__(self, scores: Tensor, measured: Metric) -> None:
        self.scores, self.metric = scores, measured
        names = [str(image) for image in range(scores.shape[1])]
        self.cache = _Images(names)
        self.spent = Spent()

    def maps(self, rows: list[int], places: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[C, N, 1, 1] and that they are finite."""
        count = self.scores.shape[1] if places is None else len(places)
        maps = torch.tensor(rows, dtype=torch.float64)[:, None, None, None].expand(-1, count, 1, 1)
        return maps, torch.ones(len(rows), count, dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.cache)

    @property
    def images(self) -> SimpleNamespace:
        return self.cache.images

    def signatures(self, maps: Tensor) -> list[bytes]:
        """Each row's own."""
        return [str(int(row)).encode() for row in maps[:, 0, 0, 0]]

    def score(self, maps: Tensor, places: Tensor, cams: list | None = None) -> Tensor:
        """[C, B]."""
        self.spent.asked += maps.shape[0] * maps.shape[1]
        return self.scores[maps[:, 0, 0, 0].long()][:, places]


class _Images:
    def __init__(self, names: list[str]) -> None:
        self.images = SimpleNamespace(names=names)

    def __len__(self) -> int:
        return len(self.images.names)


def run(scores: Tensor, measured: Metric, rule: StoppingRule, order: list[int], start: int | None, seed: int, at_once: int = 32):
    """The loop over rows of a table: its answer's row and the scores that it asked."""
    oracle = Table(scores, measured)
    first = None
    if start is not None:
        first = Incumbent(start, 0, scores[start], float(scores[start].mean()), 0, 0.0)
    learner = Listed(Candidate(row, place) for place, row in enumerate(order, start=1))
    found = search(
        learner, Ranking([measured], [cast(Any, oracle)]), Policy(first, rule=rule, seed=seed, at_once=at_once), Budget()
    )
    return found.incumbent.term, oracle.spent.asked


def exhaustive(scores: Tensor, measured: Metric, order: list[int]) -> int:
    """The first of the best rows."""
    means = scores.mean(1)
    best = order[0]
    for row in order:
        if measured.better(float(means[row]), float(means[best])) and abs(float(means[row] - means[best])) > 1e-12:
            best = row
    return best


def wilson(errors: int, runs: int) -> tuple[float, float]:
    """The 95% interval of a share.

    >>> [round(end, 3) for end in wilson(5, 100)]
    [0.022, 0.112]
    """
    z, share = 1.959964, errors / runs
    centre, spread = share + z * z / (2 * runs), z * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return max(0.0, (centre - spread) / (1 + z * z / runs)), min(1.0, (centre + spread) / (1 + z * z / runs))


# Measuring


def measure(args: argparse.Namespace) -> None:
    """Every score of every distinct candidate on every image, to a file."""
    from scoring import first_classes, subject

    from sycam.run.problem import read_problem

    network, _, images = subject(args.model, args.device, args.images)
    terms = first_classes("gradient", network, images, args.candidates)
    oracle = MetricOracle(
        gather(network, images, Wanted(read_problem("gradient").terminals)), [find_metric(name) for name in METRICS]
    )
    maps, finite = oracle.maps(terms)
    first: dict[bytes, int] = {}
    like = [first.setdefault(key, place) for place, key in enumerate(signatures(maps))]
    distinct = sorted(set(like))
    rows = {place: row for row, place in enumerate(distinct)}
    parts, began = [], time.process_time()
    for start in range(0, len(distinct), 16):
        chosen = distinct[start : start + 16]
        parts.append(torch.stack(oracle.score_each(maps[chosen], torch.arange(len(images)))))
        print(f"{start + len(chosen)} of {len(distinct)} candidates, {time.process_time() - began:.0f} s of CPU", flush=True)
        tensors = {"scores": torch.cat(parts, 1), "like": torch.tensor([rows.get(place, -1) for place in like])}
        tensors["finite"] = finite.all(1).cpu()
        save_file(tensors, args.save, {"terms": "\n".join(map(str, terms)), "model": args.model})


def load(path: Path) -> tuple[Tensor, list[int], list[str], str]:
    """Scores [metrics, rows, N]; the row of each candidate in the learner's order; terms; the model."""
    with safe_open(path, "pt") as file:
        scores, like, finite = (file.get_tensor(name) for name in ("scores", "like", "finite"))
        terms, model = file.metadata()["terms"].split("\n"), file.metadata()["model"]
    known = [place for place, row in enumerate(like.tolist()) if bool(finite[place]) and row < scores.shape[1]]
    return scores, [int(like[place]) for place in known], [terms[place] for place in known], model


# What is asked


def asked(args: argparse.Namespace) -> None:
    """Scores asked by each rule, as shares of candidates × images."""
    scores, order, terms, model = load(args.load)
    start = order[terms.index(START)]
    images, distinct = scores.shape[2], len(set(order))
    print(f"# Image scores asked: {len(order)} classes of gradient.sy, {distinct} heatmaps, on {model}, {images} images")
    print(f"λ starts at {START}. Medians of {args.seeds} seeds, in brackets the range; right: of these seeds, as exhaustive.\n")
    print("| metric | candidates × images | heatmaps × images | exact | racing, error 0.05 | fewer than the first | right |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for place, name in enumerate(METRICS):
        measured, table = find_metric(name), scores[place]
        wanted = exhaustive(table, measured, [start, *order])
        rules: dict[str, Callable[[int], StoppingRule]] = {"exact": lambda seed: Exact(), "racing": partial(Racing, 0.05)}
        counts: dict[str, list[int]] = {}
        right: dict[str, int] = {}
        for rule, make in rules.items():
            runs = [run(table, measured, make(seed), order, start, seed) for seed in range(args.seeds)]
            counts[rule] = sorted(count for _, count in runs)
            right[rule] = sum(answer == wanted for answer, _ in runs)
        everything = len(order) * images
        cells = [f"{c[len(c) // 2]:,} ({c[0]:,} to {c[-1]:,})" for c in counts.values()]
        times = [f"{everything / c[len(c) // 2]:.1f}×" for c in counts.values()]
        same = ", ".join(f"{rule} {right[rule]} of {args.seeds}" for rule in rules)
        print(f"| {name} | {everything:,} | {distinct * images:,} | {cells[0]} | {cells[1]} | {times[0]}, {times[1]} | {same} |")


# How often it errs


def tied(scores: Tensor, level: float, best: int, margin: float) -> Tensor:
    """Rows [C, N] in [0, 1] rescaled within [0, 1] to the mean `level`, and one of them to a little more."""
    means = scores.mean(1, keepdim=True)
    goal = torch.full_like(means, level)
    goal[best] += margin
    down, up = scores * (goal / means), 1 - (1 - scores) * ((1 - goal) / (1 - means))
    return torch.where(means > goal, down, up)


def hard(name: str, rows: int, images: int, generator: torch.Generator) -> Tensor:
    """Populations in [0, 1] that are hard to test."""
    noise = torch.rand(rows, images, generator=generator, dtype=torch.float64)
    if name == "coins":
        return (noise < 0.3).double()
    if name == "rare gains":  # nearly every image speaks against a candidate that a few make good
        return torch.where(noise < 0.02, 1.0, 0.45 + 0.02 * torch.rand(images, generator=generator, dtype=torch.float64))
    return 0.5 + 0.05 * (noise - 0.5)  # "narrow": hardly a difference anywhere


def error(args: argparse.Namespace) -> None:
    """How often a run returns another candidate than the best."""
    scores, order, _, model = load(args.load)
    rows = sorted(set(order))
    generator = torch.Generator().manual_seed(args.seed)
    print(f"# How often racing errs: runs of {args.rows} candidates, batches of 4; scores of {model} or made up\n")
    print("| populations | images | stated error | runs | wrong answers | share, 95% interval |")
    print("| --- | --- | --- | --- | --- | --- |")
    measured = find_metric("average-gain")  # high is good, in [0, 1]: so are the tables below

    def trial(table: Tensor, level: float, seed: int) -> bool:
        everyone = torch.randperm(len(table), generator=generator).tolist()
        answer, _ = run(table, measured, Racing(level, seed), everyone, None, seed, at_once=4)
        return answer != exhaustive(table, measured, everyone)

    def report(name: str, images: int, level: float, wrong: int) -> None:
        low, high = wilson(wrong, args.runs)
        share = f"{wrong / args.runs:.4f} ({low:.4f} to {high:.4f})"
        print(f"| {name} | {images} | {level} | {args.runs} | {wrong} | {share} |", flush=True)

    for place, name in enumerate(METRICS):
        table = scores[place] if find_metric(name).direction == "high" else 1 - scores[place]
        for level in args.levels:
            for images in args.images_each:
                wrong = {"tied": 0, "natural": 0}
                for number in range(args.runs):
                    chosen = [rows[i] for i in torch.randperm(len(rows), generator=generator)[: args.rows].tolist()]
                    columns = torch.randint(table.shape[1], (images,), generator=generator)
                    drawn = table[chosen][:, columns]
                    drawn = drawn[(drawn.mean(1) > 0) & (drawn.mean(1) < 1)]
                    wrong["natural"] += trial(drawn, level, number)
                    best = int(torch.randint(len(drawn), (1,), generator=generator))
                    wrong["tied"] += trial(tied(drawn, float(drawn.mean()), best, 1e-9), level, number)
                for kind, count in wrong.items():
                    report(f"{name}, {kind}", images, level, count)
    for name in ("coins", "rare gains", "narrow"):
        for level in args.levels:
            for images in args.images_each:
                count = 0
                for number in range(args.runs):
                    drawn = hard(name, args.rows, images, generator)
                    drawn = drawn[(drawn.mean(1) > 0) & (drawn.mean(1) < 1)]
                    best = int(torch.randint(len(drawn), (1,), generator=generator))
                    count += trial(tied(drawn, float(drawn.mean()), best, 1e-9), level, number)
                report(f"{name}, tied", images, level, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scores", "asked", "error"])
    parser.add_argument("--model", choices=["embedded", "small_vgg", "mobilenet_v2"], default="small_vgg")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--candidates", type=int, default=240)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--load", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.05, 0.2])
    parser.add_argument("--images-each", type=int, nargs="+", default=[60, 300])
    args = parser.parse_args()
    torch.set_num_threads(1)
    {"scores": measure, "asked": asked, "error": error}[args.what](args)


if __name__ == "__main__":
    main()
