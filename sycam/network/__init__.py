"""Reading a CNN: load it, find its target layer, run it whole or from that layer on."""

from sycam.network.head import LinearHead, linear_head
from sycam.network.layers import find_target_layer, list_layers
from sycam.network.load import load_network
from sycam.network.network import Network, Passes
from sycam.network.preprocessing import Preprocessing

__all__ = [
    "LinearHead",
    "Network",
    "Passes",
    "Preprocessing",
    "find_target_layer",
    "linear_head",
    "list_layers",
    "load_network",
]
