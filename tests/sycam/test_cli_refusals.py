"""What the command line refuses, and what it says then: the place in the file, the offending value, no traceback."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from worlds import some_images

from sycam.job.job import grammar_folder

BROKEN = {
    "a missing parenthesis": ("(check-synth)", "(check-synth", r"where ')' is expected"),
    "an unknown terminal": ("(G Map)", "(G Map) (Grad Map)", "unknown terminal 'Grad'"),
    "a wrong sort": ("(G Map)", "(G Real)", "Real"),
    "an empty grammar": (
        "(M Map (A\n           G\n           (m* M M)\n           (mrelu M))",
        "(M Map ()",
        "the rule of 'M' is empty",
    ),
    "an undeclared operator": ("(declare-fun gap (Map) Real)", "", "declare it first with (declare-fun gap (Map) Real)"),
    "an integer where a real belongs": ("(ite (> x 0.0) x 0.0)", "(ite (> x 0) x 0.0)", "write 0.0"),
    "a constraint that is no Bool": ("(check-synth)", "(declare-var G Map)(constraint (weight A G y))\n(check-synth)", "Real"),
    "a command that is not acted on": (
        "(check-synth)",
        "(oracle-constraint-io weight mine)\n(check-synth)",
        "oracle-constraint-io",
    ),
    "an oracle without the feature": (
        "(check-synth)",
        "(declare-oracle-fun f (Real) Real f)\n(check-synth)",
        "set-feature :oracles",
    ),
    "a metric in the wrong direction": (
        "(check-synth)",
        "(set-feature :oracles true)(declare-oracle-fun f ((-> Map Map Real Real)) Real average-drop)\n"
        "(optimize-synth ((! (f weight) :max)))",
        "average-drop is better the lower it is: write :min",
    ),
    "a front of goals": (
        "(check-synth)",
        "(set-feature :oracles true)(declare-oracle-fun f ((-> Map Map Real Real)) Real average-drop)\n"
        "(optimize-synth ((! (f weight) :min)) :pareto)",
        "goals combine by :lexico only",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_grammars_are_refused_with_their_place(sycam, tmp_path, name):
    old, new, message = BROKEN[name]
    path = tmp_path / "broken.sy"
    text = (grammar_folder() / "gradient.sy").read_text()
    head, _, tail = text.rpartition(old) if old == "(check-synth)" else text.partition(old)
    path.write_text(head + new + tail)
    code, out, err = sycam("synth", path, "--budget", 5, "--out", tmp_path / "run")
    assert code == 2
    assert out == ""
    assert message in err
    assert f"{path}:" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cache", "clear", "--cache", ""], "--cache is empty"),  # not the usual folder, which it would clear
        (["synth", "gradient", "--cache", ""], "--cache is empty"),
        (["synth", "gradient", "--metric", ""], "no metric ''"),
        (["synth", "gradient", "--set", "ray=", "--limit", 4], "the address of the Ray cluster is empty"),
    ],
)
def test_an_empty_name_is_refused(sycam, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = sycam(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_bad_images_models_layers_and_weights(sycam, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    images = some_images(tmp_path / "images")
    cut = images / "000.png"
    whole = cut.read_bytes()
    photo = tmp_path / "photos"
    photo.mkdir()
    Image.open(cut).convert("RGB").resize((200, 200)).save(photo / "a.jpg")
    (photo / "a.jpg").write_bytes((photo / "a.jpg").read_bytes()[:1500])
    other = tmp_path / "other.safetensors"
    save_file({"something.weight": torch.zeros(3, 3)}, other)
    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"not weights at all")
    cases = [
        (["--images", empty], "no image"),
        (["--images", photo], "a.jpg"),
        (["--layer", "features.99"], "features.99"),
        (["--layer", "classifier.0"], "classifier.0"),
        (["--model", "resnet18", "--weights", other, "--images", images], "something.weight"),
        (["--model", "resnet18", "--weights", junk, "--images", images], "junk.pt"),
        (["--model", "resnet81", "--images", images], "resnet18"),
        (["--model", "nothing.py:net", "--images", images], "nothing.py"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--metric", "iou", "--images", images], "mask"),
        (["--set", "mean=a,b"], "--set mean=... must be one number"),
        (["--metric", "iuo"], "did you mean 'iou'"),
        (["--seed", "-1"], "--seed must be a whole number"),
        (["--set", "target=nan"], "--set target=... must be a number"),
    ]
    for arguments, message in cases:
        code, out, err = sycam("synth", "gradient", "--budget", 5, "--out", tmp_path / "run", *arguments)
        assert code == 2, (arguments, err)
        assert out == "", arguments
        assert message in err, (arguments, err)
        assert "Traceback" not in err, arguments
    cut.write_bytes(whole)


def test_a_network_that_gives_nan_is_named(sycam, tmp_path):
    factory = tmp_path / "broken_net.py"
    factory.write_text(
        "import torch\nfrom torch import nn\n\ndef net():\n"
        "    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))\n"
        "    model[0].weight.data[:] = float('nan')\n    return model\n"
    )
    images = some_images(tmp_path / "images", 4)
    code, _, err = sycam(
        "synth", "gradient", "--model", f"{factory}:net", "--size", 64, "--images", images, "--out", tmp_path / "r"
    )
    assert code == 2
    assert "NaN" in err
    assert "Traceback" not in err
