"""Merges that are false, by exact rational arithmetic on random tensors: there must be none.

    python benchmarks/false_merges.py       # a million checks a grammar, about five minutes

A check is one merge at one valuation: the merged term and its representative are evaluated by `sygus.semantics.exact`, in
rational numbers, with division total. It shares nothing with the fingerprints (arrays modulo a prime) and nothing with the proofs
(scalar forms). Valuations are drawn here: small rationals that satisfy the assumptions, on axes of one to three entries, with
dead channels, zero maps, equal entries and sums of zero among them.
"""

from __future__ import annotations

import argparse
import random
import time
from fractions import Fraction
from itertools import product

from subjects import SUBJECTS, Subject, machine, subject

from sygus import Enumerator, Equivalence, Merge, Solver, Variable
from sygus.semantics import exact

SIZES = {"gradient": 8, "pixelwise": 8, "six": 6}


def merges(subject: Subject, limit: int) -> list[Merge]:
    """All merges on the way to the classes of a size."""
    found: list[Merge] = []
    with Solver() as solver:
        classes = Equivalence(subject.context, subject.inputs, solver, on_merge=found.append)
        for _ in Enumerator(subject.grammar, classes, limit):
            pass
    return found


def draw(subject: Subject, variable: Variable, sizes: tuple[int, ...], generator: random.Random) -> exact.Tensor:
    """Random values of one input, half of the draws degenerate."""
    context = subject.context
    level, name = context.input(variable).level, variable.name
    pattern = generator.choice(("any", "any", "any", "any", "zero", "one", "dead", "equal", "balanced"))

    def number() -> Fraction:
        return Fraction(generator.randint(-12, 12), generator.choice((1, 1, 2, 3, 5)))

    indices = list(product(*(range(size) for size in sizes[:level])))
    values = {index: number() for index in indices}
    if pattern in ("zero", "one"):
        values = dict.fromkeys(indices, Fraction(pattern == "one"))
    elif pattern == "dead":
        values = {index: Fraction(0) if not index or index[0] == 0 else value for index, value in values.items()}
    elif pattern == "equal":
        values = dict.fromkeys(indices, number())
    elif pattern == "balanced" and indices:
        values[indices[-1]] -= sum(values.values())
    if name in context.nonneg | context.positive:
        values = {index: abs(value) for index, value in values.items()}
    if name in context.positive:
        values = {index: value or Fraction(1) for index, value in values.items()}
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    parser.add_argument("--checks", type=int, default=1_000_000, help="at least, for each grammar")
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    print(f"# False merges\n{machine()}\n")
    print("| grammar | size | merges | valuations | checks | false | seconds |\n| --- | --- | --- | --- | --- | --- | --- |")
    for name in args.subjects.split(","):
        chosen, generator = subject(name), random.Random(args.seed)
        found = merges(chosen, SIZES[name])
        begin, checks, valuations, wrong = time.perf_counter(), 0, 0, []
        while checks < args.checks:
            sizes = tuple(generator.randint(1, 3) for _ in chosen.context.theory.axes)
            values = {v.name: draw(chosen, v, sizes, generator) for v in chosen.inputs}
            memo: dict = {}
            for merge in found:
                a, b = (exact.evaluate(t, values, sizes, chosen.context, memo) for t in (merge.term, merge.representative))
                if a is not b and not exact.same(a, b):
                    wrong.append((merge, values))
            checks, valuations = checks + len(found), valuations + 1
        print(f"| {name} | {SIZES[name]} | {len(found):,} | {valuations:,} | {checks:,} | {len(wrong)} | "
              f"{time.perf_counter() - begin:.0f} |", flush=True)  # fmt: skip
        for merge, values in wrong[:5]:
            print(f"FALSE: {merge.term} is not {merge.representative} where {values}")


if __name__ == "__main__":
    main()
