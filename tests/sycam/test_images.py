"""Preprocessing against torchvision, reading of every layout, errors with the file and the line, and splits."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from sycam.errors import SycamError
from sycam.images import ImageSet, load_images, split
from sycam.network import Preprocessing

HALF = (0.5, 0.5, 0.5)
PREP = Preprocessing(8, HALF, HALF)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


# --- preprocessing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_b0", "inception_v3", "swin_t", "regnet_y_400mf"])
@pytest.mark.parametrize("size", [(500, 375), (333, 500), (100, 101), (227, 227), (1000, 240)])
def test_agrees_with_torchvision(name, size):
    weights = models.get_model_weights(name).DEFAULT
    prep = Preprocessing.from_weights(weights)
    picture = noise(*size)
    expected = weights.transforms()(picture)
    found = prep.normalise(prep.image(picture)[None])[0]
    assert found.shape == expected.shape
    levels = (found - expected).abs() * torch.tensor(prep.std)[:, None, None] * 255
    assert levels.max() <= 1.001


def test_geometry_by_hand():
    prep = Preprocessing(4, HALF, HALF)
    columns = np.arange(10, dtype=np.uint8)[None, :].repeat(4, 0)  # 10 wide, 4 high: columns 3..6 are the centre
    assert prep.image(Image.fromarray(columns))[0, 0].tolist() == [3, 4, 5, 6]
    assert prep.mask(Image.fromarray((columns == 4).astype(np.uint8)))[2].tolist() == [False, True, False, False]
    assert prep.boxes([(4.0, 1.0, 6.0, 3.0)], (10, 4)).nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    squashed = Preprocessing(4, HALF, HALF, squash=True, interpolation="nearest")
    assert squashed.image(Image.fromarray(np.arange(8, dtype=np.uint8)[None, :].repeat(4, 0)))[0, 0].tolist() == [1, 3, 5, 7]
    assert squashed.boxes([(0, 0, 4, 2)], (8, 4)).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_boxes_and_masks_stay_on_the_object():
    # A white rectangle on black: its box, its mask and its pixels must agree after any geometry.
    picture = Image.new("L", (300, 200))
    picture.paste(255, (90, 40, 210, 150))
    for prep in (Preprocessing(64, HALF, HALF), Preprocessing(64, HALF, HALF, 100), Preprocessing(64, HALF, HALF, squash=True)):
        box = prep.boxes([(90, 40, 210, 150)], picture.size)
        bright = prep.image(picture)[0] > 127
        assert (box ^ bright).float().mean() < 0.02
        assert (prep.mask(picture) ^ bright).float().mean() < 0.02


def test_boxes_thin_outside_and_many():
    prep = Preprocessing(4, HALF, HALF)
    assert prep.boxes([(2.2, 0.0, 2.2, 4.0)], (4, 4)).nonzero().tolist() == [[0, 2], [1, 2], [2, 2], [3, 2]]
    assert not prep.boxes([(-9.0, -9.0, -2.0, -2.0)], (4, 4)).any()
    assert not prep.boxes([], (4, 4)).any()
    two = prep.boxes([(0, 0, 2, 2), (1, 1, 3, 3)], (4, 4))
    assert int(two.sum()) == 7


def test_every_mode_becomes_rgb():
    grey = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    prep = Preprocessing(2, HALF, HALF)
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    assert wide.mode.startswith("I;16")
    transparent = Image.merge("RGBA", [Image.fromarray(grey)] * 3 + [Image.fromarray(np.array([[255, 255], [255, 0]], np.uint8))])
    palette = Image.fromarray(grey).convert("P")
    cases = {
        "L": Image.fromarray(grey),
        "I;16": wide,
        "I": Image.fromarray(grey.astype(np.int32) * 257),
        "CMYK": Image.fromarray(np.stack([grey] * 3, -1)).convert("CMYK"),
        "P": palette,
        "LA": Image.fromarray(grey).convert("LA"),
    }
    for mode, picture in cases.items():
        found = prep.image(picture)
        assert found.dtype == torch.uint8
        assert found.tolist() == [grey.tolist()] * 3, mode
    assert prep.image(transparent).tolist() == [[[0, 255], [51, 255]]] * 3  # white where transparent
    assert prep.image(Image.new("1", (2, 2), 1)).unique().tolist() == [255]
    with pytest.raises(SycamError, match="floating-point pixels do not say which value is white"):
        prep.image(Image.new("F", (2, 2)))
    with pytest.raises(SycamError, match="grey values from 0 to 70000 do not fit 16 bits"):
        prep.image(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))


def test_exif_rotation(tmp_path):
    picture = Image.new("L", (8, 4))
    picture.paste(255, (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: the bright left half comes to the top
    for name in ("turned.png", "turned.jpg"):
        picture.save(tmp_path / name, exif=exif)
    table = write(tmp_path / "t.csv", ["file", "boxes"], ["turned.png", "0 0 4 4"], ["turned.jpg", "0 0 4 4"])
    images = load_images(table, Preprocessing(4, HALF, HALF, squash=True))
    for pixels, mask in zip(images.pixels, images.masks, strict=True):
        assert pixels[0, 0].min() > 250
        assert pixels[0, 3].max() < 5
        assert mask[0].all()  # the box counts in the upright image
        assert not mask[3].any()


def test_normalise_and_back():
    prep = Preprocessing(4, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3)[:768].reshape(1, 3, 16, 16)
    images = prep.normalise(pixels)
    assert images.dtype == torch.float32
    assert images[0, 1, 0, 7].item() == pytest.approx((7 / 255 - 0.456) / 0.224, abs=1e-6)
    assert torch.equal(prep.denormalise(images), pixels)


def test_impossible_preprocessing():
    cases = {
        "at least 1 pixel, not 0": {"size": 0},
        "cannot crop 8 pixels from a shorter side of 6": {"resize": 6},
        "squash resizes to 8x8 at once": {"resize": 9, "squash": True},
        "no interpolation 'cubic'; there are nearest": {"interpolation": "cubic"},
        "std must be positive": {"std": (0.1, 0.0, 0.1)},
        "mean takes three numbers": {"mean": (0.1, 0.2)},
        "mean and std must both hold": {"mean": (0.1,)},
    }
    for message, change in cases.items():
        with pytest.raises(SycamError, match=message):
            Preprocessing(**{"size": 8, "mean": HALF, "std": HALF, **change})


# --- reading --------------------------------------------------------------------------------------------------------------


def write(path: Path, *rows: list[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_flat_folder_and_its_masks(tmp_path):
    for index, name in enumerate(["b.png", "a.JPG", "c.webp"]):
        noise(10, 8, index).save(tmp_path / name)
    Image.new("L", (10, 8), 1).save(tmp_path / "a_mask.png")
    (tmp_path / "notes.txt").write_text("not an image")
    images = load_images(tmp_path, PREP)
    assert images.names == ["a.JPG", "b.png", "c.webp"]
    assert images.labels.tolist() == [-1, -1, -1]
    assert images.has_mask.tolist() == [True, False, False]
    assert images.masks[0].all()
    assert torch.equal(images.pixels[1], PREP.image(noise(10, 8, 0)))
    assert images.class_names == {}
    assert len(load_images(tmp_path / "b.png", PREP)) == 1
    # With another suffix the mask is an image like any other.
    assert len(load_images(tmp_path, PREP, mask_suffix="_lung")) == 4
    plain = load_images(tmp_path, PREP, mask_suffix="")
    assert (len(plain), plain.masks) == (4, None)
    assert repr(images) == "ImageSet(3 images of 8x8, 1 with a mask)"


def test_a_tree_of_classes(tmp_path):
    for index, name in enumerate(["dog/1.png", "cat/x/2.png", "cat/1.png", "empty/readme.txt"]):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        noise(8, 8, index).save(file) if file.suffix == ".png" else file.write_text("")
    images = load_images(tmp_path, PREP)
    assert images.names == ["cat/1.png", "cat/x/2.png", "dog/1.png"]
    assert images.labels.tolist() == [0, 0, 1]
    assert images.class_names == {0: "cat", 1: "dog"}
    assert images.masks is None
    lone = tmp_path / "lone" / "images"
    lone.mkdir(parents=True)
    noise(8, 8).save(lone / "1.png")
    assert load_images(lone.parent, PREP).labels.tolist() == [-1]


@pytest.fixture
def table(tmp_path):
    (tmp_path / "images").mkdir()
    noise(8, 8, 1).save(tmp_path / "images" / "one.png")
    noise(16, 8, 2).save(tmp_path / "two.png")
    mask = Image.new("L", (16, 8))
    mask.paste(7, (4, 0, 8, 8))
    mask.save(tmp_path / "two_seg.png")
    return tmp_path


def test_a_table(table):
    path = write(
        table / "labels.csv",
        ["File", "label ", "wnid", "name", "boxes", "mask"],
        ["two.png", "3", "n1", "a, b", "", "two_seg.png"],
        ["one.png", "", "n2", "", "0 0 2 2; 6 6 8 8", ""],
        ["one.png", "5", "n2", "c", "", ""],
    )
    for source in (path, table):
        images = load_images(source, PREP)
        assert images.names == ["two.png", "one.png", "one.png"]
        assert images.labels.tolist() == [3, -1, 5]
        assert images.class_names == {3: "a, b", 5: "c"}
        assert images.has_mask.tolist() == [True, True, False]
        assert images.masks[0, 0].tolist() == [True] * 4 + [False] * 4  # columns 4..12 of 16 are kept
        assert int(images.masks[1].sum()) == 8


def test_a_table_of_stems_and_a_mask_suffix(table):
    folder = table / "scans"
    folder.mkdir()
    noise(8, 8).save(folder / "p1.PNG")
    Image.new("L", (4, 4), 9).save(folder / "p1_lung.png")
    images = load_images(write(table / "scans.csv", ["stem"], ["p1"]), PREP, mask_suffix="_lung")
    assert images.names == ["p1"]
    assert images.masks.all()


def test_errors_in_a_table_name_the_line(table):
    cases = [
        (["none.png", "1", "", ""], r"labels.csv:3: no file 'none.png' beside the table, in .*images"),
        (["", "1", "", ""], r"labels.csv:3: no file is named in this row"),
        (["one.png", "cat", "", ""], r"labels.csv:3: the label must be the number of an image class, .* not 'cat'"),
        (["one.png", "-2", "", ""], r"labels.csv:3: a label counts from 0"),
        (["one.png", "1", "1 2 3", ""], r"labels.csv:3: a box is four numbers x0 y0 x1 y1 .* not '1 2 3'"),
        (["one.png", "1", "1 2 3 x", ""], r"labels.csv:3: a box is four numbers .* not '1 2 3 x'"),
        (["one.png", "1", "5 0 2 2", ""], r"labels.csv:3: a box runs from its upper left .* not '5 0 2 2'"),
        (["one.png", "1", "", "gone.png"], r"labels.csv:3: no mask file 'gone.png'"),
        (["one.png", "1", "", "two_seg.png"], r"labels.csv:3: .*one.png: its mask .* has 16x8 pixels, the image 8x8"),
    ]
    header, good = ["file", "label", "boxes", "mask"], ["one.png", "1", "", ""]
    for row, message in cases:
        path = write(table / "labels.csv", header, good, row)
        with pytest.raises(SycamError, match=message):
            load_images(path, PREP)
    with pytest.raises(SycamError, match=r"labels.csv:1: no column `file` .or `stem`. in the header 'image,label'"):
        load_images(write(table / "labels.csv", ["image", "label"], good), PREP)
    with pytest.raises(SycamError, match=r"labels.csv lists no image"):
        load_images(write(table / "labels.csv", header), PREP)
    (table / "labels.csv").write_bytes("file\ncafé.png\n".encode("latin-1"))
    with pytest.raises(SycamError, match=r"labels.csv is not a CSV table in UTF-8"):
        load_images(table / "labels.csv", PREP)


def test_which_table_of_a_folder(table):
    write(table / "results.csv", ["candidate", "score"], ["a", "1"])  # not a table of images: left alone
    assert load_images(table, PREP).names == ["two.png", "two_seg.png"]
    write(table / "a.csv", ["file"], ["one.png"])
    assert load_images(table, PREP).names == ["one.png"]
    write(table / "b.csv", ["file"], ["two.png"])
    with pytest.raises(SycamError, match=r"holds 2 tables of images .a.csv, b.csv.: give the path"):
        load_images(table, PREP)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SycamError, match=r"no image in .*; images end in .jpg, .jpeg, .png"):
        load_images(tmp_path, PREP)
    noise(64, 64).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(SycamError, match=r"half.jpg cannot be read .*: copy it again, or remove it"):
        load_images(tmp_path, PREP)
    (tmp_path / "half.jpg").write_text("no image at all")
    with pytest.raises(SycamError, match=r"half.jpg is not an image that Pillow can read"):
        load_images(tmp_path, PREP)
    (tmp_path / "half.jpg").unlink()
    Image.new("F", (4, 4)).save(tmp_path / "float.tif")
    with pytest.raises(SycamError, match=r"float.tif: floating-point pixels"):
        load_images(tmp_path, PREP)
    with pytest.raises(SycamError, match=r"no such file or folder: .*nowhere"):
        load_images(tmp_path / "nowhere", PREP)


def test_a_limit_is_a_seeded_draw(tmp_path):
    for index in range(10):
        noise(8, 8, index).save(tmp_path / f"{index}.png")
    some = load_images(tmp_path, PREP, limit=4, seed=3)
    assert len(some) == 4
    assert some.names == sorted(some.names)
    assert load_images(tmp_path, PREP, limit=4, seed=3).names == some.names
    assert any(load_images(tmp_path, PREP, limit=4, seed=seed).names != some.names for seed in range(4))
    assert len(load_images(tmp_path, PREP, limit=99)) == 10
    with pytest.raises(SycamError, match="the limit must be at least 1 image, not 0"):
        load_images(tmp_path, PREP, limit=0)


# --- image sets -----------------------------------------------------------------------------------------------------------


def a_set() -> ImageSet:
    pixels = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).reshape(4, 3, 2, 2)
    masks = torch.zeros(4, 2, 2, dtype=torch.bool)
    masks[1, 0, 0] = True
    return ImageSet(["a", "b", "c", "d"], pixels, torch.tensor([0, 1, -1, 0]), masks, {0: "x"})


def test_select_and_normalise():
    images = a_set()
    some = images.select([3, 1])
    assert some.names == ["d", "b"]
    assert some.labels.tolist() == [0, 1]
    assert some.has_mask.tolist() == [False, True]
    assert torch.equal(some.pixels, images.pixels[[3, 1]])
    assert images.select(slice(1, 3)).names == images.select(torch.tensor([1, 2])).names == ["b", "c"]
    prep = Preprocessing(2, (0.5,) * 3, (0.25,) * 3)
    assert torch.equal(images.normalised([3, 1], prep), prep.normalise(images.pixels[[3, 1]]))
    assert torch.equal(images.normalised(slice(1, 3), prep), prep.normalise(images.pixels[1:3]))
    with pytest.raises(SycamError, match=r"must be of one length, not .*'labels': 3"):
        ImageSet(images.names, images.pixels, images.labels[:3])


def test_digest_is_of_the_content():
    images = a_set()
    assert ImageSet(list("wxyz"), images.pixels, images.labels, images.masks).digest() == images.digest()
    for changed in (
        ImageSet(images.names, images.pixels + 1, images.labels, images.masks),
        ImageSet(images.names, images.pixels, images.labels + 1, images.masks),
        ImageSet(images.names, images.pixels, images.labels, ~images.masks),
        ImageSet(images.names, images.pixels, images.labels),
        images.select([1, 0, 2, 3]),
    ):
        assert changed.digest() != images.digest()


# --- split ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_split_laws(fraction, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 9, (200 + seed,), generator=generator) ** 2 // 9  # classes of very different sizes
    search, held_out = split(labels, fraction, seed)
    assert torch.equal(torch.cat([search, held_out]).sort().values, torch.arange(len(labels)))
    assert torch.equal(search, search.sort().values)
    assert len(search) == round(len(labels) * fraction)
    for value in labels[labels >= 0].unique():
        n = int((labels == value).sum())
        if n * min(fraction, 1 - fraction) >= 1:
            inside = int((labels[search] == value).sum())
            assert abs(inside - n * fraction) < 1
            assert 1 <= inside <= n - 1
    again = split(labels.tolist(), fraction, seed)
    assert torch.equal(again[0], search)
    assert not torch.equal(split(labels, fraction, seed + 100)[0], search)


def test_split_of_classes_of_one_image_each():
    search, held_out = split(torch.arange(11))
    assert {len(search), len(held_out)} == {5, 6}


def test_split_does_not_move_the_random_state_and_says_what_is_wrong():
    state = torch.random.get_rng_state()
    split([0, 0, 1, 1])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [len(part) for part in split([0, 1], 0.01)] == [1, 1]
    for fraction in (0, 1, -0.5, 2):
        with pytest.raises(SycamError, match=f"must lie between 0 and 1, not {fraction}"):
            split([0, 0], fraction)
    with pytest.raises(SycamError, match="1 image cannot be split"):
        split([0])


# --- real data ------------------------------------------------------------------------------------------------------------


def test_real_tables(data_folder):
    prep = Preprocessing(32, HALF, HALF, squash=True)
    tiny = load_images(data_folder / "tiny-imagenet", prep)
    assert (len(tiny), len(tiny.class_names), int(tiny.has_mask.sum())) == (1000, 20, 1000)
    assert tiny.class_names[9] == "tailed frog"
    place = tiny.names.index("val/n01644900/val_1319.JPEG")
    assert tiny.labels[place] == 9
    assert tiny.masks[place].nonzero().amin(0).tolist() == [6, 0]  # box 0 13 49 62 of 64, halved: rows from 6.5
    assert tiny.masks[place].nonzero().amax(0).tolist() == [30, 23]
    imagenet = load_images(data_folder / "imagenet", prep, limit=20)
    assert imagenet.has_mask.all()
    assert int(imagenet.labels.min()) >= 0
    lungs = load_images(data_folder / "xray", prep, mask_suffix="_lung")
    assert (len(lungs), int(lungs.has_mask.sum())) == (100, 100)
    infection = load_images(data_folder / "xray/masked.csv", prep, mask_suffix="_infection", limit=30)
    with (data_folder / "xray/masked.csv").open() as file:
        share = {row["stem"]: float(row["infection_frac"] or 0) for row in csv.DictReader(file)}
    for name, mask in zip(infection.names, infection.masks, strict=True):
        assert float(mask.float().mean()) == pytest.approx(share[name], abs=0.02)
    assert load_images(data_folder / "xray/classes", prep, limit=9).class_names == {
        0: "Covid-19",
        1: "No_findings",
        2: "Pneumonia",
    }
