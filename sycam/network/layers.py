"""Which layer a CAM looks at: the default for a model, and checks on the one a user names.

Hook the output of a block, never a ReLU that a model calls several times: torchvision's ResNets call one ReLU three
times a block, and hooking it moves ResNet50's Grad-CAM average drop from 13.8 to 41.4.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sycam.errors import SycamError
from sycam.network.hooks import evaluating, first_tensor

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Softplus, nn.Hardswish, nn.Hardtanh, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh,
)  # fmt: skip
HOW_TO_LIST = "sycam.network.list_layers(model, example) lists them all"
# These hand on the features without being part of them.
PASSED_OVER = (
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.Dropout, nn.Dropout2d, nn.AlphaDropout,
    nn.FeatureAlphaDropout, nn.Identity, nn.Flatten, nn.Unflatten,
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One module's run: when it was entered and left (a shared clock), what it returned, and how often it ran."""

    name: str
    module: nn.Module
    entered: int
    left: int
    output: Any
    calls: int


def watch(model: nn.Module, example: Tensor) -> tuple[list[Call], Tensor]:
    """Run the model once and list its modules' last runs, in the order they ended, with the logits.

    Args:
        model: comes back in the state it came in.
        example: normalised images, [N, 3, H, W].
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
            logits = first_tensor(model(example), type(model).__name__)
    finally:
        for handle in handles:
            handle.remove()
    return list(runs.values()), logits


def find_target_layer(model: nn.Module, example: Tensor) -> str:
    """The usual target layer: the output of the last block before global pooling or the classifier.

    Its output is 4-D, larger than 1x1, made once per image, and not a pooling, Dropout or Identity after the features
    (a max-pooling that ends an `nn.Sequential` belongs to it: VGG's `features.30`). The classifier is the last Linear
    or Conv2d with as many outputs as there are logits; a block must end before it begins. Where several nested modules
    return the same tensor, the outermost is taken, or if that is a plain `nn.Sequential` its last child, unless that is
    a mere ReLU.

    Args:
        model: a CNN classifier; comes back in the state it came in.
        example: one normalised image, [1, 3, H, W].

    Returns:
        The layer's name in `model.named_modules()`: `layer4.1` for a ResNet-18, `features.18` for a MobileNetV2.

    Raises:
        SycamError: no module qualifies, or attention layers follow the last one that does.

    >>> body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU()))
    >>> net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    >>> find_target_layer(net, torch.zeros(1, 3, 8, 8))
    '0.2'
    """
    runs, logits = watch(model, example)
    classes = logits.shape[1]
    classifiers = [run for run in runs if _outputs(run.module) == classes]
    end = max((run.entered for run in classifiers), default=None)
    candidates = [
        run
        for run in runs
        if run.calls == 1
        and _is_map(run.output)
        and not _follows_features(model, run)
        and (run.left < end if end is not None else run.output.shape[1] != classes)
    ]
    if not candidates:
        raise SycamError(
            f"{type(model).__name__} has no layer whose output is a map larger than 1x1, made once, before the "
            f"classifier: name one with --layer ({HOW_TO_LIST})"
        )
    last = candidates[-1]
    if any(isinstance(run.module, nn.MultiheadAttention) and run.entered > last.left for run in runs):
        raise SycamError(
            f"{type(model).__name__} is a transformer: attention layers without a map [N, K, h, w] follow {last.name}, "
            "and sycam reads CNNs; wrap the model so that a module returns its tokens as such a map, and name it with "
            "--layer"
        )
    return _block([run for run in candidates if run.output is last.output])


def layer_module(model: nn.Module, layer: str) -> nn.Module:
    """The module of that name.

    Raises:
        SycamError: there is none; names the nearest ones.

    >>> layer_module(nn.Sequential(nn.ReLU()), "1")
    Traceback (most recent call last):
    sycam.errors.SycamError: no layer '1' in Sequential; the nearest names are '0' ...
    """
    modules = dict(model.named_modules())
    modules.pop("", None)
    if layer in modules:
        return modules[layer]
    near = difflib.get_close_matches(layer, modules, n=4, cutoff=0.3) or list(modules)[-4:]
    raise SycamError(
        f"no layer {layer!r} in {type(model).__name__}; the nearest names are {', '.join(map(repr, near))} ({HOW_TO_LIST})"
    )


def check_layer(model: nn.Module, layer: str, example: Tensor) -> None:
    """Make sure that a CAM can look at this layer.

    Raises:
        SycamError: no such layer, or it does not run, runs several times, or returns something else than maps.
    """
    module = layer_module(model, layer)
    runs, _ = watch(model, example)
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
    if not isinstance(run.output, Tensor):
        raise SycamError(f"layer {layer!r} ({kind}) returns {type(run.output).__name__}, not a tensor [N, K, h, w]")
    if run.output.ndim != 4:
        raise SycamError(
            f"layer {layer!r} ({kind}) returns a tensor of shape {list(run.output.shape)}; a CAM needs maps "
            "[N, K, h, w]: name a convolutional layer"
        )


def list_layers(model: nn.Module, example: Tensor) -> list[tuple[str, str, tuple[int, ...]]]:
    """The layers that `--layer` takes, in running order: name, kind, shape of the output for one image (K, h, w).

    >>> list_layers(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), torch.zeros(1, 3, 8, 8))
    [('0', 'Conv2d', (4, 6, 6))]
    """
    runs, _ = watch(model, example)
    return [
        (run.name, type(run.module).__name__, tuple(run.output.shape[1:]))
        for run in runs
        if run.calls == 1 and isinstance(run.output, Tensor) and run.output.ndim == 4
    ]


def _outputs(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else None


def _is_map(output: Any) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1


def _follows_features(model: nn.Module, run: Call) -> bool:
    if isinstance(run.module, PASSED_OVER):
        return True
    parent = model.get_submodule(run.name.rpartition(".")[0])
    return isinstance(run.module, nn.MaxPool2d) and (type(parent) is not nn.Sequential or parent is model)


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
