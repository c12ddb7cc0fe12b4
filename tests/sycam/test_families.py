"""Every family of torchvision's classifiers, small and with random weights: the default layer, its tail, its gradients."""

import copy
import re
from collections.abc import Callable
from functools import partial

import pytest
import torch
from test_network import same, snapshot
from test_transformers import small_vit
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.densenet import DenseNet
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig
from torchvision.models.maxvit import MaxVit
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

from sycam.network import Network, Preprocessing, linear_head
from sycam.network.cut import Cut
from sycam.terminals import View


def named(name: str, **options: object) -> nn.Module:
    return models.get_model(name, weights=None, num_classes=7, **options)


def slim(name: str) -> nn.Module:
    """AlexNet or VGG with 32 units in its two hidden linear layers instead of 4096: most of the memory, none of the kind."""
    with torch.device("meta"):
        model = named(name)
    linear = [place for place, module in enumerate(model.classifier) if isinstance(module, nn.Linear)]
    for place, (inputs, outputs) in zip(linear, ((model.classifier[linear[0]].in_features, 32), (32, 32), (32, 7)), strict=True):
        model.classifier[place] = nn.Linear(inputs, outputs)
    model.features.to_empty(device="cpu")
    for module in model.features:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


# The families' own classes with few and narrow blocks; where these take no widths, the smallest variant.
classes = {"num_classes": 7}
resnet = partial(ResNet, Bottleneck, [1, 1, 1, 1], **classes)
swin = partial(SwinTransformer, [4, 4], 8, [1, 1], [1, 2], [2, 2], **classes)
efficient = partial(EfficientNet, dropout=0.2, last_channel=32, **classes)
mb, fused = partial(MBConvConfig, width_mult=1.0, depth_mult=1.0), FusedMBConvConfig
regnet = partial(BlockParams.from_init_params, depth=4, w_0=8, w_a=8.0, w_m=2.0, group_width=8)
convnext = partial(ConvNeXt, [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)], **classes)

# family: (how to build it, side of the images, default layer, whether GAP and one linear layer follow it)
FAMILIES: dict[str, tuple[Callable[[], nn.Module], int, str, bool]] = {
    "alexnet": (lambda: slim("alexnet"), 96, "features.12", False),
    "convnext": (convnext, 64, "features.5", False),
    "densenet": (lambda: DenseNet(8, (1, 2, 1, 2), 16, **classes), 64, "features.norm5", False),
    "efficientnet": (lambda: efficient([mb(1, 3, 1, 32, 8, 1), mb(6, 5, 2, 8, 16, 2)]), 32, "features.3", True),
    "efficientnet_v2": (lambda: efficient([fused(1, 3, 1, 8, 8, 1), mb(4, 3, 2, 8, 16, 2)]), 32, "features.3", True),
    "googlenet": (lambda: named("googlenet", init_weights=False, aux_logits=True), 64, "inception5b", True),
    "inception": (lambda: named("inception_v3", init_weights=False, aux_logits=True), 107, "Mixed_7c", True),
    "maxvit": (lambda: MaxVit((64, 64), 8, 2, [8, 16], [1, 1], 4, 0.2, **classes), 64, "blocks.1", False),
    "mnasnet": (lambda: named("mnasnet0_5"), 64, "layers", True),
    "mobilenet": (lambda: named("mobilenet_v2", width_mult=0.25), 64, "features.18", True),
    "mobilenet_v3": (lambda: named("mobilenet_v3_small"), 64, "features.12", False),
    "regnet": (lambda: RegNet(regnet(), stem_width=8, **classes), 64, "trunk_output.block3", True),
    "regnet_y": (lambda: RegNet(regnet(se_ratio=0.25), stem_width=8, **classes), 64, "trunk_output.block3", True),
    "resnet": (lambda: named("resnet18"), 64, "layer4.1", True),
    "resnext": (lambda: resnet(groups=8, width_per_group=4), 64, "layer4.0", True),
    "shufflenet": (lambda: named("shufflenet_v2_x0_5"), 64, "conv5", True),
    "squeezenet": (lambda: named("squeezenet1_1"), 64, "features.12", False),
    "swin": (swin, 32, "permute", True),
    "swin_v2": (lambda: swin(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2), 32, "permute", True),
    "vgg": (lambda: slim("vgg11"), 64, "features.20", False),
    "vgg_bn": (lambda: slim("vgg11_bn"), 64, "features.28", False),
    "vit": (small_vit, 32, "encoder.layers.encoder_layer_1", False),
    "wide": (lambda: resnet(width_per_group=32), 64, "layer4.0", True),
}


def test_no_family_is_left_out():
    families = {re.match("[a-z]+", name)[0] for name in models.list_models(module=models)}
    assert families <= set(FAMILIES)


def by_a_plain_hook(model: nn.Module, layer: str, images: Tensor, maps: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The layer's output as a leaf of the graph, and the logits of the entire model; with `maps` in the output's place."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append((output if maps is None else maps).detach().clone().requires_grad_())
        return kept[0].clone()  # an in-place ReLU may follow

    handle = model.get_submodule(layer).register_forward_hook(keep)
    logits = model(images)
    handle.remove()
    return kept[0], logits


def as_maps(tokens: Tensor, like: Tensor) -> Tensor:
    """Tokens [N, 1 + h·w, K] as maps, one at a time; maps as they are."""
    if tokens.ndim == 4:
        return tokens
    maps = torch.zeros_like(like)
    for row in range(like.shape[2]):
        for column in range(like.shape[3]):
            maps[:, :, row, column] = tokens[:, 1 + row * like.shape[3] + column]
    return maps


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Equal to `tolerance` of the largest value."""
    found, expected = found.detach(), expected.detach()
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_layer_tail_and_gradients_against_a_plain_hook_on_the_entire_model(family):
    build, side, layer, linear = FAMILIES[family]
    torch.manual_seed(0)
    model = build().train()
    images = torch.randn(2, 3, side, side)
    kept, before = images.clone(), snapshot(model)
    network = Network(model, Preprocessing(side, (0.5,) * 3, (0.5,) * 3))
    assert (network.layer, network.notes) == (layer, [])
    assert network.cut_reason.startswith("traced and verified")
    assert min(network.map_size) > 1
    twin = copy.deepcopy(model).eval()

    leaf, logits = by_a_plain_hook(twin, layer, images)
    A, found = network.activations(images)
    close(found, logits)
    close(A, as_maps(leaf, A))
    close(network.tail(A, images), logits)

    classes = torch.tensor([3, 5])
    view = View(network, images, classes)
    for name, of, outputs in (("G", "logit", logits), ("GP", "probability", logits.softmax(1))):
        (slow,) = torch.autograd.grad(outputs[[0, 1], classes].sum(), leaf, retain_graph=True)
        slow = as_maps(slow, A)
        close(network.gradient(A, images, classes, of=of), slow, 1e-4)
        close(view[name], slow, 1e-4)  # in closed form where the head is linear
    assert (linear_head(network) is not None) == linear

    # What the tail gives for other activations is what the entire model gives: nothing of the image leaks in.
    other = 2 * leaf.detach().flip(0)
    if other.ndim == 3:
        other[:, 0] = leaf[:, 0].detach()  # the class token stays the image's own
    close(network.tail(as_maps(other, A).contiguous(), images), by_a_plain_hook(twin, layer, images, other)[1])

    assert same(snapshot(model), before)
    assert torch.equal(images, kept)


@pytest.mark.parametrize("family", ["resnet", "squeezenet", "densenet", "maxvit", "vit"])
def test_whether_the_model_is_cut_changes_no_gradient_terminal(family):
    build, side, _, _ = FAMILIES[family]
    torch.manual_seed(1)
    network = Network(build(), Preprocessing(side, (0.5,) * 3, (0.5,) * 3))
    network.memo["linear_head"] = None  # by passes, not in closed form
    images, classes = torch.randn(2, 3, side, side), torch.tensor([0, 6])
    names = ("G", "GP", "G_diff", "GR", "HA")
    cut = View(network, images, classes)
    values = {name: cut[name] for name in names}
    network._cut = Cut(None, "for the test")
    whole = View(network, images, classes)
    for name in names:
        close(values[name], whole[name], 1e-4)
