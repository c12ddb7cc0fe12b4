"""Networks and real images as programs of others see them, and when two heatmaps are the same.

pytorch-grad-cam scales the rectified map to [0, 1] before its bilinear upsampling and once more after it; ours is scaled after
only. Upsampling commutes with the first scaling, which is affine: one heatmap. torchcam's heatmaps keep the small map's size; ours
are made of the same sums. Methods that run the network once for each channel get one image, on MobileNetV2 at 64 pixels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sycam.cams import BASELINES, cam_from_text, known_cams
from sycam.heatmap import post
from sycam.job import TerminalSettings
from sycam.network import Network
from sycam.run.result import cam_heatmaps

TOLERANCE = 1e-4
IMAGES = {"mobilenet_v2": "photos", "resnet20_cifar10": "cifar_photos", "small_vgg_tiny20": "tiny_photos"}
LINEAR = ("mobilenet_v2", "resnet20_cifar10")  # GAP + linear heads


@dataclass
class Case:
    """A network, ours and as they see it, and images for it.

    Attributes:
        name: of the network.
        network: ours.
        model: a copy of its model, gradients on.
        images: normalised, four.
        one: the first of them, on MobileNetV2 at 64 pixels: for what runs the network once for each channel.
    """

    name: str
    network: Network
    model: nn.Module
    images: Tensor
    one: Tensor

    @property
    def layer(self) -> nn.Module:
        return self.model.get_submodule(self.network.layer)

    def ours(self, name: str, images: Tensor | None = None, settings: TerminalSettings | None = None) -> Tensor:
        """Heatmaps of a known CAM, a baseline or a term for the predicted class, [B, H, W]."""
        cam = known_cams().get(name) or BASELINES.get(name) or cam_from_text(name)
        return cam_heatmaps([cam], self.network, self.images if images is None else images, settings=settings)[0]

    def theirs(self, method: type, images: Tensor | None = None, targets: list | None = None, **options) -> Tensor:
        """Heatmaps of a class of pytorch-grad-cam, [B, H, W]."""
        from pytorch_grad_cam.fullgrad_cam import FullGrad

        layers = [] if issubclass(method, FullGrad) else [self.layer]
        with method(self.model, layers, **options) as extractor:
            return torch.from_numpy(extractor((self.images if images is None else images).clone(), targets))

    def torchcam(self, method: type, images: Tensor | None = None, call: dict | None = None, **options) -> Tensor:
        """torchcam's rectified maps before normalisation, made heatmaps by `post`, [B, H, W]."""
        images = self.images if images is None else images
        with method(self.model, self.network.layer, **options) as extractor:
            scores = self.model(images)
            given = call or {"class_idx": scores.argmax(1).tolist()}
            maps = extractor(**{"scores": scores, **given}, normalized=False)[0].detach()
        return post(maps, (images.shape[2], images.shape[3]))


def make_case(request, name: str) -> Case:
    network: Network = request.getfixturevalue(name)
    key = f"referee case {name}"
    if not hasattr(request.session, "referee_cases"):
        request.session.referee_cases = {}
    cases: dict[str, Case] = request.session.referee_cases
    if key not in cases:
        images = request.getfixturevalue(IMAGES[name]).normalised(slice(4), network).contiguous()
        one = images[:1]
        if name == "mobilenet_v2":
            one = torch.nn.functional.interpolate(one, size=64, mode="area")
        # A copy, so that the weights lie in memory as ours do: rounding decides ties of max pooling, which gradients of the whole
        # network (FullGrad) go through.
        model = copy.deepcopy(network.model).requires_grad_(True)
        cases[key] = Case(name, network, model, images, one)
    return cases[key]


def off(a: Tensor, b: Tensor) -> Tensor:
    """The largest difference on each image, [B]."""
    assert a.shape == b.shape
    return (a - b).abs().flatten(1).amax(1)


def same(a: Tensor, b: Tensor) -> bool:
    """Heatmaps within the tolerance, and none of them empty."""
    return bool((off(a, b) < TOLERANCE).all()) and bool((b.flatten(1).amax(1) > 0.99).all())
