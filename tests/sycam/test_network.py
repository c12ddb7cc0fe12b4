"""`Network` and `load_network`: hand values, twins, an untouched model, and errors that say what to do."""

import json
from collections import namedtuple

import pytest
import torch
from torch import Tensor, nn

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
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)),
        nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)),  # as VGG
        nn.Sequential(nn.Flatten(), nn.Linear(16, 4)),  # linear, but not in the means
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 4)),
    ],
)
def test_heads_that_look_linear_and_are_not(tail):
    assert linear_head(Network(nn.Sequential(nn.Conv2d(3, 4, 1), tail), PREP, "0")) is None


class MeanPooled(nn.Module):
    """Global pooling by a method, without a module of its own."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 5, bias=bias)
        self.aux = nn.Linear(4, 5)  # of the head's shape, registered later, and never run

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).mean((2, 3)))


def trained_norm(module: nn.Module) -> nn.Module:
    """A batch norm as after training: statistics and factors that are not 0 and 1."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module


HEADS = {
    "pool, flatten, dropout, linear": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 5)
    ),
    "1x1 convolution, then pooling": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Dropout(), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "pooling, then 1x1 convolution, unbiased": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 5, 1, bias=False), nn.Flatten()
    ),
    "mean, linear": lambda: MeanPooled(True),
    "mean, unbiased linear": lambda: MeanPooled(False),
    "two linear layers": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 5)
    ),
    "batch norm, pool, linear": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1), trained_norm(nn.BatchNorm2d(4)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    ),
}


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS.keys())
def test_linear_heads_in_other_clothes(make):
    torch.manual_seed(6)
    network = Network(make(), PREP, "conv" if isinstance(make(), MeanPooled) else "0")
    head = linear_head(network)
    A = torch.randn(3, 4, 2, 2)
    # By automatic differentiation: ∂logits/∂A is W/Z at every pixel, and the logits of zero maps are b.
    jacobian = torch.autograd.functional.jacobian(lambda a: network.tail(a[None])[0], A[0])  # [5, 4, 2, 2]
    torch.testing.assert_close(head.weight[:, :, None, None].expand(5, 4, 2, 2), 4 * jacobian, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(head.bias, network.tail(0 * A[:1])[0].detach(), rtol=1e-6, atol=1e-7)


def test_no_linear_head_where_the_model_is_not_one():
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
    with pytest.raises(SycamError, match=r"Sequential cannot classify an image \[1, 3, 9, 9\]: RuntimeError: .*`size`"):
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
