"""Every CAM by every metric, on photographs and on X-rays with expert masks: the tables of RESULTS.md.

    python benchmarks/tables.py measure --folder tables                # hours on 2 cores; goes on where it was stopped
    python benchmarks/tables.py show --folder tables

It is `sycam score all --metric all` in parts, each written when it is done, so that what a part costs decides on how many images
it is measured. On a CPU the curves, ROAD and infidelity (512 passes for each CAM and image) are measured on `--few` images, and
methods of dozens of passes an image by metrics that do not draw them again; those of many thousand are left out. With
`--device cuda` nothing is left out.
Images are drawn with seed 0; they come from SYCAM_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sycam.cams import AnyCam, find_cams
from sycam.images import ImageSource
from sycam.metrics.metric import METRICS, Metric
from sycam.metrics.protocol import find_protocol
from sycam.network import Network, load_network
from sycam.run.result import interval
from sycam.scoring.comparison import Request, compare

DATA = Path(os.environ.get("SYCAM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
MANY = ("insertion", "deletion", "road", "infidelity")
"""Metrics of 18 to 223 passes."""
K_PASSES = ("Score-CAM", "Score-CAM-softmax", "Score-CAM-softmax-logits", "Opti-CAM", "Group-CAM")
"""CAMs of 33 passes an image and more."""
THOUSANDS = ("SS-CAM", "IS-CAM", "Poly-CAM", "Poly-CAM-plus", "Poly-CAM-minus")


class Setting(NamedTuple):
    """A network and its images."""

    title: str
    model: str
    weights: str
    options: dict[str, Any]
    images: dict[str, Any]
    number: int


SETTINGS = {
    "mobilenet_v2": Setting(
        "MobileNetV2, 200 photographs", "mobilenet_v2", "mobilenet_v2", {"mean": 0.5, "std": 0.5}, {"path": "imagenet"}, 200
    ),
    "tiny_darknet": Setting(
        "Tiny Darknet, 200 photographs", f"{DATA}/models.py:TinyDarknet", "tiny_darknet",
        {"size": 224, "mean": 0.0, "std": 1.0}, {"path": "imagenet"}, 200,
    ),
    "xray": Setting(
        "MobileNetV2 of three findings, 100 chest X-rays", "mobilenet_v2", "mobilenet_v2_xray3", {"mean": 0.5, "std": 0.5},
        {"path": "xray/masked.csv", "masks": "{stem}_infection.png"}, 100,
    ),
}  # fmt: skip


def parts(everything: bool) -> list[tuple[str, bool, list[AnyCam], list[Metric]]]:
    """What is measured together: name, whether on few images, CAMs, metrics."""
    metrics = list(METRICS.values())
    many = [m for m in metrics if m.name in MANY]
    once = [m for m in metrics if m.name not in MANY and not m.redraws]
    again = [m for m in metrics if m.name not in MANY and m.redraws]
    cams = find_cams("all")
    light = [cam for cam in cams if cam.name not in (*K_PASSES, *THOUSANDS)]
    heavy = [cam for cam in cams if cam.name in K_PASSES]
    found = [
        ("light, one pass", False, light, once),
        ("light, drawn again", False, light, again),
        ("light, many passes", True, light, many),
        ("heavy, one pass", False, heavy, once),
    ]
    if everything:
        rest = [cam for cam in cams if cam.name in THOUSANDS]
        found += [("heavy, drawn again", False, heavy, again), ("heavy, many passes", False, heavy, many)]
        found += [("thousands", False, rest, metrics)]
    return found


def measure(given: argparse.Namespace) -> None:
    """Every part that is not there yet, of each setting."""
    given.folder.mkdir(exist_ok=True)
    protocol = find_protocol(None)
    networks: dict[str, Network] = {}
    chosen = parts(given.device != "cpu")
    for (part, few, cams, metrics), name in itertools.product(chosen, given.settings.split(",")):
        setting, file = SETTINGS[name], given.folder / f"{name}, {part}.json"
        if file.exists():
            continue
        network = networks.setdefault(name, networks.get(name) or _network(setting, given.device))
        count = given.few if few and given.device == "cpu" else given.images or setting.number
        paths = {key: value if key == "masks" else DATA / value for key, value in setting.images.items()}
        pool = ImageSource(**paths).load(network.preprocessing, count, 0)
        start = time.perf_counter()
        found = compare(Request(cams, metrics, optional=cams, protocol=protocol), network, pool)
        scores = {
            m.name: {c.name: interval(v, m) for c, v in zip(found.cams, found.scores[m.name], strict=True)} for m in metrics
        }
        document = {
            "images": len(pool),
            "sha256": pool.digest(),
            "seconds": time.perf_counter() - start,
            "threads": torch.get_num_threads(),
            "device": given.device,
            "protocol": protocol.describe(network),
            "network": network.describe(),
            "skipped": {cam.name: reason for cam, reason in found.skipped},
            "empty": found.empty,
            "without_mask": found.without_mask,
            "scores": scores,
        }
        new = file.with_suffix(".part")
        new.write_text(json.dumps(document, indent=1))
        new.rename(file)
        print(f"{file}: {document['seconds']:.0f} s", flush=True)


def _network(setting: Setting, device: str) -> Network:
    return load_network(
        setting.model, weights=DATA / "weights" / f"{setting.weights}.safetensors", device=device, **setting.options
    )


def show(given: argparse.Namespace) -> None:
    """The tables as Markdown: a row for each CAM, the best of each metric in bold, and the place of the best control."""
    everything = find_cams("all")
    for name, setting in SETTINGS.items():
        files = sorted(given.folder.glob(f"{name}, *.json"))
        if not files:
            continue
        documents = [json.loads(file.read_text()) for file in files]
        scores: dict[str, dict[str, dict[str, float]]] = {}
        images: dict[str, str] = {}
        for document in documents:
            for metric, found in document["scores"].items():
                scores.setdefault(metric, {}).update(found)
                images[metric] = str(document["images"] - document["without_mask"].get(metric, 0))
        print(f"### {setting.title}\n")
        chosen = [m for m in METRICS.values() if m.name in scores]
        for start in range(0, len(chosen), 8):
            _table(
                chosen[start : start + 8],
                [cam for cam in everything if any(cam.name in s for s in scores.values())],
                scores,
                images,
            )
        _controls(chosen, everything, scores)
        for document in documents:
            for cam, reason in document["skipped"].items():
                print(f"- {cam} is left out: {reason}")
        print()


def _table(
    metrics: list[Metric], cams: list[AnyCam], scores: dict[str, dict[str, dict[str, float]]], images: dict[str, str]
) -> None:
    print("| CAM | " + " | ".join(f"{m.name} {'↑' if m.direction == 'high' else '↓'} ({images[m.name]})" for m in metrics) + " |")
    print("|" + " --- |" * (len(metrics) + 1))
    best = {m.name: _best(m, [cell["mean"] for cell in scores[m.name].values()]) for m in metrics}
    for cam in cams:
        cells = []
        for m in metrics:
            cell = scores[m.name].get(cam.name)
            places = 1 if m.percent else 3
            text = (
                "" if cell is None else f"{round(cell['mean'] * (100 if m.percent else 1), places) + 0.0:.{places}f}"
            )  # no -0.0
            cells.append(f"**{text}**" if cell and cell["mean"] == best[m.name] else text)
        print(f"| {cam.name}{', control' if cam.kind == 'control' else ''} | " + " | ".join(cells) + " |")
    print()


def _controls(metrics: list[Metric], cams: list[AnyCam], scores: dict[str, dict[str, dict[str, float]]]) -> None:
    kinds = {cam.name: cam.kind for cam in cams}
    won = []
    for m in metrics:
        order = sorted(scores[m.name], key=partial(_mean, scores[m.name]), reverse=m.direction == "high")
        first = next(cam for cam in order if kinds[cam] == "control")
        won.append(f"{m.name}: {first} is {order.index(first) + 1} of {len(order)}")
    print("The best control's place: " + "; ".join(won) + ".\n")


def _mean(scores: dict[str, dict[str, float]], cam: str) -> float:
    return scores[cam]["mean"]


def _best(metric: Metric, values: list[float]) -> float:
    return max(values) if metric.direction == "high" else min(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["measure", "show"])
    parser.add_argument("--folder", type=Path, default=Path("tables"))
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--images", type=int, help="instead of all of a setting")
    parser.add_argument("--few", type=int, default=20, help="images for metrics of many passes, on a CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    (measure if given.what == "measure" else show)(given)


if __name__ == "__main__":
    main()
