"""Pictures: exact pixels. An image is drawn unblurred, an overlay by its formula, a mask along the edges of pixels."""

import io
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from sycam.errors import SycamError
from sycam.run.report.pictures import COLOURS, OPACITY, explain_figure, gallery, overlay


def noise(*size, seed=0):
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def pixels(file):
    file.seek(0)
    return np.asarray(Image.open(file).convert("RGB"))


def find(page, picture, scale):
    """Top left corners at which the page shows the picture, every pixel a square of `scale` pixels."""
    block = np.kron(picture, np.ones((scale, scale, 1), dtype=np.uint8))
    high, wide = block.shape[:2]
    corner = np.argwhere((page == block[0, 0]).all(-1))
    return [
        (top, left)
        for top, left in corner.tolist()
        if page[top : top + high, left : left + wide].shape == block.shape
        and np.array_equal(page[top, left : left + wide], block[0])
        and np.array_equal(page[top : top + high, left : left + wide], block)
    ]


def explained(image, heatmap, **more):
    file = io.BytesIO()
    words = {"image_class": "tench", "probability": 0.5, "expression": "(scale (gap G) A)"} | more
    explain_figure(image, heatmap, file, **words)
    return pixels(file)


# Overlay


def test_overlay_agrees_with_its_slow_twin():
    image, heat = noise(3, 5, 7), torch.rand(5, 7, generator=torch.Generator().manual_seed(1))
    drawn = overlay(image, heat)
    assert drawn.shape == (5, 7, 3)
    assert drawn.dtype == np.uint8
    for row, column in np.ndindex(5, 7):
        red, green, blue = (float(value) for value in image[:, row, column])
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        heat_here = heat[row, column].item()
        strength = heat_here**0.5
        for channel, value in enumerate((red, green, blue)):
            beneath = value * (1 - strength) + grey * strength
            colour = 255 * COLOURS(heat_here)[channel]
            expected = beneath * (1 - OPACITY * strength) + colour * OPACITY * strength
            assert drawn[row, column, channel] == pytest.approx(expected, abs=0.51)


def test_cold_pixels_are_the_image_and_floats_are_as_bytes():
    image = noise(3, 4, 4)
    assert np.array_equal(overlay(image, torch.zeros(4, 4)), image.permute(1, 2, 0).numpy())
    heat = torch.rand(4, 4)
    assert np.array_equal(overlay(image, heat), overlay(image.float() / 255, heat))
    grey = noise(1, 4, 4)
    assert np.array_equal(overlay(grey, heat), overlay(grey.expand(3, 4, 4), heat))


@pytest.mark.parametrize(
    ("image", "heatmap", "message"),
    [
        (torch.zeros(4, 4), torch.zeros(4, 4), r"shape \[3, H, W\] or \[1, H, W\], not \[4, 4\]"),
        (torch.zeros(3, 4, 4) - 2, torch.zeros(4, 4), "from -2 to -2: undo the network's normalisation first"),
        (torch.full((3, 4, 4), torch.nan), torch.zeros(4, 4), "from nan to nan"),
        (torch.zeros(3, 4, 4), torch.zeros(4, 5), r"as large as its image, \[4, 4\], not \[4, 5\]: upsample"),
        (torch.zeros(3, 4, 4), torch.ones(4, 4) * 2, r"lie in \[0, 1\], not from 2 to 2: apply ReLU and min-max"),
        (torch.zeros(3, 4, 4), torch.full((4, 4), torch.nan), "from nan to nan"),
    ],
)
def test_what_cannot_be_drawn(image, heatmap, message):
    with pytest.raises(SycamError, match=message):
        overlay(image, heatmap)


# One image explained


@pytest.mark.parametrize(("side", "scale"), [(32, 14), (64, 7), (224, 2)])
def test_image_heatmap_and_overlay_are_there_unblurred(side, scale):
    image, heat = noise(3, side, side), torch.rand(side, side, generator=torch.Generator().manual_seed(2))
    page = explained(image, heat)
    coloured = (COLOURS(heat.double().numpy())[..., :3] * 255).astype(np.uint8)
    corners = [find(page, picture, scale) for picture in (image.permute(1, 2, 0).numpy(), coloured, overlay(image, heat))]
    assert [len(found) for found in corners] == [1, 1, 1]
    (first,), (second,), (third,) = corners
    assert first[0] == second[0] == third[0]
    assert first[1] + side * scale < second[1] < third[1]


def test_a_mask_is_outlined_along_the_edges_of_its_pixels():
    image = torch.full((3, 8, 8), 90, dtype=torch.uint8)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 3:8] = True  # up to the right border
    plain, outlined = explained(image, torch.zeros(8, 8)), explained(image, torch.zeros(8, 8), mask=mask)
    ((top, left),) = set(find(plain, image.permute(1, 2, 0).numpy(), 56)[:1])
    changed = np.argwhere((plain != outlined).any(-1)) - (top, left)
    rows, columns = changed[:, 0], changed[:, 1]
    edges = np.minimum.reduce([abs(rows - 2 * 56), abs(rows - 5 * 56), abs(columns - 3 * 56), abs(columns - 8 * 56)])
    assert len(changed)
    assert edges.max() <= 5
    assert np.array_equal(explained(image, torch.zeros(8, 8), mask=mask & False), plain)


def test_words_are_drawn_as_they_are():
    image, heat = noise(3, 64, 64), torch.rand(64, 64)
    plain = explained(image, heat, name="answer")
    assert plain.shape[0] > explained(image, heat).shape[0]
    explained(image, heat, image_class="$\\frac{", expression="(ite $x_ {^ 1) " * 200, name="a" * 500)
    assert not np.array_equal(plain, explained(image, heat, probability=0.25, name="answer"))


def test_the_same_picture_is_the_same_bytes_and_pyplot_is_left_alone():
    image, heat = noise(3, 16, 16), torch.rand(16, 16)
    settings = {name: value for name, value in matplotlib.rcParams.items() if name != "backend"}
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        explain_figure(image, heat, file, image_class="a", probability=1, expression="A")
    assert first.getvalue() == second.getvalue()
    assert {name: value for name, value in matplotlib.rcParams.items() if name != "backend"} == settings
    code = "import sys, sycam.run.report.pictures, sycam.run.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_path_that_cannot_be_written(tmp_path):
    with pytest.raises(SycamError, match=r"cannot write the picture .*no/such.png: No such file or directory"):
        explain_figure(
            noise(3, 8, 8),
            torch.zeros(8, 8),
            tmp_path / "no" / "such.png",
            image_class="a",
            probability=1,
            expression="A",
        )


# Many images


@pytest.mark.parametrize(("side", "scale"), [(64, 4), (224, 1)])
def test_the_gallery_has_each_picture_in_its_place(side, scale, tmp_path):
    images = [noise(3, side, side, seed=seed) for seed in range(3)]
    generator = torch.Generator().manual_seed(4)
    columns = {name: torch.rand(3, side, side, generator=generator) for name in ("Grad-CAM", "answer")}
    gallery(images, columns, tmp_path / "sheet.png", labels=["a", "b", "c"], scores={"answer": [0.1, 0.2, float("nan")]})
    page = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    places = []
    for row, image in enumerate(images):
        pictures = [image.permute(1, 2, 0).numpy(), *(overlay(image, heat[row]) for heat in columns.values())]
        found = [find(page, picture, scale) for picture in pictures]
        assert [len(each) for each in found] == [1, 1, 1]
        places.append([each[0] for each in found])
    tops = [{top for top, _ in row} for row in places]
    lefts = [{row[column][1] for row in places} for column in range(3)]
    assert [len(each) for each in tops + lefts] == [1] * 6
    assert max(tops[0]) < max(tops[1]) < max(tops[2])
    assert max(lefts[0]) < max(lefts[1]) < max(lefts[2])


def test_the_best_score_of_a_row_stands_out():
    images, columns = [noise(3, 8, 8)], {"a": torch.zeros(1, 8, 8), "b": torch.zeros(1, 8, 8)}

    def sheet(direction, scores):
        file = io.BytesIO()
        gallery(images, columns, file, direction=direction, scores=scores)
        return pixels(file)

    def dark(page, half):  # ink in the captions of column a or b
        width = page.shape[1]
        caption = page[-60:, (width * (1 + half)) // 3 : (width * (2 + half)) // 3]
        return int((255 - caption[..., 0].astype(int)).sum())

    scores = {"a": [0.25], "b": [0.75]}
    none, high, low = sheet(None, scores), sheet("high", scores), sheet("low", scores)
    assert dark(high, 1) > dark(none, 1)
    assert dark(high, 0) == dark(none, 0)
    assert dark(low, 0) > dark(none, 0)
    assert dark(low, 1) == dark(none, 1)
    tie = {"a": [0.2500001], "b": [0.25]}
    assert np.array_equal(sheet("high", tie), sheet(None, tie))


def test_masks_of_some_images():
    images, mask = [noise(3, 8, 8), noise(3, 8, 8, seed=1)], torch.zeros(8, 8, dtype=torch.bool)
    mask[2:4, 2:4] = True
    plain, outlined = io.BytesIO(), io.BytesIO()
    gallery(images, {"a": torch.zeros(2, 8, 8)}, plain)
    gallery(images, {"a": torch.zeros(2, 8, 8)}, outlined, masks=[None, mask])
    rows = np.argwhere((pixels(plain) != pixels(outlined)).any(-1))[:, 0]
    assert rows.min() > pixels(plain).shape[0] // 2  # only the second image


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": []}, "at least one image and one column, not 0 and 1"),
        ({"columns": {}}, "not 1 and 0"),
        ({"columns": {"a": torch.zeros(2, 8, 8)}}, "2 in column 'a' for 1 images"),
        ({"labels": ["a", "b"]}, "2 in labels for 1 images"),
        ({"scores": {"a": [1, 2]}}, "2 in scores of 'a'"),
        ({"scores": {"b": [1]}}, "scores of 'b', which is no column; there are a"),
        (
            {"rows": [torch.zeros(3, 8, 8), torch.zeros(3, 9, 8)], "columns": {"a": torch.zeros(2, 8, 8)}},
            "images of one size",
        ),
    ],
)
def test_galleries_that_do_not_fit_together(change, message):
    with pytest.raises(SycamError, match=message):
        gallery(**({"rows": [noise(3, 8, 8)], "columns": {"a": torch.zeros(1, 8, 8)}, "path": io.BytesIO()} | change))
