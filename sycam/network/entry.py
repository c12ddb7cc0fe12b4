"""Whether the tail enters a linear layer with its channels still apart: then coalitions of channels share that layer's work.

VGG flattens its maps into a linear layer. What channel k adds to that layer's output is W_k f(A)_k, where f (pooling, flattening)
keeps channels apart, so a coalition S of channels gives z = z(∅) + Σ_{k in S} c_k: the layer's 25,088 inputs are multiplied once
for an image, and not once for each of its coalitions. Found by verification on random maps, never by modules' names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from sycam.network.hooks import evaluating
from sycam.network.inplace import overwritten
from sycam.network.network import Network, Passes
from sycam.network.reshape import ChannelsFirst

TOLERANCE = 1e-5  # relative to the largest logit


@dataclass(frozen=True)
class LinearEntry:
    """The tail in three parts: `rest(linear(before(A)))`.

    Attributes:
        before: from maps [N, K, h, w] to [N, K·m], channel by channel.
        linear: from K·m to D.
        rest: from [N, D] to logits [N, C].
    """

    before: fx.GraphModule
    linear: nn.Linear
    rest: fx.GraphModule

    @torch.no_grad()
    def parts(self, A: Tensor) -> tuple[Tensor, Tensor]:
        """The linear layer's output without any channel, [D], and what each channel of A adds to it, [N, K, D]."""
        N, K = A.shape[:2]
        with evaluating(self.before):
            features = self.before(torch.cat([A, torch.zeros_like(A[:1])]))  # [N + 1, K·m]
        start = self.linear(features[-1:])[0]
        change = (features[:-1] - features[-1:]).view(N, K, -1)
        weight = self.linear.weight.view(len(start), K, -1)
        return start, torch.stack([change[:, k] @ weight[:, k].T for k in range(K)], 1)

    @torch.no_grad()
    def logits(self, start: Tensor, added: Tensor, present: Tensor) -> Tensor:
        """Logits [jobs, C] of coalitions, bool [jobs, K], of one image whose channels add [K, D]."""
        with evaluating(self.rest):
            return self.rest(start + present.to(added.dtype) @ added)


def linear_entry(network: Network) -> LinearEntry | None:
    """The network's tail as a `LinearEntry`, verified, or None; asked once, then remembered.

    None also where there is nothing to save, since one number a channel enters the layer.

    >>> from sycam.network.preprocessing import Preprocessing
    >>> conv, head = nn.Conv2d(3, 4, 3), [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 3)]
    >>> network = Network(nn.Sequential(conv, *head).eval(), Preprocessing(8, (0.5,) * 3, (0.5,) * 3), "0")
    >>> start, added = linear_entry(network).parts(torch.randn(2, 4, 6, 6))
    >>> start.shape, added.shape
    (torch.Size([5]), torch.Size([2, 4, 5]))
    """
    if "linear_entry" not in network.memo:
        passes = Passes(**vars(network.passes))
        network.memo["linear_entry"] = _verified(network)
        network.passes = passes  # the verification is not the run's work
    return network.memo["linear_entry"]


@torch.no_grad()
def _verified(network: Network) -> LinearEntry | None:
    tail = network.tail_graph if isinstance(network.reshape, ChannelsFirst) else None
    entry = None if tail is None else _split(tail)
    if entry is None or entry.linear.in_features % network.channels or entry.linear.in_features == network.channels:
        return None
    generator = torch.Generator().manual_seed(0)
    shape = (6, network.channels, *network.map_size)
    A = torch.randn(shape, generator=generator) * torch.tensor([1e-2, 1.0, 1.0, 10.0, 100.0, 1.0])[:, None, None, None]
    A[2], A[5] = A[2].abs(), 0  # one as after a ReLU
    A, B = A.to(network.device, network.dtype), A.roll(1, 0).to(network.device, network.dtype)
    present = torch.rand(len(A), network.channels, generator=generator).to(A.device) < 0.5
    with evaluating(entry.before):
        try:
            first, second, mixed = (entry.before(x) for x in (A, B, torch.where(_wide(present), A, B)))
        except RuntimeError:
            return None
    if first.shape != (len(A), entry.linear.in_features):
        return None
    block = present.repeat_interleave(first.shape[1] // network.channels, 1)
    if not _same(torch.where(block, first, second), mixed):
        return None  # a normalisation over channels, another order of the features
    start, added = entry.parts(A)
    found = torch.cat([entry.logits(start, added[n], present[n : n + 1]) for n in range(len(A))])
    return entry if _same(network.tail(A * _wide(present)), found) else None


def _wide(present: Tensor) -> Tensor:
    return present[:, :, None, None]


def _same(expected: Tensor, found: Tensor) -> bool:
    error = (found - expected).abs().amax(1) / expected.abs().amax(1).clamp(min=1e-12)  # [N]
    return bool((error <= TOLERANCE).all())


def _split(tail: fx.GraphModule) -> LinearEntry | None:
    """The tail around its first linear layer, or None where there is none or something bypasses it."""
    nodes = list(tail.graph.nodes)
    if any((into := overwritten(node, tail)) is not None and (not node.users or len(into.users) > 1) for node in nodes):
        return None  # the parts follow the data flow, which does not show what such a call changes
    entry = next((n for n in nodes if n.op == "call_module" and type(tail.get_submodule(str(n.target))) is nn.Linear), None)
    if entry is None or len(entry.args) != 1 or not isinstance(entry.args[0], fx.Node):
        return None
    result = next(n for n in nodes if n.op == "output").args[0]
    linear = tail.get_submodule(str(entry.target))
    before = _between(tail, None, entry.args[0])
    rest = _between(tail, entry, result)
    if before is None or rest is None or not isinstance(linear, nn.Linear):
        return None
    return LinearEntry(before, linear, rest)


def _between(tail: fx.GraphModule, first: fx.Node | None, last: fx.Node) -> fx.GraphModule | None:
    """What computes `last` from `first`, or from the tail's input where None; None where it also needs something else."""
    graph = fx.Graph()
    value = graph.placeholder("value")
    copies = {} if first is None else {first: value}
    needed, waiting = set(), [last]
    while waiting:
        node = waiting.pop()
        if node in copies or node in needed:
            continue
        if node.op == "placeholder" and first is not None:
            return None
        needed.add(node)
        waiting.extend(node.all_input_nodes)
    for node in tail.graph.nodes:
        if node in needed:
            copies[node] = value if node.op == "placeholder" else graph.node_copy(node, copies.__getitem__)
    graph.output(copies[last])
    return fx.GraphModule(tail, graph, "TailPart")
