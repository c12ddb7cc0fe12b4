"""Loading a network as a protocol wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from sycam.metrics.protocol import Protocol
from sycam.network import Network, load_network


def under_protocol(protocol: Protocol, model: str | nn.Module, options: Mapping[str, Any]) -> Network:
    """The network with the protocol's preprocessing and layer, where the options do not name others.

    Args:
        protocol: of the scores.
        model: see `load_network`.
        options: keywords of `load_network`; None counts as not given.
    """
    given = {key: value for key, value in options.items() if value is not None}
    wanted = {**protocol.preprocessing, **given}
    if "layer" not in wanted and isinstance(model, nn.Module):
        wanted["layer"] = protocol.layer_of(model)
    network = load_network(model, **wanted)
    layer = protocol.layer_of(network.model) if wanted.get("layer") is None else None
    return network if layer in (None, network.layer) else load_network(model, **{**wanted, "layer": layer})
