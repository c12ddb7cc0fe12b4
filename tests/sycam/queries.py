"""Queries with set images and networks, for tests of metrics and of oracles of one's own."""

from __future__ import annotations

import torch

from sycam.metrics.query import Query


def net(images):
    """Three classes; logits that depend on where the image is bright, in the images' precision."""
    weights = torch.linspace(-1, 1, images[0, 0].numel(), dtype=images.dtype).view(images.shape[-2:]).to(images.device)
    first, second = (images[:, 0] * weights).mean((1, 2)), (images[:, 1] * weights.flip(0).T).mean((1, 2))
    return torch.stack([6 * first, 6 * second, images.mean((1, 2, 3))], 1).softmax(1)


def redraw_brightness(query_images, jobs):
    """A CAM that is the image's own first colour, scaled to [0, 1]."""
    drawn = query_images[:, 0]
    low, high = drawn.amin((1, 2), keepdim=True), drawn.amax((1, 2), keepdim=True)
    return (drawn - low) / torch.where(high > low, high - low, 1), net(query_images)


def query_of(jobs=9, unique=4, size=12, seed=0, dtype=torch.float32, ask=net, **more):
    g = torch.Generator().manual_seed(seed)
    images = torch.randn(unique, 3, size, size, generator=g)
    classes = torch.randint(0, 3, (unique,), generator=g)
    given = {
        "heatmaps": torch.rand(jobs, size, size, generator=g),
        "classes": classes,
        "image_index": torch.randint(0, unique, (jobs,), generator=g),
        "masks": torch.rand(unique, size, size, generator=g) > 0.6,
        "labels": torch.randint(-1, 3, (unique,), generator=g),
        "predicted": torch.randint(0, 3, (unique,), generator=g),
        "redraw": redraw_brightness,
        "batch": 64,
    } | more
    given["heatmaps"] = given["heatmaps"].to(dtype)
    images = given.pop("images", images).to(dtype)
    p = net(images).gather(1, given["classes"][:, None])[:, 0]
    return Query(images=images, p=p, ask=ask, **given)


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
