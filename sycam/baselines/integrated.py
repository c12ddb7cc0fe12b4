"""Integrated Grad-CAM as published: Grad-CAM's rectified maps averaged along the path from the zero image."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.baselines.registry import register_baseline
from sycam.terminals.view import View

STEPS = 50


@register_baseline(
    "Integrated-Grad-CAM-published",
    passes=f"{STEPS} forward, {STEPS} backward",
    reference="Sattarzadeh et al., Integrated Grad-CAM, ICASSP 2021; Riemann sum of 50 steps as in the authors' code",
)
def integrated_grad_cam(view: View) -> Tensor:
    """Mean over t of (Σ_k gap(G(x_t))·(A_k(x_t) − A_k(x_0)))₊, x_t = t/50·x for t from 1 to 50, x_0 the zero image.

    Each step has the activations of its own image, so that this is no term over terminals of the image alone. The zero image is
    the mean colour, as wherever sycam masks.
    """
    network = view.network
    start = network.activations(torch.zeros_like(view.images[:1]))[0]
    total = torch.zeros_like(view.A[:, 0])
    for t in range(1, STEPS + 1):
        images = view.images * (t / STEPS)
        A, _ = network.activations(images)
        weights = network.gradient(A, images, view.classes).mean((2, 3), keepdim=True)
        total += (weights * (A - start)).sum(1).relu()
    return total / STEPS
