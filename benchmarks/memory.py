"""Memory at a million classes: what the enumerator, its classes and cvc5's process hold.

    python benchmarks/memory.py --subjects six      # one grammar a process, so that each figure is its own

Peak resident memory of this process, less what it had once the grammar was read (for the CAM grammars torch is in that), and
of the process that runs cvc5.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

from subjects import SUBJECTS, machine, start, subject

from sygus import Enumerator, Equivalence, Solver

EVERY = 100_000
"""Classes after which what is held so far is told on stderr."""
LIMITS = {"gradient": 20, "pixelwise": 20, "six": 10}


def peak(pid: int | None = None) -> float:
    """The most memory that this process, or another one, has held, in MiB."""
    if pid is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def measure(name: str, wanted: int) -> None:
    """Prints the row of one grammar; what is held on the way goes to stderr."""
    chosen = subject(name)
    before, told = peak(), 0
    with Solver() as solver:
        start(solver)
        classes = Equivalence(chosen.context, chosen.inputs, solver)
        learner = Enumerator(chosen.grammar, classes, LIMITS[name])
        begin = time.perf_counter()

        def row() -> str:
            found = f"{classes.counts.classes:,} | {learner.built:,} | {learner.cost} | {peak():,.0f} | {before:,.0f}"
            return f"| {name} | {found} | {peak() - before:,.0f} | {peak(solver.pid):,.0f} | {time.perf_counter() - begin:.0f} |"

        for _ in learner:
            if classes.counts.classes >= wanted:
                break
            if classes.counts.classes // EVERY > told:
                told = classes.counts.classes // EVERY
                print(row(), file=sys.stderr, flush=True)
        print(row(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    parser.add_argument("--classes", type=int, default=1_000_000)
    args = parser.parse_args()
    print(f"# Memory at {args.classes:,} classes\n{machine()}\n")
    print("| grammar | classes | terms built | size | peak, MiB | before, MiB | the difference | cvc5's process | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in args.subjects.split(","):
        measure(name, args.classes)


if __name__ == "__main__":
    main()
