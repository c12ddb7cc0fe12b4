"""Masks and boxes in every form, on images in every layout: they follow the resize and the crop, which is checked by hand."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from sycam.errors import SycamError
from sycam.images import ImageSource, load_dataset, load_images
from sycam.images.truth import read_boxes
from sycam.network import Preprocessing

HALF = (0.5, 0.5, 0.5)
CROP = Preprocessing(4, HALF, HALF)  # of a 16×8 image: halved to 8×4, then columns 2..6 of it
RESIZED = Preprocessing(4, HALF, HALF, resize=8)  # of a 16×8 image: columns 6..10, rows 2..6 of it


def noise(width=16, height=8, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def save(file, picture):
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)


def rectangle(x0, y0, x1, y1, size=(16, 8), inside=255):
    mask = Image.new("L", size)
    mask.paste(inside, (x0, y0, x1, y1))
    return mask


@pytest.fixture
def images(tmp_path):
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        save(tmp_path / "images" / name, noise(seed=seed))
    return tmp_path / "images"


# --- geometry by hand -----------------------------------------------------------------------------------------------------


def test_a_box_follows_the_resize_and_the_crop_by_hand(images, tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text("file,x0,y0,x1,y1\na.png,6,2,12,6\na.png,0,0,2,8\nb.png,,,,\n")
    found = load_images(images, CROP, boxes=table)
    # (6 2 12 6) halved is (3 1 6 3), and the crop begins at column 2: (1 1 4 3). (0 0 2 8) lies outside of the crop.
    assert found.boxes[0].tolist() == [[1, 1, 4, 3]]
    assert found.masks[0].int().tolist() == [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert [len(boxes) for boxes in found.boxes] == [1, 0, 0]
    assert found.has_mask.tolist() == [True, False, False]
    found = load_images(images, RESIZED, boxes=table)
    # Nothing is resized; the crop begins at column 6, row 2, and cuts the box off at column 10.
    assert found.boxes[0].tolist() == [[0, 0, 4, 4]]
    squashed = Preprocessing(4, HALF, HALF, squash=True)
    assert load_images(images, squashed, boxes=table).boxes[0].tolist() == [[1.5, 1, 3, 3], [0, 0, 0.5 + 0.5, 4]]


def test_a_mask_follows_the_resize_and_the_crop_by_hand(images, tmp_path):
    save(tmp_path / "masks" / "a.png", rectangle(6, 2, 12, 6))
    save(tmp_path / "masks" / "deep" / "b_mask.png", rectangle(8, 0, 9, 8, inside=1))
    found = load_images(images, CROP, masks=tmp_path / "masks")
    assert found.masks[0].int().tolist() == [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert found.has_mask.tolist()[::2] == [True, False]
    assert found.boxes is None
    found = load_images(images, RESIZED, masks=tmp_path / "masks")
    assert found.masks[0].all()
    assert found.masks[1].int().tolist() == [[0, 0, 1, 0]] * 4  # column 8, counted from 6


def test_mask_box_and_pixels_agree_under_every_geometry(tmp_path):
    picture = rectangle(90, 40, 210, 150, (300, 200))
    save(tmp_path / "i" / "a.png", picture)
    save(tmp_path / "m" / "a.png", picture)
    (tmp_path / "b.csv").write_text("file,boxes\na.png,90 40 210 150\n")
    for geometry in (CROP, Preprocessing(64, HALF, HALF, 100), Preprocessing(64, HALF, HALF, squash=True)):
        bright = load_images(tmp_path / "i", geometry).pixels[0, 0] > 127
        for truth in ({"masks": tmp_path / "m"}, {"boxes": tmp_path / "b.csv"}):
            assert (load_images(tmp_path / "i", geometry, **truth).masks[0] ^ bright).float().mean() < 0.02


def test_several_boxes_and_a_mask_are_united(images, tmp_path):
    save(tmp_path / "masks" / "a.png", rectangle(4, 0, 6, 2))
    (tmp_path / "boxes.csv").write_text("stem,boxes\na,8 4 10 8;10 4 12 8\n")
    found = load_images(images, CROP, masks=tmp_path / "masks", boxes=tmp_path / "boxes.csv")
    assert found.masks[0].int().tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert found.boxes[0].tolist() == [[2, 2, 3, 4], [3, 2, 4, 4]]
    assert found.select([2, 0]).boxes[1].tolist() == found.boxes[0].tolist()
    assert [len(boxes) for boxes in found.select(slice(1, 3)).boxes] == [0, 0]
    alone = load_images(images, CROP, masks=tmp_path / "masks")
    assert alone.digest() != found.digest()


def test_an_empty_mask_is_none_and_an_object_off_the_crop_too(images, tmp_path):
    save(tmp_path / "masks" / "a.png", rectangle(0, 0, 0, 0))
    save(tmp_path / "masks" / "b.png", rectangle(0, 0, 3, 8))
    save(tmp_path / "masks" / "c.png", rectangle(0, 0, 16, 8))
    found = load_images(images, CROP, masks=tmp_path / "masks")
    assert found.has_mask.tolist() == [False, False, True]


def test_what_the_user_brings_replaces_what_lies_there(images, tmp_path):
    save(images / "a_mask.png", rectangle(0, 0, 16, 8))
    save(images / "a_lung.png", rectangle(8, 0, 16, 8))
    assert load_images(images, CROP).masks[0].all()
    found = load_images(images, CROP, masks="{stem}_lung.png")
    assert found.names == ["a.png", "a_mask.png", "b.png", "c.png"]  # the lungs are no images; what _mask is, nobody said
    assert found.masks[0].int().tolist() == [[0, 0, 1, 1]] * 4
    (tmp_path / "boxes.csv").write_text("file,boxes\nb.png,0 0 16 8\n")
    found = load_images(images, CROP, boxes=tmp_path / "boxes.csv", mask_suffix="_mask")
    assert found.has_mask.tolist()[:2] == [False, False]


def test_a_pattern_from_the_working_folder(images, tmp_path, monkeypatch):
    save(tmp_path / "truth" / "b-seg.png", rectangle(0, 0, 16, 8))
    monkeypatch.chdir(tmp_path)
    assert load_images(images, CROP, masks="truth/{stem}-seg.png").has_mask.tolist() == [False, True, False]


# --- files of boxes -------------------------------------------------------------------------------------------------------

XML = """<annotation><filename>whatever.jpg</filename><size><width>{width}</width><height>8</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>16</xmax><ymax>8</ymax></bndbox></part></object>"""


def voc(*boxes, width=16):
    return XML.format(width=width, objects="".join(OBJECT.format(*box[1:], name=box[0]) for box in boxes))


def test_voc_counts_pixels_from_one(images, tmp_path):
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "a.xml").write_text(voc(("dog", 7, 3, 12, 6), ("cat", 1, 1, 16, 8)))
    (tmp_path / "xml" / "b.xml").write_text(voc())
    found = load_images(images, CROP, boxes=tmp_path / "xml")
    assert read_boxes(tmp_path / "xml")["a"].boxes == ((6, 2, 12, 6), (0, 0, 16, 8))  # the parts of an object are none
    assert found.boxes[0].tolist() == [[1, 1, 4, 3], [0, 0, 4, 4]]
    (tmp_path / "xml" / "a.xml").write_text(voc(("dog", 7, 3, 12, 6), width=500))
    with pytest.raises(SycamError, match="a.png: its boxes were drawn on an image of 500x8 pixels, this one has 16x8"):
        load_images(images, CROP, boxes=tmp_path / "xml")
    (tmp_path / "xml" / "a.xml").write_text(voc(("dog", 7, 3, 12, 6), width=0))  # unknown
    assert load_images(images, CROP, boxes=tmp_path / "xml" / "a.xml").boxes[0].tolist() == [[1, 1, 4, 3]]


def coco(**extra):
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": 16, "height": 8}, {"id": 9, "file_name": "b.png"}],
        "annotations": [
            {"id": 1, "image_id": 7, "bbox": [6, 2, 6, 4], "category_id": 18, "iscrowd": 0, "area": 24,
             "segmentation": [[6, 2, 12, 2, 12, 6, 6, 6]]},
            {"id": 2, "image_id": 7, "bbox": [0, 0, 16, 8], "category_id": 18, "iscrowd": 1, "area": 128,
             "segmentation": {"counts": [0, 128], "size": [8, 16]}},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        **extra,
    }  # fmt: skip


def test_coco_without_crowds(images, tmp_path):
    (tmp_path / "instances.json").write_text(json.dumps(coco()))
    found = load_images(images, CROP, boxes=tmp_path / "instances.json")
    assert found.boxes[0].tolist() == [[1, 1, 4, 3]]
    assert found.has_mask.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.csv", "file,score\na.png,1\n", r"b.csv:1: boxes need the columns file,boxes or file,x0,y0,x1,y1; .*'file,score'"),
        ("b.csv", "file,x0,y0,x1,y1\na.png,1,2,3\n", r"b.csv:2: a box is four numbers .* not"),
        ("b.csv", "file,xmin,ymin,xmax,ymax\na.png,5,2,3,4\n", r"b.csv:2: a box runs from .* not '5 2 3 4'"),
        ("b.csv", "file,boxes\na.png,0 0 nan 4\n", r"b.csv:2: a box has finite corners"),
        ("b.csv", "file,boxes\n,0 0 4 4\n", r"b.csv:2: no file is named in this row"),
        ("b.csv", "file,boxes\nz.png,0 0 4 4\n", r"boxes of .*: none is named as an image, such as 'a.png'; there is 'z.png'"),
        ("b.xml", "<annotation>", r"b.xml is not XML: "),
        ("b.xml", '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', r"b.xml: a document type is not read"),
        ("a.xml", "<annotation><object><name>dog</name></object></annotation>", r"a.xml, dog: a box is four numbers"),
        ("b.json", "{", r"b.json is not JSON"),
        ("b.json", "[]", r"b.json is not COCO's JSON: it needs images"),
        ("b.json", json.dumps(coco(annotations=[{"id": 4, "image_id": 8, "bbox": [0, 0, 1, 1]}])),
         r"b.json, annotation 4: its image_id names no image"),
        ("b.json", json.dumps(coco(annotations=[{"id": 4, "image_id": 7, "bbox": [0, 0, 1]}])),
         r"b.json, annotation 4: a bbox is four numbers"),
        ("b.txt", "", r"b.txt: boxes are a CSV, a folder of VOC XML files, or a COCO JSON"),
    ],
)  # fmt: skip
def test_mistakes_in_boxes(images, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(SycamError, match=message):
        load_images(images, CROP, boxes=tmp_path / name)


def test_mistakes_in_names(images, tmp_path):
    with pytest.raises(SycamError, match="no such file or folder of boxes: .*nowhere"):
        load_images(images, CROP, boxes=tmp_path / "nowhere")
    with pytest.raises(SycamError, match="masks .*nowhere: it is not there; give a folder of masks, or a pattern"):
        load_images(images, CROP, masks=tmp_path / "nowhere")
    with pytest.raises(SycamError, match=r"no image has a mask \{stem\}_no.png: the first would be a_no.png"):
        load_images(images, CROP, masks="{stem}_no.png")
    (tmp_path / "masks").mkdir()
    with pytest.raises(SycamError, match="masks in .*: none is named as an image, such as 'a.png', which hold none"):
        load_images(images, CROP, masks=tmp_path / "masks")
    with pytest.raises(SycamError, match="no .xml file in"):
        load_images(images, CROP, boxes=tmp_path / "masks")
    with pytest.raises(SycamError, match="masks and boxes belong to images: name these"):
        ImageSource(masks="x")
    for folder in ("cat", "dog"):
        save(tmp_path / "tree" / folder / "1.png", noise())
    save(tmp_path / "masks" / "1.png", rectangle(0, 0, 16, 8))
    with pytest.raises(SycamError, match="'1' may mean cat/1.png or dog/1.png: name it by its path"):
        load_images(tmp_path / "tree", CROP, masks=tmp_path / "masks")
    save(tmp_path / "masks" / "dog" / "1.png", rectangle(0, 0, 16, 8))
    assert load_images(tmp_path / "tree", CROP, masks=tmp_path / "masks").has_mask.tolist() == [True, True]
    save(tmp_path / "masks" / "1.png", rectangle(0, 0, 0, 0))
    assert load_images(tmp_path / "tree", CROP, masks=tmp_path / "masks").has_mask.tolist() == [False, True]


# --- torchvision's data sets ----------------------------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path):
    base = tmp_path / "oxford-iiit-pet"
    lines = []
    for seed, (name, label) in enumerate([("Abyssinian_1", 1), ("beagle_7", 2), ("beagle_8", 2)]):
        save(base / "images" / f"{name}.jpg", noise(seed=seed))
        trimap = np.full((8, 16), 2, np.uint8)
        trimap[2:6, 6:12] = 3  # the border
        trimap[3:5, 8:12] = 1
        save(base / "annotations" / "trimaps" / f"{name}.png", Image.fromarray(trimap))
        lines.append(f"{name} {label} 1 1")
    (base / "annotations" / "test.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_oxford_pets(pets):
    found = load_dataset(f"oxford-pet:{pets}", RESIZED)
    assert found.names == ["Abyssinian_1.jpg", "beagle_7.jpg", "beagle_8.jpg"]
    assert found.labels.tolist() == [0, 1, 1]
    assert found.class_names == {0: "Abyssinian", 1: "Beagle"}
    assert found.masks[0].int().tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    with Image.open(pets / "oxford-iiit-pet" / "images" / "beagle_7.jpg") as picture:
        assert torch.equal(found.pixels[1], RESIZED.image(picture))
    beagles = load_dataset(f"oxford-pet:{pets}?class=Beagle", RESIZED, limit=1)
    assert (len(beagles), beagles.labels.tolist()) == (1, [1])
    with pytest.raises(SycamError, match="no class 'Beegle'.*Beagle"):
        load_dataset(f"oxford-pet:{pets}?class=Beegle", RESIZED)
    with pytest.raises(SycamError, match=r"oxford-pet: .* is not in torchvision's layout: .*trainval.txt"):
        load_dataset(f"oxford-pet:{pets}?split=trainval", RESIZED)
    with pytest.raises(SycamError, match="split must be one of trainval, test, not 'val'"):
        load_dataset(f"oxford-pet:{pets}?split=val", RESIZED)
    (pets / "oxford-iiit-pet" / "annotations" / "trimaps" / "beagle_8.png").write_text("no image")
    with pytest.raises(SycamError, match="beagle_8.jpg or its ground truth cannot be read"):
        load_dataset(f"oxford-pet:{pets}", RESIZED)


@pytest.fixture
def vocs(tmp_path):
    base = tmp_path / "VOCdevkit" / "VOC2012"
    for seed, name in enumerate(["2007_000032", "2007_000039"]):
        save(base / "JPEGImages" / f"{name}.jpg", noise(seed=seed))
    dog, person = 12, 15  # VOC's own numbers, from 1
    classes = np.zeros((8, 16), np.uint8)
    classes[2:6, 6:8] = dog
    classes[2:4, 8:10] = person
    classes[6:, :] = 255  # border
    for name, drawn in (("2007_000032", classes), ("2007_000039", np.where(classes == person, dog, classes).astype(np.uint8))):
        mask = Image.fromarray(drawn, mode="L").convert("P")
        mask.putdata(drawn.reshape(-1).tolist())
        save(base / "SegmentationClass" / f"{name}.png", mask)
    for kind in ("Segmentation", "Main"):
        (base / "ImageSets" / kind).mkdir(parents=True)
        (base / "ImageSets" / kind / "val.txt").write_text("2007_000032\n2007_000039\n")
    (base / "Annotations").mkdir()
    (base / "Annotations" / "2007_000032.xml").write_text(voc(("dog", 7, 3, 8, 6), ("person", 9, 3, 10, 4)))
    (base / "Annotations" / "2007_000039.xml").write_text(voc(("dog", 7, 3, 8, 6)))
    return tmp_path


def test_voc_segmentation(vocs):
    found = load_dataset(f"voc-segmentation:{vocs}", RESIZED)
    assert found.names == ["2007_000032.jpg", "2007_000039.jpg"]
    assert found.labels.tolist() == [-1, 11]  # the second shows nothing but dogs
    assert found.class_names[11] == "dog"
    assert found.masks[0].int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert torch.equal(found.masks[0], found.masks[1])
    people = load_dataset(f"voc-segmentation:{vocs}?class=person", RESIZED)
    assert (people.names, people.labels.tolist()) == (["2007_000032.jpg"], [14])
    assert people.masks[0].int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    with pytest.raises(
        SycamError, match=r"is not in torchvision's layout: it must hold VOCdevkit/VOC2012 .*nothing is downloaded"
    ):
        load_dataset(f"voc-segmentation:{vocs}?year=2007", RESIZED)
    with pytest.raises(SycamError, match="no image in .* with year=2012, split=val, class=cow"):
        load_dataset(f"voc-segmentation:{vocs}?class=cow", RESIZED)


def test_voc_detection(vocs):
    found = load_dataset(f"voc-detection:{vocs}", RESIZED)
    assert found.labels.tolist() == [-1, 11]
    assert found.boxes[0].tolist() == [[0, 0, 2, 4], [2, 0, 4, 2]]
    assert found.masks[0].int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    dogs = load_dataset(f"voc-detection:{vocs}?class=dog", RESIZED)
    assert [boxes.tolist() for boxes in dogs.boxes] == [[[0, 0, 2, 4]]] * 2
    assert dogs.labels.tolist() == [11, 11]
    replaced = load_dataset(f"voc-detection:{vocs}", RESIZED, masks=vocs / "VOCdevkit" / "VOC2012" / "SegmentationClass")
    assert replaced.boxes is None
    assert replaced.masks[0].int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_coco(tmp_path):
    pytest.importorskip("pycocotools", reason="the extra `datasets` is not installed")
    for name in ("a.png", "b.png"):
        save(tmp_path / "val2017" / name, noise())
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(coco()))
    found = load_dataset(f"coco:{tmp_path}", CROP)
    assert (found.names, found.labels.tolist()) == (["a.png", "b.png"], [1, -1])  # categories by their number: person, dog
    assert found.class_names == {0: "person", 1: "dog"}
    assert found.masks[0].int().tolist() == [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert found.boxes is None
    assert load_dataset(f"coco:{tmp_path}?truth=boxes", CROP).boxes[0].tolist() == [[1, 1, 4, 3]]
    assert load_dataset(f"coco:{tmp_path}?class=dog", CROP).names == ["a.png"]
    with pytest.raises(SycamError, match="no file .*instances_train2017.json"):
        load_dataset(f"coco:{tmp_path}?split=train2017", CROP)


def test_imagenette(tmp_path):
    for wnid in ("n01440764", "n02102040", "n03888257"):
        save(tmp_path / "imagenette2-160" / "val" / wnid / "x.JPEG", noise())
    found = load_dataset(f"imagenette:{tmp_path}?size=160px", CROP)
    assert found.names == ["n01440764/x.JPEG", "n02102040/x.JPEG", "n03888257/x.JPEG"]
    assert found.labels.tolist() == [0, 217, 701]
    assert found.class_names == {0: "tench", 217: "English springer", 701: "parachute"}
    assert load_dataset(f"imagenette:{tmp_path}?size=160px&labels=own", CROP).labels.tolist() == [0, 1, 2]
    with pytest.raises(SycamError, match="imagenette: .* it must hold imagenette2 .*nothing is downloaded"):
        load_dataset(f"imagenette:{tmp_path}", CROP)


def test_imagenet_with_boxes(tmp_path):
    names = {"n01440764": ("tench", "Tinca tinca"), "n01443537": ("goldfish",)}
    for number, wnid in enumerate(names, start=1):
        save(tmp_path / "val" / wnid / f"ILSVRC2012_val_0000000{number}.JPEG", noise())
    with pytest.raises(SycamError, match=r"imagenet: .* it must hold meta.bin and val; .*no meta.bin"):
        load_dataset(f"imagenet:{tmp_path}", CROP)
    torch.save((names, ["n01440764"]), tmp_path / "meta.bin")
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "ILSVRC2012_val_00000002.xml").write_text(voc(("n01443537", 7, 3, 12, 6)))
    found = load_dataset(f"imagenet:{tmp_path}", CROP, boxes=tmp_path / "xml")
    assert found.labels.tolist() == [0, 1]
    assert found.class_names == {0: "tench, Tinca tinca", 1: "goldfish"}
    assert [boxes.tolist() for boxes in found.boxes] == [[], [[1, 1, 4, 3]]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("voc-segmentatoin:/x", r"no data set 'voc-segmentatoin'; did you mean 'voc-segmentation'"),
        ("voc-segmentation", r"a data set is named with its folder, voc-segmentation:PATH"),
        ("voc-segmentation:", r"a data set is named with its folder"),
        ("coco:/nowhere/at/all", r"coco: no such folder: /nowhere/at/all. It must hold val2017 .*nothing is downloaded"),
        ("coco:/tmp?yaer=1", r"coco has no option 'yaer'"),
        ("voc-detection:/tmp?yaer=2007", r"voc-detection has no option 'yaer'; did you mean 'year'"),
        ("coco:/tmp?split", r"coco: options are written \?option=value"),
    ],
)
def test_mistakes_in_the_name_of_a_data_set(spec, message):
    with pytest.raises(SycamError, match=message):
        load_dataset(spec, CROP)


@pytest.mark.parametrize("name", ["oxford-pet", "voc-segmentation", "voc-detection", "imagenette", "imagenet", "coco"])
def test_an_absent_data_set_is_a_clear_error_and_nothing_is_written(tmp_path, name):
    with pytest.raises(SycamError, match=f"{name}: .* it must hold .*; nothing is downloaded") as info:
        load_dataset(f"{name}:{tmp_path}", CROP)
    assert "\n" not in str(info.value)
    assert not list(tmp_path.iterdir())


# --- real data ------------------------------------------------------------------------------------------------------------


def test_xray_masks_of_experts(data_folder):
    prep = Preprocessing(128, HALF, HALF)
    found = ImageSource(data_folder / "xray" / "masked.csv", masks="{stem}_infection.png").load(prep)
    assert (len(found), int(found.has_mask.sum())) == (100, 94)  # of 95, one is a single pixel
    lungs = ImageSource(data_folder / "xray" / "masked.csv", masks="{stem}_lung.png").load(prep)
    assert bool(lungs.has_mask.all())
    inside = (found.masks & lungs.masks).sum() / found.masks.sum()
    assert float(inside) > 0.9  # the experts drew infections where the lungs are
    with (data_folder / "xray" / "masked.csv").open() as file:
        shares = [float(row["infection_frac"]) for row in csv.DictReader(file)]
    assert found.masks.float().flatten(1).mean(1).tolist() == pytest.approx(shares, abs=0.01)


# --- the command line -----------------------------------------------------------------------------------------------------


def test_the_command_line_takes_masks_boxes_and_data_sets(vocs, run):
    base = vocs / "VOCdevkit" / "VOC2012"
    scored = ["score", "gradcam", "Fake-CAM", "--metric", "energy-pointing", "--json"]

    def scores(*arguments):
        code, out, err = run(*scored, *arguments)
        assert (code, err) == (0, "")
        return [row["energy-pointing"]["mean"] for row in json.loads(out)["scores"]]

    found = scores("--dataset", f"voc-segmentation:{vocs}")
    assert found == scores("--images", base / "JPEGImages", "--masks", masks_without_borders(base, vocs / "masks"))
    boxes = scores("--dataset", f"voc-detection:{vocs}")
    assert boxes == scores("--images", base / "JPEGImages", "--set", f"boxes={base / 'Annotations'}")
    assert boxes != scores("--dataset", f"voc-detection:{vocs}?class=dog")
    code, _, err = run(*scored, "--images", base / "JPEGImages", "--dataset", f"voc-detection:{vocs}")
    assert (code, err) == (2, "error: --dataset and --images both name the images: give one\n")
    code, _, err = run(*scored, "--dataset", "coco:/nowhere")
    assert (code, "nothing is downloaded" in err, "Traceback" in err) == (2, True, False)
    code, out, _ = run("list", "datasets", "--json")
    assert [row["name"] for row in json.loads(out)["datasets"]][:2] == ["coco", "imagenet"]
    code, out, _ = run(
        "synth", "gradient", "--metric", "iou", "--budget", 3, "--set", f"held_out={0}", "--json", "--out",
        vocs / "run", "--dataset", f"voc-detection:{vocs}",
    )  # fmt: skip
    assert (code, json.loads(out)["manifest"]["images"]["count"]) == (0, 2)


def masks_without_borders(base, folder):
    """The same truth in plain PNG files."""
    for file in (base / "SegmentationClass").glob("*.png"):
        with Image.open(file) as mask:
            values = np.asarray(mask)
        save(folder / file.name, Image.fromarray(((values != 0) & (values != 255)).astype(np.uint8)))
    return folder
