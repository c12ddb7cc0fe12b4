"""The terminals `lrp` and `lrp_contrast`: layer-wise relevance propagation from the logits to the target layer.

Through zennit, not captum. Both share relevance over a residual connection only where the addition is a module; zennit's rules
are hooks that the caller maps to modules, so that the additions, the poolings and the fused convolutions of
`sycam.terminals.modular` each get theirs, in any residual network. captum takes its rules from a table by type of module, or from
an attribute to be written onto each, and rejects a module that it does not know.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from sycam.errors import Unavailable
from sycam.terminals.derivatives import added_by_pixels
from sycam.terminals.modular import modular_tail, uncovered_calls
from sycam.terminals.parts import HOOKABLE, Addition, Scaling, SpatialMean
from sycam.terminals.terminal import View, register_terminal


@register_terminal(
    "lrp",
    settings=(),
    passes="1 backward; 0 on a GAP + linear head",
    source="Bach et al., PLOS ONE 2015; rules by layer: Kohlbrenner et al., IJCNN 2020 (LRP-CMP); through zennit",
)
def relevance(view: View) -> Tensor:
    """Relevance of each pixel of each channel for the logit y: the ε rule through linear layers, z⁺ through convolutions.

    Additions and average pooling share relevance by contribution; activations, normalisations and scaling by a constant pass it
    on. On a GAP + linear head it is w_k A_k / Z, the limit of small ε. Where the tail holds what no rule covers (products of
    activations, attention), the user is warned.
    """
    added = added_by_pixels(view)
    if added is not None:
        return added
    return propagated(view, torch.zeros_like(view.logits).scatter(1, view.classes[:, None], view["y"]), positive=False)


@register_terminal(
    "lrp_contrast",
    settings=(),
    passes="1 backward",
    source="Relevance-CAM: Lee et al., CVPR 2021; start: contrastive LRP, Gu et al., ACCV 2018; through zennit",
)
def contrastive_relevance(view: View) -> Tensor:
    """Relevance by the z⁺ rule in all layers, started with 1 at the class and −1/C at each of the C − 1 others."""
    start = torch.full_like(view.logits, -1 / view.logits.shape[1]).scatter(1, view.classes[:, None], 1.0)
    return propagated(view, start, positive=True)


def propagated(view: View, start: Tensor, positive: bool) -> Tensor:
    """Relevance at the layer, [N, K, h, w], that starts as `start`, [N, C], at the logits.

    Args:
        view: the batch.
        start: relevance of each logit.
        positive: the z⁺ rule in linear layers too, and not the ε rule.

    Raises:
        Unavailable: zennit is not installed, or the network could not be cut at its layer.
    """
    composite = _composite(positive)
    tail = modular_tail(view.network)
    uncovered = uncovered_calls(view.network).relevance
    if uncovered and "relevance warned" not in view.network.memo:
        view.network.memo["relevance warned"] = True
        warnings.warn(
            f"lrp: relevance after {view.network.layer!r} of {view.network.name} meets what no rule covers, and takes its plain "
            f"gradient there: {', '.join(uncovered)}",
            stacklevel=2,
        )
    with torch.inference_mode(False), torch.enable_grad(), composite.context(tail) as hooked:
        leaf = view.A.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(hooked(leaf), leaf, start.clone())
    view.network.passes.tail += len(leaf)
    view.network.passes.backward += len(leaf)
    return found.detach()


def _composite(positive: bool) -> Any:
    try:
        from zennit.composites import LayerMapComposite
        from zennit.rules import Epsilon, Norm, Pass, ZPlus
    except ImportError:
        raise Unavailable("terminals lrp and lrp_contrast need zennit: pip install 'sycam[attribution]'") from None
    normalisations = (nn.BatchNorm2d, nn.BatchNorm1d, nn.LayerNorm, nn.GroupNorm)
    return LayerMapComposite(
        [
            ((*HOOKABLE, Scaling, *normalisations), Pass()),
            ((Addition, SpatialMean), Norm()),
            ((nn.Conv1d, nn.Conv2d), ZPlus(zero_params="bias")),
            ((nn.Linear,), ZPlus(zero_params="bias") if positive else Epsilon()),
        ]
    )
