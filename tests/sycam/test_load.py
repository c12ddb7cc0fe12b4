"""`load_network`: names, factories, weights and preprocessing, and what is said of those that do not fit."""

import sys
import types
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from test_network import Tiny
from torch import nn
from torchvision import models

from sycam.errors import SycamError
from sycam.network import Preprocessing, load_network

FACTORY = """
import torch
from dataclasses import dataclass
from torch import nn

@dataclass
class Config:
    channels: int = 4

def build(channels=None, classes="5"):
    width = int(channels or Config().channels)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(width, int(classes)))

def nothing():
    return 42

def failing(name):
    return {}[name]
"""


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(FACTORY)
    return path


def test_factories(factory, monkeypatch):
    assert load_network(f"{factory}:build", size=8).channels == 4
    network = load_network(f"{factory}:build:6,3", size=8, mean=0.5, std=[0.1, 0.2, 0.3], device="cpu", classes=3)
    assert (network.channels, network.n_classes) == (6, 3)
    assert network.preprocessing == Preprocessing(8, (0.5,) * 3, (0.1, 0.2, 0.3))
    monkeypatch.chdir(factory.parent)
    path = list(sys.path)
    assert load_network("nets:build:7", size=8).channels == 7  # package.module:function, from the current folder
    assert sys.path == path
    sys.modules.pop("nets", None)


def test_factory_errors(factory):
    cases = {
        f"{factory}:biuld": r"nets.py has no function 'biuld'; it has build",
        f"{factory}:nothing": r"nets.py: nothing returned int; it must return an nn.Module",
        f"{factory}:failing:resnet": r"nets.py: failing\('resnet'\) failed: KeyError: 'resnet'",
        f"{factory.parent}/none.py:build": r"model file .*none.py does not exist",
        "no_such_package.module:build": "cannot import model no_such_package.module: ModuleNotFoundError",
        "models.py:": "cannot read the model 'models.py:': write file.py:function",
    }
    for model, message in cases.items():
        with pytest.raises(SycamError, match=message):
            load_network(model, size=8)
    factory.write_text("import nothing_of_that_name")
    with pytest.raises(SycamError, match=r"cannot import model .*nets.py:1: ModuleNotFoundError"):
        load_network(f"{factory}:build", size=8)
    with pytest.raises(SycamError, match=r"Tiny does not say which input it was trained on: give `size` in pixels"):
        load_network(Tiny())
    with pytest.raises(SycamError, match="Tiny has 3 classes, not 4: they must agree"):
        load_network(Tiny(), size=2, classes=4)
    with pytest.raises(SycamError, match=r"no torchvision classifier 'resnet51' .did you mean resnet50"):
        load_network("resnet51")
    with pytest.raises(SycamError, match=r"an nn.Module brings its own"):
        load_network(Tiny(), weights="some.pt", size=2)
    with pytest.raises(SycamError, match=r"no device 'cuda:99' here"):
        load_network(Tiny(), size=2, device="cuda:99")
    with pytest.raises(SycamError, match=r"no device 'gpu' here"):
        load_network(Tiny(), size=2, device="gpu")
    with pytest.raises(SycamError, match=r"resize takes a number of pixels, or squash, not 'big'"):
        load_network(Tiny(), size=2, resize="big")
    with pytest.raises(SycamError, match="no layer 'relv' in Tiny; the nearest names are 'relu'"):
        load_network(Tiny(), size=2, layer="relv")


def test_preprocessing_options():
    assert load_network(Tiny(), size=2, resize="3").preprocessing.resize == 3
    assert load_network(Tiny(), size=2, resize="squash").preprocessing.squash
    with pytest.raises(SycamError, match="mean takes one number or three, one a colour, not 2"):
        load_network(Tiny(), size=2, mean=(0.1, 0.2))


def test_weights_files(factory, tmp_path):
    torch.manual_seed(5)
    namespace: dict = {}
    exec(FACTORY, namespace)
    state = namespace["build"]().state_dict()
    prefixed = {f"module.{key}": value for key, value in state.items()}
    save_file(state, tmp_path / "a.safetensors")
    (tmp_path / "b.weights").write_bytes((tmp_path / "a.safetensors").read_bytes())  # known by its content
    torch.save(state, tmp_path / "c.pt")
    torch.save({"state_dict": prefixed, "epoch": 3}, tmp_path / "d.pth")
    torch.save({"model": state}, tmp_path / "e.pt")
    digests = {
        load_network(f"{factory}:build", weights=tmp_path / name, size=8).weights_digest()
        for name in ("a.safetensors", "b.weights", "c.pt", "d.pth", "e.pt")
    }
    assert len(digests) == 1
    assert load_network(f"{factory}:build", weights=tmp_path / "c.pt", size=8).weights == "c.pt"


class Pickled(nn.Module):
    pass


def test_weights_that_do_not_fit(factory, tmp_path):
    other = {"0.weight": torch.zeros(4, 3, 3, 3), "0.bias": torch.zeros(7), "head.weight": torch.zeros(1)}
    save_file(other, tmp_path / "other.safetensors")
    torch.save(Pickled(), tmp_path / "pickle.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("hello, I am no weights file")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:100])
    cases = {
        "other.safetensors": r"another network than .*: 2 missing \(4.weight, 4.bias\); 1 unexpected \(head.weight\); "
        r"1 of another shape \(0.bias \[7\] instead of \[4\]\)",
        "pickle.pt": r"pickle.pt holds more than tensors, and loading it could run code: save the state dict alone",
        "list.pt": "list.pt holds no state dict",
        "text.pt": "text.pt is neither a safetensors file nor a state dict that torch.save wrote",
        "cut.safetensors": "cut.safetensors is not a whole safetensors file .*copy it again",
        "none.pt": "no weights file",
    }
    for name, message in cases.items():
        with pytest.raises(SycamError, match=message):
            load_network(f"{factory}:build", weights=tmp_path / name, size=8)


@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5"])
def test_the_number_of_classes_comes_from_the_file(name, tmp_path):
    torch.save(models.get_model(name, weights=None, num_classes=3).state_dict(), tmp_path / "three.pt")
    network = load_network(name.upper(), weights=tmp_path / "three.pt")
    default = Preprocessing.from_weights(models.get_model_weights(name).DEFAULT)
    assert (network.n_classes, network.class_names, network.preprocessing) == (3, None, default)
    with pytest.raises(SycamError, match="of another shape"):
        load_network(name, weights=tmp_path / "three.pt", classes=4)


def test_googlenet_without_its_auxiliary_heads(tmp_path):
    model = models.get_model("googlenet", weights=None, aux_logits=False, init_weights=False, num_classes=4)
    torch.save(model.state_dict(), tmp_path / "g.pt")
    network = load_network("GoogLeNet", weights=tmp_path / "g.pt", size=64)
    assert (network.layer, network.n_classes, network.model.transform_input) == ("inception5b", 4, True)


def test_no_network_no_weights(monkeypatch):
    def offline(name, weights):
        raise URLError("Name or service not known")

    monkeypatch.setattr(models, "get_model", offline)
    with pytest.raises(SycamError, match=r"weights of resnet18 could not be fetched from https://.*as `weights`"):
        load_network("resnet18")
    with pytest.raises(SycamError, match="resnet18 with 7 classes needs weights of its own"):
        load_network("resnet18", classes=7)


def test_mobilenet_takes_size_and_names_from_torchvision(mobilenet_v2):
    assert (mobilenet_v2.preprocessing.size, mobilenet_v2.preprocessing.resize) == (224, 256)
    assert mobilenet_v2.class_names[0] == "tench"
    assert mobilenet_v2.layer == "features.18"


def test_three_class_mobilenet(data_folder):
    network = load_network("mobilenet_v2", weights=data_folder / "weights/mobilenet_v2_xray3.safetensors", mean=0.5, std=0.5)
    assert (network.n_classes, network.class_names, network.weights) == (3, None, "mobilenet_v2_xray3.safetensors")


def test_embedded(monkeypatch):
    fake = types.ModuleType("sycam.embedded")
    fake.load_network = lambda device: Tiny()
    fake.LAYER, fake.SIZE, fake.MEAN, fake.STD, fake.CLASSES = "conv", 2, (0.1,) * 3, (0.2,) * 3, ("a", "b", "c")
    monkeypatch.setitem(sys.modules, "sycam.embedded", fake)
    network = load_network("embedded")
    assert (network.layer, network.class_names, network.name) == ("conv", ["a", "b", "c"], "embedded")
    assert network.preprocessing == Preprocessing(2, (0.1,) * 3, (0.2,) * 3)
    assert load_network("embedded", layer="relu", size=4).layer == "relu"
    with pytest.raises(SycamError, match="embedded network brings its own weights"):
        load_network("embedded", weights="x.pt")


def test_photos_are_recognised(mobilenet_v2, photos):
    found = mobilenet_v2.logits(photos.normalised(slice(None), mobilenet_v2)).argmax(1)
    assert int((found == photos.labels).sum()) >= 5
