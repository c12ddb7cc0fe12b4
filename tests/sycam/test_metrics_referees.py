"""Average drop and increase against torchcam, on real networks and real images from SYCAM_DATA."""

import csv
import importlib.util
import os
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor, resize

from sycam.metrics.own.find import find_metric
from sycam.metrics.query import Query

torchcam_metrics = pytest.importorskip("torchcam.metrics", reason="torchcam is in the extra `referee`")
torchcam_methods = pytest.importorskip("torchcam.methods")

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("SYCAM_DATA", REPOSITORY.parent / "shared" / "data"))

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no images and networks in {DATA}: set SYCAM_DATA")


def real_models():
    spec = importlib.util.spec_from_file_location("sycam_data_models", DATA / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(folder, rows, size, mean, std):
    """Every 1000/rows-th image of the folder, squashed to size × size, normalised: [rows, 3, size, size]."""
    with (DATA / folder / "labels.csv").open() as table:
        files = [row["file"] for row in csv.DictReader(table)]
    images = []
    for file in files[:: len(files) // rows][:rows]:
        path = next(path for path in (DATA / folder / file, DATA / folder / "images" / file) if path.exists())
        image = pil_to_tensor(Image.open(path).convert("RGB"))
        images.append(resize(image, [size, size], antialias=True).float() / 255)
    raw = torch.stack(images)
    return (raw - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


BATCH = 20  # theirs and ours: other batches would move the last bits of float32


@pytest.mark.parametrize(
    ("name", "folder", "rows", "method"),
    [
        ("small_vgg_tiny20", "tiny-imagenet", 40, "GradCAM"),
        ("small_vgg_tiny20", "tiny-imagenet", 40, "LayerCAM"),
        ("mobilenet_v2", "imagenet", 10, "GradCAM"),
    ],
)
def test_drop_and_increase_agree_with_torchcam(name, folder, rows, method):
    models = real_models()
    spec = models.MODELS[name]
    network = models.load(name)
    images = read(folder, rows, spec.size, spec.mean, spec.std)
    softmax = partial(torch.softmax, dim=-1)

    with getattr(torchcam_methods, method)(network, target_layer=spec.layer) as extractor:
        referee = torchcam_metrics.ClassificationMetric(extractor, softmax)
        for chunk in images.split(BATCH):
            referee.update(chunk)
        theirs = referee.summary()
        # torchcam normalises the small map and then upsamples it, so these are its heatmaps, not our `post`.
        heatmaps, classes, p = [], [], []
        for chunk in images.split(BATCH):
            scores = softmax(network(chunk))
            best = scores.max(-1)
            small = extractor.fuse_cams(extractor(best.indices.tolist(), scores))
            heatmaps.append(F.interpolate(small[:, None], (spec.size, spec.size), mode="bilinear")[:, 0].detach())
            classes.append(best.indices)
            p.append(best.values.detach())

    with torch.inference_mode():
        query = Query(
            torch.cat(heatmaps),
            images,
            torch.cat(classes),
            torch.cat(p),
            lambda masked: softmax(network(masked)),
            batch=BATCH,
        )
        drop, increase = find_metric("average-drop")(query), find_metric("average-increase")(query)
    assert referee.nan_count == 0
    assert 0.01 < theirs["avg_drop"] < 0.99  # the referee sees something
    # It divides by p + 1e-7, which moves a score by at most 1e-7 / p.
    assert drop.mean().item() == pytest.approx(theirs["avg_drop"], abs=1e-6)
    assert increase.mean().item() == pytest.approx(theirs["conf_increase"], abs=1e-6)
