"""The answer under `exact` is that of brute force over all terms and all images: random grammars, CNNs, images and metrics."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from worlds import gathered, held, search, tiny_images

from sycam.job import ScoringSpec
from sycam.metrics.metric import Metric
from sycam.metrics.own.find import find_metric
from sycam.metrics.protocol import DEFAULT
from sycam.network import Network, Preprocessing
from sycam.run.problem import read_problem
from sycam.scoring import MetricOracle
from sycam.search import Budget
from sycam.search.groups import image_classes
from sycam.workers import RemoteOracle, open_pool
from sygus import Enumerator, Equivalence, Solver

METRICS = [
    "average-gain", "average-drop", "average-increase", "iou", "pointing", "energy-pointing", "complexity",
    "0.5*average-gain - 0.5*average-drop", "adcc-of-means",
]  # fmt: skip
WEIGHTS = ["(gap M)", "(gmax M)", "(gstd M)", "(+ W W)", "(- W W)", "(* W W)", "(/ W W)", "y", "1.0", "(relu W)"]
MAPS = ["A", "G", "(m* M M)", "(m+ M M)", "(mrelu M)", "(scale W M)"]


def load(name):
    """A module of benchmarks/."""
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"bench_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def every_term():
    return load("subjects").every_term


@pytest.fixture(scope="module")
def solver():
    with Solver() as one:
        yield one


@st.composite
def grammars(draw):
    """A grammar of weights or of contributions: at least one leaf each, and some productions."""
    weights = draw(st.sets(st.sampled_from(WEIGHTS[1:]), min_size=1, max_size=4))
    maps = draw(st.sets(st.sampled_from(MAPS[1:]), min_size=1, max_size=3))
    result = draw(st.sampled_from(["Real", "Map"]))
    rules = {"W": ("Real", ["(gap M)", *sorted(weights)]), "M": ("Map", ["A", *sorted(maps)])}
    names = ["W", "M"] if result == "Real" else ["M", "W"]
    heads = " ".join(f"({name} {rules[name][0]})" for name in names)
    bodies = " ".join(f"({name} {rules[name][0]} ({' '.join(rules[name][1])}))" for name in names)
    return f"""(set-logic ALL) (declare-sort Map 0) (declare-fun gap (Map) Real) (declare-fun gmax (Map) Real)
        (declare-fun gstd (Map) Real) (declare-fun m* (Map Map) Map) (declare-fun m+ (Map Map) Map) (declare-fun mrelu (Map) Map)
        (declare-fun scale (Real Map) Map) (define-fun relu ((x Real)) Real (ite (> x 0.0) x 0.0))
        (declare-fun nonneg (Map) Bool) (declare-var A Map) (assume (nonneg A))
        (synth-fun f ((A Map) (G Map) (y Real)) {result} ({heads}) ({bodies})) (check-synth)"""


def small_network(seed: int) -> Network:
    """A random CNN: one or two convolutions, a pool, one or two linear layers."""
    generator = torch.Generator().manual_seed(seed)
    first, second, hidden = (int(torch.randint(2, 7, (1,), generator=generator)) for _ in range(3))
    layers: list[nn.Module] = [nn.Conv2d(3, first, 3, stride=2, padding=1), nn.ReLU()]
    if seed % 2:
        layers += [nn.Conv2d(first, second, 3, padding=1), nn.ReLU()]
    channels, layer = (second, "3") if seed % 2 else (first, "1")
    layers += [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(channels * 16, hidden), nn.ReLU(), nn.Linear(hidden, 3)]
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1.5 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return Network(model.eval(), Preprocessing(16, (0.5,) * 3, (0.25,) * 3), layer)


def brute_force(terms, oracle):
    """The score of each term on every image, all asked; NaN where a term is not finite: [T, N] or [T, N, P]."""
    maps, finite = oracle.maps(terms)
    values = oracle.score(maps, torch.arange(len(oracle.cache)), terms)
    values[~finite.all(1)] = torch.nan
    return values


def best_of(values, measured: Metric, places=None):
    """The best score on some of the images."""
    scores = measured.aggregate(values if places is None else values[:, places])
    known = scores[~scores.isnan()]
    return float(known.max() if measured.direction == "high" else known.min())


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    text=grammars(), network=st.integers(0, 99), images=st.integers(2, 12), name=st.sampled_from(METRICS),
    seed=st.integers(0, 999), at_once=st.integers(1, 40), batch=st.integers(1, 40),
)  # fmt: skip
def test_exact_is_brute_force(every_term, solver, tmp_path_factory, text, network, images, name, seed, at_once, batch):
    file = tmp_path_factory.mktemp("grammar") / "random.sy"
    file.write_text(text)
    problem, measured = read_problem(file), find_metric(name)
    pool = tiny_images(images, seed=seed)
    cache = gathered(small_network(network), pool, problem.terminals, pool.labels % 3)
    context, _ = problem.verified([cache])
    terms = [term for level in every_term(problem.target.grammar, 4).values() for term in level]
    terms = [term for term in terms if term.sort == problem.target.result][:400]
    assume(terms)
    largest = max(term.size for term in terms)
    assume(largest == 4 or len(terms) < 400)
    values = brute_force(terms, MetricOracle(cache, measured))
    assume(not bool(values.isnan().all()))

    def run(cache, at_once, batch, seed):
        learner = Enumerator(problem.target.grammar, Equivalence(context, problem.inputs(), solver), 4)
        groups = image_classes(cache.classes, 2, seed) if measured.is_mean else []
        chosen = MetricOracle(cache, measured, batch)
        return search(iter(learner), chosen, None, Budget(), at_once=at_once, seed=seed, groups=groups)

    found = run(cache, at_once, batch, seed)
    for group in found.groups:
        assert group.incumbent.score == pytest.approx(best_of(values, measured, group.places), abs=1e-6)
        row = next(i for i, term in enumerate(terms) if term is group.incumbent.term)
        assert float(measured.aggregate(values[row][group.places])) == pytest.approx(group.incumbent.score, abs=1e-6)
    # Another order of images, another batch size: the same score, and the same term unless others come that near to it.
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    for again in (run(cache.select(order), 7, batch, seed), run(cache, at_once, 41 - batch, seed + 1)):
        assert again.incumbent.score == pytest.approx(found.incumbent.score, abs=1e-5)
        scores = measured.aggregate(values)
        near = [term for term, score in zip(terms, scores.tolist(), strict=True) if abs(score - found.incumbent.score) < 1e-5]
        assert again.incumbent.term in near
    assert found.incumbent.cost == found.incumbent.term.size


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 9999), candidates=st.integers(1, 40), images=st.integers(1, 40), at_once=st.integers(1, 12),
    levels=st.integers(1, 8), name=st.sampled_from(["average-gain", "average-drop"]),
)  # fmt: skip
def test_of_candidates_that_tie_the_cheapest_wins_and_then_the_first(bench, seed, candidates, images, at_once, levels, name):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels + 1, (candidates, images), generator=generator).double() / levels
    scores[candidates // 2 :] = scores[: candidates - candidates // 2].flip(1)  # the same means, of other images
    measured = find_metric(name)
    best = bench.exhaustive(scores, measured, list(range(candidates)))
    for order_seed in (0, seed):
        assert bench.run(scores, measured, bench.Exact(), list(range(candidates)), None, order_seed, at_once)[0] == best


@pytest.fixture(scope="module")
def bench():
    return load("racing")


@pytest.fixture(scope="module")
def pools():
    """The same network on one worker and on three."""
    network = small_network(1)
    with open_pool(ScoringSpec(workers=1), network, DEFAULT) as one, open_pool(ScoringSpec(workers=3), network, DEFAULT) as three:
        yield network, [one, three]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=grammars(), images=st.integers(2, 20), name=st.sampled_from(METRICS), seed=st.integers(0, 999))
def test_any_number_of_workers_finds_what_one_process_finds(pools, solver, tmp_path_factory, text, images, name, seed):
    """Bit for bit; what one process finds is brute force's answer by the test above."""
    file = tmp_path_factory.mktemp("grammar") / "random.sy"
    file.write_text(text)
    problem, measured, (network, crews) = read_problem(file), find_metric(name), pools
    pool = tiny_images(images, seed=seed)
    given = (network, pool, problem.terminals, pool.labels % 3)
    alone = MetricOracle(gathered(*given), measured)
    context, _ = problem.verified([alone.cache])
    found = []
    for oracle in (alone, *(RemoteOracle(held(pool, *given), measured) for pool in crews)):
        learner = Enumerator(problem.target.grammar, Equivalence(context, problem.inputs(), solver), 4)
        best = search(iter(learner), oracle, None, Budget(candidates=60), seed=seed).incumbent
        found.append(best and (best.term, best.score, best.values.nan_to_num(nan=-1).tolist(), best.candidate))
    assert found[1] == found[0] == found[2]
