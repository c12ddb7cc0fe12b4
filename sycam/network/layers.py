"""A model's layers: which run, in which order, what they return, whether a CAM can look at the one a user names, and which one is
read where nobody names one: the output of the last block.

Hook the output of a block, never a ReLU that a model calls several times: torchvision's ResNets call one ReLU three
times a block, and hooking it moves ResNet50's Grad-CAM average drop from 13.8 to 41.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sycam.errors import SycamError
from sycam.network.outputs import Output, Reshape, Tokens, evaluating, find_reshape, replacing
from sygus.errors import near

HOW_TO_LIST = "sycam.network.list_layers(model, example) lists them all"


@dataclass(frozen=True)
class Call:
    """One module's run: when it was entered and left (a shared clock), what it returned, and how often it ran."""

    name: str
    module: nn.Module
    entered: int
    left: int
    output: Any
    calls: int


def watch(model: nn.Module, example: Tensor, output: Output | None = None) -> tuple[list[Call], Tensor]:
    """Run the model once and list its modules' last runs, in the order they ended, with the logits.

    Args:
        model: comes back in the state it came in.
        example: normalised images, [N, 3, H, W].
        output: where the logits lie in what the model returns.
    """
    clock = 0
    entered: dict[str, int] = {}
    runs: dict[str, Call] = {}
    handles = []

    def enter(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any) -> None:
            nonlocal clock
            clock += 1
            entered[name] = clock

        return hook

    def leave(name: str) -> Any:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            nonlocal clock
            clock += 1
            before = runs.pop(name, None)
            runs[name] = Call(name, module, entered[name], clock, output, 1 if before is None else before.calls + 1)

        return hook

    try:
        for name, module in model.named_modules():
            if name:
                handles.append(module.register_forward_pre_hook(enter(name)))
                handles.append(module.register_forward_hook(leave(name)))
        with evaluating(model), torch.no_grad():
            logits = (output or Output(type(model).__name__))(model(example))
    finally:
        for handle in handles:
            handle.remove()
    return list(runs.values()), logits


def layer_module(model: nn.Module, layer: str) -> nn.Module:
    """The module of that name.

    Raises:
        SycamError: there is none; names the nearest ones.

    >>> layer_module(nn.Sequential(nn.ReLU()), "1")
    Traceback (most recent call last):
    sycam.errors.SycamError: no layer '1' in Sequential; the nearest names are '0' ...
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    modules.pop("", None)
    if layer in modules:
        return modules[layer]
    close = near(layer, modules, n=4, cutoff=0.3) or list(modules)[-4:]
    raise SycamError(
        f"no layer {layer!r} in {type(model).__name__}; the nearest names are {', '.join(map(repr, close))} ({HOW_TO_LIST})"
    )


def check_layer(model: nn.Module, layer: str, example: Tensor, output: Output | None = None) -> Reshape:
    """Make sure that a CAM can look at this layer, and find how its output becomes maps.

    Raises:
        SycamError: no such layer, or it does not run, runs several times, returns something else than maps or tokens,
            or maps of a single pixel.
    """
    module = layer_module(model, layer)
    runs, logits = watch(model, example, output)
    run = _run_of(module, model, layer, runs)
    kind = type(module).__name__
    if not isinstance(run.output, Tensor):
        raise SycamError(f"layer {layer!r} ({kind}) returns {type(run.output).__name__}, not a tensor [N, K, h, w]")
    reshape = find_reshape(run.output)
    if reshape is None:
        raise SycamError(
            f"layer {layer!r} ({kind}) returns a tensor of shape {list(run.output.shape)}; a CAM needs maps "
            "[N, K, h, w], or tokens [N, T, K] of square patches: name a convolutional layer or a transformer's block, or give "
            "Network a reshape"
        )
    if reshape.split(run.output)[0][0, 0].numel() == 1:
        raise SycamError(
            f"layer {layer!r} ({kind}) has maps of a single pixel for images of {example.shape[-1]}x{example.shape[-1]}, whose "
            "heatmap is empty: name an earlier layer, or take a larger `size`"
        )
    if isinstance(reshape, Tokens) and reshape.extra:
        head = classifier(runs, logits.shape[1])
        if module not in moving_layers(model, example, [module], head.module if head else None, output):
            raise SycamError(
                f"the logits of {type(model).__name__} depend on the class token of layer {layer!r} alone, not on its patches, "
                "so every heatmap is empty: name an earlier layer, such as the block before"
            )
    return reshape


def check_calls(model: nn.Module, layer: str, example: Tensor, output: Output | None = None) -> None:
    """Make sure that the layer exists and runs once, for one whose output the caller knows how to reshape.

    Raises:
        SycamError: it does not.
    """
    _run_of(layer_module(model, layer), model, layer, watch(model, example, output)[0])


def _run_of(module: nn.Module, model: nn.Module, layer: str, runs: list[Call]) -> Call:
    kind, owner = type(module).__name__, type(model).__name__
    # A module registered under two names runs under the first only.
    run = next((run for run in runs if run.module is module), None)
    if run is None:
        raise SycamError(f"layer {layer!r} ({kind}) does not run when {owner} classifies an image: name another layer")
    if run.calls > 1:
        block = layer.rpartition(".")[0]
        raise SycamError(
            f"layer {layer!r} ({kind}) runs {run.calls} times for one image, so it is not clear which output is meant: "
            f"name the block around it{f', {block!r},' if block else ''} instead"
        )
    return run


def list_layers(model: nn.Module, example: Tensor, output: Output | None = None) -> list[tuple[str, str, tuple[int, ...]]]:
    """The layers that `--layer` takes, in running order: name, kind, shape of the maps of one image (K, h, w).

    >>> list_layers(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), torch.zeros(1, 3, 8, 8))
    [('0', 'Conv2d', (4, 6, 6))]
    """
    runs, _ = watch(model, example, output)
    found = [(run, find_reshape(run.output)) for run in runs if run.calls == 1]
    return [
        (run.name, type(run.module).__name__, tuple(reshape.split(run.output)[0].shape[1:]))
        for run, reshape in found
        if reshape is not None
    ]


def decision(model: nn.Module, images: Tensor, head: nn.Module | None, output: Output | None) -> Tensor:
    """What the classifier reads, [N, ...], or the logits where there is no such module.

    An untrained transformer's classifier has zero weights, so the logits alone would tell nothing.
    """
    read: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0])) if head else None
    try:
        with evaluating(model):
            logits = (output or Output(type(model).__name__))(model(images))
    finally:
        if handle is not None:
            handle.remove()
    return read[-1] if read else logits


def moving_layers(
    model: nn.Module, example: Tensor, modules: list[nn.Module], head: nn.Module | None, output: Output | None
) -> set[nn.Module]:
    """Those of the modules, all returning tokens, whose patch tokens the decision depends on."""
    kept: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, _inputs: Any, returned: Tensor) -> Tensor:
        kept[module] = returned if returned.requires_grad else returned.requires_grad_()
        return kept[module].clone()  # an in-place operation may follow

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            read = decision(model, example.clone().requires_grad_(), head, output)
            if not read.requires_grad:
                return set()
            # Random factors: after a normalisation the plain sum is constant.
            factors = torch.rand(read.shape, generator=torch.Generator().manual_seed(0)).to(read)
            gradients = torch.autograd.grad((read * factors).sum(), list(kept.values()), allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    moving = set()
    for (module, returned), gradient in zip(kept.items(), gradients, strict=True):
        reshape = find_reshape(returned)
        if gradient is not None and reshape is not None and bool(reshape.split(gradient)[0].any()):
            moving.add(module)
    return moving


def classifier(runs: list[Call], classes: int) -> Call | None:
    """The last Linear or Conv2d with as many outputs as there are classes."""
    return max((run for run in runs if _outputs(run.module) == classes), key=lambda run: run.entered, default=None)


def _outputs(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else None


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
            f"classifier: name one as `layer` ({HOW_TO_LIST}), or take a larger `size`"
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
        "read: take a larger `size`, or name a layer as `layer`"
    )


def _last_token_layer(
    model: nn.Module, example: Tensor, tokens: list[Call], head: nn.Module | None, output: Output | None
) -> str:
    moving = moving_layers(model, example, [run.module for run in tokens], head, output)
    for run in reversed(tokens):
        if run.module in moving and not _bypassed(model, example, run, head, output):
            return _block([other for other in tokens if other.output is run.output])
    raise SycamError(
        f"{type(model).__name__} is a transformer, and of no layer do the patch tokens decide its logits: name one as `layer` "
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
