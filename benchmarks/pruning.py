"""What pruning costs, beside asking cvc5 about every pair of terms, and what it misses.

    python benchmarks/pruning.py            # about ten minutes

Pairwise: pairs of terms of one sort, of size 4 and less, are asked of cvc5 in this process, QF_NRA, incremental, within the
limits that sygus sets. "Direct" asks whether the two differ as they stand, division as DIVISION_TOTAL, of at most `--sample`
pairs. "Split" asks all pairs in sygus's own form, fractions and conditions split and `simplify` first, so that what is left of
the ratio is due to fingerprints, representatives and shapes alone. Both are extrapolated to `--sizes` by the number of pairs,
counted without enumerating.

sygus: the bottom-up enumerator up to that size, from an empty bank to the last class, cvc5's process started beforehand; median
of three. Every pair that cvc5 proves equal must be in one class of sygus's: the last column.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from itertools import combinations

from subjects import SUBJECTS, Subject, every_term, machine, start, subject

from sygus import Enumerator, Equivalence, Solver, Term
from sygus.core import apply
from sygus.counting import Counts
from sygus.solver.crossmultiply import binary_divisions
from sygus.solver.worker import Cvc5


def pairs(terms: list[Term]) -> list[tuple[Term, Term]]:
    """All pairs of terms of one sort."""
    return [(a, b) for a, b in combinations(terms, 2) if a.sort == b.sort]


def pairwise(subject: Subject, asked: list[tuple[Term, Term]]) -> tuple[float, list[tuple[Term, Term]]]:
    """Seconds for all pairs, and those that cvc5 proves equal."""
    with Solver() as solver:
        classes = Equivalence(subject.context, subject.inputs, solver)
        claims = [classes.claim(a, b) for a, b in asked]
    cvc5, equal = Cvc5(), []
    begin = time.perf_counter()
    for pair, claim in zip(asked, claims, strict=True):
        if claim.left is claim.right or cvc5.equal(*claim) == "equal":
            equal.append(pair)
        cvc5.between_requests()
    return time.perf_counter() - begin, equal


def direct(subject: Subject, asked: list[tuple[Term, Term]]) -> float:
    """Seconds for pairs as they stand."""
    with Solver() as solver:
        classes = Equivalence(subject.context, subject.inputs, solver)
        claims = [classes.claim(a, b) for a, b in asked]
    cvc5 = Cvc5()
    begin = time.perf_counter()
    for left, right, facts in claims:
        cvc5.check([*facts, apply("distinct", binary_divisions(left), binary_divisions(right))])
        cvc5.between_requests()
    return time.perf_counter() - begin


def pruned(subject: Subject, limit: int) -> float:
    """Seconds for all classes up to a size."""
    with Solver() as solver:
        start(solver)
        begin = time.perf_counter()
        for _ in Enumerator(subject.grammar, Equivalence(subject.context, subject.inputs, solver), limit):
            pass
        return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    parser.add_argument("--sample", type=int, default=3000, help="pairs asked directly, at most")
    parser.add_argument("--sizes", default="5,7", help="up to which size each grammar is pruned")
    args = parser.parse_args()
    print(f"# Pruning beside pairwise queries\n{machine()}\n")
    print("| grammar | size | terms | pairs | direct, a pair | split, a pair | sygus | ratio to direct | ratio to split | "
          "proved equal, size ≤ 4 | in one class |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in args.subjects.split(","):
        chosen = subject(name)
        terms = every_term(chosen.grammar, 4)
        small = pairs([term for level in terms.values() for term in level])
        sample = random.Random(0).sample(small, min(args.sample, len(small)))
        plain = direct(chosen, sample) / len(sample)
        seconds, equal = pairwise(chosen, small)
        split = seconds / len(small)
        with Solver() as solver:
            flat = [term for level in terms.values() for term in level]
            found = dict(zip(flat, Equivalence(chosen.context, chosen.inputs, solver).representatives(flat), strict=True))
        merged = sum(found[a] is found[b] for a, b in equal)
        for size in map(int, args.sizes.split(",")):
            counts = Counts(chosen.grammar, size)
            numbers = [sum(counts.of(nonterminal)) for nonterminal in chosen.grammar.nonterminals]
            every = sum(n * (n - 1) // 2 for n in numbers)
            ours = statistics.median(pruned(chosen, size) for _ in range(3))
            cells = [
                name, f"≤ {size}", f"{sum(numbers):,}", f"{every:,}", f"{1000 * plain:.2f} ms", f"{1000 * split:.2f} ms",
                f"{ours:.3f} s", f"{plain * every / ours:,.0f}", f"{split * every / ours:,.0f}",
                f"{len(equal):,} of {len(small):,}", f"{merged:,}, {100 * merged / max(1, len(equal)):.2f}%",
            ]  # fmt: skip
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
