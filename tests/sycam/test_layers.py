"""The default target layer of many architectures, and what a named layer must be."""

import pytest
import torch
from torch import nn
from torchvision import models

from sycam.errors import SycamError
from sycam.network.layers import check_layer, choose_layer, find_target_layer, list_layers

ZOO = {
    "alexnet": "features.12",
    "convnext_tiny": "features.7",
    "densenet121": "features.norm5",
    "efficientnet_b0": "features.8",
    "efficientnet_v2_s": "features.7",
    "googlenet": "inception5b",
    "inception_v3": "Mixed_7c",
    "mnasnet1_0": "layers",
    "mobilenet_v2": "features.18",
    "mobilenet_v3_large": "features.16",
    "maxvit_t": "blocks.3",
    "regnet_y_400mf": "trunk_output.block4",
    "resnet18": "layer4.1",
    "resnet50": "layer4.2",
    "shufflenet_v2_x1_0": "conv5",
    "squeezenet1_1": "features.12",
    "resnext50_32x4d": "layer4.2",
    "swin_t": "permute",
    "swin_v2_t": "permute",
    "vgg16": "features.30",
    "vgg16_bn": "features.43",
}


def zoo(name: str) -> nn.Module:
    """The architecture without memory or numbers: shapes are all that a layer's choice needs."""
    if name.startswith("regnet"):  # computes its widths with tensors
        return models.get_model(name, weights=None).to("meta")
    with torch.device("meta"):
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return models.get_model(name, weights=None, **options)


@pytest.mark.parametrize(("name", "layer"), ZOO.items())
def test_default_layer_of_torchvision(name, layer):
    model = zoo(name)
    side = 299 if name == "inception_v3" else 224
    example = torch.zeros(1, 3, side, side, device="meta")
    assert find_target_layer(model, example) == layer
    check_layer(model, layer, example)  # and it may be hooked
    assert model.training  # as it came
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("name", "side", "layer"),
    [
        ("tiny_darknet", 224, "features.18"),
        ("resnet20_cifar10", 32, "layer3.2"),
        ("resnet56_cifar10", 32, "layer3.8"),
        ("small_vgg_tiny20", 64, "features.27"),
        ("mobilenet_v2_xray3", 224, "features.18"),
    ],
)
def test_default_layer_of_the_data_folder(data_folder, monkeypatch, name, side, layer):
    monkeypatch.syspath_prepend(data_folder)
    import models as data_models

    assert find_target_layer(data_models.build(name), torch.zeros(1, 3, side, side)) == layer


def net(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(4))


def test_in_place_and_passed_over_modules():
    example = torch.zeros(1, 3, 8, 8)
    assert find_target_layer(net(nn.Conv2d(3, 5, 3), nn.Dropout(), nn.Identity()), example) == "0.0"
    assert find_target_layer(net(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True)), example) == "0"
    assert find_target_layer(net(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2)), example) == "0.2"
    # Global pooling by hand is no feature map, nor is what follows it.
    assert find_target_layer(net(nn.Conv2d(3, 5, 3), nn.AvgPool2d(6), nn.Conv2d(5, 6, 1)), example) == "0.0"


def test_as_many_channels_as_classes_does_not_confuse():
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    assert find_target_layer(model, torch.zeros(1, 3, 8, 8)) == "0.1"


class SharedReLU(nn.Module):
    """As torchvision's ResNets: one ReLU module, called several times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.relu(self.conv2(self.relu(self.conv1(x)))).mean((2, 3)))


def test_a_shared_relu_is_not_chosen_and_not_accepted():
    model, example = SharedReLU(), torch.zeros(1, 3, 8, 8)
    assert find_target_layer(model, example) == "conv2"
    with pytest.raises(SycamError, match=r"layer 'relu' \(ReLU\) runs 2 times .* instead"):
        check_layer(model, "relu", example)
    resnet = zoo("resnet18")
    with pytest.raises(SycamError, match=r"name the block around it, 'layer4.1', instead"):
        check_layer(resnet, "layer4.1.relu", torch.zeros(1, 3, 64, 64, device="meta"))
    assert "relu" not in [name for name, _, _ in list_layers(model, example)]


def test_errors_name_what_to_do():
    example = torch.zeros(1, 3, 8, 8)
    model = net(nn.Conv2d(3, 5, 3))
    model(example)  # the lazy layer takes its shape
    with pytest.raises(SycamError, match=r"no layer '0.00' in Sequential; the nearest names are '0.0'.*list_layers"):
        check_layer(model, "0.00", example)
    with pytest.raises(SycamError, match=r"layer '3' \(Linear\) returns a tensor of shape \[1, 4\]; a CAM needs maps"):
        check_layer(model, "3", example)
    with pytest.raises(SycamError, match=r"layer '0.0' \(Conv2d\) has maps of a single pixel for images of 3x3.*`size`"):
        check_layer(model, "0.0", torch.zeros(1, 3, 3, 3))
    skipping = SharedReLU()
    skipping.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(SycamError, match=r"layer 'unused' \(Conv2d\) does not run"):
        check_layer(skipping, "unused", example)
    with pytest.raises(SycamError, match="no layer whose output is a map larger than 1x1"):
        find_target_layer(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), example)


@pytest.mark.parametrize(
    ("name", "side", "usual", "layer"),
    [
        ("mobilenet_v2", 32, "features.18", "features.13"),
        ("resnet18", 32, "layer4.1", "layer3.1"),
        ("inception_v3", 96, "Mixed_7c", "Mixed_6e"),
    ],
)
def test_small_images_say_which_earlier_layer_is_read(name, side, usual, layer):
    found = choose_layer(zoo(name), torch.zeros(1, 3, side, side, device="meta"))
    assert found.layer == layer
    assert found.note.startswith(
        f"at {side}x{side} pixels the usual layer, {usual!r}, has maps of a single pixel, so the earlier"
    )
    assert not choose_layer(zoo(name), torch.zeros(1, 3, 299, 299, device="meta")).note


def test_one_module_under_two_names_is_found_under_both():
    model = SharedReLU()
    model.again = model.conv2
    check_layer(model, "again", torch.zeros(1, 3, 8, 8))


class Two(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class Unpack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.two, self.fc = Two(), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.two(x)[0].mean((2, 3)))


def test_a_tuple_is_no_map():
    with pytest.raises(SycamError, match=r"layer 'two' \(Two\) returns tuple, not a tensor"):
        check_layer(Unpack(), "two", torch.zeros(1, 3, 8, 8))


def test_hooks_go_and_modes_return_when_the_model_fails():
    model = nn.Sequential(nn.Dropout(), nn.Conv2d(4, 4, 3))
    model[0].eval()
    with pytest.raises(RuntimeError):
        find_target_layer(model, torch.zeros(1, 3, 8, 8))
    assert [module.training for module in model.modules()] == [True, False, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
