"""The default target layer of a model: the output of its last block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sycam.errors import SycamError
from sycam.network.hooks import replacing
from sycam.network.layers import HOW_TO_LIST, Call, classifier, decision, moving_layers, watch
from sycam.network.output import Output
from sycam.network.reshape import Tokens, find_reshape

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Softplus, nn.Hardswish, nn.Hardtanh, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh,
)  # fmt: skip
# These hand on the features without being part of them.
PASSED_OVER = (
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.Dropout, nn.Dropout2d, nn.AlphaDropout,
    nn.FeatureAlphaDropout, nn.Identity, nn.Flatten, nn.Unflatten,
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """The default layer; `note`, where not empty, tells the user what is unusual about it."""

    layer: str
    note: str = ""


def find_target_layer(model: nn.Module, example: Tensor) -> str:
    """The name of the usual target layer; see `choose_layer`.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> find_target_layer(net, torch.zeros(1, 3, 8, 8))
    '1'
    """
    return choose_layer(model, example).layer


def choose_layer(model: nn.Module, example: Tensor, output: Output | None = None) -> Choice:
    """The usual target layer: the output of the last block before global pooling or the classifier.

    Its output is 4-D, larger than 1x1, made once per image, and not a pooling, Dropout or Identity after the features
    (a max-pooling that ends an `nn.Sequential` belongs to it: VGG's `features.30`). The classifier is the last Linear
    or Conv2d with as many outputs as there are logits; a block must end before it begins. Where several nested modules
    return the same tensor, the outermost is taken, or if that is a plain `nn.Sequential` its last child, unless that is
    a mere ReLU.

    In a transformer, where layers of tokens follow the last such map, it is the last layer whose patch tokens the
    logits depend on and that nothing bypasses. With a class token that is the input of the last block: of the last
    block's output the classifier reads the class token alone, so no gradient reaches a patch.

    Args:
        model: an image classifier; comes back in the state it came in.
        example: one normalised image, [1, 3, H, W].
        output: where the logits lie in what the model returns.

    Returns:
        The layer's name in `model.named_modules()`: `layer4.1` for a ResNet-18, `features.18` for a MobileNetV2,
        `encoder.layers.encoder_layer_10` for a ViT-B; with a note where images are so small that the usual layer has a
        single pixel and an earlier one is taken.

    Raises:
        SycamError: no module qualifies.

    >>> body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU()))
    >>> net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    >>> choose_layer(net, torch.zeros(1, 3, 8, 8))
    Choice(layer='0.2', note='')
    """
    layer, classes, shrunk = _usual(model, example, output)
    return Choice(layer, _small(model, example, layer, classes, output) if shrunk else "")


def _usual(model: nn.Module, example: Tensor, output: Output | None) -> tuple[str, int, bool]:
    """The layer, the number of classes, and whether later layers have maps of a single pixel."""
    runs, logits = watch(model, example, output)
    classes = logits.shape[1]
    head = classifier(runs, classes)
    end = None if head is None else head.entered
    before = [
        run
        for run in runs
        if run.calls == 1
        and not _follows_features(model, run)
        and (run.left < end if end is not None else not _is_map(run.output) or run.output.shape[1] != classes)
    ]
    candidates = [run for run in before if _is_map(run.output)]
    last = candidates[-1].left if candidates else 0
    tokens = [run for run in before if run.left > last and isinstance(find_reshape(run.output), Tokens)]
    attentive = [run for run in runs if run.entered > last and isinstance(run.module, nn.MultiheadAttention)]
    if attentive or any("Norm" in type(run.module).__name__ for run in tokens):
        return _last_token_layer(model, example, tokens, head.module if head else None, output), classes, False
    if not candidates:
        raise SycamError(
            f"{type(model).__name__} has no layer whose output is a map larger than 1x1, made once, before the "
            f"classifier: name one with --layer ({HOW_TO_LIST}), or give larger images with --size"
        )
    pixels = [run for run in before if run.left > last and isinstance(run.output, Tensor) and run.output.ndim == 4]
    whole = [run for run in candidates if not _inside_any(run, pixels, candidates[0])]
    chosen = (whole or candidates)[-1]
    return _block([run for run in candidates if run.output is chosen.output]), classes, bool(pixels)


def _small(model: nn.Module, example: Tensor, chosen: str, classes: int, output: Output | None) -> str:
    """What to say where larger images give another layer than `chosen`; empty where they do not."""
    side = example.shape[-1]
    larger = max(224, 2 * side)
    try:
        usual, found, _ = _usual(model, example.new_zeros(*example.shape[:2], larger, larger), output)
    except (RuntimeError, ValueError, AssertionError, SycamError):
        return ""  # a model of one input size has no other usual layer
    if usual == chosen or found != classes:
        return ""
    return (
        f"at {side}x{side} pixels the usual layer, {usual!r}, has maps of a single pixel, so the earlier layer {chosen!r} is "
        "read: give larger images with --size, or name a layer with --layer"
    )


def _last_token_layer(
    model: nn.Module, example: Tensor, tokens: list[Call], head: nn.Module | None, output: Output | None
) -> str:
    moving = moving_layers(model, example, [run.module for run in tokens], head, output)
    for run in reversed(tokens):
        if run.module in moving and not _bypassed(model, example, run, head, output):
            return _block([other for other in tokens if other.output is run.output])
    raise SycamError(
        f"{type(model).__name__} is a transformer, and of no layer do the patch tokens decide its logits: name one with --layer "
        f"({HOW_TO_LIST})"
    )


def _bypassed(model: nn.Module, example: Tensor, run: Call, head: nn.Module | None, output: Output | None) -> bool:
    """Whether the image reaches the decision past the layer: two images, one output of the layer."""
    noise = torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example)
    with torch.no_grad(), replacing(run.module, run.output.expand(2, -1, -1)):
        read = decision(model, torch.cat([example, example + noise]), head, output)
    return not torch.allclose(read[0], read[1], rtol=0, atol=1e-5 * float(read.abs().max()))


def _is_map(output: Any) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1


def _follows_features(model: nn.Module, run: Call) -> bool:
    if isinstance(run.module, PASSED_OVER):
        return True
    parent = model.get_submodule(run.name.rpartition(".")[0])
    return isinstance(run.module, nn.MaxPool2d) and (type(parent) is not nn.Sequential or parent is model)


def _inside_any(run: Call, blocks: list[Call], first: Call) -> bool:
    """Whether the run is a mere part of a block, though some map was there before the block began."""
    return any(
        type(block.module) is not nn.Sequential and run.name.startswith(f"{block.name}.") and first.left < block.entered
        for block in blocks
    )


def _block(same: list[Call]) -> str:
    """Of runs that returned one tensor (inner ones end first), the one to name."""
    outermost = same[-1]
    if type(outermost.module) is not nn.Sequential:
        return outermost.name
    children = {f"{outermost.name}.{child}" for child, _ in outermost.module.named_children()}
    inside = [run for run in same if run.name in children]
    if not inside or isinstance(inside[-1].module, ACTIVATIONS):
        return outermost.name
    return inside[-1].name
