"""What models take and return: several outputs, dicts, half and double precision, grey images; and torchvision's own weights."""

import copy
import re
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from test_network import PREP, Tiny, X, same, snapshot
from torch import Tensor, nn
from torchvision import models
from worlds import TinyVGG

from sycam.api import heatmaps, score
from sycam.errors import SycamError
from sycam.images import load_images
from sycam.network import Network, Preprocessing, linear_head, load_network
from sycam.network.load import colour_channels

LOGITS = [3.25, 3.25, -2.0]  # of Tiny on X, by hand in test_network
Pair = namedtuple("Pair", ["features", "scores"])


@dataclass
class Record:
    """Dataclasses without `logits`."""

    scores: Tensor
    features: Tensor


class Wrapped(Tiny):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor):
        return self.wrap(super().forward(x), x)


@pytest.mark.parametrize(
    ("wrap", "output"),
    [
        (lambda y, x: (x, y), None),  # the only one of two dimensions
        (lambda y, x: {"y": y, "x": x}, None),
        (lambda y, x: Record(y, x), None),
        (lambda y, x: (-y, y), 1),
        (lambda y, x: (-y, y), "1"),
        (lambda y, x: Pair(-y, y), "scores"),
        (lambda y, x: Record(y, -y), "scores"),
        (lambda y, x: {"logits": -y, "other": y}, "other"),
        (lambda y, x: {"heads": [-y, y]}, "heads.1"),
    ],
)
def test_where_the_logits_lie(wrap, output):
    network = load_network(Wrapped(wrap), size=2, mean=0.5, std=0.5, output=output)
    assert network.logits(X).tolist() == [LOGITS]
    A, logits = network.activations(X)
    assert logits.tolist() == [LOGITS]
    assert network.tail(A, X).tolist() == [LOGITS]
    assert network.cut_reason == "traced and verified"


def test_it_is_said_where_the_logits_might_lie():
    cases = [
        (lambda y, x: {"a": y, "b": y}, None, r"Wrapped returned dict with a \[2, 3\], b \[2, 3\]: it is not clear which are"),
        (lambda y, x: Record(y, y), None, r"Record with scores .*name them as `output`"),
        (lambda y, x: (y, x), "2", r"Wrapped has no output '2'; it returned tuple with 0 \[.*\], 1 \[.*\]"),
        (lambda y, x: {"logits": y, "x": x}, "x", r"Wrapped returned a tensor of shape \[.*, 3, 2, 2\] at 'x'; a classifier ret"),
        (lambda y, x: (x, x), None, r"Wrapped returned tuple; a classifier .*tuple with 0 .*: say which as `output`"),
        (lambda y, x: ([y], y), "0.b", r"no output '0.b'; it returned tuple with 0 \(list\), 1 "),
        (lambda y, x: y.argmax(1), None, r"Wrapped returned a tensor of shape \[.\]; a classifier returns logits"),
        (lambda y, x: None, None, "Wrapped returned NoneType; a classifier returns logits"),
    ]
    for wrap, output, message in cases:
        with pytest.raises(SycamError, match=message.replace("[2, 3]", "[., 3]").replace(r"\[2, 3\]", r"\[., 3\]")):
            Network(Wrapped(wrap), PREP, output=output)


def test_auxiliary_heads_in_training_form():
    torch.manual_seed(0)
    model = models.get_model("googlenet", weights=None, init_weights=False, aux_logits=True, num_classes=4).train()
    before = snapshot(model)
    images = torch.randn(2, 3, 64, 64)
    assert hasattr(model(images), "aux_logits1")  # what a user's own call returns
    model.load_state_dict(before[3])  # batch norm counted that call
    network = Network(model, Preprocessing(64, (0.5,) * 3, (0.5,) * 3))
    twin = copy.deepcopy(model).eval()
    with torch.no_grad():
        torch.testing.assert_close(network.logits(images), twin(images), rtol=1e-4, atol=1e-6)
    assert same(snapshot(model), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_of_the_weights(dtype):
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = TinyVGG(seed=1).to(dtype)
    rounded = copy.deepcopy(model).float()  # the same network, its weights rounded as above
    before = snapshot(model)
    for cam in ("gradcam", "gradcam++", "scorecam"):
        for given in (images, images.to(dtype)):
            expected = heatmaps(cam, rounded, given.float(), layer="features.1")
            found = heatmaps(cam, model, given, layer="features.1")
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert same(snapshot(model), before)
    described = Network(model, Preprocessing(16, (0.5,) * 3, (0.5,) * 3)).describe()
    assert described["precision"] == ("float64" if dtype == torch.float64 else "float32")
    assert described["given_in"] == str(dtype).removeprefix("torch.")


def test_activations_beyond_half_precision_do_not_overflow():
    model = Tiny()
    with torch.no_grad():
        model.conv.weight *= 40000  # 2.0 becomes 80,000; float16 ends at 65,504
        model.fc.weight /= 40000
    half = copy.deepcopy(model).half()
    assert not half.conv(X.half()).isfinite().all()
    network = Network(half, PREP)
    torch.testing.assert_close(network.logits(X), torch.tensor([LOGITS]), rtol=2e-3, atol=0)
    assert heatmaps("gradcam", half, X).isfinite().all()


def test_weights_of_mixed_precision():
    model = Tiny()
    model.conv.half()
    network = Network(model, PREP)
    assert network.logits(X).tolist() == [LOGITS]
    assert network.describe()["given_in"] == "mixed precision"
    assert model.conv.weight.dtype == torch.float16


class Grey(nn.Module):
    """A_0 = x, A_1 = (x - 1/2)+ of a grey image x."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.Linear(2, 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.ones(2, 1, 1, 1))
            self.conv.bias.copy_(torch.tensor([0.0, -0.5]))
            self.fc.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


def test_networks_of_grey_images_take_images_of_either_kind(tmp_path):
    grey = np.array([[0, 255], [102, 204]], dtype=np.uint8)
    colour = np.zeros((2, 2, 3), dtype=np.uint8)
    colour[0, 0] = (255, 0, 0)  # luma 0.299 · 255 = 76
    colour[1, 1] = (0, 255, 0)  # 0.587 · 255 = 150
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(colour).save(tmp_path / "b.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "c.png")  # 16 bits
    network = load_network(Grey(), size=2, mean=0.0, std=1.0)
    assert network.preprocessing == Preprocessing(2, (0.0,), (1.0,))
    images = load_images(tmp_path, network.preprocessing)
    assert images.pixels.tolist() == [[grey.tolist()], [[[76, 0], [0, 150]]], [grey.tolist()]]
    A, _ = network.activations(images.normalised([0], network))
    torch.testing.assert_close(A[0], torch.tensor([[[0.0, 1.0], [0.4, 0.8]], [[0.0, 0.5], [0.0, 0.3]]]))
    assert linear_head(network) is not None
    found = heatmaps("gradcam", network, images.normalised(slice(None), network), classes=torch.tensor([0, 0, 0]))
    weighed = torch.tensor([[0.0, 2.0], [0.4, 1.4]]) / 4  # Σ w_k/Z · A_k of class 0
    torch.testing.assert_close(found[0], weighed / weighed.max())
    assert torch.equal(found[0], found[2])
    assert score("gradcam", "average-drop", network, images).shape == (3,)
    # A colour network takes grey files as three equal channels.
    assert load_images(tmp_path / "a.png", PREP).pixels[0].tolist() == [grey.tolist()] * 3


def test_grey_is_found_by_the_first_convolution():
    assert colour_channels(Grey()) == 1
    assert load_network(Grey(), size=2).preprocessing == Preprocessing(2, (0.449,), (0.226,))  # the means of ImageNet's
    with pytest.raises(SycamError, match=r"mean takes one number \(its images are grey\), not 3"):
        load_network(Grey(), size=2, mean=(0.1, 0.2, 0.3))
    with pytest.raises(SycamError, match="Grey takes images of 1 channels, not 3"):
        heatmaps("gradcam", Grey(), torch.rand(1, 3, 2, 2))
    with pytest.raises(SycamError, match=r"images must be .* or \[B, 1, H, W\] for a network of grey images, not \[1, 2, 2, 2\]"):
        heatmaps("gradcam", Grey(), torch.rand(1, 2, 2, 2))
    with pytest.raises(SycamError, match=r"mean and std must both hold three numbers or both one"):
        Preprocessing(2, (0.1,), (0.1,) * 3)


def released(name: str, folder, **options) -> nn.Module:
    """Random weights, in a file of the name that torchvision downloads, where torchvision looks for it."""
    model = models.get_model(name, weights=None, **options)
    state = model.state_dict()
    if name.startswith("densenet"):  # as in the released files: norm.1 for norm1, no counters, no versions
        state = {
            re.sub(r"(denselayer\d+\.[a-z]+)([12])", r"\1.\2", key): value
            for key, value in state.items()
            if not key.endswith("num_batches_tracked")
        }
    file = models.get_model_weights(name).DEFAULT.url.rpartition("/")[2]
    (folder / "hub" / "checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "hub" / "checkpoints" / file)
    return model.eval()


@pytest.mark.parametrize("name", ["densenet121", "mnasnet0_5", "squeezenet1_1"])
def test_released_weights_by_torchvisions_own_code_and_by_file(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    model = released(name, tmp_path)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
    loaded = load_network(name, size=64)  # torchvision finds the file in its cache
    assert loaded.weights == f"torchvision {models.get_model_weights(name).DEFAULT}"
    (file,) = (tmp_path / "hub" / "checkpoints").iterdir()
    by_file = load_network(name, weights=file, size=64)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    safe = load_network(name, weights=tmp_path / "w.safetensors", size=64)
    for network in (loaded, by_file, safe):
        tolerance = 1e-5 * float(expected.abs().max())
        torch.testing.assert_close(network.logits(images), expected, rtol=0, atol=tolerance)
        assert network.n_classes == 1000


def test_a_vit_takes_the_size_of_its_weights(monkeypatch, tmp_path):
    real = models.get_model

    def small(name, weights, **options):  # the real class with fewer blocks
        return models.VisionTransformer(
            patch_size=16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8, **{"image_size": 224, **options}
        )

    monkeypatch.setattr(models, "get_model", small)
    for side, preprocessed in ((384, (384, 384, "bicubic")), (96, (96, 96, "bilinear"))):
        torch.save(small("vit_b_16", None, image_size=side, num_classes=3).state_dict(), tmp_path / "v.pth")
        network = load_network("vit_b_16", weights=tmp_path / "v.pth")
        prep = network.preprocessing
        assert (prep.size, prep.resize, prep.interpolation) == preprocessed
        assert (network.n_classes, network.map_size) == (3, (side // 16, side // 16))
    with pytest.raises(
        SycamError, match=r"cannot classify an image \[1, 3, 64, 64\]: AssertionError: Wrong image height.*`size`"
    ):
        load_network("vit_b_16", weights=tmp_path / "v.pth", size=64)
    assert real is not small
