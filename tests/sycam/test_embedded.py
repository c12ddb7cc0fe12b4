"""The embedded default: what is shipped is small, sound and hard enough, and its script rebuilds it."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from sycam.embedded import CLASSES, LAYER, MEAN, SIZE, STD, DigitVGG, images_csv, load_network, network
from sycam.errors import SycamError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "build_embedded.py"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with images_csv().open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


@pytest.fixture(scope="module")
def labels(rows) -> torch.Tensor:
    return torch.tensor([int(row["label"]) for row in rows])


@pytest.fixture(scope="module")
def pixels(rows) -> torch.Tensor:  # [N, 3, 64, 64] in [0, 1]
    images = [np.asarray(Image.open(images_csv().parent / row["file"])) for row in rows]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def images(pixels) -> torch.Tensor:
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@pytest.fixture(scope="module")
def masks(rows) -> torch.Tensor:  # [N, 64, 64] bool
    return torch.stack(
        [torch.from_numpy(np.array(Image.open(images_csv().parent / row["mask"]).convert("L")) > 127) for row in rows]
    )


@pytest.fixture(scope="module")
def classifier() -> DigitVGG:
    return load_network()


@pytest.fixture(scope="module")
def probabilities(classifier, images) -> torch.Tensor:
    with torch.inference_mode():
        return classifier(images).softmax(1)


def test_it_is_under_four_megabytes():
    folder = images_csv().parent.parent
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.suffix != ".pyc") < 4_000_000


def test_every_row_has_a_colour_image_and_a_mask_with_both_values(rows):
    assert list(rows[0]) == ["file", "label", "name", "mask"]
    for row in rows:
        assert row["name"] == CLASSES[int(row["label"])]
        image = Image.open(images_csv().parent / row["file"])
        assert (image.size, image.mode) == ((SIZE, SIZE), "RGB")
        mask = Image.open(images_csv().parent / row["mask"]).convert("L")
        assert mask.size == (SIZE, SIZE)
        assert set(np.unique(np.asarray(mask)).tolist()) == {0, 255}


def test_the_folder_holds_nothing_but_the_table_names(rows):
    named = {row["file"] for row in rows} | {row["mask"] for row in rows} | {"labels.csv"}
    assert {file.name for file in images_csv().parent.iterdir()} == named


def test_classes_are_balanced_and_any_prefix_of_ten_holds_them_all(labels):
    assert set(Counter(labels.tolist()).values()) == {len(labels) // 10}
    assert sorted(labels[:10].tolist()) == list(range(10))


def test_no_image_is_shipped_twice(pixels):
    assert len(torch.unique(pixels.flatten(1), dim=0)) == len(pixels)


def test_a_mask_is_the_ink(pixels, masks):
    """Ink is one colour: inside its (eroded) mask an image varies far less than in the frame as a whole."""
    inside = 1 - nn.functional.max_pool2d(1 - masks[:, None].float(), 3, 1, 1)  # [N, 1, 64, 64], eroded
    area = inside.sum((1, 2, 3))
    assert (area > 20).float().mean() > 0.95
    keep = area > 20
    pixels, inside, area = pixels[keep], inside[keep], area[keep, None]
    mean = (pixels * inside).sum((2, 3)) / area
    spread = (((pixels - mean[:, :, None, None]) ** 2 * inside).sum((2, 3)) / area).mean(1).sqrt()
    assert (spread < 0.5 * pixels.std((2, 3)).mean(1)).float().mean() > 0.95
    assert spread.median() < 0.04


def test_pointing_at_the_centre_is_a_weak_baseline(masks):
    assert masks[:, SIZE // 2, SIZE // 2].float().mean() < 0.3
    assert masks.float().mean(0).max() < 0.3  # nor is any other fixed pixel a good guess


def test_the_network_is_right_and_not_saturated(probabilities, labels):
    assert (probabilities.argmax(1) == labels).float().mean() >= 0.97
    right = probabilities.gather(1, labels[:, None])
    assert right.median() < 0.99
    assert right.median() > 0.7


def test_the_ink_decides(classifier, images, masks, labels, probabilities):
    """Masking carries a signal: the answer stays where only the digit is in view and goes where it is hidden."""
    near = nn.functional.avg_pool2d(nn.functional.max_pool2d(masks[:, None].float(), 9, 1, 4), 5, 1, 2)
    with torch.inference_mode():
        shown = classifier(images * near).softmax(1)
        hidden = classifier(images * (1 - near)).softmax(1)
    assert (shown.argmax(1) == labels).float().mean() > 0.9
    assert (hidden.argmax(1) == labels).float().mean() < 0.3
    drop = (probabilities - hidden).gather(1, labels[:, None])
    assert drop.mean() > 0.5


def test_the_layer_is_a_relu_before_the_last_pooling_called_once(classifier, images):
    layer, seen = classifier.get_submodule(LAYER), []
    assert isinstance(layer, nn.ReLU)
    assert not layer.inplace
    assert list(classifier.features)[-2] is layer
    assert isinstance(classifier.features[-1], nn.MaxPool2d)
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        classifier(images[:5])
    handle.remove()
    assert len(seen) == 1
    batch, channels, height, width = seen[0].shape
    assert (batch, height, width) == (5, 8, 8)
    assert 64 <= channels <= 128
    assert seen[0].min() == 0
    assert (seen[0].amax((2, 3)) > 0).float().mean() > 0.5  # most channels are alive on most images


def test_the_head_is_fully_connected(classifier):
    assert sum(isinstance(module, nn.Linear) for module in classifier.classifier) == 3
    assert not any(isinstance(m, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d) for m in classifier.modules())


def test_it_comes_in_evaluation_mode_and_gives_the_same_answer_alone_and_in_a_batch(classifier, images, probabilities):
    assert not any(module.training for module in classifier.modules())
    with torch.inference_mode():
        alone = classifier(images[7:8]).softmax(1)
    torch.testing.assert_close(alone, probabilities[7:8], atol=1e-5, rtol=1e-5)


def test_missing_weights_are_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr(network, "WEIGHTS", tmp_path / "weights.safetensors")
    with pytest.raises(SycamError, match="rebuild it"):
        load_network()


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("build_embedded", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    threads = torch.get_num_threads()
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    torch.set_num_threads(threads)


def test_the_script_rebuilds_both(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "STROKES", 64)
    tiny = ["--steps", "3", "--images", "10", "--held-out", "20", "--no-check"]
    assert script.main([*tiny, "--out", str(tmp_path)]) == 0
    with (tmp_path / "images" / "labels.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [row["name"] for row in rows] == list(CLASSES)
    assert len(list((tmp_path / "images").glob("*.png"))) == 20
    fresh = load_file(tmp_path / "weights.safetensors")
    shipped = load_file(network.WEIGHTS)
    assert {k: v.shape for k, v in fresh.items()} == {k: v.shape for k, v in shipped.items()}
    # Without --no-check three steps of training are refused.
    assert script.main([*tiny[:-1], "--out", str(tmp_path)]) == 1


def test_the_shipped_masks_are_those_that_the_script_draws(script, masks):
    """From seed 0 the script draws the shipped masks again (bicubic rounding may move a pixel of an edge elsewhere)."""
    generator = torch.Generator().manual_seed(0)
    _, _, shipped = script.split_scans(generator)
    strokes = script.draw_strokes(script.STROKES, generator)
    composer = script.Composer(shipped, strokes, torch.Generator().manual_seed(1))
    order = torch.arange(len(shipped.labels)).view(10, -1).T.flatten()
    _, again = composer.draw(order)
    assert (again != masks).float().mean() < 1e-3


def test_scans_are_split_without_overlap(script):
    parts = script.split_scans(torch.Generator().manual_seed(0))
    assert [len(part.labels) for part in parts[1:]] == [300, 240]
    seen = [{tuple(scan.flatten().tolist()) for scan in part.ink} for part in parts]
    assert not seen[2] & seen[0]
    assert not seen[1] & seen[0]


def test_masking_half_hides_and_half_shows(script):
    """A heatmap of the ink shows it all, and a target is never more certain than what is shown."""
    generator = torch.Generator().manual_seed(0)
    _, _, scans = script.split_scans(generator)
    composer = script.Composer(scans, script.draw_strokes(64, generator), generator)
    image, mask = composer.draw(torch.arange(0, 240, 3))
    masked, shown = script.hide(script.normalise(image), mask, composer)
    assert masked.abs().max() <= script.normalise(image).abs().max()
    assert shown.min() < 0.5
    assert shown.max() == 1
