"""Memory at a million candidates: what the loop, the journal and the heatmaps' classes keep of each.

    python benchmarks/candidates.py
    python benchmarks/candidates.py --proved 3000       # what the classes of proved heatmaps keep, a few ms of cvc5 each

The loop itself runs, with its journal on disk, on candidates that are made on the spot, (* k (gap G)) for a new k each, and an
oracle whose maps and scores are random numbers on four images: nothing else is replaced, and no two candidates draw one heatmap,
which keeps most. What enumeration holds, the classes of equal terms and the terms themselves, is measured by `memory.py`.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sycam.cams import cam_from_text, contribution
from sycam.embedded import images_csv
from sycam.images import load_images
from sycam.metrics.own.find import find_metric
from sycam.network import load_network
from sycam.run.journal import Journal
from sycam.run.problem import read_problem
from sycam.scoring import MetricOracle, Wanted, gather
from sycam.search import Budget, Policy, Ranking, Search, Tried, search
from sygus import Candidate, Enumerator, Equivalence, Listed, Proportional, Solver, Term
from sygus.constants import real


def resident() -> float:
    """MiB that this process holds now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


class RandomOracle(MetricOracle):
    """The metric oracle, but for its numbers."""

    def maps(self, terms: Sequence[Term], places: Tensor | None = None) -> tuple[Tensor, Tensor]:
        images = len(self.cache) if places is None else len(places)
        return torch.rand(len(terms), images, *self.cache.network.map_size), torch.ones(len(terms), images, dtype=torch.bool)

    def score_each(self, maps: Tensor, places: Tensor, cams=None, lost=None, stop=False) -> list[Tensor]:
        self.spent.asked += maps.shape[0] * maps.shape[1]
        return [torch.rand(maps.shape[:2], dtype=torch.float64)]


def made() -> Iterator[Candidate]:
    """Candidates without end."""
    body = cam_from_text("(* 2.0 (gap G))").term
    number = 0
    while True:
        number += 1
        yield Candidate(Term(body.symbol, (real(number), body.args[1])), 3 + number // 1000)


def in_the_loop(count: int, at_once: int) -> None:
    network = load_network("embedded")
    cache = gather(network, load_images(images_csv(), network.preprocessing, limit=4), Wanted(["A", "G"]))
    oracle = RandomOracle(cache, find_metric("average-gain"))
    marks = [count // 10 * part for part in range(11)]
    held: dict[int, float] = {}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal.sqlite") as journal:

        def watch(state: Search, tried: list[Tried]) -> None:
            journal.candidates(tried)
            while marks and state.candidates >= marks[0]:
                gc.collect()
                held[marks.pop(0)] = resident()

        goals, policy = Ranking([oracle.metric], [oracle]), Policy(at_once=at_once)
        search(Listed(made()), goals, policy, Budget(candidates=at_once))
        marks, held[0] = marks[1:], resident()
        found = search(Listed(made()), goals, policy, Budget(candidates=count), watch)
        kept, size = journal.count("candidate"), (Path(folder) / "journal.sqlite").stat().st_size / 2**20
    seconds = time.perf_counter() - start
    print("| candidates | resident, MiB | more than at the start | bytes a candidate |\n| --- | --- | --- | --- |")
    for number, memory in held.items():
        each = f"{(memory - held[0]) * 2**20 / number:,.0f}" if number else ""
        print(f"| {number:,} | {memory:,.0f} | {memory - held[0]:,.0f} | {each} |")
    print(
        f"\n{found.candidates:,} candidates, {found.same_on_images:,} with earlier heatmaps; ",
        end="",
    )
    print(f"{kept:,} in a journal of {size:,.0f} MiB; {seconds:.0f} s")


def proved_heatmaps(count: int) -> None:
    """What one class of proved heatmaps keeps, beside the enumerator's own."""
    problem = read_problem("gradient")
    with Solver() as solver:
        equal = Equivalence(problem.context(), list(problem.inputs()), solver)
        terms = []
        for candidate in Enumerator(problem.target.grammar, equal, limit=30):
            terms.append(candidate.term)
            if len(terms) == count:
                break
        classes = Proportional(equal, contribution)
        gc.collect()
        before, half = resident(), 0.0
        for start in range(0, count, 32):
            if start >= count // 2 and not half:
                half = resident()
            classes.representatives(terms[start : start + 32])
        after = resident()
    print(
        f"classes of proved heatmaps: {count:,} candidates, {after - before:,.1f} MiB, "
        f"{(after - before) * 2**20 / count:,.0f} bytes each, "
        f"{(after - half) * 2**20 / (count - count // 2):,.0f} in the second half"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--at-once", type=int, default=512)
    parser.add_argument("--proved", type=int, default=0, help="measure the classes of proved heatmaps on so many instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if args.proved:
        proved_heatmaps(args.proved)
    else:
        in_the_loop(args.candidates, args.at_once)


if __name__ == "__main__":
    main()
