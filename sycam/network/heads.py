"""Heads with a closed form, found by what they compute, never by the names of their modules.

Whether global average pooling and one linear layer follow the target layer: then much has a closed form.

With logits = W·GAP(A) + b the gradient is W_c/Z at every pixel, and the logit without channel k is y − W_ck·mean(A_k):
no backward pass, no ablated pass. The head is found by what it computes, never by its modules' names.


Whether the tail enters a linear layer with its channels still apart: then coalitions of channels share that layer's work.

VGG flattens its maps into a linear layer. What channel k adds to that layer's output is W_k f(A)_k, where f (pooling, flattening)
keeps channels apart, so a coalition S of channels gives z = z(∅) + Σ_{k in S} c_k: the layer's 25,088 inputs are multiplied once
for an image, and not once for each of its coalitions. Found by verification on random maps, never by modules' names.

"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from sycam.errors import SycamError
from sycam.network.cut import overwritten
from sycam.network.network import Network, Passes
from sycam.network.outputs import ChannelsFirst, evaluating

TOLERANCE = 1e-5  # relative to the largest logit of an image


@dataclass(frozen=True)
class LinearHead:
    """logits = mean over pixels of A · weightᵀ + bias.

    Attributes:
        weight: W, [C, K], on the network's device, without history.
        bias: b, [C]; zeros where the layer has none.
    """

    weight: Tensor
    bias: Tensor


def linear_head(network: Network) -> LinearHead | None:
    """The network's GAP + linear head, verified, or None; asked once, then remembered.

    Where a Linear or a 1x1 convolution of matching shape says what the tail computes, its own weights are taken. Else
    the weights are read off the tail, one channel at a time, if it is linear in the means (a batch norm before the
    pooling, two linear layers in a row); not where each such pass would run the whole model. Either way they count only
    if the tail returns mean(A)·Wᵀ + b to 1e-5 of the largest logit for random activations of several sizes, negative
    ones among them: a ReLU or a max-pooling before the linear layer, or a second layer after it, breaks that.

    >>> from sycam.network.preprocessing import Preprocessing
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    >>> linear_head(Network(net, Preprocessing(8, (0.5,) * 3, (0.5,) * 3))).weight.shape
    torch.Size([5, 4])
    """
    if "linear_head" not in network.memo:
        passes = Passes(**vars(network.passes))
        with torch.no_grad():
            network.memo["linear_head"] = _verified(network)
        network.passes = passes  # the verification is not the run's work
    return network.memo["linear_head"]


def _verified(network: Network) -> LinearHead | None:
    side, colours = network.preprocessing.size, network.preprocessing.channels
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([1e-2, 1.0, 1.0, 10.0, 100.0])[:, None, None, None]
    A = torch.randn(len(scales), network.channels, *network.map_size, generator=generator) * scales
    A[2] = A[2].abs()  # one as after a ReLU
    A = A.to(network.device, network.dtype)
    # Where the model could not be cut, other images must not change the logits either.
    images = None
    if network.needs_images:
        images = torch.randn(len(A), colours, side, side, generator=generator).to(A)
    try:
        found = network.tail(A, images)
    except SycamError:
        return None
    for head in _candidates(network):
        if _agrees(head, A, found):
            return head
    if images is not None or not _linear_in_means(network, A, found):
        return None
    head = _read_off(network)
    return head if _agrees(head, A, found) else None


def _candidates(network: Network) -> Iterator[LinearHead]:
    shape = (network.n_classes, network.channels)
    for module in reversed(list(network.model.modules())):
        if isinstance(module, nn.Linear | nn.Conv2d) and module.weight.flatten(1).shape == shape:
            weight = module.weight.detach().flatten(1)
            yield LinearHead(weight, torch.zeros_like(weight[:, 0]) if module.bias is None else module.bias.detach())


def _agrees(head: LinearHead, A: Tensor, found: Tensor) -> bool:
    """Whether the head gives the logits `found` [N, C] for activations A [N, K, h, w]."""
    return _same(A.mean((2, 3)) @ head.weight.T + head.bias, found)


def _same(expected: Tensor, found: Tensor) -> bool:
    error = (found - expected).abs().amax(1) / expected.abs().amax(1).clamp(min=1e-12)  # [N]
    return bool((error <= TOLERANCE).all())


def _linear_in_means(network: Network, A: Tensor, found: Tensor) -> bool:
    """A cheap necessary condition, so that a head such as VGG's is not run once a channel."""
    means = A.mean((2, 3), keepdim=True).expand_as(A)
    if not _same(network.tail(means.contiguous()), found):
        return False
    origin = network.tail(torch.zeros_like(A[:1]))
    return _same(found + found.roll(1, 0) - origin, network.tail(A + A.roll(1, 0)))


def _read_off(network: Network) -> LinearHead:
    """W and b from the logits of zero maps, and of maps with one channel constant and the others zero."""
    amplitude = 64.0  # a power of two; not 1, lest a large bias round the weights away
    zero = torch.zeros(1, network.channels, *network.map_size, device=network.device, dtype=network.dtype)
    bias = network.tail(zero)[0]
    columns = []
    for channels in torch.arange(network.channels, device=network.device).split(64):
        maps = zero.repeat(len(channels), 1, 1, 1)
        maps[torch.arange(len(channels), device=network.device), channels] = amplitude
        columns.append((network.tail(maps) - bias) / amplitude)  # [64, C]
    return LinearHead(torch.cat(columns).T.contiguous(), bias)


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
        network.memo["linear_entry"] = _verified_entry(network)
        network.passes = passes  # the verification is not the run's work
    return network.memo["linear_entry"]


@torch.no_grad()
def _verified_entry(network: Network) -> LinearEntry | None:
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
