"""Reading a CNN: load it, find its target layer, run it whole or from that layer on."""

from sycam.network.head import LinearHead, linear_head
from sycam.network.layers import list_layers
from sycam.network.load import load_network
from sycam.network.network import Network, Passes
from sycam.network.preprocessing import Preprocessing
from sycam.network.reshape import ChannelsFirst, ChannelsLast, Reshape, Tokens
from sycam.network.target import find_target_layer

__all__ = [
    "ChannelsFirst",
    "ChannelsLast",
    "LinearHead",
    "Network",
    "Passes",
    "Preprocessing",
    "Reshape",
    "Tokens",
    "find_target_layer",
    "linear_head",
    "list_layers",
    "load_network",
]
