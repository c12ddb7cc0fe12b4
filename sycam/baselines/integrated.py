"""Integrated Grad-CAM as published: Grad-CAM's rectified maps averaged along the path from the zero image."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.baselines.registry import register_baseline
from sycam.terminals.view import View


@register_baseline(
    "Integrated-Grad-CAM-published",
    passes="path-steps forward and backward",
    reference="Sattarzadeh et al., Integrated Grad-CAM, ICASSP 2021; a Riemann sum as in the authors' code, which takes 50 steps",
)
def integrated_grad_cam(view: View) -> Tensor:
    """Mean over t of (Σ_k gap(G(x_t))·(A_k(x_t) − A_k(x_0)))₊, x_t = t/n·x for t from 1 to n = `path_steps`, x_0 the zero image.

    Each step has the activations of its own image, so that this is no term over terminals of the image alone. The zero image is
    the mean colour, as wherever sycam masks.
    """
    network = view.network
    steps = view.settings.path_steps
    start = network.activations(torch.zeros_like(view.images[:1]))[0]
    total = torch.zeros_like(view.A[:, 0])
    for t in range(1, steps + 1):
        images = view.images * (t / steps)
        A, _ = network.activations(images)
        weights = network.gradient(A, images, view.classes).mean((2, 3), keepdim=True)
        total += (weights * (A - start)).sum(1).relu()
    return total / steps
