"""Where the CPU time of a search goes: whole runs of `synth` under Python's profiler, by part.

    python benchmarks/where.py
    python benchmarks/where.py --model small_vgg --candidates 100 --images 64

CPU time of one thread; cvc5's process is another, and waiting for it is not in here. A part holds what it calls: known CAMs and
the table hold passes, which the network's part counts too.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time

import torch
from scoring import machine, subject

import sycam

PARTS = {
    "the network on masked images": ("network.py", "logits"),
    "heatmaps: upsampling and min-max": ("heatmap.py", "post"),
    "masking the images": ("query.py", "keep"),
    "plain images, normalised": ("preprocessing.py", "normalise"),
    "terms: maps of candidates": ("evaluate.py", "combined_maps"),
    "equal heatmaps of an image": ("oracle.py", "_alike"),
    "heatmaps proved to be one": ("candidates.py", "classify"),
    "candidates: enumeration and equivalence": ("candidates.py", "take"),
    "terminals": ("terminals.py", "gather"),
    "known CAMs": ("known.py", "known_rows"),
    "the table, held-out images": ("known.py", "table_rows"),
    "journal": ("journal.py", "candidates"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["embedded", "small_vgg", "mobilenet_v2"], default="embedded")
    parser.add_argument("--candidates", type=int, default=300)
    parser.add_argument("--images", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(1)
    network, _, images = subject(args.model, "cpu", args.images)
    profiler = cProfile.Profile(time.process_time)
    start = time.process_time()
    result = profiler.runcall(
        sycam.synthesize, "gradient", metric="average-gain", model=network, images=images, budget=args.candidates, held_out=0.0
    )
    whole = time.process_time() - start
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    print(f"# Where the time goes: {args.model}, gradient.sy, average-gain. {machine('cpu')}")
    counts = result.counts
    print(f"{counts['candidates']} candidates, {len(images)} images, {counts['masked_passes']:,} masked passes; {whole:.1f} s\n")
    print("| part | seconds | share |\n| --- | --- | --- |")
    found = {}
    for part, (file, function) in PARTS.items():
        found[part] = sum(v[3] for k, v in stats.items() if k[0].endswith("/" + file) and k[2] == function)
    for part, seconds in sorted(found.items(), key=lambda item: -item[1]):
        print(f"| {part} | {seconds:.2f} | {seconds / whole:.1%} |")


if __name__ == "__main__":
    main()
