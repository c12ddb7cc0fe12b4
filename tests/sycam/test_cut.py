"""Cutting a model at its layer: where it works, where it must not, and that the model does not notice."""

import copy
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from sycam.network.cut import cut
from sycam.network.outputs import Output, catching, replacing

torch.manual_seed(0)


def examples(side: int = 8) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


class Body(nn.Module):
    """conv -> what a subclass does -> linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Linear(4, 2)

    def after(self, a: Tensor, x: Tensor) -> Tensor:
        return a

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.after(self.conv(x), x).mean((2, 3)))


class InPlace(Body):
    def after(self, a: Tensor, x: Tensor) -> Tensor:
        return self.relu(a.mul_(2))


class Bypass(Body):
    def after(self, a: Tensor, x: Tensor) -> Tensor:
        return a + x.mean()


class Discarded(Body):
    """Changes the map by a call whose result no one uses: a tail of the data flow alone would leave it out."""

    def after(self, a: Tensor, x: Tensor) -> Tensor:
        F.relu(a, inplace=True)
        return a


class Scaled(Body):
    """As `Discarded`, by a method, and where max pooling hides what a ReLU does to a network's own activations."""

    def after(self, a: Tensor, x: Tensor) -> Tensor:
        a.mul_(2)
        b = a + 1
        b += 1
        F.relu_(b)
        return F.max_pool2d(b, 6)


class HiddenByPooling(Body):
    """All its own pools are positive: the missing ReLU does not show on them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv.bias.data += 3

    def after(self, a: Tensor, x: Tensor) -> Tensor:
        F.relu_(a)
        return F.max_pool2d(a, 3)


class ThroughView(Body):
    """Writes into a view that no one uses again."""

    def after(self, a: Tensor, x: Tensor) -> Tensor:
        b = a * 1
        b.flatten(1).abs_()
        self.relu(b.view(-1))
        return F.max_pool2d(b, 6)


class Counting(Body):
    """Writes into what the logits do not need."""

    def after(self, a: Tensor, x: Tensor) -> Tensor:
        y = x + 1
        y.mul_(2)
        return a


class StatementFromTheImage(Body):
    def after(self, a: Tensor, x: Tensor) -> Tensor:
        a.mul_(x.mean())
        return a


class AfterItsReturn(Body):
    """The layer hands on what an earlier statement wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = self.conv, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        F.relu_(a)
        return self.fc(F.max_pool2d(self.conv(a), 6).flatten(1))


class DataDependent(Body):
    def after(self, a: Tensor, x: Tensor) -> Tensor:
        return a if a.sum() > 0 else -a


class ThroughAttribute(Body):
    """A bypass hidden in an attribute."""

    def after(self, a: Tensor, x: Tensor) -> Tensor:
        self.kept = x.mean()
        return a * self.kept


class ThroughShape(Body):
    def after(self, a: Tensor, x: Tensor) -> Tensor:
        return a.view(a.size(0), a.shape[1], 2, -1)


@pytest.mark.parametrize(
    "kind", [Body, InPlace, ThroughShape, Discarded, Scaled, HiddenByPooling, ThroughView, Counting, AfterItsReturn]
)
def test_the_tail_is_the_rest_of_the_model_bit_for_bit(kind):
    model = kind().eval()
    found = cut(model, model.conv, examples())
    assert found.reason == "traced and verified"
    x = examples()
    with catching(model.conv) as caught:
        logits = model(x)
    a = caught[0]
    assert torch.equal(found.tail(a), logits)
    for altered in (-a, a.flip(0, 1) - 1):
        before = altered.clone()
        with replacing(model.conv, altered):
            assert torch.equal(found.tail(altered), model(x))
        assert torch.equal(altered, before)  # in-place operations work on a copy
    assert not any(name.startswith("conv") for name, _ in found.tail.named_modules())


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Bypass, "the logits also depend on what bypasses the layer"),
        (ThroughAttribute, "the logits also depend on what bypasses the layer"),
        (StatementFromTheImage, "the logits also depend on what bypasses the layer"),
        (DataDependent, "torch.fx cannot trace the model: TraceError: symbolically traced variables cannot be used"),
    ],
)
def test_no_tail_and_the_reason(kind, reason):
    model = kind()
    found = cut(model, model.conv, examples())
    assert found.tail is None
    assert found.reason.startswith(reason)


def test_a_tail_that_its_own_images_do_not_tell_from_the_model_is_refused(monkeypatch):
    """The second line of defence: on the model's own activations a tail without the ReLU is right."""
    monkeypatch.setattr("sycam.network.cut.overwritten", lambda node, model: None)
    model = HiddenByPooling()
    assert cut(model, model.conv, examples()).reason.startswith("the traced tail's logits differ from the model's by")


def test_a_layer_inside_a_leaf_of_the_tracer():
    inner = nn.TransformerEncoderLayer(4, 1, 4)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2), nn.LazyLinear(4), inner, nn.Flatten(), nn.Linear(16, 2))
    assert cut(model, inner.linear1, examples()).tail is None


Pair = namedtuple("Pair", ["aux", "logits"])


@dataclass
class Outputs:
    """As Hugging Face's models return."""

    logits: Tensor
    hidden: tuple[Tensor, ...]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y, x: (y, x),
        lambda y, x: [y, x.mean((2, 3))],
        lambda y, x: {"aux": x, "logits": y},
        lambda y, x: Pair(x, y),
        lambda y, x: Outputs(y, (x,)),
    ],
    ids=["tuple", "list", "dict", "namedtuple", "dataclass"],
)
def test_only_the_logits_are_cut_out_of_more_outputs(wrap):
    class More(Body):
        def forward(self, x: Tensor):
            return wrap(super().forward(x), x)

    model = More().eval()
    found = cut(model, model.conv, examples())
    assert found.reason == "traced and verified"  # though the other output needs the image
    a = model.conv(examples()).detach()
    assert torch.equal(found.tail(a), Output("More")(model(examples())))


def test_what_hides_its_logits_from_the_tracer_has_no_tail():
    class Hidden:
        def __init__(self, logits: Tensor) -> None:
            self.logits = logits

    class More(Body):
        def forward(self, x: Tensor):
            return Hidden(super().forward(x))

    model = More()
    assert cut(model, model.conv, examples()).tail is None


class Twice(Body):
    def after(self, a: Tensor, x: Tensor) -> Tensor:
        return a + self.conv(x)


class Twin(Body):
    """A module that hands on its input, beside a path around it: the tracer sees one node for both."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Sequential()

    def after(self, a: Tensor, x: Tensor) -> Tensor:
        return a + self.same(a)


def test_a_layer_that_runs_twice_has_no_tail():
    model = Twice()
    assert cut(model, model.conv, examples()).reason == "the layer runs 2 times for one image"
    model.unused = nn.Conv2d(3, 4, 3)
    assert cut(model, model.unused, examples()).reason == "the layer runs 0 times for one image"


def test_a_path_around_a_layer_that_hands_on_its_input_is_seen():
    model = Twin()
    assert cut(model, model.same, examples()).reason.startswith("the traced tail's logits differ from the model's by")


class Skips(nn.Module):
    """Two residual blocks as in ResNets, with one in-place ReLU for all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.relu, self.drop = nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu(self.stem(x))
        a = self.relu(a + self.one(a))
        a = self.relu(a + self.norm(self.two(a)))
        return self.fc(F.dropout(self.drop(a.mean((2, 3))), 0.5, self.training))


@pytest.mark.parametrize(("layer", "cuttable"), [("stem", True), ("one", False), ("two", False), ("norm", False)])
def test_skip_connections_around_and_after_the_layer(layer, cuttable):
    model = Skips()
    model.train()
    statistics = copy.deepcopy(model.norm.state_dict())
    target = model.get_submodule(layer)
    found = cut(model, target, examples())
    assert (found.tail is not None) == cuttable, found.reason
    assert all(torch.equal(value, statistics[key]) for key, value in model.norm.state_dict().items())
    assert model.training and model.drop.training and model.norm.training
    if found.tail is not None:
        model.eval()
        assert torch.equal(found.tail(target(examples()).detach()), model(examples()))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4.1"),
        ("squeezenet1_1", "features.12"),
        ("shufflenet_v2_x0_5", "conv5"),
        ("densenet121", "features.norm5"),
        ("mobilenet_v3_small", "features.12"),
        ("resnet18", "layer4.0.bn1"),  # amid a block: the skip connection bypasses it
    ],
)
def test_torchvision(name, layer):
    model = models.get_model(name, weights=None)
    state, flags = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    target = model.get_submodule(layer)
    found = cut(model, target, examples(64))
    if layer == "layer4.0.bn1":
        assert found.reason == "the logits also depend on what bypasses the layer"
    else:
        assert found.reason == "traced and verified"
        own = {parameter.data_ptr() for parameter in model.parameters()}
        assert {parameter.data_ptr() for parameter in found.tail.parameters()} <= own  # shared, not copied
        assert sum(p.numel() for p in found.tail.parameters()) < 0.8 * sum(p.numel() for p in model.parameters())
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())  # batch norm saw nothing
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_gradients_flow_through_the_tail():
    model = InPlace().eval()
    tail = cut(model, model.conv, examples()).tail
    a = torch.randn(2, 4, 6, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(tail(a)[:, 1].sum(), a)
    expected = 2 * (a > 0) * model.fc.weight[1][None, :, None, None] / 36
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=0)
