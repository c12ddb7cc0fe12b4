"""Layers that return tokens: reshaped to maps and back, with class tokens carried along."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from sycam.api import heatmaps
from sycam.errors import SycamError
from sycam.heatmap import post
from sycam.network import ChannelsLast, Network, Preprocessing, Tokens, linear_head, list_layers
from sycam.network.outputs import ClassTokens, find_reshape

PREP = Preprocessing(32, (0.5,) * 3, (0.5,) * 3)


def small_vit(trained: bool = True) -> VisionTransformer:
    """Three blocks, 16 patches of 8x8; its classifier, which torchvision starts from zero, random."""
    model = VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=7)
    if trained:
        nn.init.normal_(model.heads.head.weight)
    return model


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(small_vit(), PREP)


def images(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_the_default_is_the_last_layer_whose_patches_count():
    torch.manual_seed(0)
    for trained in (True, False):  # the choice does not hang on the classifier's weights
        assert Network(small_vit(trained), PREP).layer == "encoder.layers.encoder_layer_1"
    model = small_vit()
    for layer in ("encoder.layers.encoder_layer_2", "encoder", "encoder.layers.encoder_layer_2.mlp"):
        with pytest.raises(SycamError, match="depend on the class token of layer .* alone.*name an earlier layer"):
            Network(model, PREP, layer)
    listed = list_layers(model, images(1))
    assert ("encoder.layers.encoder_layer_0", "EncoderBlock", (16, 4, 4)) in listed


def test_tails_look_up_the_class_tokens(network):
    x = images(5)
    A, logits = network.activations(x[:4])
    assert vars(network.passes) == {"full": 4, "tail": 0, "backward": 0}
    order = [2, 0, 2, 3]
    torch.testing.assert_close(network.tail(A[order], x[order]), logits[order], rtol=1e-5, atol=1e-6)
    assert vars(network.passes) == {"full": 4, "tail": 4, "backward": 0}
    # An image not seen before costs one pass, however often it is asked about.
    foreign = network.tail(A[[0, 0, 0]], x[[4, 4, 1]])
    assert vars(network.passes) == {"full": 5, "tail": 7, "backward": 0}
    slow = []
    for image in (4, 4, 1):  # the entire model, with the patches of image 0 and its own class token
        handle = network.model.encoder.layers.encoder_layer_1.register_forward_hook(
            lambda _m, _i, output: torch.cat([output[:, :1], A[:1].flatten(2).transpose(1, 2)], 1)
        )
        slow.append(network.model.eval()(x[image][None]).detach())
        handle.remove()
    torch.testing.assert_close(foreign, torch.cat(slow), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"returns more than maps \(class tokens\): tail needs the images"):
        network.tail(A)
    assert network.needs_images
    assert network.describe()["cut"]
    with torch.inference_mode():
        network.activations(x)
    assert network.gradient(A, x[:4], torch.zeros(4, dtype=torch.int64)).any()
    assert linear_head(network) is None


def test_a_layer_beside_a_skip_connection_is_hooked():
    torch.manual_seed(0)
    model = small_vit().eval()
    network = Network(model, PREP, "encoder.layers.encoder_layer_2.ln_1")  # as pytorch-grad-cam's tutorial has it
    assert network.cut_reason == "the logits also depend on what bypasses the layer"
    x, classes = images(2), torch.tensor([4, 1])
    A, logits = network.activations(x)
    kept = []
    handle = model.encoder.layers.encoder_layer_2.ln_1.register_forward_hook(lambda _m, _i, output: kept.append(output))
    (slow,) = torch.autograd.grad(model(x)[[0, 1], classes].sum(), kept)
    handle.remove()
    expected = slow[:, 1:].transpose(1, 2).reshape(2, 16, 4, 4)
    torch.testing.assert_close(network.gradient(A, x, classes), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(network.tail(A, x), logits, rtol=1e-5, atol=1e-6)


def test_a_heatmap_by_hand():
    torch.manual_seed(0)
    model = small_vit().eval()
    x = images(2)
    tokens = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        tokens.append(output)

    handle = model.encoder.layers.encoder_layer_1.register_forward_hook(keep)
    logits = model(x)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.amax(1).sum(), tokens)
    weights = gradient[:, 1:].mean(1)  # [2, 16]
    combined = (tokens[0][:, 1:] * weights[:, None]).sum(2).view(2, 4, 4)
    found = heatmaps("gradcam", model, x)
    assert found.flatten(1).any(1).all()
    torch.testing.assert_close(found, post(combined.detach(), 32), rtol=0, atol=1e-5)


def test_channels_last():
    torch.manual_seed(0)

    class Last(nn.Module):
        """Maps with the channels last, and an in-place ReLU that a view would be overwritten by."""

        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm, self.fc = nn.Conv2d(3, 6, 8, 8), nn.LayerNorm(6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.norm(self.embed(x).permute(0, 2, 3, 1)).relu_().mean((1, 2)))

    network = Network(Last(), PREP)
    assert (network.layer, network.reshape, network.channels, network.map_size) == ("norm", ChannelsLast(), 6, (4, 4))
    A, logits = network.activations(images(2))
    before = A.clone()
    torch.testing.assert_close(network.tail(A), logits)
    gradient = network.gradient(A, None, torch.tensor([2, 0]))
    slow = network.model.fc.weight[[2, 0]][:, :, None, None] / 16 * (A > 0)
    torch.testing.assert_close(gradient, slow.detach())
    assert torch.equal(A, before)


@dataclass
class Outputs:
    """As Hugging Face's image classifiers return."""

    logits: Tensor
    hidden_states: tuple[Tensor, ...] = ()


class Attention(nn.Module):
    """One head, written out: no nn.MultiheadAttention to know a transformer by."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mix, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.mix(self.norm(x)).chunk(3, -1)
        return x + self.out((q @ k.transpose(1, 2)).softmax(-1) @ v)


class OtherViT(nn.Module):
    """Class token first, last or none (then the mean of the patches), and outputs in a dataclass."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token
        self.embed = nn.Conv2d(3, 8, 8, 8)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.blocks = nn.ModuleList([Attention(8) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Outputs:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        cls = self.cls.expand(x.shape[0], -1, -1)
        if self.token == "first":
            tokens = torch.cat([cls, tokens], 1)
        if self.token == "last":
            tokens = torch.cat([tokens, cls], 1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        pooled = {"first": tokens[:, 0], "last": tokens[:, -1], "none": tokens.mean(1)}[self.token]
        return Outputs(self.head(pooled), (tokens,))


class LastToken:
    """A reshape function of one's own: the class token comes last."""

    def split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        return output[:, :-1].transpose(1, 2).unflatten(2, (4, 4)), output[:, -1:]

    def join(self, maps: Tensor, rest: Tensor | None) -> Tensor:
        return torch.cat([maps.flatten(2).transpose(1, 2), rest], 1)


@pytest.mark.parametrize(("token", "layer"), [("first", "blocks.1"), ("none", "norm"), ("last", "blocks.1")])
def test_other_transformers(token, layer):
    torch.manual_seed(2)
    model = OtherViT(token).eval()
    own = {"layer": layer, "reshape": LastToken()} if token == "last" else {}
    network = Network(model, PREP, **own)
    assert (network.layer, network.map_size) == (layer, (4, 4))
    assert network._cut.tail is not None
    assert network.needs_images == (token != "none")
    x, classes = images(2), torch.tensor([4, 1])
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, output: kept.append(output))
    (slow,) = torch.autograd.grad(model(x).logits[[0, 1], classes].sum(), kept)
    handle.remove()
    patches = {"first": slow[:, 1:], "none": slow, "last": slow[:, :-1]}[token]
    A, logits = network.activations(x)
    found = network.gradient(A, x, classes)
    torch.testing.assert_close(found, patches.transpose(1, 2).reshape(2, 8, 4, 4), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(network.tail(A, x), logits, rtol=1e-5, atol=1e-6)


def test_a_layer_of_ones_own_reshape_must_still_run_once():
    model = OtherViT("none")
    with pytest.raises(SycamError, match="no layer 'blocks.9' in OtherViT; the nearest names are 'blocks"):
        Network(model, PREP, "blocks.9", reshape=LastToken())


def test_shapes_that_are_no_maps():
    assert find_reshape(torch.zeros(1, 14, 8)) == Tokens(5, 3, 3)  # the largest square that leaves at most eight
    for shape in [(1, 3, 8), (1, 40, 8)[:2], (2, 17, 8), (1, 1, 1, 1, 1)]:
        assert find_reshape(torch.zeros(shape)) is None
    assert find_reshape(torch.zeros(1, 34, 8)) is None  # 25 and 9
    assert find_reshape(torch.zeros(1, 17, 8, dtype=torch.int64)) is None
    with pytest.raises(SycamError, match="the layer returned 10 tokens, not 1 and 4x4 patches"):
        Tokens(1, 4, 4).split(torch.zeros(1, 10, 8))


def test_the_oldest_rest_goes_first():
    tokens = ClassTokens(most=2)
    x = torch.arange(3.0).view(3, 1, 1, 1)
    tokens.keep(x[:2], torch.tensor([[10.0], [11.0]]))
    assert tokens.missing(x).tolist() == [2]  # and so both were asked for again
    tokens.missing(x[:1])
    tokens.keep(x[2:], torch.tensor([[12.0]]))
    assert tokens.missing(x).tolist() == [1]
    assert tokens.of(x[[2, 0]]).tolist() == [[12.0], [10.0]]
