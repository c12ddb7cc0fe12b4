"""Terminals: hand values, slow twins straight from the papers, and the identities of a GAP + linear head."""

import pytest
import torch
import torch.nn.functional as F
from heads import double, images, network
from torch import Tensor, nn

from sycam.errors import SycamError
from sycam.images import ImageSet
from sycam.network import Network, Preprocessing, linear_head
from sycam.network.cut import Cut
from sycam.terminals import TERMINALS, TerminalSettings, View, register_terminal, terminal
from sycam.terminals.head import ablated
from sycam.terminals.masking import masked_logits
from sycam.terminals.terminal import SHAPES

PREP = Preprocessing(2, (0.5,) * 3, (0.5,) * 3)
FEW = TerminalSettings(noise_samples=2, path_steps=2, shap_orderings=3, opti_steps=4)


class Flat(nn.Module):
    """A = relu of the first two colours; logits = W2 relu(W1 flat(A)): a head that is not linear in GAP(A)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(inplace=True)
        self.fc1, self.fc2 = nn.Linear(8, 2), nn.Linear(2, 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[:2, :, None, None])
            self.fc1.weight.copy_(torch.tensor([[1.0, 0, 0, 0, -1, 0, 0, 0], [0, 2, 0, 0, 0, 1, 0, 0]]))
            self.fc1.bias.copy_(torch.tensor([0.0, -1.0]))
            self.fc2.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, 2.0]]))
            self.fc2.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(self.relu(self.conv(x)).flatten(1)).relu())


# First colour 3 1 / 0 0, second 1 2 / 0 0, third anything. Hidden: (3 - 1, 2 + 2 - 1) = (2, 3); logits (5, 4).
X = torch.tensor([[[[3.0, 1.0], [0.0, 0.0]], [[1.0, 2.0], [-1.0, -1.0]], [[9.0, 9.0], [9.0, 9.0]]]])


def test_values_by_hand():
    view = View(Network(Flat(), PREP), X)
    assert view.classes.tolist() == [0]
    assert view["A"].tolist() == [[[[3.0, 1.0], [0.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]]]]
    assert view["G"].tolist() == [[[[1.0, 2.0], [0.0, 0.0]], [[-1.0, 1.0], [0.0, 0.0]]]]
    assert view["y"].tolist() == [[5.0]]
    p = 1 / (1 + torch.tensor(-1.0).exp())
    assert view["p"].item() == pytest.approx(p.item(), abs=1e-7)
    # dp_0 = p (1 - p) (dy_0 - dy_1)
    difference = torch.tensor([[[[2.0, -2.0], [0.0, 0.0]], [[-2.0, -1.0], [0.0, 0.0]]]])
    torch.testing.assert_close(view["GP"], p * (1 - p) * difference, rtol=1e-6, atol=1e-7)
    # Without channel 0: hidden (0, 1), logit 1. Without channel 1: hidden (3, 1), logit 4.
    assert view["drop"].tolist() == [[4.0, 1.0]]
    assert (view["K"].tolist(), view["Z"].tolist(), view["c"].tolist()) == ([[2.0]], [[4.0]], [[0]])
    # For class 1 the same hidden values give -0 + 2 and -3 + 2.
    other = View(view.network, X, torch.tensor([1]))
    assert (other["y"].item(), other["c"].item(), other["drop"].tolist()) == (4.0, 1, [[2.0, 5.0]])


def test_score_by_hand():
    view = View(Network(Flat(), PREP), X)
    # The mask of channel 0 is 1, 1/3 / 0, 0: first colour 3 1/3, second 1 2/3; hidden (2, 2/3 + 2/3 - 1), logits from it.
    hidden = torch.tensor([2.0, 1 / 3])
    logits = torch.stack([hidden[0] + hidden[1], -hidden[0] + 2 * hidden[1]])
    assert view["score_logit"][0, 0].item() == pytest.approx(logits[0].item(), abs=1e-5)
    assert view["score"][0, 0].item() == pytest.approx(logits.softmax(0)[0].item(), abs=1e-6)


def slow_score(network: Network, images: Tensor, classes: Tensor, step: int = 1) -> tuple[Tensor, Tensor]:
    """One mask at a time, straight from Score-CAM's definition; of every step-th channel."""
    A, _ = network.activations(images)
    logit, score = torch.zeros(A.shape[:2]), torch.zeros(A.shape[:2])
    for n in range(A.shape[0]):
        for k in range(0, A.shape[1], step):
            if A[n, k].max() == A[n, k].min():
                mask = torch.zeros(images.shape[2:])
            else:
                up = F.interpolate(A[n : n + 1, k : k + 1], images.shape[2:], mode="bilinear", align_corners=False)[0, 0]
                mask = (up - up.min()) / (up.max() - up.min())
            with torch.no_grad():
                y = network.model(images[n : n + 1] * mask)[0]
            logit[n, k], score[n, k] = y[classes[n]], y.softmax(0)[classes[n]]
    return logit[:, ::step], score[:, ::step]


def slow_drop(network: Network, images: Tensor, classes: Tensor, step: int = 1) -> Tensor:
    """Every step-th channel, one at a time, through the whole model, the layer's output overwritten by a hook."""
    A, logits = network.activations(images)
    drop = torch.zeros(A.shape[:2])
    for k in range(0, A.shape[1], step):

        def ablate(_module, _inputs, output, k=k):
            output = output.clone()
            output[:, k] = 0
            return output

        handle = network.model.get_submodule(network.layer).register_forward_hook(ablate)
        with torch.no_grad():
            drop[:, k] = (logits - network.model(images)).gather(1, classes[:, None])[:, 0]
        handle.remove()
    return drop[:, ::step]


def small(seed: int = 0, linear: bool = False) -> Network:
    """A random network of 7 channels of 6x6, one of them dead, with in-place ReLUs."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(3, 7, 3)
    with torch.no_grad():
        conv.bias[2] = -1e3
    body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), conv, nn.ReLU(inplace=True))
    if linear:
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 4)]
    else:
        head = [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(63, 5), nn.ReLU(inplace=True), nn.Linear(5, 4)]
    return Network(nn.Sequential(body, *head).eval(), Preprocessing(8, (0.5,) * 3, (0.5,) * 3), "0.3")


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("cuttable", [True, False])
def test_drop_and_score_against_slow_twins(linear, cuttable):
    network = small(linear=linear)
    if not cuttable:
        network._cut = Cut(None, "for the test")
    images = torch.randn(5, 3, 8, 8)
    view = View(network, images, torch.tensor([3, 0, 1, 2, 2]), chunk=4)
    torch.testing.assert_close(view["drop"], slow_drop(network, images, view.classes), rtol=0, atol=1e-6)
    torch.testing.assert_close(ablated(view), slow_drop(network, images, view.classes), rtol=0, atol=1e-6)
    logit, score = slow_score(network, images, view.classes)
    torch.testing.assert_close(view["score"], score, rtol=0, atol=1e-6)
    torch.testing.assert_close(view["score_logit"], logit, rtol=0, atol=1e-6)
    assert view["drop"][:, 2].tolist() == [0.0] * 5


def test_real_drop_and_score_against_slow_twins(small_vgg_tiny20: Network, tiny_photos: ImageSet):
    network = small_vgg_tiny20
    images = tiny_photos.normalised([0, 5], network)
    classes = tiny_photos.labels[[0, 5]]
    view = View(network, images, classes)
    scale = float(view.logits.abs().max())
    slow = slow_drop(network, images, classes, step=8)  # a plain hook on the whole model
    for found in (view["drop"], ablated(View(network, images, classes))):
        torch.testing.assert_close(found[:, ::8], slow, rtol=0, atol=2e-6 * scale)
    one = View(network, images[:1], classes[:1])
    logit, score = slow_score(network, images[:1], classes[:1], step=8)
    torch.testing.assert_close(one["score"][:, ::8], score, rtol=0, atol=1e-5)
    torch.testing.assert_close(one["score_logit"][:, ::8], logit, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("kind", ["linear", "layered", "residual"])
def test_chunk_and_batch_order_change_nothing(kind):
    """In double precision: an optimisation amplifies the rounding of convolutions, which depends on the batch."""
    made, x = network(kind, 1), images(6)
    classes, order = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([5, 3, 0, 1, 4, 2])
    whole = View(made, x, classes, chunk=1000, settings=FEW)
    shuffled = View(made, x[order], classes[order], chunk=1, settings=FEW)
    alone = View(made, x[2:3], classes[2:3], chunk=7, settings=FEW)
    for name in sorted(set(TERMINALS) - (set() if kind == "linear" else {"fc"})):
        torch.testing.assert_close(shuffled[name], whole[name][order], rtol=1e-8, atol=1e-10, msg=name)
        torch.testing.assert_close(alone[name], whole[name][2:3], rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize("linear", [False, True])
def test_single_precision_agrees_with_double(linear):
    x, classes = images(3).float(), torch.tensor([0, 1, 2])
    made = small(1, linear)
    single = View(made, x, classes, settings=FEW)
    values = {name: single[name].double() for name in TERMINALS if name != "fc" or linear}
    twofold = View(double(made), x.double(), classes, settings=FEW)
    for name, value in values.items():
        scale = float(twofold[name].abs().max())
        assert twofold[name].dtype == (torch.int64 if name == "c" else torch.float64), name
        tolerance = 1e-2 if name == "opti" else 1e-4
        torch.testing.assert_close(value, twofold[name].double(), rtol=0, atol=tolerance * scale, msg=name)


@pytest.mark.parametrize("kind", ["linear", "layered", "residual"])
def test_the_model_comes_back_as_it_was(kind):
    """In train mode, some flags off, gradients there, a caller in inference mode: nothing of it changes, and no random state."""
    made, x = network(kind), images(3)
    model = made.model.train()
    next(model.modules()).training = False
    parameters = list(model.parameters())
    parameters[0].requires_grad_(False)
    parameters[-1].grad = torch.ones_like(parameters[-1])
    weights = [t.clone() for t in (*model.parameters(), *model.buffers())]
    flags, wanted = [m.training for m in model.modules()], [p.requires_grad for p in parameters]
    inplace = [getattr(m, "inplace", None) for m in model.modules()]
    kept, random = x.clone(), torch.random.get_rng_state()
    values = {}
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            view = View(made, x, torch.tensor([0, 3, 1]), settings=FEW)
            A = view.A.clone()
            for name in TERMINALS:
                if name != "fc" or kind == "linear":
                    torch.testing.assert_close(view[name], values.setdefault(name, view[name].clone()), rtol=1e-9, atol=1e-12)
                    assert not view[name].requires_grad, name
            assert torch.equal(view.A, A)
    assert torch.equal(x, kept)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [m.training for m in model.modules()] == flags
    assert [p.requires_grad for p in parameters] == wanted
    assert [getattr(m, "inplace", None) for m in model.modules()] == inplace
    assert all(torch.equal(a, b) for a, b in zip(weights, (*model.parameters(), *model.buffers()), strict=True))
    assert [p.grad is None for p in parameters] == [True] * (len(parameters) - 1) + [False]
    assert torch.equal(parameters[-1].grad, torch.ones_like(parameters[-1]))
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks


@pytest.mark.parametrize("linear", [False, True])
def test_shapes_types_and_inputs(linear):
    network = small(2, linear)
    images, classes = torch.randn(3, 3, 8, 8), torch.tensor([1, 2, 0])
    kept = images.clone()
    view = View(network, images, classes, settings=FEW)
    sizes = {"N": 3, "K": 7, "h": 6, "w": 6, "1": 1}
    for name, entry in TERMINALS.items():
        if name == "fc" and not linear:
            continue
        expected = [sizes[letter] for letter in entry.shape.strip("[]").split(", ")]
        assert list(view[name].shape) == expected, name
        assert view[name].dtype == (torch.int64 if entry.sort == "Int" else torch.float32), name
        assert not view[name].requires_grad, name
        assert not view[name].is_inference(), name
        assert view[name] is view[name], name
    assert torch.equal(images, kept)
    assert torch.equal(view.A, network.activations(images)[0])  # no terminal wrote into A
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.model.parameters())
    assert not any(module._forward_hooks for module in network.model.modules())


def test_passes_are_what_the_registry_says():
    network, images = small(3), torch.randn(4, 3, 8, 8)
    view = View(network, images, torch.tensor([0, 1, 2, 3]), chunk=5)
    for name in ("A", "y", "p", "K", "Z", "c"):
        view[name]
    assert vars(network.passes) == {"full": 4, "tail": 0, "backward": 0}  # one forward for all
    view["G"]
    assert vars(network.passes) == {"full": 4, "tail": 4, "backward": 4}
    live = int(view.A.flatten(2).any(-1).sum())
    view["drop"]
    assert (live, network.passes.tail) == (24, 28)  # the dead channel is not run
    varying = int((view.A.amax((2, 3)) != view.A.amin((2, 3))).sum())
    view["score"], view["score_logit"]
    assert network.passes.full == 4 + varying + 1  # all constant maps share one pass, and two terminals theirs
    given = View(network, images, activations=view.A, logits=view.logits)
    before = network.passes.full
    assert torch.equal(given["A"], view.A)
    assert network.passes.full == before


def test_a_linear_head_needs_no_pass(resnet20_cifar10: Network, cifar_photos: ImageSet):
    network = resnet20_cifar10
    view = View(network, cifar_photos.normalised(slice(None), network))
    view["A"], linear_head(network)
    before = dict(vars(network.passes))
    for name in ("G", "GP", "fc", "drop", "y", "p"):
        view[name]
    assert vars(network.passes) == before


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet20_cifar10", "tiny_darknet"])
def test_identities_of_a_linear_head(request, name):
    network: Network = request.getfixturevalue(name)
    photos: ImageSet = request.getfixturevalue("cifar_photos" if name == "resnet20_cifar10" else "photos")
    images = photos.normalised(slice(0, 2), network)
    view = View(network, images, photos.labels[:2], chunk=256)
    A, G, fc, drop, Z = view["A"], view["G"], view["fc"], view["drop"], view["Z"]
    scale = float(view.logits.abs().max())
    # g is constant over pixels, bit for bit, and equals w/Z; a backward pass agrees.
    assert torch.equal(G.amax((2, 3)), G.amin((2, 3)))
    assert torch.equal(G[:, :, 0, 0], fc / Z)
    slow = network.gradient(view.A, images, view.classes)
    torch.testing.assert_close(G, slow, rtol=1e-5, atol=1e-9)
    slow = network.gradient(view.A, images, view.classes, of="probability")
    torch.testing.assert_close(view["GP"], slow, rtol=1e-3, atol=float(1e-5 * slow.abs().max()))
    # y - y_k = Σ g A = w_k·GAP(A_k), and over all channels y - b.
    torch.testing.assert_close(drop, ablated(view), rtol=0, atol=2e-6 * scale)
    torch.testing.assert_close(drop, (G * A).sum((2, 3)), rtol=1e-4, atol=1e-6 * scale)
    bias = linear_head(network).bias[view.classes]
    torch.testing.assert_close(drop.sum(1) + bias, view["y"][:, 0], rtol=0, atol=2e-5 * scale)
    # Grad-CAM, HiResCAM and CAM are one map up to a factor.
    grad_cam = (G.mean((2, 3))[:, :, None, None] * A).sum(1)
    torch.testing.assert_close(grad_cam, (G * A).sum(1), rtol=0, atol=float(1e-6 * grad_cam.abs().max()))
    cam = (fc[:, :, None, None] * A).sum(1) / Z[:, :, None]
    torch.testing.assert_close(grad_cam, cam, rtol=0, atol=float(2e-6 * grad_cam.abs().max()))


def test_a_vgg_head_breaks_the_identities(small_vgg_tiny20: Network, tiny_photos: ImageSet):
    view = View(small_vgg_tiny20, tiny_photos.normalised([1], small_vgg_tiny20), chunk=256)
    G, A = view["G"], view["A"]
    assert (G.amax((2, 3)) - G.amin((2, 3))).max() > 0.01
    assert (view["drop"] - (G * A).sum((2, 3))).abs().max() > 0.01
    with pytest.raises(SycamError, match=r"terminal fc: no global average pooling .* follows layer 'features.26'"):
        view["fc"]


def test_score_runs_a_dead_image_once():
    network = small(4)
    images = torch.randn(3, 3, 8, 8)
    view = View(network, images, activations=torch.full((3, 7, 6, 6), 2.5), logits=torch.randn(3, 4))
    logit, probability = masked_logits(view)
    assert network.passes.full == 1
    blank = network.logits(torch.zeros(1, 3, 8, 8))[0]
    for n in range(3):
        assert logit[n].tolist() == [blank[view.classes[n]].item()] * 7
        assert probability[n].tolist() == [blank.softmax(0)[view.classes[n]].item()] * 7


def test_the_registry():
    assert set(SHAPES) >= {(entry.sort, entry.level) for entry in TERMINALS.values()}
    for entry in TERMINALS.values():
        assert entry.doc
        assert entry.passes
        assert entry.source
    with pytest.raises(SycamError, match=r"no terminal 'scor'; did you mean 'score'\? There are: A, G, GP"):
        terminal("scor")
    with pytest.raises(SycamError, match=r"no terminal 'xyzzy'\. There are: A, G"):
        View(small(), torch.randn(1, 3, 8, 8))["xyzzy"]


def test_a_new_terminal_is_one_function():
    @register_terminal("top", sort="Real", level="channel", source="a test")
    def top(view: View) -> Tensor:
        """Largest activation."""
        return view["A"].amax((2, 3))

    try:
        view = View(small(), torch.randn(2, 3, 8, 8))
        assert torch.equal(view["top"], view.A.amax((2, 3)))
        assert terminal("top").doc == "Largest activation."
        with pytest.raises(SycamError, match="already a terminal 'top'"):
            register_terminal("top")(top)
    finally:
        TERMINALS.pop("top")
    with pytest.raises(ValueError, match="no Int of pixel; there are Map of pixel"):
        register_terminal("bad", sort="Int")
    with pytest.raises(ValueError, match="needs a docstring"):
        register_terminal("bad")(lambda view: view.A)
