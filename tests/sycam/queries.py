"""Queries with set images and networks, for tests of metrics and of oracles of one's own."""

from __future__ import annotations

import torch

from sycam.metrics.query import Query


def bright_query(batch=64):
    """Two images, one dark and one bright, three jobs; the network believes in class 1 as much as an image is bright."""
    images = torch.stack([torch.zeros(3, 4, 6), torch.full((3, 4, 6), 0.5)])

    def ask(x):
        mean = x.mean((1, 2, 3)).clamp(0, 1)
        return torch.stack([1 - mean, mean], 1)

    heat = torch.zeros(3, 4, 6)
    heat[0, 0], heat[1, :, :3], heat[2] = 1, 0.5, 1
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, 0], masks[1, :, :2] = True, True
    return Query(
        heat, images, torch.tensor([0, 1]), torch.tensor([1.0, 0.5]), ask, image_index=torch.tensor([0, 1, 1]), masks=masks,
        names=["dark.png", "bright.png"], batch=batch,
    )  # fmt: skip
