"""The manifest of a run: what one needs to know to repeat it and to compare it."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sycam.images import ImageSet
from sycam.network import Network
from sycam.synthesis.goals import Goals
from sycam.synthesis.settings import Settings


def manifest(
    grammar: Path, terminals: list[str], warnings: list[str], goals: Goals, network: Network, pool: ImageSet,
    parts: list[ImageSet], settings: Settings, load: dict[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    """Grammar, metric, protocol, network, images, seed, versions and device, as plain data.

    Args:
        grammar: the file, whose text is kept whole.
        terminals: that the grammar uses.
        warnings: assumptions that did not hold.
        goals, network, settings: of the run.
        pool: all images used; parts: those searched on, then those held out.
        load: how `load_network` was called; None where the caller brought a module or a Network.
    """
    metric = goals.metric
    return {
        "sycam": version("sycam"),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "grammar": {"file": str(grammar), "text": grammar.read_text(encoding="utf-8")},
        "terminals": terminals,
        "assumptions_dropped": warnings,
        "metric": {"name": metric.name, "direction": metric.direction, "bounds": list(metric.bounds), "source": metric.source},
        "goals": [f"{goal.name}, {goal.direction}" for goal in goals.order],
        "cost": goals.cost,
        "protocol": settings.the_protocol.describe(network),
        "network": network.describe(),
        "load": load,
        "images": {
            "count": len(pool),
            "search": len(parts[0]),
            "held_out": len(parts[1]) if len(parts) > 1 else 0,
            "sha256": pool.digest(),
            "search_names": parts[0].names,
        },
        "seed": settings.seed,
        "terminal_settings": settings.terminal_settings.describe(),
        "budget": str(settings.budget),
        "on_error": settings.on_error,
        "max_size": settings.max_size,
        "by_class": settings.min_images if settings.by_class else None,
        "precision": f"masked passes {network.precision}, terminals {str(network.dtype).removeprefix('torch.')}, terms float64",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "torchvision", "cvc5")}},
        "device": _device(network),
    }


def _device(network: Network) -> str:
    if network.device.type == "cuda":
        return torch.cuda.get_device_name(network.device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
