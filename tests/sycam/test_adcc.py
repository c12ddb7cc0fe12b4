"""ADCC and the CAM redrawn for it: values by hand, through the oracle with a real head, and in a search."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from queries import net, query_of, redraw_brightness
from worlds import gathered, search, tiny_images, tiny_network

from sycam.cams import cam_from_text, find_cam
from sycam.errors import SycamError
from sycam.metrics.kinds.masked_image import harmonic
from sycam.metrics.own.find import find_metric
from sycam.scoring import MetricOracle
from sycam.search.budget import Budget
from sycam.search.stopping import Contest, Plan, score_in_stages
from sygus import Candidate


def test_coherency_and_adcc_agree_with_numpy():
    query = query_of(7)
    twin = []
    for job in range(7):
        S, x = query.heatmaps[job].double().numpy(), query.images[job]
        again, probabilities = redraw_brightness((x * query.heatmaps[job])[None], None)
        c = int(query.classes[job])
        rho = np.corrcoef(S.ravel(), again[0].double().numpy().ravel())[0, 1]
        p, o = net(x[None])[0, c].item(), probabilities[0, c].item()
        twin.append(((rho + 1) / 2, S.mean(), max(0, p - o) / p))
    parts = find_metric("adcc-of-means")(query)
    assert parts.numpy() == pytest.approx(np.array(twin), abs=1e-5)
    per_image = [3 / (1 / c + 1 / (1 - m) + 1 / (1 - d)) for c, m, d in twin]
    assert find_metric("adcc")(query).tolist() == pytest.approx(per_image, abs=1e-5)
    c, m, d = np.mean(twin, 0)
    assert find_metric("adcc-of-means").aggregate(parts).item() == pytest.approx(
        3 / (1 / c + 1 / (1 - m) + 1 / (1 - d)), abs=1e-5
    )
    assert find_metric("adcc-of-means").aggregate(parts) != pytest.approx(
        np.mean(per_image), abs=1e-4
    )  # the published tables are not it


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.integers(0, 2), st.floats(0, 1))
def test_adcc_of_means_is_monotone_in_each_part(parts, which, better):
    worse, moved = torch.tensor(parts, dtype=torch.float64), torch.tensor(parts, dtype=torch.float64)
    moved[which] = max(parts[which], better) if which == 0 else min(parts[which], better)
    assert harmonic(moved) >= harmonic(worse) - 1e-12


def test_one_masked_pass_gives_drop_gain_and_coherency():
    passes = []

    def counted(images, jobs):
        passes.append(len(images))
        return redraw_brightness(images, jobs)

    def no_more(images):
        raise AssertionError("a second pass")

    query = query_of(redraw=counted, ask=no_more)
    for name in ("adcc", "coherency", "average-drop", "average-increase", "average-gain", "adcc-of-means"):
        find_metric(name)(query)
    assert sum(passes) == len(query)


def test_a_query_of_bare_heatmaps_says_what_it_lacks():
    with pytest.raises(SycamError, match=r"heatmap on other images.*redraws=True"):
        find_metric("coherency")(query_of(redraw=None))


# Through the oracle, with a real head


@pytest.mark.parametrize("text", ["(gap G)", "(m* A G)", "drop"])
def test_the_oracle_redraws_each_candidate_on_its_own_masked_image(text):
    network, images = tiny_network(), tiny_images(5)
    terms = [cam_from_text(text).term, cam_from_text("(gap A)").term]
    cache = gathered(network, images, ["A", "G", "drop"])
    oracle = MetricOracle(cache, [find_metric("average-drop"), find_metric("coherency")], batch=3)
    maps, _ = oracle.maps(terms)
    drop, coherent = oracle.score_each(maps, torch.arange(5), terms)
    assert oracle.spent.passes == 10  # the drop's pass is the coherency's
    from sycam import heatmaps

    x = images.normalised(slice(None), network)
    for row, cam in enumerate((text, "(gap A)")):
        S = heatmaps(cam, network, x, classes=cache.classes)
        again = heatmaps(cam, network, x * S[:, None], classes=cache.classes)
        for i in range(5):
            a, b = S[i].double().numpy().ravel(), again[i].double().numpy().ravel()
            rho = np.corrcoef(a, b)[0, 1] if a.std() and b.std() else -1
            assert coherent[row, i].item() == pytest.approx((rho + 1) / 2, abs=1e-4)
    alone = MetricOracle(cache, find_metric("average-drop"), batch=3).score(maps, torch.arange(5))
    torch.testing.assert_close(drop, alone, rtol=0, atol=1e-6)
    with pytest.raises(SycamError, match="must be given the 2 CAMs"):
        oracle.score(maps, torch.arange(5))


def test_a_baseline_is_redrawn_too():
    network, images = tiny_network(), tiny_images(3)
    cache = gathered(network, images, [])
    oracle = MetricOracle(cache, find_metric("coherency"))
    fake = find_cam("Fake-CAM")
    maps = torch.ones(1, 3, 16, 16)
    maps[..., 0, 0] = 0
    assert oracle.score(maps, torch.arange(3), [fake])[0].tolist() == pytest.approx([1] * 3)  # it finds nothing but itself


# Search


@pytest.mark.parametrize("name", ["adcc", "adcc-of-means"])
def test_a_search_finds_what_brute_force_finds(name):
    network, images = tiny_network(), tiny_images(10)
    cache = gathered(network, images, ["A", "G"])
    texts = [
        "(gap A)",
        "(gap G)",
        "(m* A G)",
        "(mrelu (m* A G))",
        "(gmax A)",
        "(* (gap A) (gap G))",
        "(gap (mrelu G))",
        "(gstd A)",
    ]
    terms = [cam_from_text(text).term for text in texts]
    everyone = MetricOracle(cache, find_metric(name), batch=32)
    scores = find_metric(name).aggregate(everyone.score(everyone.maps(terms)[0], torch.arange(10), terms))
    oracle = MetricOracle(cache, find_metric(name), batch=32)
    found = search((Candidate(term, 1) for term in terms), oracle, None, Budget(), at_once=2).incumbent
    assert found.score == pytest.approx(scores.max().item(), abs=1e-6)
    assert found.term == terms[int(scores.argmax())]


def test_bounds_on_parts_reject_early_and_only_what_cannot_win():
    network, images = tiny_network(), tiny_images(40)
    cache = gathered(network, images, ["A", "G"])
    terms = [cam_from_text(text).term for text in ("(gap A)", "(gap G)", "(m* A G)", "(gmin G)", "(mneg G)")]
    oracle = MetricOracle(cache, find_metric("adcc-of-means"), batch=32)
    maps = oracle.maps(terms)[0]
    scores = find_metric("adcc-of-means").aggregate(oracle.score(maps, torch.arange(40), terms))
    threshold = float(scores.max()) - 1e-6
    stages = list(torch.arange(40).split(8))
    results = score_in_stages(oracle, maps, Plan(stages, stages[0][:0], [Contest(torch.arange(40), threshold)]), terms)
    for result, score in zip(results, scores.tolist(), strict=True):
        assert result.bound >= score - 1e-6  # a pass in another batch
        assert result.total is None or result.total == pytest.approx(score, abs=1e-6)
    assert any(result.total is None for result in results)
    assert results[int(scores.argmax())].total is not None
