"""`load_network`: from what a user types (a name, a factory, a weights file) to a `Network`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from sycam.errors import SycamError
from sycam.network.network import Network
from sycam.network.outputs import Reshape
from sycam.network.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Colours, Preprocessing, triple
from sycam.network.weights import fill, output_count, read_weights, vit_size
from sycam.own_code import run_file, run_module
from sygus.errors import near

Number3 = float | Sequence[float]

# FILE.py:function, package.module:function, either followed by :ARG,ARG
FACTORY = re.compile(r"(?P<file>.+\.py)?(?P<module>[A-Za-z_][\w.]*)?:(?P<function>[A-Za-z_]\w*)(?::(?P<args>.*))?")


class Loaded(NamedTuple):
    """A model, and what its source says of its input and classes; None where it says nothing."""

    model: nn.Module
    name: str
    preprocessing: Preprocessing | None
    class_names: list[str] | None
    layer: str | None
    weights: str | None
    own: bool


def load_network(
    model: str | nn.Module,
    *,
    weights: Path | str | None = None,
    layer: str | None = None,
    output: str | int | None = None,
    reshape: Reshape | None = None,
    size: int | None = None,
    resize: int | str | None = None,
    mean: Number3 | None = None,
    std: Number3 | None = None,
    device: torch.device | str = "cpu",
    classes: int | None = None,
    precision: str = "float32",
) -> Network:
    """Load a CNN classifier, its weights and its preprocessing.

    Args:
        model: one of

            - a torchvision classifier's name in any case, such as `resnet50`, with torchvision's default weights
              (downloaded once) unless `weights` is given;
            - `file.py:function` or `package.module:function`, a factory that returns an `nn.Module`; arguments follow a
              second colon as strings, split at commas: `models.py:load:tiny_darknet`;
            - `embedded`, the small network that comes with sycam;
            - an `nn.Module`.
        weights: a safetensors file, or a state dict that `torch.save` wrote (also inside `{"state_dict": ...}` or
            `{"model": ...}`, with or without `module.` before the names). A torchvision network is built with as many
            classes as the file's last layer has. An `nn.Module` of the caller's is not filled: its weights are its own.
        layer: the target layer; None for the usual one.
        output: where the logits lie in what the model returns: a dict's key, a field's name or an index, with dots for
            entries of entries; None for the default (`sycam.network.outputs`).
        reshape: between what the layer returns and maps [N, K, h, w]; None to tell by its shape (`sycam.network.outputs`).
        size: side of the square input, pixels. Needed where the model does not say: for factories and modules.
        resize: the shorter side before the central crop, pixels, or `squash` to resize to a square at once. Where
            `size` is given and this is not, `size` itself.
        mean: one number or three, on the [0, 1] scale; what the model's source says, or else ImageNet's. Where the model's
            first convolution reads one channel, images become grey: one number, or else the mean of ImageNet's three.
        std: the same.
        device: such as `cpu` or `cuda`.
        classes: how many the network must have; torchvision networks are built with that many.
        precision: `float32`, `tf32` or `bf16`, in which masked images are classified.

    Raises:
        SycamError: an unknown name, a factory or file that cannot be read, weights of another network, a missing
            `size`, a device that is not there, or a layer that does not fit.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    >>> load_network(net, size=8, mean=0.5, std=0.5).layer
    '1'
    """
    where = _device(device)
    loaded = _load(model, weights, classes)
    network = Network(
        loaded.model,
        _preprocessing(loaded, size, resize, mean, std),
        loaded.layer if layer is None else layer,
        device=where,
        output=output,
        reshape=reshape,
        name=loaded.name,
        class_names=loaded.class_names,
        weights=loaded.weights,
        precision=precision,
        own=loaded.own,
    )
    if layer is None and loaded.layer is not None:
        network.layer_chosen_by = "default"
    if isinstance(model, str) and reshape is None:
        network.recipe = {
            "model": model, "weights": None if weights is None else str(weights), "layer": network.layer, "output": output,
            "size": size, "resize": resize, "mean": mean, "std": std, "classes": classes, "precision": precision,
        }  # fmt: skip
    if classes is not None and network.n_classes != classes:
        raise SycamError(f"{loaded.name} has {network.n_classes} classes, not {classes}: they must agree")
    return network


def _load(model: str | nn.Module, weights: Path | str | None, classes: int | None) -> Loaded:
    if isinstance(model, nn.Module):
        if weights is not None:
            raise SycamError("weights go with a model's name or factory; an nn.Module brings its own: load them into it")
        return Loaded(model, type(model).__name__, None, None, None, "the module's own", own=False)
    path = None if weights is None else Path(weights)
    if model == "embedded":
        if path is not None:
            raise SycamError("the embedded network brings its own weights: leave `weights` out, or name another `model`")
        return _embedded()
    if ":" in model:
        built = _call_factory(model)
        if path is not None:
            fill(built, read_weights(path), model, path)
        return Loaded(built, model, None, None, None, path.name if path else "the factory's own", own=True)
    return _torchvision(model, path, classes)


def _embedded() -> Loaded:
    embedded = importlib.import_module("sycam.embedded")
    named = isinstance(embedded.CLASSES, list | tuple)
    return Loaded(
        embedded.load_network(device="cpu"),
        "embedded",
        Preprocessing(embedded.SIZE, triple(embedded.MEAN, "mean"), triple(embedded.STD, "std")),
        [str(name) for name in embedded.CLASSES] if named else None,
        embedded.LAYER,
        "embedded",
        own=True,
    )


def _torchvision(name: str, path: Path | None, classes: int | None) -> Loaded:
    from torchvision import models

    known = {entry.lower(): entry for entry in models.list_models(module=models)}
    if name.lower() not in known:
        close = near(name.lower(), known, n=3, cutoff=0.5)
        guess = f" (did you mean {', '.join(close)}?)" if close else ""
        raise SycamError(
            f"no torchvision classifier {name!r}{guess}: a model is a "
            "torchvision name, file.py:function, package.module:function, or embedded"
        )
    name = known[name.lower()]
    released = models.get_model_weights(name)
    default = released.DEFAULT
    preprocessing = Preprocessing.from_weights(default)
    categories = list(default.meta["categories"])
    # torchvision turns these on with its own weights, whose preprocessing is used here too.
    options: dict[str, Any] = {"transform_input": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if path is None and classes in (None, len(categories)):
        try:
            model = models.get_model(name, weights=default)
        except (OSError, HTTPException, RuntimeError) as problem:
            raise SycamError(
                f"the weights of {name} could not be fetched from {default.url}: {(str(problem).splitlines() or [''])[0]}. Fetch "
                "that file elsewhere and give it as `weights`"
            ) from problem
        return Loaded(model, name, preprocessing, categories, None, f"torchvision {default}", own=True)
    if path is None:
        raise SycamError(f"{name} with {classes} classes needs weights of its own: give `weights`")
    state = read_weights(path)
    if options:
        options["aux_logits"] = any(key.lower().startswith("aux") for key in state)
    if name.startswith("vit_") and (side := vit_size(state)) is not None:
        options["image_size"] = side
        same = [weights for weights in released if weights.meta["min_size"][0] == side]
        preprocessing = Preprocessing.from_weights(same[0]) if same else replace(preprocessing, size=side, resize=side)
    count = output_count(_skeleton(name, options), state) if classes is None else classes
    model = models.get_model(name, weights=None, **options, **({} if count is None else {"num_classes": count}))
    fill(model, state, name, path)
    return Loaded(model, name, preprocessing, categories, None, path.name, own=True)


def _skeleton(name: str, options: dict[str, Any]) -> nn.Module:
    """The torchvision model for its modules' names, without memory or random numbers where its code allows."""
    from torchvision import models

    try:
        with torch.device("meta"):
            return models.get_model(name, weights=None, **options)
    except NotImplementedError:  # RegNet computes its widths with tensors
        return models.get_model(name, weights=None, **options)


def _preprocessing(
    loaded: Loaded, size: int | None, resize: int | str | None, mean: Number3 | None, std: Number3 | None
) -> Preprocessing:
    if isinstance(resize, str) and resize != "squash":
        if not resize.isdecimal():
            raise SycamError(f"resize takes a number of pixels, or squash, not {resize!r}")
        resize = int(resize)
    said = loaded.preprocessing
    if said is None:
        if size is None:
            raise SycamError(
                f"{loaded.name} does not say which input it was trained on: give `size` in pixels, and `mean` and `std` "
                f"unless they are ImageNet's ({IMAGENET_MEAN}, {IMAGENET_STD})"
            )
        said = Preprocessing(size, *_imagenet(colour_channels(loaded.model)))
    shorter = said.resize if size is None else None
    if isinstance(resize, int):
        shorter = resize
    return Preprocessing(
        said.size if size is None else size,
        said.mean if mean is None else triple(mean, "mean", said.channels),
        said.std if std is None else triple(std, "std", said.channels),
        None if resize == "squash" else shorter,
        said.interpolation,
        resize == "squash",
    )


def colour_channels(model: nn.Module) -> int:
    """1 where the model's first convolution reads one channel, which means grey images; otherwise 3.

    >>> colour_channels(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 3)))
    1
    """
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    return 1 if first is not None and first.in_channels == 1 else 3


def _imagenet(channels: int) -> tuple[Colours, Colours]:
    """ImageNet's mean and standard deviation; averaged over the colours for grey, as is usual."""
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (round(sum(IMAGENET_MEAN) / 3, 3),), (round(sum(IMAGENET_STD) / 3, 3),)


def _call_factory(text: str) -> nn.Module:
    match = FACTORY.fullmatch(text)
    if match is None or (match["file"] is None) == (match["module"] is None):
        raise SycamError(
            f"cannot read the model {text!r}: write file.py:function or package.module:function, with arguments as in "
            "models.py:load:tiny_darknet"
        )
    source = match["file"] or match["module"]
    module = run_file(Path(source), "model") if match["file"] else run_module(source, "model")
    factory: Callable[..., Any] | None = getattr(module, match["function"], None)
    if not callable(factory):
        functions = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        close = near(match["function"], functions, n=3, cutoff=0.3) or functions[:5]
        raise SycamError(f"{source} has no function {match['function']!r}; it has {', '.join(close) or 'none'}")
    arguments = match["args"].split(",") if match["args"] else []
    try:
        model = factory(*arguments)
    except Exception as problem:
        raise SycamError(
            f"{source}: {match['function']}({', '.join(map(repr, arguments))}) failed: {type(problem).__name__}: {problem}"
        ) from problem
    if not isinstance(model, nn.Module):
        raise SycamError(f"{source}: {match['function']} returned {type(model).__name__}; it must return an nn.Module")
    return model


def _device(device: torch.device | str) -> torch.device:
    try:
        where = torch.device(device)
        torch.empty(1, device=where)
    except (RuntimeError, AssertionError) as problem:
        first = str(problem).splitlines()[0]
        raise SycamError(f"no device {str(device)!r} here: {first} (cpu always works)") from problem
    return where
