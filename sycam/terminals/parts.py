"""Modules that stand in for calls of a tail (`sycam.terminals.modular`), each of a type to which rules of attribution attach."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from sycam.network.outputs import Reshape

HOOKABLE = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus)
POINTWISE = (
    nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Mish, nn.CELU, nn.SELU, nn.LogSigmoid, nn.Softsign,
    nn.Threshold, nn.PReLU,
)  # fmt: skip


class Addition(nn.Module):
    """The sum over the last axis of stacked branches: a residual connection as a module of one input."""

    def forward(self, stacked: Tensor) -> Tensor:
        """[..., branches] to [...]."""
        return stacked.sum(-1)


class Joining(nn.Module):
    """From maps to what the layer returns, where that lies otherwise: channels last, or tokens that are all patches."""

    def __init__(self, reshape: Reshape) -> None:
        super().__init__()
        self.reshape = reshape

    def forward(self, maps: Tensor) -> Tensor:
        """[N, K, h, w] to the layer's own shape."""
        return self.reshape.join(maps, None)


class Scaling(nn.Module):
    """Multiplication by what does not depend on the activations, as a module of one input."""

    def __init__(self, scaled: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.scaled = scaled

    def forward(self, x: Tensor) -> Tensor:
        """Scaled as the call in the model scales; the same shape."""
        return self.scaled(x)


class SpatialMean(nn.Module):
    """Average pooling, a mean or a sum over some axes, however it was written, as a module of one input."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Pooled as the call in the model pools."""
        return self.pool(x)


class MaxPool(nn.Module):
    """Max pooling, however it was written, that can tell where the largest are."""

    def __init__(self, pool: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, h', w']."""
        return self.pool(x)[0]
