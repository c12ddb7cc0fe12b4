"""How many images go through a network together."""

from __future__ import annotations

import torch

# glibc gives allocations above 32 MiB back to the system at once, and the next layer faults their pages in again: on a CPU,
# MobileNetV2 takes 6 ms an image in batches of 4 and 17 in batches of 128. A GPU wants work.
PIXELS_ON_CPU = 1 << 18
ON_GPU = 512


def images_at_once(device: torch.device, height: int, width: int) -> int:
    """The batch that suits a device: on a CPU as many images as have 2^18 pixels, from 1 to 128; on a GPU 512.

    >>> cpu = torch.device("cpu")
    >>> images_at_once(cpu, 64, 64), images_at_once(cpu, 224, 224), images_at_once(torch.device("cuda"), 224, 224)
    (64, 5, 512)
    """
    return max(1, min(128, PIXELS_ON_CPU // (height * width))) if device.type == "cpu" else ON_GPU
