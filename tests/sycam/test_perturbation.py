"""What is asked of changed images: deletion, insertion, ROAD, equivariance, max-sensitivity and infidelity."""

import numpy as np
import pytest
import torch
from queries import net, query_of, redraw_brightness

from sycam.metrics.kinds.removal import PERCENTILES, blur, impute, removed
from sycam.metrics.kinds.robustness import RADIUS, SQUARES, square
from sycam.metrics.own.find import find_metric
from sycam.metrics.query import Query

# Curves


@pytest.mark.parametrize("name", ["deletion", "insertion"])
def test_deletion_and_insertion_agree_with_a_slow_twin(name):
    query = query_of(4, 2, 8)
    fast = find_metric(name)(query)
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
        find_metric(name)(query)
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
    score = [find_metric("road")(Query(h, images, torch.tensor([0]), torch.tensor([1.0]), ask)).item() for h in (heat, 1 - heat)]
    assert score[0] > 0.1
    assert score[1] == pytest.approx(-score[0], abs=0.01)


# Robustness


def test_a_cam_that_moves_with_the_image_is_equivariant_and_one_that_does_not_is_not():
    g = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 16, 16, generator=g) + 0.1
    moving = query_of(4, 4, 16, images=images, heatmaps=redraw_brightness(images, None)[0], image_index=None)
    assert find_metric("equivariance")(moving).tolist() == pytest.approx([1] * 4, abs=1e-5)
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
    assert find_metric("equivariance")(stuck).tolist() == pytest.approx([np.mean(expected)] * 4, abs=1e-5)


def test_max_sensitivity_of_a_known_change():
    heat = torch.full((2, 4, 4), 0.5)
    seen = []

    def redraw(images, jobs):
        seen.append(images.clone())
        return heat[jobs] + 0.01 * len(seen), net(images)

    query = query_of(2, 2, 4, heatmaps=heat, image_index=None, redraw=redraw)
    assert find_metric("max-sensitivity")(query).tolist() == pytest.approx([0.01 * 10 / 0.5] * 2, rel=1e-4)
    apart = torch.stack([x - query.images for x in seen])
    assert apart.abs().max() <= RADIUS + 1e-6
    assert apart.abs().max() > 0.9 * RADIUS
    assert len({round(float(x), 6) for x in apart[:, 0].sum((1, 2, 3))}) == 10  # ten different draws


def test_infidelity_agrees_with_its_definition():
    pytest.importorskip("captum")
    query = query_of(5)
    found = find_metric("infidelity")(query)
    for job in range(5):
        x, S, c = query.images[job].double(), query.heatmaps[job].double(), int(query.classes[job])
        dots, falls = [], []
        for sample in range(SQUARES):
            taken = x * square(sample, x[None])
            dots.append((taken * S).sum().item())
            falls.append((net(x[None]) - net((x - taken)[None]))[0, c].item())
        dots, falls = np.array(dots), np.array(falls)
        beta = (dots * falls).mean() / (dots**2).mean()
        assert found[job].item() == pytest.approx(((beta * dots - falls) ** 2).mean(), abs=1e-6)
