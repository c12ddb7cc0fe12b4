"""Distinct classes a second: the bottom-up enumerator beside cvc5's, its stream deduplicated and confirmed the same way.

    python benchmarks/enumeration.py            # about ten minutes

Both sides have the same machinery: `Equivalence`, the same fingerprints, the same prover in a process of its own, claims in
batches, each shape asked once. sygus builds from representatives, up to `LIMITS`; cvc5's `findSynth` streams terms from another
process, distinct but for what its rewriter sees, which are classified in batches of 1,024 for as long as sygus took, and at least
`--seconds`. What is counted is the classes of the start nonterminal, every term that shares a fingerprint with an earlier one
having been proved equal to it or counted as another class. "Unconfirmed" is the same without the proofs: terms of one fingerprint
count as one class. Rounds alternate, and every ratio is of neighbours in time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import islice

from subjects import SUBJECTS, Subject, machine, spread, start, subject

from sygus import Enumerator, Equivalence, Solver, Term
from sygus.learners.findsynth import FindSynth

LIMITS = {"gradient": 10, "pixelwise": 10, "six": 7}


class Unconfirmed(Equivalence):
    """Takes one fingerprint for one class."""

    def _decide(self, pairs: list) -> list[bool]:
        return [True] * len(pairs)

    def proves(self, pairs: Sequence) -> list[bool]:
        return [False] * len(pairs)


def bottom_up(subject: Subject, kind: type[Equivalence]) -> tuple[int, int, float]:
    """Classes, terms and seconds."""
    with Solver() as solver:
        start(solver)
        learner = Enumerator(subject.grammar, kind(subject.context, subject.inputs, solver), LIMITS[subject.name])
        begin = time.perf_counter()
        found = sum(1 for _ in learner)
        return found, learner.built, time.perf_counter() - begin


def cvc5(subject: Subject, kind: type[Equivalence], seconds: float, batch: int = 1024) -> tuple[int, int, float]:
    """Classes, terms and seconds. The process that streams is started, and has streamed one term, beforehand."""
    with Solver() as solver:
        start(solver)
        classes = kind(subject.context, subject.inputs, solver)
        stream = iter(FindSynth(subject.grammar))
        waiting, found, terms = [next(stream).term], set[Term](), 0
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds:
            waiting += [candidate.term for candidate in islice(stream, batch)]
            if not waiting:
                break
            found.update(classes.representatives(waiting))
            terms, waiting = terms + len(waiting), []
        return len(found), terms, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    parser.add_argument("--seconds", type=float, default=10.0, help="how long cvc5's stream runs at least")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"# Distinct, confirmed classes a second\n{machine()}; {args.rounds} rounds, median (range)\n")
    print("| grammar | sygus | cvc5's enumerator | ratio | sygus, unconfirmed | cvc5's, unconfirmed | ratio | "
          "classes: sygus, cvc5 | terms for them |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in args.subjects.split(","):
        chosen = subject(name)
        rates: dict[str, list[float]] = {}
        for _ in range(args.rounds):
            for kind in (Equivalence, Unconfirmed):
                ours = bottom_up(chosen, kind)
                found = {"sygus": ours, "cvc5": cvc5(chosen, kind, max(ours[2], args.seconds))}
                for side, (classes, _, seconds) in found.items():
                    rates.setdefault(f"{kind.__name__} {side}", []).append(classes / seconds)
                pair = (rates[f"{kind.__name__} {side}"][-1] for side in ("sygus", "cvc5"))
                rates.setdefault(f"{kind.__name__} ratio", []).append(next(pair) / next(pair))
                if kind is Equivalence:
                    last = found
        cells = [
            spread(rates[f"{kind} {what}"], lambda x, w=what: f"{x:.1f}" if w == "ratio" else f"{x:,.0f}")
            for kind in ("Equivalence", "Unconfirmed")
            for what in ("sygus", "cvc5", "ratio")
        ]
        counts = ", ".join(f"{last[side][0]:,}" for side in ("sygus", "cvc5"))
        terms = ", ".join(f"{last[side][1]:,}" for side in ("sygus", "cvc5"))
        print("| " + " | ".join([name, *cells, counts, terms]) + " |", flush=True)


if __name__ == "__main__":
    main()
