"""`Network` and `load_network`: hand values, twins, an untouched model, and errors that say what to do."""

import json
import sys
import types
from collections import namedtuple
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from sycam.errors import SycamError
from sycam.network import Network, Preprocessing, linear_head, load_network
from sycam.network.cut import Cut

PREP = Preprocessing(2, (0.5,) * 3, (0.5,) * 3)
X = torch.tensor([[[[1.0, -1.0], [2.0, 0.0]], [[0.0, 3.0], [1.0, -2.0]], [[9.0, 9.0], [9.0, 9.0]]]])  # [1, 3, 2, 2]


class Tiny(nn.Module):
    """A_0 = relu(x_0), A_1 = relu(x_0 - x_1); logits = W mean(A) + b."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.relu = nn.ReLU(inplace=inplace)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(2, 3)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [1.0, -1.0, 0.0]])[:, :, None, None])
            self.fc.weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, 4.0], [0.0, -2.0]]))
            self.fc.bias.copy_(torch.tensor([0.5, 0.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.relu(self.conv(x)).mean((2, 3))))


def test_values_by_hand():
    network = Network(Tiny(), PREP)
    assert (network.layer, network.channels, network.map_size, network.n_classes) == ("relu", 2, (2, 2), 3)
    A, logits = network.activations(X)
    assert A.tolist() == [[[[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [1.0, 2.0]]]]
    assert logits.tolist() == [[3.25, 3.25, -2.0]]  # means 0.75 and 1
    assert network.logits(X).tolist() == logits.tolist() == network.tail(A).tolist()
    assert network.gradient(A, None, torch.tensor([1])).tolist() == [[[[-0.25, -0.25]] * 2, [[1.0, 1.0]] * 2]]
    head = linear_head(network)
    assert head.weight.tolist() == [[1.0, 2.0], [-1.0, 4.0], [0.0, -2.0]]
    assert head.bias.tolist() == [0.5, 0.0, 0.0]


def test_gradient_of_the_probability_by_hand():
    network = Network(Tiny(), PREP)
    A, logits = network.activations(X)
    p = logits.softmax(1)[0]
    W = network.model.fc.weight.detach()
    expected = p[1] * (W[1] - p @ W) / 4  # [K]
    found = network.gradient(A, X, torch.tensor([1]), of="probability")
    torch.testing.assert_close(found, expected[None, :, None, None].expand(1, 2, 2, 2), rtol=1e-6, atol=1e-7)
    with pytest.raises(SycamError, match="no gradient of 'score'; there are logit, probability"):
        network.gradient(A, X, torch.tensor([1]), of="score")


def test_a_layer_before_an_in_place_relu_keeps_its_negative_values():
    network = Network(Tiny(inplace=True), PREP, "conv")
    A, logits = network.activations(X)
    assert A.tolist() == [[[[1.0, -1.0], [2.0, 0.0]], [[1.0, -4.0], [1.0, 2.0]]]]
    assert network.tail(A).tolist() == logits.tolist()
    assert A[0, 1, 0, 1] == -4  # the tail worked on a copy
    gradient = network.gradient(A, X, torch.tensor([0]))
    assert gradient.tolist() == [[[[0.25, 0.0], [0.25, 0.0]], [[0.5, 0.0], [0.5, 0.5]]]]


def snapshot(model: nn.Module) -> tuple:
    return (
        [module.training for module in model.modules()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
        [(p.requires_grad, p.grad, p.data_ptr(), p.stride()) for p in model.parameters()],
        {key: value.clone() for key, value in model.state_dict().items()},
    )


def same(one: tuple, other: tuple) -> bool:
    return one[:3] == other[:3] and all(torch.equal(value, other[3][key]) for key, value in one[3].items())


@pytest.mark.parametrize("cuttable", [True, False])
def test_the_users_model_is_left_as_it_was(cuttable):
    model = Tiny()
    model.train()
    model.relu.eval()
    model.conv.weight.requires_grad_(False)
    before = snapshot(model)
    images, kept = X.clone(), X.clone()
    network = Network(model, PREP)
    if not cuttable:
        network._cut = Cut(None, "for the test")
    assert network.model is model
    A, logits = network.activations(images)
    activations = A.clone()
    network.logits(images)
    network.tail(A, images)
    network.gradient(A, images, torch.tensor([0]))
    linear_head(network)
    assert same(snapshot(model), before)
    assert torch.equal(images, kept)
    assert torch.equal(A, activations)
    for tensor in (A, logits, network.logits(images), network.tail(A, images).detach()):
        assert not tensor.requires_grad
        assert not tensor.is_inference()


@pytest.mark.parametrize("method", ["logits", "activations", "tail", "gradient"])
@pytest.mark.parametrize("cuttable", [True, False])
def test_the_model_is_restored_when_it_fails(method, cuttable):
    model = Tiny()
    network = Network(model, PREP)
    if not cuttable:
        network._cut = Cut(None, "for the test")
    before = snapshot(model)
    A, _ = network.activations(X)

    def fail(*_: object) -> None:
        raise KeyError("broken")

    model.fc.forward = fail
    network_tail_is_shared = cuttable  # the tail holds the same module, so it fails too
    with pytest.raises(KeyError, match="broken"):
        {
            "logits": lambda: network.logits(X),
            "activations": lambda: network.activations(X),
            "tail": lambda: network.tail(A, X),
            "gradient": lambda: network.gradient(A, X, torch.tensor([0])),
        }[method]()
    assert network_tail_is_shared == (not network.needs_images)
    assert same(snapshot(model), before)
    assert torch.is_grad_enabled()


def test_a_model_that_overwrites_its_input():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    network = Network(model, PREP)
    for images in (X.clone(), X.clone().contiguous(memory_format=torch.channels_last)):
        network.logits(images)
        network.activations(images)
        assert torch.equal(images, X)


class Frozen(nn.Module):
    """Switches gradients off around its features, and reads the data in Python, so that it cannot be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.features(x)
        if features.sum() < 0:
            features = -features
        return self.fc(features.mean((2, 3)).tanh())


class Untraceable(Frozen):
    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        if features.sum() < 0:
            features = -features
        return self.fc(features.mean((2, 3)).tanh())


@pytest.mark.parametrize("kind", [Frozen, Untraceable])
def test_gradient_where_the_model_cannot_be_cut(kind):
    model = kind()
    network = Network(model, Preprocessing(8, (0.5,) * 3, (0.5,) * 3))
    assert network.needs_images
    images = torch.randn(3, 3, 8, 8)
    A, logits = network.activations(images)
    classes = torch.tensor([0, 2, 1])
    torch.testing.assert_close(network.tail(0 * A, images), model.fc(torch.zeros(3, 4)), rtol=0, atol=1e-6)
    torch.testing.assert_close(network.tail(A, images), logits)
    pooled = A.mean((2, 3))
    slow = (1 - pooled.tanh() ** 2) * model.fc.weight[classes] / 36
    found = network.gradient(A, images, classes)
    torch.testing.assert_close(found, slow[:, :, None, None].expand_as(A).detach(), rtol=1e-5, atol=1e-8)
    assert network.passes.full >= 12
    assert network.passes.tail == 0
    with pytest.raises(ValueError, match="tail needs the images"):
        network.tail(A)
    with torch.inference_mode():
        born_in_inference, _ = network.activations(images)
        torch.testing.assert_close(network.gradient(born_in_inference, images, classes), found)


def test_gradient_inside_inference_mode_and_without_grad():
    network = Network(Tiny(), PREP)
    A, _ = network.activations(X)
    expected = network.gradient(A, X, torch.tensor([1]))
    with torch.inference_mode():
        inside, _ = network.activations(X)
        assert torch.equal(network.gradient(inside, X, torch.tensor([1])), expected)
    with torch.no_grad():
        assert torch.equal(network.gradient(A, X, torch.tensor([1])), expected)


def test_passes_are_counted_in_images():
    network = Network(Tiny(), PREP)
    assert (network.passes.full, network.passes.tail, network.passes.backward) == (0, 0, 0)
    images = X.repeat(5, 1, 1, 1)
    A, _ = network.activations(images)
    network.logits(images[:2])
    network.gradient(A, images, torch.zeros(5, dtype=torch.int64))
    network.tail(A[:3])
    linear_head(network)  # verification is not counted
    assert vars(network.passes) == {"full": 7, "tail": 8, "backward": 5}


@pytest.mark.parametrize("name", ["mobilenet_v2", "small_vgg_tiny20", "tiny_darknet", "resnet20_cifar10"])
def test_real_networks_against_a_twin(request, name):
    network: Network = request.getfixturevalue(name)
    side = network.preprocessing.size
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(2))
    module = network.model.get_submodule(network.layer)
    kept = {}

    def keep(_module, _inputs, output):
        kept["A"] = output.clone().requires_grad_()
        return kept["A"].clone()  # an in-place ReLU may follow

    handle = module.register_forward_hook(keep)
    logits = network.model(images)
    handle.remove()
    classes = logits.argmax(1)
    A, found = network.activations(images)
    scale = logits.detach().abs().max()
    torch.testing.assert_close(found, logits.detach(), rtol=0, atol=float(1e-5 * scale))
    torch.testing.assert_close(A, kept["A"].detach(), rtol=1e-4, atol=float(1e-5 * A.abs().max()))
    (slow,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), kept["A"])
    gradient = network.gradient(A, images, classes)
    torch.testing.assert_close(gradient, slow, rtol=1e-4, atol=float(1e-5 * slow.abs().max()))
    # The order of the batch does not matter, nor whether the model is cut.
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(network.logits(images[order]), found[order], rtol=0, atol=float(1e-5 * scale))
    tail = network.tail(A)
    had, network._cut = network._cut, Cut(None, "for the test")
    try:
        whole = network.tail(A, images)
        uncut = network.gradient(A, images, classes)
    finally:
        network._cut = had
    torch.testing.assert_close(tail, whole, rtol=0, atol=float(1e-5 * scale))
    torch.testing.assert_close(uncut, gradient, rtol=1e-4, atol=float(1e-5 * slow.abs().max()))


def test_linear_head_is_found_by_what_it_computes(request):
    for name in ("mobilenet_v2", "resnet20_cifar10", "tiny_darknet"):
        network = request.getfixturevalue(name)
        assert linear_head(network).weight.shape == (network.n_classes, network.channels)
    assert linear_head(request.getfixturevalue("small_vgg_tiny20")) is None


@pytest.mark.parametrize(
    "tail",
    [
        nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)),
        nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 4)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.Hardtanh(-3, 3)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 4)),
    ],
)
def test_heads_that_look_linear_and_are_not(tail):
    assert linear_head(Network(nn.Sequential(nn.Conv2d(3, 4, 1), tail), PREP, "0")) is None


def test_linear_heads_in_other_clothes():
    conv = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(), nn.Conv2d(4, 5, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = linear_head(Network(conv, PREP, "0"))
    assert found.bias.tolist() == [0.0] * 5
    assert linear_head(Network(Untraceable(), Preprocessing(8, (0.5,) * 3, (0.5,) * 3))) is None


def test_what_models_return():
    named = namedtuple("Outputs", ["logits", "aux_logits"])  # as torchvision's InceptionOutputs

    class Wrapped(Tiny):
        def __init__(self, wrap) -> None:
            super().__init__()
            self.wrap = wrap

        def forward(self, x: Tensor):
            return self.wrap(super().forward(x), x)

    for wrap in (
        lambda y, x: (y, x),
        lambda y, x: [y],
        lambda y, x: {"aux": x, "out": y},
        lambda y, x: {"aux": x, "logits": y},
        lambda y, x: {"y": y},
        lambda y, x: named(y, x),
    ):
        network = Network(Wrapped(wrap), PREP)
        assert network.logits(X).tolist() == [[3.25, 3.25, -2.0]]
        A, _ = network.activations(X)
        assert network.gradient(A, X, torch.tensor([1]))[0, :, 0, 0].tolist() == [-0.25, 1.0]
    with pytest.raises(SycamError, match=r"Conv2d returned a tensor of shape \[1, 2, 2, 2\]; a classifier returns logits"):
        Network(nn.Conv2d(3, 2, 1), PREP)


def test_logits_that_are_not_finite():
    model = Tiny()
    with torch.no_grad():
        model.fc.bias[1] = float("nan")
    with pytest.raises(SycamError, match="Tiny returned logits that are NaN or infinite: its weights are broken"):
        Network(model, PREP)
    network = Network(Tiny(), PREP)
    with pytest.raises(SycamError, match="NaN or infinite"):
        network.logits(X * float("inf"))
    network.logits(X)  # and it recovers


def test_a_wrong_size_says_so():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    with pytest.raises(SycamError, match=r"Sequential cannot classify an image \[1, 3, 9, 9\]: RuntimeError: .*--size"):
        load_network(model, size=9)


def test_digest_and_manifest():
    torch.manual_seed(3)
    one, other = Network(Tiny(), PREP), Network(Tiny(), PREP, own=True)
    assert one.weights_digest() == other.weights_digest()  # memory layout is no content
    assert len(one.weights_digest()) == 64
    changed = Tiny()
    with torch.no_grad():
        changed.fc.bias[0] += 1
    assert Network(changed, PREP).weights_digest() != one.weights_digest()
    said = json.loads(json.dumps(one.describe()))
    assert said["layer"] == "relu"
    assert said["layer_chosen_by"] == "default"
    assert said["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    assert Network(Tiny(), PREP, "conv").describe()["layer_chosen_by"] == "user"


def test_the_random_state_is_not_moved():
    model = Tiny()
    state = torch.random.get_rng_state()
    network = Network(model, PREP)
    linear_head(network)
    assert torch.equal(torch.random.get_rng_state(), state)


# --- load_network ---------------------------------------------------------------------------------------------------------

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
        f"{factory.parent}/none.py:build": r"no file .*none.py",
        "no_such_package.module:build": "module no_such_package.module cannot be imported: ModuleNotFoundError",
        "models.py:": "cannot read the model 'models.py:': write file.py:function",
    }
    for model, message in cases.items():
        with pytest.raises(SycamError, match=message):
            load_network(model, size=8)
    factory.write_text("import nothing_of_that_name")
    with pytest.raises(SycamError, match=r"nets.py cannot be imported: ModuleNotFoundError"):
        load_network(f"{factory}:build", size=8)
    with pytest.raises(SycamError, match=r"Tiny does not say which input it was trained on: give --size PIXELS"):
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
    with pytest.raises(SycamError, match=r"weights of resnet18 could not be fetched from https://.*--weights FILE"):
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_and_copies():
    model = Tiny()
    network = load_network(model, size=2, mean=0.5, std=0.5, device="cuda")
    assert next(model.parameters()).device.type == "cpu"
    A, logits = network.activations(X)
    torch.testing.assert_close(logits.cpu(), torch.tensor([[3.25, 3.25, -2.0]]))
    assert network.gradient(A, None, torch.tensor([1], device="cuda")).device.type == "cuda"
    network.logits(X * float("inf"))
    with pytest.raises(SycamError, match="NaN or infinite"):
        network.check_finite()
