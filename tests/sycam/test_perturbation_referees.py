"""ROAD against pytorch-grad-cam, deletion and insertion against torchcam, max-sensitivity against captum."""

import numpy as np
import pytest
import torch
from torch import nn

from sycam.heatmap import post
from sycam.metrics.kinds.removal import PERCENTILES, blur, impute
from sycam.metrics.kinds.robustness import SAMPLES, noise
from sycam.metrics.own.find import find_metric
from sycam.metrics.query import Query, probe


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 5), nn.Softmax(1)
    ).eval()


def blobs(count, size, seed=0):
    return post(torch.rand(count, 4, 4, generator=torch.Generator().manual_seed(seed)), size)


@torch.no_grad()
def query_of(net, images, heatmaps):
    p, classes = net(images).max(1)
    return Query(heatmaps, images, classes, p, lambda x: net(x).detach(), batch=16)


def test_the_imputation_agrees_with_the_sparse_solve():
    road = pytest.importorskip("pytorch_grad_cam.metrics.road", reason="grad-cam is in the extra `referee`")
    size = 48
    image = torch.randn(3, size, size, generator=torch.Generator().manual_seed(1))
    ranks = blobs(1, size)[0].flatten().argsort(descending=True).argsort().view(size, size)
    known = torch.stack([ranks >= size * size * q // 100 for q in PERCENTILES])
    theirs = torch.stack([road.NoisyLinearImputer(noise=0)(image, mask.float()) for mask in known])
    ours = impute(image.expand(len(known), -1, -1, -1), known[:, None])
    assert (ours - theirs).abs().max() < 1e-3


def test_road_agrees_with_pytorch_grad_cam():
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net, images = model(), torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(2))
    heatmaps = blobs(3, 24) * 0.999 + 0.001 * torch.rand(3, 24, 24)  # no ties: there the referee removes too much
    query = query_of(net, images, heatmaps)
    targets = [ClassifierOutputTarget(int(c)) for c in query.classes]
    theirs = road.ROADCombined(list(PERCENTILES))(images, heatmaps.numpy(), targets, net)
    assert find_metric("road")(query).numpy() == pytest.approx(theirs, abs=2e-3)  # the noise differs
    assert np.abs(theirs).max() > 5e-3


def test_where_a_heatmap_has_ties_the_referee_removes_too_much():
    pytest.importorskip("pytorch_grad_cam.metrics.road")
    from pytorch_grad_cam.metrics.perturbation_confidence import RemoveLeastRelevantFirst

    masks = []
    half_empty = torch.cat([torch.zeros(5), torch.arange(1.0, 6) / 5]).view(2, 5)
    RemoveLeastRelevantFirst(90, lambda image, mask: masks.append(mask))(torch.zeros(3, 2, 5), half_empty)
    assert (masks[0] == 0).sum() == 5  # of ten pixels, when the least relevant tenth was to go
    query = probe(half_empty[None])
    assert query.ranks.flatten().tolist() == [5, 6, 7, 8, 9, 4, 3, 2, 1, 0]  # ours takes the last of them


def test_deletion_and_insertion_agree_with_torchcam():
    torchcam_metrics = pytest.importorskip("torchcam.metrics", reason="torchcam is in the extra `referee`")
    net, size = model(), 16
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(3))
    heatmaps = blobs(4, size)

    class Extractor:
        """Hands torchcam our heatmaps."""

        model = net

        def __call__(self, class_idx=None, scores=None, normalized=True, **_):
            return [heatmaps]

        def fuse_cams(self, cams):
            return cams[0]

        def _hooks_off(self):
            from contextlib import nullcontext

            return nullcontext()

    query = query_of(net, images, heatmaps)
    for name, baseline in (("deletion", None), ("insertion", blur)):
        referee = torchcam_metrics.DeletionInsertionMetric(Extractor(), steps=size, baseline=baseline)
        with torch.no_grad():
            referee.update(images)
        theirs = referee.summary()[f"{name}_auc"]
        assert find_metric(name)(query).mean().item() == pytest.approx(theirs, abs=1e-5)


def test_max_sensitivity_agrees_with_captum():
    captum_metrics = pytest.importorskip("captum.metrics")
    net, size = model(), 12
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(4))

    def explain(x):
        if isinstance(x, tuple):  # as captum asks first
            return (explain(x[0]),)
        return (x[:, :1] * x[:, 1:2]).sigmoid()

    def perturb(x):
        each = len(x) // 2
        return x + torch.stack([noise(sample, x) for sample in range(each)]).repeat(2, 1, 1, 1)

    theirs = captum_metrics.sensitivity_max(explain, images, perturb_func=perturb, n_perturb_samples=SAMPLES)
    with torch.no_grad():
        p, classes = net(images).max(1)
    query = Query(
        explain(images)[:, 0], images, classes, p, net, redraw=lambda x, jobs: (explain(x)[:, 0], net(x).detach()), batch=1
    )
    assert find_metric("max-sensitivity")(query).tolist() == pytest.approx(theirs.tolist(), rel=1e-4)
