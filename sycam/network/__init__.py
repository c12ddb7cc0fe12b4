"""Reading a CNN: load it, find its target layer, run it whole or from that layer on."""

from sycam.network.heads import LinearHead, linear_head
from sycam.network.layers import find_target_layer, list_layers
from sycam.network.load import load_network
from sycam.network.network import Network, Passes
from sycam.network.outputs import ChannelsFirst, ChannelsLast, Reshape, Tokens
from sycam.network.preprocessing import Preprocessing

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
