"""Small networks and images with set weights, for tests of the oracle, the loop and the command line."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from sycam.embedded import images_csv
from sycam.images import ImageSet
from sycam.job import TerminalSettings
from sycam.network import Network, Preprocessing
from sycam.run.problem import read_problem
from sycam.scoring import Batches, TerminalCache, Wanted, gather
from sycam.scoring.comparison import Request, compare
from sycam.search import Budget, Exact, Policy, Ranking
from sycam.search import search as search_loop
from sycam.workers import gather_on
from sygus import Candidate, Enumerator, Equivalence, Learner, Listed, Solver


class TinyVGG(nn.Module):
    """3×16×16 -> six maps 8×8 after a ReLU -> max pool, two linear layers: a head on which terminals differ."""

    def __init__(self, seed: int = 0, classes: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Linear(96, 12), nn.ReLU(), nn.Linear(12, classes))
        with torch.no_grad():
            for parameter in self.parameters():
                scale = 1.5 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.1
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def tiny_network(seed: int = 0, layer: str = "features.1") -> Network:
    """`TinyVGG` read at its ReLU."""
    return Network(TinyVGG(seed).eval(), Preprocessing(16, (0.5,) * 3, (0.25,) * 3), layer)


def tiny_images(count: int = 12, seed: int = 0, masks: bool = True) -> ImageSet:
    """Random blobs on noise, with labels and masks."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 120, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)
    inside = torch.zeros(count, 16, 16, dtype=torch.bool)
    for i in range(count):
        x, y = torch.randint(0, 10, (2,), generator=generator).tolist()
        inside[i, y : y + 6, x : x + 6] = True
        pixels[i, :, y : y + 6, x : x + 6] += 120
    labels = torch.arange(count) % 4
    return ImageSet([f"image-{i}.png" for i in range(count)], pixels, labels, inside if masks else None)


def some_images(folder: Path, count: int = 12) -> Path:
    """A folder with a few of the embedded images."""
    folder.mkdir()
    for i in range(count):
        Image.open(images_csv().parent / f"{i:03}.png").save(folder / f"{i:03}.png")
    return folder


def gathered(
    network,
    images,
    names,
    classes=None,
    *,
    settings=None,
    optional=(),
    store=None,
    on_batch=None,
    batch=None,
    unit=None,
    **batches,
):
    """The terminals of images, as `gather` takes them apart."""
    wanted = Wanted(names, classes, settings or TerminalSettings(), optional)
    return gather(network, images, wanted, Batches(batch, block=unit, **batches), store, on_batch)


def held(pool, network, images, names, classes=None, *, settings=None, store=None, on_batch=lambda done: None):
    """The terminals of images on workers."""
    return gather_on(pool, network, images, Wanted(names, classes, settings or TerminalSettings()), store, on_batch)


def compared(cams, metrics, network, images, classes=None, *, on_batch=None, store=None, by=None, **more):
    """CAMs side by side."""
    return compare(Request(cams, metrics, **more), network, images, classes, on_batch=on_batch, store=store, by=by)


def search(
    candidates,
    scorer,
    start=None,
    budget=None,
    *,
    ranking=None,
    rule=None,
    target=None,
    on_batch=lambda state, tried: None,
    **policy,
):
    """The search over given candidates, or a learner's, by a scorer's metric alone unless there is a ranking."""
    learner = candidates if isinstance(candidates, Learner) else Listed(candidates)
    goals = ranking or Ranking([scorer.metric], [scorer])
    budget = budget or Budget()
    budget.target = target
    return search_loop(learner, goals, Policy(start=start, rule=rule or Exact(), **policy), budget, on_batch)


def first_candidates(cache: TerminalCache, count: int) -> list[Candidate]:
    """The first classes of gradient.sy, under those of its assumptions that hold on the cache."""
    problem = read_problem("gradient")
    with Solver() as solver:
        context, _ = problem.verified([cache])
        learner = Enumerator(problem.target.grammar, Equivalence(context, problem.inputs(), solver), 7)
        return list(itertools.islice(learner, count))
