"""The rest of the table of metrics: hand-computed values, slow twins from the papers, laws, and what needs the CAM redrawn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import tiny_images, tiny_network

from sycam.cams import cam_from_text, find_cam
from sycam.errors import SycamError
from sycam.metrics.arithmetic import weighted_sum
from sycam.metrics.coherency import harmonic
from sycam.metrics.components import connected_parts, largest_boxes
from sycam.metrics.curves import blur
from sycam.metrics.imputation import impute
from sycam.metrics.infidelity import SAMPLES, square
from sycam.metrics.localisation import LEVELS, OVERLAPS, crop
from sycam.metrics.probe import probe
from sycam.metrics.query import Query
from sycam.metrics.registry import METRICS, metric
from sycam.metrics.road import PERCENTILES, removed
from sycam.metrics.robustness import RADIUS
from sycam.oracle import MetricOracle, TerminalCache
from sycam.synthesis.budget import Budget
from sycam.synthesis.loop import search
from sycam.synthesis.stopping import Contest, Plan, score_in_stages
from sygus import Candidate

ALL = sorted(METRICS)


def net(images):
    """Three classes; logits that depend on where the image is bright, in the images' precision."""
    weights = torch.linspace(-1, 1, images[0, 0].numel(), dtype=images.dtype).view(images.shape[-2:]).to(images.device)
    first, second = (images[:, 0] * weights).mean((1, 2)), (images[:, 1] * weights.flip(0).T).mean((1, 2))
    return torch.stack([6 * first, 6 * second, images.mean((1, 2, 3))], 1).softmax(1)


def redraw_brightness(query_images, jobs):
    """A CAM that is the image's own first colour, scaled to [0, 1]."""
    drawn = query_images[:, 0]
    low, high = drawn.amin((1, 2), keepdim=True), drawn.amax((1, 2), keepdim=True)
    return (drawn - low) / torch.where(high > low, high - low, 1), net(query_images)


def query_of(jobs=9, unique=4, size=12, seed=0, dtype=torch.float32, ask=net, **more):
    g = torch.Generator().manual_seed(seed)
    images = torch.randn(unique, 3, size, size, generator=g)
    classes = torch.randint(0, 3, (unique,), generator=g)
    given = {
        "heatmaps": torch.rand(jobs, size, size, generator=g),
        "classes": classes,
        "image_index": torch.randint(0, unique, (jobs,), generator=g),
        "masks": torch.rand(unique, size, size, generator=g) > 0.6,
        "labels": torch.randint(-1, 3, (unique,), generator=g),
        "predicted": torch.randint(0, 3, (unique,), generator=g),
        "redraw": redraw_brightness,
        "batch": 64,
    } | more
    given["heatmaps"] = given["heatmaps"].to(dtype)
    images = given.pop("images", images).to(dtype)
    p = net(images).gather(1, given["classes"][:, None])[:, 0]
    return Query(images=images, p=p, ask=ask, **given)


# Laws of every metric that ships


@pytest.mark.parametrize("name", ALL)
def test_batch_size_and_order_change_nothing(name):
    jobs = 3 if name == "road" else 9  # each job of which is 18 systems to solve
    whole = metric(name)(query_of(jobs, batch=64))
    for batch in (1, 5):
        torch.testing.assert_close(metric(name)(query_of(jobs, batch=batch)), whole, rtol=0, atol=2e-5)
    order = torch.randperm(jobs, generator=torch.Generator().manual_seed(1))
    base = query_of(jobs)
    shuffled = query_of(jobs, heatmaps=base.heatmaps[order], image_index=base.image_index[order], batch=7)
    torch.testing.assert_close(metric(name)(shuffled), whole[order], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ALL)
def test_double_precision_changes_nothing(name):
    single, double = metric(name)(query_of()), metric(name)(query_of(dtype=torch.float64))
    torch.testing.assert_close(single.double(), double.double(), rtol=1e-3, atol=2e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["noise", "empty", "full", "binary", "half empty"]))
def test_values_are_finite_and_within_bounds_on_any_heatmap(seed, kind):
    heat = torch.rand(5, 6, 6, generator=torch.Generator().manual_seed(seed))
    heat = {"noise": heat, "empty": 0 * heat, "full": 0 * heat + 1, "binary": (heat > 0.5).float(), "half empty": heat}[kind]
    if kind == "half empty":
        heat[:, :3] = 0
    masks = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(seed)) > 0.5
    masks[0] = False  # an empty mask
    query = query_of(5, 3, 6, seed=seed, heatmaps=heat, masks=masks)
    for name in ALL:
        raw = metric(name).compute(query)
        for column, (low, high) in zip(raw.view(5, -1).T, metric(name).bounds_of_parts, strict=True):
            assert ((column >= low - 1e-6) & (column <= high + 1e-6) & column.isfinite()).all(), (name, kind)


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_mutated(name):
    query = query_of()
    before = query._images.clone(), query.heatmaps.clone(), query._masks.clone()
    metric(name)(query)
    after = query._images, query.heatmaps, query._masks
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_certain_and_hopeless_images_are_defined():
    S = [[[0.0, 1.0], [0.0, 1.0]]] * 3
    query = probe(S, p=[1.0, 0.0, 1.0], o=[1.0, 0.5, 0.0], masked=S)
    assert metric("adcc")(query).tolist() == pytest.approx([3 / (1 + 2 + 1), 0.75, 0])  # the last lost everything
    crop_of_nothing = probe(S[:1], ask=lambda images: torch.tensor([[0.0, 1.0]]))
    assert metric("sm")(crop_of_nothing).item() == pytest.approx(math.log(0.5) - math.log(torch.finfo(torch.float32).tiny))


# ADCC


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
    parts = metric("adcc-of-means")(query)
    assert parts.numpy() == pytest.approx(np.array(twin), abs=1e-5)
    per_image = [3 / (1 / c + 1 / (1 - m) + 1 / (1 - d)) for c, m, d in twin]
    assert metric("adcc")(query).tolist() == pytest.approx(per_image, abs=1e-5)
    c, m, d = np.mean(twin, 0)
    assert metric("adcc-of-means").aggregate(parts).item() == pytest.approx(3 / (1 / c + 1 / (1 - m) + 1 / (1 - d)), abs=1e-5)
    assert metric("adcc-of-means").aggregate(parts) != pytest.approx(
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
        metric(name)(query)
    assert sum(passes) == len(query)


def test_a_query_of_bare_heatmaps_says_what_it_lacks():
    with pytest.raises(SycamError, match=r"heatmap on other images.*redraws=True"):
        metric("coherency")(query_of(redraw=None))


# Curves


@pytest.mark.parametrize("name", ["deletion", "insertion"])
def test_deletion_and_insertion_agree_with_a_slow_twin(name):
    query = query_of(4, 2, 8)
    fast = metric(name)(query)
    for job in range(4):
        x, c = query.images[job], int(query.classes[job])
        start, end = (x, torch.zeros_like(x)) if name == "deletion" else (blur(x[None])[0], x)
        order = sorted(range(64), key=lambda i: (-query.heatmaps[job].flatten()[i].item(), i))
        current, points = start.clone(), [net(start[None])[0, c].item()]
        for step in range(8):
            for pixel in order[8 * step : 8 * step + 8]:
                current[:, pixel // 8, pixel % 8] = end[:, pixel // 8, pixel % 8]
            points.append(net(current[None])[0, c].item())
        assert fast[job].item() == pytest.approx(np.trapezoid(points, dx=1 / 8), abs=1e-5)


def test_the_blur_is_torchvisions():
    from torchvision.transforms.functional import gaussian_blur

    images = torch.randn(2, 3, 20, 17, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(blur(images), gaussian_blur(images, [11, 11], [5.0, 5.0]), rtol=0, atol=1e-5)


def test_all_curves_are_one_stream_of_full_batches():
    sizes = []

    def counted(images):
        sizes.append(len(images))
        return net(images)

    names = ("deletion", "insertion", "road-most-relevant-first", "road-least-relevant-first")
    query = query_of(3, 2, 8, ask=counted, batch=16, curves=names)
    for name in ("insertion", "deletion", "road"):
        metric(name)(query)
    jobs = 3 * (7 + 7 + 9 + 9)
    assert sum(sizes) == jobs + 2 + 1  # and the blurred image of each image, and one empty one
    assert sizes.count(16) == jobs // 16


# ROAD


def dense_imputation(image, known):
    """Rong et al., straight: one equation a removed pixel, weights of neighbours outside the image taken off."""
    height, width = known.shape
    missing = [(i, j) for i in range(height) for j in range(width) if not known[i, j]]
    index = {place: n for n, place in enumerate(missing)}
    system, right = np.zeros((len(missing), len(missing))), np.zeros((len(missing), image.shape[0]))
    for n, (i, j) in enumerate(missing):
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                a, b = i + di, j + dj
                if (di, dj) == (0, 0) or not (0 <= a < height and 0 <= b < width):
                    continue
                weight = 1 / 12 if di and dj else 1 / 6
                system[n, n] += weight
                if known[a, b]:
                    right[n] += weight * image[:, a, b]
                else:
                    system[n, index[a, b]] -= weight
    filled = image.copy()
    solution = np.linalg.solve(system, right)
    for n, (i, j) in enumerate(missing):
        filled[:, i, j] = solution[n]
    return filled


@pytest.mark.parametrize(("height", "width"), [(16, 16), (13, 21), (2, 9)])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_the_imputation_solves_the_system(height, width, share):
    g = torch.Generator().manual_seed(3)
    images = torch.randn(3, 3, height, width, generator=g)
    blob = torch.nn.functional.interpolate(torch.rand(1, 1, 3, 3, generator=g), (height, width), mode="bilinear")
    known = torch.stack([torch.rand(height, width, generator=g) < share, blob[0, 0] <= blob.quantile(share)])
    known = torch.cat([known, known[1:].flip(-1)])[:, None]
    known[:, :, 0, 0] = True
    found = impute(images, known)
    for n in range(3):
        expected = dense_imputation(images[n].double().numpy(), known[n, 0].numpy())
        assert np.abs(found[n].numpy() - expected).max() < 1e-3
    assert torch.equal(torch.where(known, found, 0), torch.where(known, images, 0))


def test_nothing_known_and_nothing_removed():
    images = torch.randn(2, 3, 8, 8)
    known = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    known[1] = True
    found = impute(images, known)
    assert found[0].abs().max() == 0
    assert torch.equal(found[1], images[1])


@pytest.mark.parametrize("pixels", [10, 64, 101])
def test_as_many_pixels_are_removed_as_numpys_percentile_says(pixels):
    values = np.random.default_rng(0).permutation(pixels).astype(float)
    for q in PERCENTILES:
        assert removed(pixels, q) == (values >= np.percentile(values, q)).sum()


def test_road_of_a_map_that_finds_the_class_is_positive_and_turns_round_with_the_map():
    images = torch.zeros(1, 3, 8, 8)
    images[:, :, :4, :4] = 1  # the class is this corner

    def ask(x):
        found = x[:, :, :4, :4].mean((1, 2, 3)).clamp(0, 1)
        return torch.stack([found, 1 - found], 1)

    heat = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.1
    heat[:, :4, :4] += 0.9
    score = [metric("road")(Query(h, images, torch.tensor([0]), torch.tensor([1.0]), ask)).item() for h in (heat, 1 - heat)]
    assert score[0] > 0.1
    assert score[1] == pytest.approx(-score[0], abs=0.01)


# Boxes


def flood(mask):
    """8-connected components by flood fill, as lists of pixels."""
    todo, found = {tuple(place) for place in np.argwhere(mask)}, []
    for start in sorted(todo):
        if start not in todo:
            continue
        stack, here = [start], []
        todo.discard(start)
        while stack:
            i, j = stack.pop()
            here.append((i, j))
            near = {(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & todo
            todo -= near
            stack.extend(near)
        found.append(here)
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.4, 0.6]))
def test_connected_parts_and_largest_boxes_agree_with_a_flood_fill(seed, share):
    masks = torch.rand(2, 9, 14, generator=torch.Generator().manual_seed(seed)) < share
    found, boxes = connected_parts(masks), largest_boxes(masks)
    for n in range(2):
        expected = flood(masks[n].numpy())
        ends = [[(min(axis), max(axis) + 1) for axis in zip(*part, strict=True)] for part in expected]
        assert found == sorted(found, key=lambda part: part[0])
        assert [part[1:] for part in found if part[0] == n] == [
            (len(part), (x[0], y[0], x[1], y[1])) for part, (y, x) in zip(expected, ends, strict=True)
        ]
        if expected:
            rows, columns = zip(*max(expected, key=len), strict=True)
            assert boxes[n].tolist() == [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


def test_a_snake_is_one_component():
    snake = torch.zeros(1, 41, 41, dtype=torch.bool)
    snake[:, ::2] = True
    snake[:, 1::4, -1] = snake[:, 3::4, 0] = True
    assert connected_parts(snake) == [(0, int(snake.sum()), (0, 0, 41, 41))]


def test_boxes_by_hand():
    heat = torch.zeros(1, 10, 10)
    heat[:, 2:6, 2:6], heat[:, 8, 8] = 0.6, 1.0  # the largest blob, and a hotter speck
    boxes = [torch.tensor([[2.0, 2.0, 6.0, 4.0], [8.0, 8.0, 9.0, 9.0]])]
    masks = torch.zeros(1, 10, 10, dtype=torch.bool)
    query = query_of(1, 1, 10, heatmaps=heat, boxes=boxes, masks=masks, labels=torch.tensor([1]), predicted=torch.tensor([1]))
    assert metric("le")(query).item() == pytest.approx(0.5)  # half of the blob's box is the first object
    assert metric("om")(query).item() == pytest.approx(0.5)
    query._predicted = torch.tensor([2])
    assert metric("om")(query).item() == 1
    # At η of 0.6 and more only the speck is left, and its box is the second object: every δ is reached.
    parts = metric("ba")(query)[0].tolist()
    expected = [1.0 if level >= 0.6 else sum(d <= 0.5 for d in OVERLAPS) / 3 for level in LEVELS]
    assert parts == pytest.approx(
        [1.0 if float(np.float32(0.6)) <= level else e for level, e in zip(LEVELS, expected, strict=True)]
    )
    assert metric("ba").aggregate(metric("ba")(query)).item() == 1


def test_the_best_threshold_belongs_to_all_images():
    parts = torch.zeros(2, len(LEVELS))
    parts[0, 3], parts[1, 5] = 1, 1  # each image has its own best η: together none is better than half
    assert metric("ba").aggregate(parts).item() == 0.5


def test_the_crop_is_what_interpolate_makes_of_it():
    images = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[2.0, 3.0, 7.0, 10.0], [0.0, 0.0, 10.0, 12.0]])
    expected = torch.nn.functional.interpolate(images[:1, :, 3:10, 2:7], (12, 10), mode="bilinear", align_corners=False)
    torch.testing.assert_close(crop(images, boxes)[:1], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(crop(images, boxes)[1], images[1], rtol=0, atol=1e-5)


def test_the_saliency_metric_by_hand():
    heat = torch.zeros(1, 10, 10)
    heat[:, 0:5, 0:4] = 1  # a fifth of the image
    query = query_of(1, 1, 10, heatmaps=heat, classes=torch.tensor([0]), ask=lambda x: torch.tensor([[0.25, 0.5, 0.25]]))
    assert metric("sm")(query).item() == pytest.approx(math.log(0.2) - math.log(0.25))
    speck = torch.zeros(1, 10, 10)
    speck[:, 0, 0] = 1  # less than 0.05
    query = query_of(1, 1, 10, heatmaps=speck, classes=torch.tensor([1]), ask=lambda x: torch.tensor([[0.25, 0.5, 0.25]]))
    assert metric("sm")(query).item() == pytest.approx(math.log(0.05) - math.log(0.5))


def test_ground_truth_agrees_with_its_slow_twin():
    query = query_of(12)
    for job in range(12):
        S, U = query.heatmaps[job].double().numpy().ravel(), query.masks[job].numpy().ravel()
        for name, level in (("f1", S.mean()), ("f1@0.7", 0.7), ("iou@0.25", 0.25)):
            hot = level < S
            both = (hot & U).sum()
            slow = 2 * both / (hot.sum() + U.sum()) if name.startswith("f1") else both / (hot | U).sum()
            assert metric(name)(query)[job].item() == pytest.approx(slow, abs=1e-6)
        assert metric("mae")(query)[job].item() == pytest.approx(np.abs(S - U).mean(), abs=1e-6)
        assert metric("pearson")(query)[job].item() == pytest.approx(np.corrcoef(S, U)[0, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("iou@2", "from 0, below 1"),
        ("iou@x", "from 0, below 1"),
        ("pointing@0.5", "binarises no heatmap"),
        ("iuo@0.5", "did you mean"),
    ],
)
def test_levels_that_make_no_sense(name, message):
    with pytest.raises(SycamError, match=message):
        metric(name)


# Robustness


def test_a_cam_that_moves_with_the_image_is_equivariant_and_one_that_does_not_is_not():
    g = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 16, 16, generator=g) + 0.1
    moving = query_of(4, 4, 16, images=images, heatmaps=redraw_brightness(images, None)[0], image_index=None)
    assert metric("equivariance")(moving).tolist() == pytest.approx([1] * 4, abs=1e-5)
    fixed = torch.rand(16, 16, generator=g)
    stuck = query_of(
        4, 4, 16, images=images, heatmaps=fixed.expand(4, 16, 16), image_index=None,
        redraw=lambda x, jobs: (fixed.expand(len(x), 16, 16), net(x)),
    )  # fmt: skip
    F = fixed.numpy()
    expected = [
        np.corrcoef(F[:, ::-1].ravel(), F.ravel())[0, 1], np.corrcoef(F[::-1].ravel(), F.ravel())[0, 1],
        np.corrcoef(F[:, :-2].ravel(), F[:, 2:].ravel())[0, 1], np.corrcoef(F[:-2].ravel(), F[2:].ravel())[0, 1],
    ]  # fmt: skip
    assert metric("equivariance")(stuck).tolist() == pytest.approx([np.mean(expected)] * 4, abs=1e-5)


def test_max_sensitivity_of_a_known_change():
    heat = torch.full((2, 4, 4), 0.5)
    seen = []

    def redraw(images, jobs):
        seen.append(images.clone())
        return heat[jobs] + 0.01 * len(seen), net(images)

    query = query_of(2, 2, 4, heatmaps=heat, image_index=None, redraw=redraw)
    assert metric("max-sensitivity")(query).tolist() == pytest.approx([0.01 * 10 / 0.5] * 2, rel=1e-4)
    apart = torch.stack([x - query.images for x in seen])
    assert apart.abs().max() <= RADIUS + 1e-6
    assert apart.abs().max() > 0.9 * RADIUS
    assert len({round(float(x), 6) for x in apart[:, 0].sum((1, 2, 3))}) == 10  # ten different draws


def test_infidelity_agrees_with_its_definition():
    pytest.importorskip("captum")
    query = query_of(5)
    found = metric("infidelity")(query)
    for job in range(5):
        x, S, c = query.images[job].double(), query.heatmaps[job].double(), int(query.classes[job])
        dots, falls = [], []
        for sample in range(SAMPLES):
            taken = x * square(sample, x[None])
            dots.append((taken * S).sum().item())
            falls.append((net(x[None]) - net((x - taken)[None]))[0, c].item())
        dots, falls = np.array(dots), np.array(falls)
        beta = (dots * falls).mean() / (dots**2).mean()
        assert found[job].item() == pytest.approx(((beta * dots - falls) ** 2).mean(), abs=1e-6)


# Through the oracle, with a real head


@pytest.mark.parametrize("text", ["(gap G)", "(m* A G)", "drop"])
def test_the_oracle_redraws_each_candidate_on_its_own_masked_image(text):
    network, images = tiny_network(), tiny_images(5)
    terms = [cam_from_text(text).term, cam_from_text("(gap A)").term]
    cache = TerminalCache(network, images, ["A", "G", "drop"])
    oracle = MetricOracle(cache, [metric("average-drop"), metric("coherency")], batch=3)
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
    alone = MetricOracle(cache, metric("average-drop"), batch=3).score(maps, torch.arange(5))
    torch.testing.assert_close(drop, alone, rtol=0, atol=1e-6)
    with pytest.raises(SycamError, match="must be given the 2 CAMs"):
        oracle.score(maps, torch.arange(5))


def test_a_baseline_is_redrawn_too():
    network, images = tiny_network(), tiny_images(3)
    cache = TerminalCache(network, images, [])
    oracle = MetricOracle(cache, metric("coherency"))
    fake = find_cam("Fake-CAM")
    maps = torch.ones(1, 3, 16, 16)
    maps[..., 0, 0] = 0
    assert oracle.score(maps, torch.arange(3), [fake])[0].tolist() == pytest.approx([1] * 3)  # it finds nothing but itself


# Sums


def test_a_sum_is_the_sum_and_shares_passes():
    both = weighted_sum("(average-gain - average-drop) * 0.5 + 2/4*adcc")
    query = query_of()
    parts = {name: metric(name)(query_of()) for name in ("average-gain", "average-drop", "adcc")}
    expected = 0.5 * parts["average-gain"] - 0.5 * parts["average-drop"] + 0.5 * parts["adcc"]
    torch.testing.assert_close(both(query), expected)
    assert (both.direction, both.bounds, both.redraws) == ("high", (-0.5, 1.0), True)
    assert weighted_sum("average-drop - 2*iou + 1").bounds == (-1, 2)
    assert weighted_sum("average-drop - 2*iou + 1").direction == "low"
    assert weighted_sum("0.5*iou@0.5-0.5*mae").name == "0.5*iou@0.5-0.5*mae"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("iou + average-drop", "opposite directions"),
        ("iou * f1", "not multiplied"),
        ("1 / iou", "no divisor"),
        ("iou / 0", "divided by 0"),
        ("2 + 3", "at least one"),
        ("iou - iou", "at least one"),
        ("iou + + ", r"\^"),
        ("iou + io", "did you mean 'iou'"),
        ("2*adcc-of-means", "not a mean over images"),
        ("__import__('os')", r"\^"),
        ("1e999*iou", "not finite"),
    ],
)
def test_sums_that_make_no_sense(text, message):
    with pytest.raises(SycamError, match=message):
        weighted_sum(text)


# Search


@pytest.mark.parametrize("name", ["adcc", "adcc-of-means"])
def test_a_search_finds_what_brute_force_finds(name):
    network, images = tiny_network(), tiny_images(10)
    cache = TerminalCache(network, images, ["A", "G"])
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
    everyone = MetricOracle(cache, metric(name), batch=32)
    scores = metric(name).aggregate(everyone.score(everyone.maps(terms)[0], torch.arange(10), terms))
    oracle = MetricOracle(cache, metric(name), batch=32)
    found = search((Candidate(term, 1) for term in terms), oracle, None, Budget(), at_once=2).incumbent
    assert found.score == pytest.approx(scores.max().item(), abs=1e-6)
    assert found.term == terms[int(scores.argmax())]


def test_bounds_on_parts_reject_early_and_only_what_cannot_win():
    network, images = tiny_network(), tiny_images(40)
    cache = TerminalCache(network, images, ["A", "G"])
    terms = [cam_from_text(text).term for text in ("(gap A)", "(gap G)", "(m* A G)", "(gmin G)", "(mneg G)")]
    oracle = MetricOracle(cache, metric("adcc-of-means"), batch=32)
    maps = oracle.maps(terms)[0]
    scores = metric("adcc-of-means").aggregate(oracle.score(maps, torch.arange(40), terms))
    threshold = float(scores.max()) - 1e-6
    stages = list(torch.arange(40).split(8))
    results = score_in_stages(oracle, maps, Plan(stages, stages[0][:0], [Contest(torch.arange(40), threshold)]), terms)
    for result, score in zip(results, scores.tolist(), strict=True):
        assert result.bound >= score - 1e-6  # a pass in another batch
        assert result.total is None or result.total == pytest.approx(score, abs=1e-6)
    assert any(result.total is None for result in results)
    assert results[int(scores.argmax())].total is not None
