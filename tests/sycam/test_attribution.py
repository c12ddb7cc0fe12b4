"""`lift`, `lift_map`, `lrp`, `lrp_contrast` against rules written out layer by layer, and the tail taken apart into modules."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch
import torch.nn.functional as F
from heads import PREP, Residual, double, images, network
from torch import Tensor, nn

from sycam.errors import Unavailable
from sycam.images import ImageSet
from sycam.network import Network
from sycam.network.cut import Cut
from sycam.network.outputs import ChannelsLast, Tokens
from sycam.terminals import View
from sycam.terminals.modular import modular_tail
from sycam.terminals.parts import Addition, MaxPool, SpatialMean

CLASSES = torch.tensor([3, 0, 1, 1])


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(float(expected.abs().max()), 1e-30))


def rescale(layers: list[nn.Module], A: Tensor, c: int) -> Tensor:
    """DeepLIFT's rescale rule against zeros (Shrikumar et al., 2017, section 3.5.2), one image [K, h, w], layer by layer."""
    xs, zeros = [A[None]], [torch.zeros_like(A[None])]
    for layer in layers:
        xs.append(layer(xs[-1].clone()))
        zeros.append(layer(zeros[-1].clone()))
    m = F.one_hot(torch.tensor([c]), xs[-1].shape[1]).to(A)  # multipliers of the layer's output
    for layer, x, x0, y, y0 in reversed(list(zip(layers, xs, zeros, xs[1:], zeros[1:], strict=False))):
        if isinstance(layer, nn.Linear):
            m = m @ layer.weight
        elif isinstance(layer, nn.Flatten):
            m = m.reshape(x.shape)
        elif isinstance(layer, nn.ReLU):
            # Where nothing comes in, nothing comes out: the slope does not matter.
            m = m * torch.where((x - x0).abs() < 1e-10, torch.zeros_like(x), (y - y0) / (x - x0))
        elif isinstance(layer, nn.Dropout):
            pass
        else:  # max pooling: what the window gained belongs to its largest pixel
            assert isinstance(layer, nn.MaxPool2d | nn.AdaptiveMaxPool2d | nn.AdaptiveAvgPool2d)
            contributions = torch.zeros_like(x)
            side = layer.kernel_size if isinstance(layer, nn.MaxPool2d) else 1
            for k in range(x.shape[1]):
                for i in range(y.shape[2]):
                    for j in range(y.shape[3]):
                        window = x[0, k, i * side : (i + 1) * side, j * side : (j + 1) * side]
                        row, column = divmod(int(window.argmax()), window.shape[1])
                        contributions[0, k, i * side + row, j * side + column] += m[0, k, i, j] * (y - y0)[0, k, i, j]
            m = torch.where(x == x0, torch.zeros_like(x), contributions / torch.where(x == x0, torch.ones_like(x), x - x0))
    return (m * (xs[0] - zeros[0]))[0].detach()


def test_lift_of_a_layered_head():
    made, x = network("layered"), images()
    view = View(made, x, CLASSES)
    layers = list(made.model.children())[1:]
    for n, c in enumerate(CLASSES.tolist()):
        close(view["lift_map"][n], rescale(layers, view.A[n], c))
    close(view["lift"], view["lift_map"].sum((2, 3)))
    nothing = made.tail(torch.zeros_like(view.A)).gather(1, CLASSES[:, None]).detach()
    close(view["lift"].sum(1), (view["y"] - nothing)[:, 0])
    assert (view["lift"] - view["drop"]).abs().max() > 1e-3 * view["lift"].abs().max()
    assert not made.model[0][1]._forward_hooks


def test_lift_is_captums_deeplift(small_vgg_tiny20: Network, tiny_photos: ImageSet):
    """The referee: captum on the same head, written down by hand, where its rule for max pooling holds (no window shares a pixel)."""
    captum = pytest.importorskip("captum.attr", reason="captum is in the extra `referee`")
    made = small_vgg_tiny20
    view = View(made, tiny_photos.normalised([0, 3, 5, 6], made))
    layers = [nn.ReLU() if isinstance(part, nn.ReLU) else part for part in made.model.classifier]
    head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), *layers).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = captum.DeepLift(head).attribute(view.A, torch.zeros_like(view.A), target=view.classes).detach()
    close(view["lift_map"], found, 1e-4)


def test_lift_of_the_small_vgg(small_vgg_tiny20: Network, tiny_photos: ImageSet):
    """Its head: max pooling, three linear layers, in-place ReLUs. Completeness, and the twin on one image."""
    made = small_vgg_tiny20
    x = tiny_photos.normalised([0, 3, 5], made)
    view = View(made, x)
    nothing = made.tail(torch.zeros_like(view.A)).gather(1, view.classes[:, None]).detach()
    gained = (view["y"] - nothing)[:, 0]
    torch.testing.assert_close(view["lift"].sum(1), gained, rtol=1e-4, atol=1e-4)
    layers = [part for part in made.model.modules() if isinstance(part, nn.MaxPool2d)][-1:]
    layers += [nn.Flatten(), *[part for part in made.model.classifier if not isinstance(part, nn.Dropout)]]
    slow = rescale(layers, view.A[0], int(view.classes[0]))
    close(view["lift_map"][0], slow, 1e-4)


@pytest.mark.parametrize("activation", [nn.SiLU(inplace=True), nn.GELU(), nn.Hardswish(), nn.ReLU6(inplace=True)])
def test_lift_is_complete_for_every_pointwise_activation(activation):
    """By their gradient, as packages that know only ReLU take them, it would not be."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid())
    made = double(Network(nn.Sequential(stem, nn.Conv2d(4, 5, 3), activation, nn.Flatten(), nn.Linear(80, 3)).eval(), PREP, "0"))
    view = View(made, images())
    nothing = made.tail(torch.zeros_like(view.A)).gather(1, view.classes[:, None]).detach()
    close(view["lift"].sum(1), (view["y"] - nothing)[:, 0])


def test_lift_where_windows_overlap_and_a_block_is_residual():
    """The residual network pools windows of 3 by steps of 2 with a border: contributions add up where windows share a pixel."""
    made = network("residual")
    assert any(isinstance(part, MaxPool) for part in modular_tail(made).modules())
    view = View(made, images(), CLASSES)
    nothing = made.tail(torch.zeros_like(view.A)).gather(1, CLASSES[:, None]).detach()
    close(view["lift"].sum(1), (view["y"] - nothing)[:, 0], 1e-8)


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d((2, 3), (1, 2), (1, 0)), nn.AdaptiveMaxPool2d(2)]
)
def test_lift_through_any_max_pooling_behind_a_convolution(pool):
    """Complete, and each image alone as in a batch: captum's own rule takes some slopes from the batch's first image."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid())
    features = nn.Sequential(stem, nn.Conv2d(4, 5, 1), nn.ReLU(), pool)
    width = features(torch.zeros(1, 3, 8, 8)).numel()
    made = double(Network(nn.Sequential(features, nn.Flatten(), nn.Linear(width, 3)).eval(), PREP, "0.0"))
    view = View(made, images())
    nothing = made.tail(torch.zeros_like(view.A)).gather(1, view.classes[:, None]).detach()
    close(view["lift"].sum(1), (view["y"] - nothing)[:, 0])
    for n in range(4):
        close(View(made, images()[n : n + 1])["lift_map"][0], view["lift_map"][n], 1e-10)


def test_what_multiplies_activations_warns_that_it_misses():
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return self.fc((x * x.sigmoid()).mean((2, 3)) ** 2)

    torch.manual_seed(0)
    view = View(double(Network(Gate().eval(), PREP, "conv")), images())
    with pytest.warns(
        UserWarning, match=r"lift: .* at 'conv' of Gate miss the logit's change by \d+%: its rules do not cover mul$"
    ):
        view["lift"]
    with pytest.warns(UserWarning, match=r"lrp: .* after 'conv' of Gate meets what no rule covers, .* gradient there: mul$"):
        view["lrp"]


ACTIVATIONS = {  # how a function may be written, and the module
    "relu": (F.relu, nn.ReLU()),
    "relu by keyword": (lambda x: F.relu(input=x, inplace=True), nn.ReLU()),
    "relu_": (F.relu_, nn.ReLU()),
    "clamp": (lambda x: x.clamp(min=0), nn.ReLU()),
    "leaky_relu_": (lambda x: F.leaky_relu_(x, 0.1), nn.LeakyReLU(0.1)),
    "tanh_": (lambda x: x.tanh_(), nn.Tanh()),
    "softsign": (F.softsign, nn.Softsign()),
    "logsigmoid": (F.logsigmoid, nn.LogSigmoid()),
    "threshold": (lambda x: F.threshold(x, 0.1, 0.0), nn.Threshold(0.1, 0.0)),
    "hardtanh_": (F.hardtanh_, nn.Hardtanh()),
    "gelu": (F.gelu, nn.GELU()),
}
POOLS = {
    "max": (lambda x: F.max_pool2d(x, 2), nn.MaxPool2d(2)),
    "adaptive": (lambda x: F.adaptive_max_pool2d(x, 3), nn.AdaptiveMaxPool2d(3)),
    "average": (lambda x: F.avg_pool2d(x, kernel_size=2), nn.AvgPool2d(2)),
}


class Parts(nn.Module):
    """A network of modules alone."""

    def __init__(self, function, act: nn.Module, pooled, pool: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3, stride=1, padding=1), nn.BatchNorm2d(5)
        self.fc, self.out = nn.Linear(45, 6, bias=False), nn.Linear(6, 3)
        self.act, self.pool, self.function, self.pooled = act, pool, function, pooled
        nn.init.normal_(self.norm.running_mean)
        nn.init.normal_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(self.stem(x))))
        return self.out(self.act(self.fc(self.pool(x).flatten(1))))


class Calls(Parts):
    """The same network, all of it after the stem written as calls."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(self.stem(x), self.conv.weight, self.conv.bias, padding=1)
        norm = self.norm
        x = F.batch_norm(x, norm.running_mean, norm.running_var, weight=norm.weight, bias=norm.bias)
        x = self.pooled(self.function(x)).flatten(1)
        return F.linear(self.function(x @ self.fc.weight.t()), self.out.weight, bias=self.out.bias)


class Statements(Parts):
    """The same network for ReLUs, which are statements."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(self.stem(x)))
        F.relu_(x)
        x = self.fc(self.pool(x).flatten(1))
        F.relu(x, inplace=True)
        return self.out(x)


@pytest.mark.parametrize(
    ("activation", "pool"), [*((activation, "max") for activation in ACTIVATIONS), ("relu", "adaptive"), ("tanh_", "average")]
)
def test_calls_are_explained_as_modules_are(activation, pool):
    kinds = [Parts, Calls, Statements] if activation == "relu" else [Parts, Calls]
    views = [View(double(Network(kind(*ACTIVATIONS[activation], *POOLS[pool]).eval(), PREP, "stem")), images()) for kind in kinds]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("lift", "lift_map", "lrp", "lrp_contrast"):
            assert views[0][name].abs().max() > 1e-6
            for other in views[1:]:
                close(other[name], views[0][name])


def test_scaling_by_a_constant_hands_relevance_on():
    class Scaled(Parts):
        def forward(self, x: Tensor) -> Tensor:
            x = 2 * self.act(self.norm(self.conv(self.stem(x))))
            x.mul_(self.norm.bias[0] + 3)
            x = -(x / -6)
            return self.out(self.act(self.fc(self.pool(x).flatten(1))))

    given = (*ACTIVATIONS["relu"], *POOLS["max"])
    plain, scaled = (View(double(Network(kind(*given).eval(), PREP, "stem")), images()) for kind in (Parts, Scaled))
    for name in ("lift_map", "lrp"):
        close(scaled[name], plain[name])


def test_the_modular_tail_computes_the_same_and_shares_nothing_but_weights():
    made = network("residual")
    tail, A = modular_tail(made), View(made, images()).A
    close(tail(A).detach(), made.tail(A).detach())
    assert any(isinstance(part, Addition) for part in tail.modules())
    assert any(isinstance(part, SpatialMean) for part in tail.modules())
    assert not any(getattr(part, "inplace", False) for part in tail.modules())
    assert made.model.relu.inplace
    assert not {id(part) for part in tail.modules()} & {id(part) for part in made.model.modules()}
    assert tail is modular_tail(made)
    own = {p.data_ptr() for p in made.model.parameters()}
    assert made.model.fc.weight.data_ptr() in {p.data_ptr() for p in tail.parameters()} & own


@pytest.mark.parametrize("name", ["lift", "lift_map", "lrp", "lrp_contrast"])
def test_a_network_that_cannot_be_cut_is_told_why(name):
    made = network("layered")
    made._cut = Cut(None, "for the test")
    with pytest.raises(Unavailable, match=r"after layer '0' cannot be taken apart \(for the test\), which lift, lift_map, lrp"):
        View(made, images())[name]


class Rearranged(nn.Module):
    """A convolution whose maps some layer hands on otherwise, before a layered head; `turned` and `back` name both sides."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 7, 3), nn.ReLU())
        shape = {"last": (6, 6, 7), "patches": (36, 7), "class token": (36, 7)}[kind]
        self.turned: nn.Module = nn.Sequential(nn.Flatten(2), Swap(), nn.Unflatten(1, shape[:-1]))
        self.token = nn.Parameter(torch.randn(1, 1, 7)) if kind == "class token" else None
        self.mark = nn.Identity()
        self.fc, self.out = nn.Linear(63, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.turned(self.stem(x))
        if self.token is not None:
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = self.mark(x)
        if self.token is not None:
            x = x[:, 1:] * (1 + x[:, :1])
        x = x.flatten(1, -2).transpose(1, 2).unflatten(2, (6, 6))
        return self.out(F.relu(self.fc(F.max_pool2d(x, 2).flatten(1))))


class Swap(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


@pytest.mark.parametrize(("kind", "reshape"), [("last", ChannelsLast()), ("patches", Tokens(0, 6, 6))])
@pytest.mark.parametrize("name", ["lift", "lift_map", "lrp", "lrp_contrast"])
def test_a_layer_with_channels_last_is_its_neighbour_with_channels_first(kind, reshape, name):
    pytest.importorskip("zennit")
    torch.manual_seed(0)
    model = Rearranged(kind).eval()
    first, other = double(Network(model, PREP, "stem")), double(Network(model, PREP, "mark"))
    assert other.reshape == reshape
    close(View(other, images(), CLASSES)[name], View(first, images(), CLASSES)[name])


@pytest.mark.parametrize("name", ["lift", "lrp"])
def test_class_tokens_are_no_maps(name):
    torch.manual_seed(0)
    made = double(Network(Rearranged("class token").eval(), PREP, "mark"))
    with pytest.raises(Unavailable, match="cannot be taken apart \\(the layer returns class tokens, which belong to the image"):
        View(made, images())[name]


@pytest.mark.parametrize("name", ["lift", "lrp", "lrp_contrast"])
def test_a_normalisation_that_is_called_as_a_function_is_as_good_as_a_module(name):
    pytest.importorskip("zennit")

    class Functional(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    Functional.__module__ = __name__  # not torch.nn's: torch.fx looks into it
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 7, 3), nn.AdaptiveMaxPool2d(2), nn.Flatten()]
    norm, tail = nn.LayerNorm(28), [nn.Linear(28, 5), nn.ReLU(), nn.Linear(5, 4)]
    nn.init.normal_(norm.weight)
    own = Functional(28)
    own.load_state_dict(norm.state_dict())
    pair = [double(Network(nn.Sequential(*body, n, *tail).eval(), PREP, "0")) for n in (norm, own)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lift: DeepLIFT's contributions")
        found = [View(made, images(), CLASSES)[name] for made in pair]
    close(found[1], found[0])


@pytest.mark.parametrize(("name", "package"), [("lrp", "zennit"), ("lrp_contrast", "zennit")])
def test_a_package_that_is_missing_is_named(monkeypatch, name, package):
    for module in ("zennit.composites", "zennit.rules"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unavailable, match=rf"need {package}: pip install 'sycam\[attribution\]'"):
        View(network("layered"), images())[name]
    assert View(network("layered"), images())["lift"].abs().max() > 0  # which asks for none


def backwards(layers: list[nn.Module], A: Tensor, start: Tensor, positive: bool) -> Tensor:
    """Relevance of one image, [K, h, w], written out: R_i = Σ_j z_ij / (Σ_i z_ij + ε) R_j, z_ij = x_i w_ji (Bach et al., 2015)."""
    xs = [A[None]]
    for layer in layers:
        xs.append(layer(xs[-1].clone()))
    R = start[None]
    for layer, x in reversed(list(zip(layers, xs, strict=False))):
        if isinstance(layer, nn.Linear):
            z = x[0][None] * layer.weight  # [out, in]
            if positive:  # x w where it is positive, without the bias
                z = z.clamp(min=0)
                total = z.sum(1)
            else:
                total = z.sum(1) + layer.bias
            total = total + 1e-6 * torch.where(total >= 0, 1.0, -1.0)
            R = (R[0] / total) @ z
            R = R[None]
        elif isinstance(layer, nn.MaxPool2d):
            _, places = F.max_pool2d(x, layer.kernel_size, return_indices=True)
            R = F.max_unpool2d(R, places, layer.kernel_size, output_size=list(x.shape[2:]))
        else:
            R = R.reshape(x.shape)
    return R[0].detach()


@pytest.mark.parametrize(("name", "positive"), [("lrp", False), ("lrp_contrast", True)])
def test_relevance_of_a_layered_head(name, positive):
    pytest.importorskip("zennit")
    made, x = network("layered"), images()
    view = View(made, x, CLASSES)
    layers = list(made.model.children())[1:]
    for n, c in enumerate(CLASSES.tolist()):
        start = torch.full((4,), -0.25, dtype=torch.float64) if positive else torch.zeros(4, dtype=torch.float64)
        start[c] = 1.0 if positive else view["y"][n, 0]
        close(view[name][n], backwards(layers, view.A[n], start, positive), 1e-6)
    assert view[name].abs().max() > 1e-3


def test_relevance_is_shared_between_the_branches_of_a_residual_network():
    """Without biases relevance is conserved: nothing is counted twice where branches meet. Copying it to both would double it."""
    pytest.importorskip("zennit")
    torch.manual_seed(3)
    model = Residual(5)
    with torch.no_grad():
        model.fc.bias.zero_()
    made = double(Network(model.eval(), PREP, "stem"))
    view = View(made, images(), CLASSES)
    close(view["lrp"].sum((1, 2, 3)), view["y"][:, 0], 1e-3)
    # By hand: s = a + b, R_a = a/s R, then the convolution by z⁺ and the identity branch meet at A.
    A = view.A[:1].detach()
    model.double()
    a, total = model.norm(model.a(A)), model.norm(model.a(A)) + A
    x = F.max_pool2d(total.relu(), 3, 2, 1)
    mean = x.mean((2, 3))
    z = mean * model.fc.weight[3]
    R_mean = z / (z.sum() + 1e-6 * z.sum().sign()) * view["y"][0, 0]
    R_x = x / (x.sum((2, 3), keepdim=True) + 1e-30) * R_mean[0][None, :, None, None]
    leaf = total.relu().detach().requires_grad_()
    (R_total,) = torch.autograd.grad(F.max_pool2d(leaf, 3, 2, 1), leaf, R_x)
    R_a, R_b = a / total * R_total, A / total * R_total
    scale = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
    weight = (model.a.weight * scale[:, None, None, None]).clamp(min=0)
    leaf = A.clone().requires_grad_()
    out = F.conv2d(leaf, weight, padding=1)
    (gradient,) = torch.autograd.grad(out, leaf, R_a / (out + 1e-30))
    close(view["lrp"][0], (R_b + A * gradient)[0].detach(), 1e-3)
