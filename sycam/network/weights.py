"""Weights files: read without running code from them, and loaded with errors that say what does not fit."""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sycam.errors import SycamError

NESTS = ("state_dict", "model_state_dict", "model", "net")
PREFIXES = ("module.", "_orig_mod.")  # DataParallel's, torch.compile's
# Modules' names had dots in them when torchvision's DenseNet weights were made, and the released files still do.
DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a safetensors file, or in one that `torch.save` wrote, on the CPU.

    Raises:
        SycamError: there is no such file, it is neither, or it would have to run code (a pickled model).
    """
    if not path.is_file():
        raise SycamError(f"no weights file {path}")
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file begins with the length of its JSON header, then the header's brace.
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        try:
            return load_file(path, device="cpu")
        except SafetensorError as problem:
            raise SycamError(f"{path} is not a whole safetensors file ({problem}): copy it again") from problem
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        raise SycamError(
            f"{path} holds more than tensors, and loading it could run code: save the state dict alone, with "
            "torch.save(model.state_dict(), FILE)"
        ) from problem
    except Exception as problem:  # on bytes that are no pickle the unpickler fails in any way
        raise SycamError(
            f"{path} is neither a safetensors file nor a state dict that torch.save wrote ({type(problem).__name__})"
        ) from problem
    for nest in NESTS:
        if isinstance(content, dict) and isinstance(content.get(nest), dict):
            content = content[nest]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise SycamError(f"{path} holds no state dict (names to tensors), also not under {', '.join(NESTS)}")
    state = OrderedDict((_bare(str(key)), value) for key, value in content.items())
    versions = getattr(content, "_metadata", None)
    if versions is not None and list(state) == list(content):
        state._metadata = versions  # type: ignore[attr-defined]  # torch's own place for the layout's version
    return state


def output_count(model: nn.Module, state: dict[str, Tensor]) -> int | None:
    """How many classes the weights are for: the rows of the model's last Linear or Conv2d in the file, or None.

    >>> output_count(nn.Sequential(nn.Linear(4, 1000)), {"0.weight": torch.zeros(3, 4)})
    3
    """
    named = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    weight = state.get(f"{named[-1]}.weight") if named else None
    return None if weight is None else len(weight)


def vit_size(state: dict[str, Tensor]) -> int | None:
    """Side of the images that the weights of a torchvision ViT are for, in pixels; None where they do not say.

    >>> vit_size({"encoder.pos_embedding": torch.zeros(1, 577, 8), "conv_proj.weight": torch.zeros(8, 3, 16, 16)})
    384
    """
    positions, patch = state.get("encoder.pos_embedding"), state.get("conv_proj.weight")
    if positions is None or patch is None or positions.ndim != 3 or patch.ndim != 4:
        return None
    return math.isqrt(positions.shape[1] - 1) * patch.shape[-1]


def fill(model: nn.Module, state: dict[str, Tensor], name: str, path: Path) -> None:
    """Load the weights into the model, all of them.

    Raises:
        SycamError: they belong to another network; names the first keys that are missing, unexpected or of another
            shape.
    """
    own = model.state_dict()
    versions = getattr(state, "_metadata", own._metadata)  # type: ignore[attr-defined]  # safetensors keep none
    state = OrderedDict((DENSENET.sub(r"\1\2", key), value) for key, value in state.items())
    state._metadata = versions  # type: ignore[attr-defined]
    # Files older than batch norm's counter lack it, and nothing in eval mode reads it.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    mismatched = [
        f"{key} {list(state[key].shape)} instead of {list(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    faults = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatched))
        if keys
    ]
    if faults:
        raise SycamError(f"{path} holds the weights of another network than {name}: {'; '.join(faults)}")
    model.load_state_dict(state, strict=False)


def _bare(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key
