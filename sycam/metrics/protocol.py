"""Protocols: the four choices that move every number. A result names its protocol in full.

What masked pixels become, whose class is explained, how images are preprocessed, and which layer is read. `adcc`, `opticam` and
`rise` come with sycam; another is a TOML file:

    name = "mine"
    masked = "black"            # or "mean colour"
    class = "labelled"          # or "predicted"
    layer = "layer4"            # or left out: the usual one. A table says it by the model's class:
    # [layers]
    # VGG = "features[-2]"
    [preprocessing]             # or left out: the network's own
    size = 224
    resize = 256
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sycam.errors import SycamError
from sygus.errors import nearest

if TYPE_CHECKING:
    from sycam.network import Network, Preprocessing

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MASKED = ("mean colour", "black")
CLASSES = ("predicted", "labelled")
PREPROCESSING = ("size", "resize", "mean", "std")


@dataclass(frozen=True)
class Protocol:
    """How scores are made.

    Attributes:
        name: of the protocol; one that was changed says so in its name.
        masked: what masked pixels become: "mean colour" (the normalised image is masked) or "black" (the raw one is).
        classes: the image class that is explained, "predicted" or "labelled".
        preprocessing: arguments of `load_network` (size, resize, mean, std); empty for the network's own.
        layer: the target layer; None for `layers`, and else the usual one.
        layers: by the name of the model's class; `features[-2]` counts from the end.
        source: where the protocol comes from.

    Raises:
        SycamError: a choice that there is not.

    >>> find_protocol("opticam").masked, find_protocol("rise").classes
    ('black', 'predicted')
    """

    name: str
    masked: str = "mean colour"
    classes: str = "predicted"
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    layer: str | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        for what, value, known in (("masked", self.masked, MASKED), ("class", self.classes, CLASSES)):
            if value not in known:
                raise SycamError(f"protocol {self.name!r}: {what} is {' or '.join(map(repr, known))}, not {value!r}")
        for key in self.preprocessing:
            if key not in PREPROCESSING:
                raise SycamError(
                    f"protocol {self.name!r}: no preprocessing {key!r}{nearest(key, PREPROCESSING, everything=True)}"
                )

    def fill(self, preprocessing: Preprocessing) -> Tensor | None:
        """What masked pixels become in normalised space, [3], as `Query` takes it; None for the mean colour, which is 0."""
        if self.masked == "mean colour":
            return None
        return -torch.tensor(preprocessing.mean) / torch.tensor(preprocessing.std)

    def layer_of(self, model: nn.Module) -> str | None:
        """The target layer that the protocol names for a model, or None.

        Raises:
            SycamError: it counts from the end of something that the model has not.

        >>> net = nn.Sequential(); net.features = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
        >>> Protocol("mine", layers={"Sequential": "features[-2]"}).layer_of(net)
        'features.0'
        """
        layer = self.layer or self.layers.get(type(model).__name__)
        if layer is None:
            return None
        counted = re.fullmatch(r"(.+)\[(-?\d+)\]", layer)
        if counted is None:
            return layer
        inside, place = counted[1], int(counted[2])
        try:
            children = [name for name, _ in model.get_submodule(inside).named_children()]
            return f"{inside}.{children[place]}"
        except (AttributeError, IndexError):
            raise SycamError(f"protocol {self.name!r} reads layer {layer}, and {type(model).__name__} has none") from None

    def changed(self, classes: str | None = None, layer: str | None = None) -> Protocol:
        """The protocol with another class or layer, which its name then says.

        >>> DEFAULT.changed(classes="labelled").name, DEFAULT.changed(classes="predicted").name
        ('adcc, but labelled class', 'adcc')
        """
        made, said = self, []
        if classes is not None and classes != self.classes:
            made, said = replace(made, classes=classes), [f"{classes} class"]
        if layer is not None and (self.layer or self.layers):
            made, said = replace(made, layer=layer, layers={}), [*said, f"layer {layer}"]
        return replace(made, name=f"{self.name}, but {', '.join(said)}") if said else self

    def describe(self, network: Network) -> dict[str, Any]:
        """The four choices in full, as plain data: equal where scores may be compared."""
        prep = network.preprocessing.describe()
        return {
            "name": self.name,
            "masked_pixels": self.masked,
            "class": self.classes,
            "preprocessing": {key: prep[key] for key in ("size", "resize", "squash", "interpolation", "mean", "std")},
            "layer": network.layer,
        }


def protocol_text(described: Mapping[str, Any]) -> str:
    """A described protocol on one line, for tables.

    >>> protocol_text({"name": "rise", "masked_pixels": "black", "class": "predicted", "layer": "layer4", "preprocessing":
    ...     {"size": 32, "resize": None, "squash": False, "interpolation": "bilinear", "mean": [0.5], "std": [0.25]}})
    'protocol rise: masked pixels black; predicted class; resize 32, crop 32, bilinear, mean 0.5, std 0.25; layer layer4'
    """
    prep = described["preprocessing"]
    resized = f"squashed to {prep['size']}" if prep["squash"] else f"resize {prep['resize'] or prep['size']}, crop {prep['size']}"
    mean, std = (" ".join(f"{value:g}" for value in prep[key]) for key in ("mean", "std"))
    return (
        f"protocol {described['name']}: masked pixels {described['masked_pixels']}; {described['class']} class; "
        f"{resized}, {prep['interpolation']}, mean {mean}, std {std}; layer {described['layer']}"
    )


def differences(described: list[Mapping[str, Any]]) -> list[str]:
    """The choices in which described protocols differ, apart from their names; a network's own layer is not one.

    >>> a = {"name": "a", "masked_pixels": "black", "class": "predicted", "preprocessing": {}, "layer": "x"}
    >>> differences([a, {**a, "name": "b", "layer": "y"}]), differences([a, {**a, "masked_pixels": "mean colour"}])
    (['layer'], ['masked_pixels'])
    """
    return [
        key for key in ("masked_pixels", "class", "preprocessing", "layer") if any(d[key] != described[0][key] for d in described)
    ]


DEFAULT = Protocol("adcc", "mean colour", "predicted", source="Poppi et al., CVPR Workshops 2021")

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        DEFAULT,
        Protocol(
            "opticam", "black", "labelled", layers={"ResNet": "layer4[-1]", "VGG": "features[-2]"},
            source="Zhang et al., CVIU 2024",
        ),
        Protocol("rise", "mean colour", "predicted", source="Petsiuk et al., BMVC 2018"),
    )
}  # fmt: skip
"""The protocols that come with sycam, by name."""


def find_protocol(spec: str | Path | Protocol | None) -> Protocol:
    """The protocol of that name, or of that TOML file; `adcc` where None.

    Raises:
        SycamError: no such protocol or file; a file that is no TOML, or says what no protocol says.

    >>> find_protocol("opti-cam")
    Traceback (most recent call last):
    sycam.errors.SycamError: no protocol 'opti-cam'; did you mean 'opticam'? There are: adcc, opticam, rise, and TOML files
    """
    if spec is None:
        return DEFAULT
    if isinstance(spec, Protocol):
        return spec
    if str(spec) in PROTOCOLS:
        return PROTOCOLS[str(spec)]
    path = Path(spec)
    if path.suffix != ".toml" and not path.is_file():
        raise SycamError(f"no protocol {str(spec)!r}{nearest(str(spec), PROTOCOLS, everything=True)}, and TOML files")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SycamError(f"cannot read the protocol {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SycamError(f"{path} is no TOML: {error}") from None
    return _from_data(data, path)


def _from_data(data: dict[str, Any], path: Path) -> Protocol:
    kinds: dict[str, type] = {
        "name": str, "masked": str, "class": str, "layer": str, "source": str, "preprocessing": dict, "layers": dict,
    }  # fmt: skip
    for key, value in data.items():
        if key not in kinds:
            raise SycamError(f"{path}: a protocol says nothing of {key!r}{nearest(key, kinds, everything=True)}")
        if not isinstance(value, kinds[key]):
            raise SycamError(f"{path}: {key} must be a {'table' if kinds[key] is dict else 'text'}, not {value!r}")
    missing = [key for key in ("masked", "class") if key not in data]
    if missing:
        raise SycamError(
            f"{path} does not say {missing[0]!r}: a protocol names what masked pixels become, and whose class is explained"
        )
    for name, layer in data.get("layers", {}).items():
        if not isinstance(layer, str):
            raise SycamError(f'{path}: the layer of {name} must be a text, such as "features[-2]", not {layer!r}')
    name = data.get("name", path.stem)
    if name in PROTOCOLS:
        raise SycamError(f"{path} is called {name!r}, as a protocol that comes with sycam is: give it another name")
    rest = {key: data[key] for key in ("masked", "layer", "layers", "preprocessing") if key in data}
    return Protocol(name, classes=data["class"], source=data.get("source", str(path)), **rest)
