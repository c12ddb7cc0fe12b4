"""A term for each image class beside one term for all, on images searched on and held out.

    SYCAM_DATA=../shared/data python benchmarks/byclass.py [--only cifar10 tiny xray] [--seeds 0 1] [--budget 150] [--threads 1]

One table: average-gain in per cent of the answer by class minus that of the single term, which the same enumeration keeps,
paired, with 95% bootstrap intervals; and how many image scores were asked with and without `by_class` (the same candidates,
`exact`).
A gain on the images searched on is promised; whether it carries over is what the held-out column says.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import torch

import sycam
from sycam.images import ImageSet, load_images
from sycam.network import Network, load_network

DATA = Path(os.environ.get("SYCAM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
HALF = {"mean": 0.5, "std": 0.5}


@dataclass(frozen=True)
class World:
    """A network and its images, so many of each class."""

    model: str
    folder: str
    options: dict
    each: int
    budget: int

    def load(self, seed: int) -> tuple[Network, ImageSet]:
        """The network, and `each` images of each label, drawn with the seed."""
        network = load_network(f"{DATA}/models.py:load:{self.model}", **self.options)
        images = load_images(DATA / self.folder, network.preprocessing)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        chosen = [order[images.labels[order] == label][: self.each] for label in images.labels.unique()]
        return network, images.select(torch.cat(chosen).sort().values)


WORLDS = {
    "cifar10": World("resnet20_cifar10", "cifar10/test", {"size": 32}, 40, 150),
    "tiny": World("small_vgg_tiny20", "tiny-imagenet", {"size": 64, "layer": "features.26"}, 30, 150),
    "xray": World("mobilenet_v2_xray3", "xray/classes", {"size": 224, "resize": "squash", **HALF}, 40, 60),
}


def text(interval: dict[str, float]) -> str:
    """`+1.23 [0.10, 2.50]`, per cent."""
    return f"{100 * interval['mean']:+.2f} [{100 * interval['lo']:+.2f}, {100 * interval['hi']:+.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--budget", type=int, help="candidates; by default 150, and 60 at 224×224")
    parser.add_argument("--min-images", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-ordinary", action="store_true", help="do not run without by_class as well")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        "| world, seed | images: search, held out | classes with own term, of | single: search | by class minus single, search | "
        "single: held out | by class minus single, held out | image scores asked by class | without |"
    )
    print("|" + " --- |" * 9)
    for name in given.only:
        world = WORLDS[name]
        for seed in given.seeds:
            network, images = world.load(seed)
            asked = {}
            for by_class in (False, True)[given.no_ordinary :]:
                result = sycam.synthesize(
                    "gradient", "average-gain", network, images, budget=given.budget or world.budget, seed=seed,
                    by_class=by_class, min_images=given.min_images,
                )  # fmt: skip
                asked[by_class] = result.counts["image_scores_of_search"] / result.counts["image_scores_possible"]
            found = result.by_class
            single = next((row for row in result.rows if row.kind == "single"), result.answer)
            own, searched = (sum(one[key] for one in found["classes"]) for key in ("own", "searched"))
            counts, gain = result.counts, found["difference"]
            print(
                f"| {name}, {seed} | {counts['images_searched']}, {counts['images_held_out']} | {own}, {searched} | "
                f"{100 * single.search.mean():.2f} | {text(gain['search'])} | {100 * single.held_out.mean():.2f} | "
                f"{text(gain['held_out'])} | {100 * asked[True]:.0f}% | "
                f"{'–' if False not in asked else f'{100 * asked[False]:.0f}%'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
