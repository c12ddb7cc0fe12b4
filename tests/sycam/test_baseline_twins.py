"""Baselines and controls against slow twins straight from the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawings import NETWORKS, POLY, TOLERANCE, heatmaps, off
from torch import Tensor, nn
from worlds import tiny_images

from sycam.cams import BASELINES
from sycam.heatmap import post
from sycam.network import Network

# Slow twins: one image at a time, loops, the model itself instead of a tail. Each returns a map before ReLU and upsampling.


def layer_output(network: Network, image: Tensor, layer: str | None = None, call: int = 0) -> Tensor:
    caught: list[Tensor] = []
    module = network.model.get_submodule(layer or network.layer)
    handle = module.register_forward_hook(lambda _m, _i, output: caught.append(output.detach().clone()))
    with torch.no_grad():
        network.model(image[None])
    handle.remove()
    return caught[call][0]


def logits_with(network: Network, image: Tensor, A: Tensor) -> Tensor:
    """The whole model where the layer returns A [K, h, w]; differentiable in A."""
    handle = network.model.get_submodule(network.layer).register_forward_hook(lambda _m, _i, _o: A[None].clone())
    out = network.model(image[None])[0]
    handle.remove()
    return out


def slow_gradient(network: Network, image: Tensor, c: int) -> Tensor:
    A = layer_output(network, image).requires_grad_()
    logits_with(network, image, A)[c].backward()
    return A.grad


def probability(network: Network, image: Tensor, c: int) -> float:
    with torch.no_grad():
        return float(network.model(image[None])[0].softmax(0)[c])


def up(m: Tensor, size) -> Tensor:
    return F.interpolate(m[None, None], size=tuple(size), mode="bilinear", align_corners=False)[0, 0]


def scaled(m: Tensor) -> Tensor:
    span = m.max() - m.min()
    return torch.zeros_like(m) if span == 0 else (m - m.min()) / span


def slow_component(X: Tensor, centred: bool, towards: Tensor) -> Tensor:
    matrix = X.flatten(1).T.double().numpy()  # pixels × channels
    if centred:
        matrix = matrix - matrix.mean(0)
    _, _, vt = np.linalg.svd(matrix, full_matrices=True)
    projection = torch.from_numpy(matrix @ vt[0]).view(X.shape[1:])
    return -projection if float((projection * towards).sum()) < 0 else projection


def slow_eigen_cam(network, image, c):
    A = layer_output(network, image)
    return slow_component(A, False, torch.ones_like(A[0]))


def slow_eigen_cam_centred(network, image, c):
    A = layer_output(network, image)
    return slow_component(A, True, A.sum(0))


def slow_eigen_grad_cam(network, image, c):
    product = layer_output(network, image) * slow_gradient(network, image, c)
    return slow_component(product, True, product.sum(0))


def slow_recipro_cam(network, image, c):
    A = layer_output(network, image)
    _, h, w = A.shape
    scores = torch.zeros(h, w)
    for i in range(h):
        for j in range(w):
            left = torch.zeros_like(A)
            for di in (-1, 0, 1):
                for dj in (-1, 0, 1):
                    if 0 <= i + di < h and 0 <= j + dj < w:
                        left[:, i + di, j + dj] = A[:, i, j] * 2.0 ** -(2 + abs(di) + abs(dj))
            with torch.no_grad():
                scores[i, j] = logits_with(network, image, left).softmax(0)[c]
    return scaled(scores)


def reflected_blur(image: Tensor, radius: int, sigma: float) -> Tensor:
    """A Gaussian blur of 2·radius + 1 pixels, reflecting at the border, by its definition."""
    kernel = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-radius, radius + 1)]
    kernel = [k / sum(kernel) for k in kernel]

    def along(x: Tensor, axis: int) -> Tensor:
        size = x.shape[axis]
        out = torch.zeros_like(x)
        for d, k in zip(range(-radius, radius + 1), kernel, strict=True):
            at = [abs(p + d) if p + d < size else 2 * (size - 1) - (p + d) for p in range(size)]
            out += k * x.index_select(axis, torch.tensor(at))
        return out

    return along(along(image.double(), 1), 2).to(image.dtype)


def slow_group_cam(network, image, c, groups=32):
    A = layer_output(network, image)
    weights = slow_gradient(network, image, c).mean((1, 2))
    side = image.shape[-1]
    blurred = reflected_blur(image, min(25, side - 1), 50.0)
    plain = probability(network, blurred, c)
    total = torch.zeros(image.shape[1:])
    per_group = math.ceil(len(A) / groups)
    for start in range(0, len(A), per_group):
        mask = torch.zeros_like(A[0])
        for k in range(start, min(start + per_group, len(A))):
            mask += weights[k] * A[k]
        mask = mask.relu()
        mask[mask <= float(np.percentile(mask.numpy(), 70))] = 0
        if mask.max() == mask.min():
            continue
        mask = scaled(up(mask, image.shape[1:]))
        total += (probability(network, image * mask + blurred * (1 - mask), c) - plain) * mask
    return total


def slow_full_grad(network, image, c):
    """Input and every bias as leaves: the gradient of a bias at a pixel is the output's gradient there."""
    model, size = network.model, image.shape[1:]
    x = image[None].clone().requires_grad_()
    leaves = []

    def linear(module, inputs, output):
        if isinstance(module, nn.BatchNorm2d):
            sigma = (module.running_var + module.eps).sqrt()
            bias = module.bias - module.running_mean * module.weight / sigma
        else:
            bias = module.bias
        at_pixels = bias.detach()[None, :, None, None].expand_as(output).clone().requires_grad_()
        leaves.append(at_pixels)
        return output.detach() * 0 + (output - bias.detach()[None, :, None, None]) + at_pixels

    handles = [m.register_forward_hook(linear) for m in model.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    model(x)[0, c].backward()
    for handle in handles:
        handle.remove()
    total = torch.zeros(size)
    for channel in range(3):
        total += up(scaled((x.grad * x.detach()).abs()[0, channel]), size)
    for leaf in leaves:
        for channel in (leaf.grad * leaf.detach()).abs()[0]:
            total += up(scaled(channel), size)
    return total


def slow_integrated_grad_cam(network, image, c):
    zero = layer_output(network, torch.zeros_like(image))
    total = torch.zeros_like(zero[0])
    for step in range(1, 11):
        x = image * (step / 10)
        weights = slow_gradient(network, x, c).mean((1, 2))
        A = layer_output(network, x) - zero
        total += sum(w * a for w, a in zip(weights, A, strict=True)).relu() / 10
    return total


def slow_poly_cam(network, image, c, form):
    layers = POLY["tiny" if network.layer == "features.1" else "biased"]
    size, plain = image.shape[1:], probability(network, image, c)
    result = None
    for layer, call in reversed(layers):
        A = layer_output(network, image, layer, call)
        total = torch.zeros_like(A[0])
        for map_ in A:
            low, high = np.percentile(map_.numpy(), 0.1), np.percentile(map_.numpy(), 99.9)
            mask = up(((map_ - low) / max(high, 1e-12)).clamp(0, 1).float(), size)
            kept, out = probability(network, image * mask, c), probability(network, image * (1 - mask), c)
            weight = {"+": kept, "-": max(plain - out, 0), "±": max(kept + plain - out, 0)}[form]
            total += weight * map_
        total = total.relu()
        if result is not None:
            mean = up(up(total, result.shape), total.shape).clamp(min=1e-12)
            total = total / mean * up(result, total.shape)
        result = total
    return result


def slow_fake_cam(network, image, c):
    return torch.tensor([[0.0 if (i, j) == (0, 0) else 1.0 for j in range(16)] for i in range(16)])


def slow_centre_gaussian(network, image, c):
    def at(i: int, j: int) -> float:
        return math.exp(-((i - 7.5) ** 2 + (j - 7.5) ** 2) / (2 * 4.0**2))

    return torch.tensor([[at(i, j) for j in range(16)] for i in range(16)])


TWINS = {
    "EigenCAM": slow_eigen_cam,
    "EigenCAM-centred": slow_eigen_cam_centred,
    "Eigen-Grad-CAM": slow_eigen_grad_cam,
    "ReciproCAM": slow_recipro_cam,
    "Group-CAM": slow_group_cam,
    "FullGrad": slow_full_grad,
    "Integrated-Grad-CAM-published": slow_integrated_grad_cam,
    "Poly-CAM-plus": lambda *a: slow_poly_cam(*a, "+"),
    "Poly-CAM-minus": lambda *a: slow_poly_cam(*a, "-"),
    "Poly-CAM": lambda *a: slow_poly_cam(*a, "±"),
    "Fake-CAM": slow_fake_cam,
    "Centre-Gaussian": slow_centre_gaussian,
}


def test_every_baseline_has_a_twin():
    assert set(TWINS) | {"Random-CAM"} == set(BASELINES)


@pytest.mark.parametrize("which", NETWORKS)
@pytest.mark.parametrize("name", TWINS)
def test_slow_twins(name, which):
    network = NETWORKS[which]()
    network.model.eval()
    images = tiny_images(3, seed=1).normalised(slice(None), network)
    classes = torch.tensor([2, 0, 3])
    found = heatmaps(name, network, images, classes)
    assert bool((found.flatten(1).amax(1) == 1).any())
    for n in range(3):
        expected = post(TWINS[name](network, images[n], int(classes[n]))[None].float(), (16, 16))[0]
        assert off(found[n], expected) < TOLERANCE, n
