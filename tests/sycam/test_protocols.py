"""Protocols: four choices, named in full wherever a score is; results of different ones do not share a table unmarked."""

import json

import pytest
import torch
from torch import nn
from worlds import tiny_images, tiny_network

from sycam.api import score
from sycam.errors import SycamError
from sycam.metrics.protocol import PROTOCOLS, find_protocol


def test_black_masks_the_raw_image_and_labelled_explains_the_label():
    network, images = tiny_network(), tiny_images(4)
    found = score("gradcam", "average-drop", network, images, protocol="opticam")
    from sycam import heatmaps

    x = images.normalised(slice(None), network)
    S = heatmaps("gradcam", network, x, classes=images.labels)
    raw = images.pixels / 255 * S[:, None]
    p, o = (network.logits(each).softmax(1).gather(1, images.labels[:, None])[:, 0] for each in (x, (raw - 0.5) / 0.25))
    torch.testing.assert_close(found.float(), ((p - o).relu() / p), rtol=0, atol=1e-5)
    assert not torch.allclose(found, score("gradcam", "average-drop", network, images, protocol="adcc"), atol=1e-3)


def test_those_that_come_with_sycam():
    told = {name: (p.masked, p.classes) for name, p in PROTOCOLS.items()}
    assert told == {"adcc": ("mean colour", "predicted"), "opticam": ("black", "labelled"), "rise": ("mean colour", "predicted")}
    vgg = type("VGG", (nn.Module,), {})()
    vgg.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    assert find_protocol("opticam").layer_of(vgg) == "features.1"
    assert find_protocol("adcc").layer_of(vgg) is None


def test_your_own_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'masked = "black"\nclass = "labelled"\nlayer = "features.1"\n[preprocessing]\nsize = 32\nmean = [0.5, 0.5, 0.5]\n'
    )
    mine = find_protocol(path)
    assert (mine.name, mine.masked, mine.classes, mine.layer) == ("mine", "black", "labelled", "features.1")
    assert mine.preprocessing == {"size": 32, "mean": [0.5, 0.5, 0.5]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("masked = 'black'", "does not say 'class'"),
        ("masked = 'grey'\nclass = 'predicted'", "'mean colour' or 'black', not 'grey'"),
        ("masked = 'black'\nclass = 'predicted'\nlayers = 3", "layers must be a table"),
        ("masked = 'black'\nclass = 'predicted'\nlayr = 'x'", "did you mean 'layer'"),
        ("masked = 'black'\nclass = 'predicted'\n[preprocessing]\nsise = 3", "did you mean 'size'"),
        ("masked = 'black'\nclass = 'predicted'\nname = 'rise'", "give it another name"),
        ("masked = ", "is no TOML"),
    ],
)
def test_files_that_make_no_sense(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SycamError, match=message):
        find_protocol(path)


def test_tables_name_their_protocol_and_different_ones_are_not_compared_unmarked(tmp_path, monkeypatch, run):
    monkeypatch.setenv("COLUMNS", "200")
    files = {}
    for name in ("adcc", "opticam"):
        code, out, err = run("score", "gradcam", "fakecam", "--limit", 6, "--protocol", name, "--json")
        assert code == 0, err
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(out)
    told = json.loads(files["opticam"].read_text())["protocol"]
    assert (told["name"], told["masked_pixels"], told["class"]) == ("opticam", "black", "labelled")
    assert set(told) == {"name", "masked_pixels", "class", "preprocessing", "layer"}
    code, out, _ = run("compare", files["adcc"], files["adcc"])
    assert (code, "WARNING" in out) == (0, False)
    code, _, err = run("compare", files["adcc"], files["opticam"])
    assert (code, "masked pixels, class" in err) == (2, True)
    code, out, _ = run("compare", files["adcc"], files["opticam"], "--across-protocols")
    assert code == 0
    assert "WARNING: not comparable: the protocols differ in masked pixels, class" in " ".join(out.split())
    _, out, _ = run("score", "gradcam", "--limit", 4, "--metric", "0.5*iou - 0.5*average-drop", "--set", "classes=labelled")
    assert "protocol adcc, but labelled class: masked pixels mean colour; labelled class; resize" in out.replace("\n", " ")
