"""Ways to run the masked passes: memory layout, precision, folding and compiling, each beside the pass as sycam runs it.

    python benchmarks/forward.py                            # three networks
    python benchmarks/forward.py --compile                  # torch.compile too: up to a minute a network
    python benchmarks/forward.py --give-back                # freed memory goes back to the system, as glibc has it

The ways take turns; CPU time of one thread an image, least and median. The difference is of probabilities, the largest.
"""

from __future__ import annotations

import argparse
import copy
import resource
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from scoring import machine, subject
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

import sycam.network.network
from sycam.network import Network
from sycam.network.batching import images_at_once

Pass = Callable[[Tensor], Tensor]


def ways(network: Network, batch: Tensor, compiled: bool) -> dict[str, Pass]:
    """Names and passes: a normalised batch in channels-last to logits."""
    model = network.model
    contiguous = copy.deepcopy(model).to(memory_format=torch.contiguous_format)

    def rounded(images: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(images)

    found: dict[str, Pass] = {
        "as it is, channels-last": model,
        "contiguous": lambda images: contiguous(images.contiguous()),
        "bf16": rounded,
        "batch norm folded": fuse(copy.deepcopy(model)).to(memory_format=torch.channels_last),
        "torch.jit, frozen (deprecated)": frozen(model, batch),
    }
    if compiled:
        found["torch.compile"] = torch.compile(copy.deepcopy(model))
    return found


def frozen(model: nn.Module, batch: Tensor) -> Pass:
    """The model, traced and frozen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, batch)))


def faults() -> int:
    """Page faults of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="embedded,small_vgg,mobilenet_v2")
    parser.add_argument("--batch", type=int, default=None, help="by default the network's own")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--give-back", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.give_back:
        sycam.network.network.keep_freed_memory = lambda: False
    print(f"# Ways to run masked passes. {machine('cpu')}\n")
    print("| network, batch | way | ms an image: least, median | of it as it is | page faults an image | largest difference |")
    print("| --- " * 6 + "|")
    for name in args.models.split(","):
        network, _, images = subject(name, "cpu", 8)
        size = args.batch or images_at_once(network.device, *images.pixels.shape[-2:])
        batch = images.normalised(slice(None), network).repeat(-(-size // 8), 1, 1, 1)[:size]
        batch = batch.contiguous(memory_format=torch.channels_last)
        passes = ways(network, batch, args.compile)
        seconds: dict[str, list[float]] = {way: [] for way in passes}
        faulted, answers = {}, {}
        for _ in range(args.rounds + 2):  # two warm up
            for way, run in passes.items():
                with torch.inference_mode():
                    run(batch)  # the way before has left the heap as it suited that
                    before, start = faults(), time.process_time()
                    answers[way] = run(batch).float().softmax(1)
                    seconds[way].append((time.process_time() - start) / size)
                    faulted[way] = (faults() - before) / size
        base = next(iter(passes))
        least = {way: min(times[2:]) for way, times in seconds.items()}
        for way in passes:
            said = f"{1e3 * least[way]:.2f}, {1e3 * statistics.median(seconds[way][2:]):.2f} | {least[way] / least[base]:.2f}"
            apart = float((answers[way] - answers[base]).abs().max())
            print(f"| {name}, {size} | {way} | {said} | {faulted[way]:,.0f} | {apart:.0e} |", flush=True)


if __name__ == "__main__":
    main()
