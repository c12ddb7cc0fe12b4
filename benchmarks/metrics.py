"""Time per image and metric on MobileNetV2 at 224 x 224, random weights and blobs for heatmaps.

    python benchmarks/metrics.py [--images 2] [--threads 1] [--clock cpu]

Measured: insertion and deletion together against the bare forward passes of as many images in the same batches (at most 1.15)
and against torchcam's at equal steps, the better of its batch and ours (no slower);
ROAD against pytorch-grad-cam's; how many masked passes drop, increase, gain, coherency and adcc take together (one).
"""

from __future__ import annotations

import argparse
import copy
import time

import torch
from torchvision.models import mobilenet_v2

from sycam.cams import cam_from_text
from sycam.heatmap import post
from sycam.images import ImageSet
from sycam.metrics.kinds.removal import PERCENTILES
from sycam.metrics.own.find import find_metric
from sycam.metrics.query import Query
from sycam.network import Network, Preprocessing
from sycam.scoring import MetricOracle, Wanted, gather

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = time.perf_counter


def seconds(work) -> float:
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--clock", choices=sorted(CLOCKS), default="wall", help="cpu: of the process, on a machine with other work"
    )
    given = parser.parse_args()
    globals()["clock"] = CLOCKS[given.clock]
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prep = Preprocessing(224, (0.5,) * 3, (0.5,) * 3)
    network = Network(mobilenet_v2().eval(), prep, device=device, own=True)
    pixels = torch.randint(0, 256, (given.images, 3, 224, 224), dtype=torch.uint8)
    images = prep.normalise(pixels, device)
    heatmaps = post(torch.rand(given.images, 7, 7, device=device), 224)

    def ask(x):
        return network.logits(x).softmax(1)

    p, classes = ask(images).max(1)
    batch = 5 if device == "cpu" else 512

    def query(**more) -> Query:
        return Query(heatmaps, images, classes, p, ask, batch=batch, **more)

    passes = 446 * given.images  # of the curves; and the blurred images and an empty one
    stream = images[:1].expand(batch, -1, -1, -1).clone()

    def bare() -> None:
        for _ in range(passes // batch):
            ask(stream)

    bare_time = min(seconds(bare) for _ in range(2))

    def curves() -> None:
        both = query(curves=("deletion", "insertion"))
        find_metric("deletion")(both), find_metric("insertion")(both)

    ours = min(seconds(curves) for _ in range(2))
    print(f"insertion + deletion  {ours / given.images:.3f} s an image, {ours / bare_time:.3f} x the bare forward passes")
    theirs = _torchcam(network, images, heatmaps, (batch, 32))
    if theirs is not None:
        print(f"                      torchcam {theirs / given.images:.3f} s an image at equal steps, {theirs / ours:.3f} x ours")
    road = min(seconds(lambda: find_metric("road")(query())) for _ in range(2))
    print(f"road                  {road / given.images:.3f} s an image", end="")
    try:
        from pytorch_grad_cam.metrics.road import ROADCombined
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        print()
    else:
        targets = [ClassifierOutputTarget(int(classes[0]))]
        one = heatmaps[:1].cpu().numpy()
        theirs = seconds(lambda: ROADCombined(list(PERCENTILES))(images[:1], one, targets, network.model))
        print(f", pytorch-grad-cam {theirs:.3f} s: {theirs * given.images / road:.1f} x")
    images = ImageSet([str(i) for i in range(given.images)], pixels, torch.zeros(given.images).long())
    cache = gather(network, images, Wanted(["G"]))
    terms = [cam_from_text("(gap G)").term]
    names = ("average-drop", "average-increase", "average-gain", "coherency", "adcc")
    oracle = MetricOracle(cache, [find_metric(name) for name in names])
    maps = oracle.maps(terms)[0]
    spent = seconds(lambda: oracle.score_each(maps, torch.arange(given.images), terms))
    print(f"{', '.join(names)}: {spent / given.images:.3f} s an image, {oracle.spent.passes / given.images:g} pass")


def _torchcam(network: Network, images: torch.Tensor, heatmaps: torch.Tensor, batches: tuple[int, ...]) -> float | None:
    """Seconds of torchcam's deletion and insertion in as many steps, at its best batch; None where it is not installed."""
    try:
        from torchcam.methods import GradCAM
        from torchcam.metrics import DeletionInsertionMetric
    except ImportError:
        return None
    found, model = [], copy.deepcopy(network.model).requires_grad_(True)
    with GradCAM(model, target_layer="features.18") as extractor:
        for batch in batches:
            metric = DeletionInsertionMetric(
                extractor, lambda logits: logits.softmax(1), steps=heatmaps.shape[-1], batch_size=batch
            )
            found.append(seconds(lambda metric=metric: metric.update(images)))
    return min(found)


if __name__ == "__main__":
    main()
