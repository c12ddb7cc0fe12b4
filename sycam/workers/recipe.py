"""How another process makes the same network, and finds the same metrics."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from sycam.errors import SycamError
from sycam.metrics.registry import METRICS, Metric
from sycam.network import Network, Preprocessing, load_network


def describe_network(network: Network) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `make_network` needs: how to load it, where it was loaded by name; otherwise the module itself.

    Raises:
        SycamError: a module that another process could not make: its class, or what it holds, is not importable.
    """
    digest = {"sha256": network.weights_digest(), "name": network.name}
    if network.recipe is not None:
        return {**digest, "load": network.recipe}, {}
    for name, module in network.model.named_modules():
        home = type(module)
        if home.__module__ == "__main__" or "<locals>" in home.__qualname__:
            raise _refused(network, f"{home.__qualname__} ({name or 'the model'}) is defined in a script or in a function")
    parts = {"model": network.model, "output": network.output, "reshape": network.reshape}
    try:
        data = io.BytesIO()
        torch.save(parts, data)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise _refused(network, str(error)) from None
    made = {
        "preprocessing": asdict(network.preprocessing), "layer": network.layer, "class_names": network.class_names,
        "weights": network.weights, "precision": network.precision,
    }  # fmt: skip
    return {**digest, "made": made}, {"module": torch.frombuffer(bytearray(data.getvalue()), dtype=torch.uint8)}


def make_network(described: Mapping[str, Any], tensors: Mapping[str, Tensor], device: str) -> Network:
    """The network that was described, with the same weights.

    Raises:
        SycamError: it cannot be made here, or has other weights.
    """
    if "load" in described:
        network = load_network(**described["load"], device=device)
    else:
        network = _unpacked(described, tensors["module"], device)
    if network.weights_digest() != described["sha256"]:
        raise SycamError(
            f"{described['name']} has other weights in a worker than here: its factory draws them at random, or reads another "
            "file there; give --weights FILE, or fix the seed"
        )
    return network


def _unpacked(described: Mapping[str, Any], module: Tensor, device: str) -> Network:
    made = described["made"]
    try:  # written by this package in the process that started the worker, never a user's file
        parts = torch.load(io.BytesIO(module.numpy().tobytes()), map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise SycamError(f"a worker cannot import the class of {described['name']}: {error}") from None
    prep: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in made["preprocessing"].items()
    }
    model: nn.Module = parts["model"]
    return Network(
        model, Preprocessing(**prep), made["layer"], device=device, output=parts["output"], reshape=parts["reshape"],
        name=described["name"], class_names=made["class_names"], weights=made["weights"],
        precision=made["precision"],
    )  # fmt: skip


def _refused(network: Network, why: str) -> SycamError:
    return SycamError(
        f"{network.name} cannot be sent to workers: {why}. Name it as file.py:function or package.module:function, so that each "
        "worker makes it, or score in one process"
    )


def recipe_of(metric: Metric) -> Mapping[str, Any]:
    """How `find_again` finds the metric in another process.

    Raises:
        SycamError: a metric that was made in Python.

    >>> recipe_of(METRICS["average-drop"])["find"]
    'average-drop'
    """
    if METRICS.get(metric.name) is metric:
        return {"find": metric.name, "folder": None, "timeout": None}
    if metric.recipe is None:
        raise SycamError(
            f"metric {metric.name!r} was made in this process, and workers cannot know it: put it into a file and name it as "
            "file.py:Name"
        )
    return metric.recipe
