"""`View`, one batch of images as the terminals see it; the terminals by name; and their random numbers, which depend on the seed
and the image alone.

A terminal is a leaf of a grammar to which a CNN and an image give a value: one registered function of a `View`. Registering it is
all that a grammar needs to name it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.job import TerminalSettings
from sycam.network.network import Network
from sygus.registry import Registry


class View:
    """A batch of images in front of a network; `view["G"]` computes a terminal at first use and keeps it.

    The forward pass that gives activations and logits runs once, at first use, whatever asks for it.

    Args:
        network: the CNN.
        images: normalised, [N, 3, H, W].
        classes: image class of each, [N]; the predicted ones where None.
        activations: A, with `logits`, if someone has them already.
        logits: of these images, [N, C].
        chunk: how many images one batch may hold at most when a terminal needs many passes for each image; it changes speed and
            memory, and results by rounding only.
        settings: samples, steps, orderings and the seed of the terminals that have such.

    Attributes:
        keys: of the images' random numbers, see `sycam.terminals.terminal`.
        extra: what several terminals share, under a name of their choosing.

    >>> from torch import nn
    >>> from sycam.network import Network, Preprocessing
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    >>> network = Network(net, Preprocessing(8, (0.5,) * 3, (0.5,) * 3))
    >>> view = View(network, torch.randn(2, 3, 8, 8), torch.tensor([0, 3]))
    >>> view["G"].shape, view["drop"].shape, view["y"].shape
    (torch.Size([2, 4, 6, 6]), torch.Size([2, 4]), torch.Size([2, 1]))
    """

    def __init__(
        self,
        network: Network,
        images: Tensor,
        classes: Tensor | None = None,
        *,
        activations: Tensor | None = None,
        logits: Tensor | None = None,
        chunk: int = 64,
        settings: TerminalSettings | None = None,
    ) -> None:
        self.network = network
        self.images = _ordinary(images.to(network.device, network.dtype))
        self.chunk = chunk
        self.settings = settings or TerminalSettings()
        self.keys: list[bytes] | None = None
        self._given_classes = None if classes is None else _ordinary(classes.to(network.device, torch.int64))
        self._given = None if activations is None or logits is None else (activations, logits)
        self._values: dict[str, Tensor] = {}
        self.extra: dict[str, tuple[Tensor, ...]] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._values:
            # A caller's inference mode would give tensors that may not enter the graphs that some terminals need.
            with torch.inference_mode(False), torch.no_grad():
                self._values[name] = terminal(name).compute(self)
        return self._values[name]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def _forward(self) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False):
            if self._given is None:
                return self.network.activations(self.images)
            return _ordinary(self._given[0]), _ordinary(self._given[1])

    @property
    def A(self) -> Tensor:
        """Activations of the target layer, [N, K, h, w]."""
        return self._forward[0]

    @property
    def logits(self) -> Tensor:
        """[N, C]."""
        return self._forward[1]

    @cached_property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, [N, C]."""
        with torch.inference_mode(False):
            return self.logits.softmax(1)

    @cached_property
    def classes(self) -> Tensor:
        """The image class that terminals speak of, int64 [N]: given, or predicted."""
        with torch.inference_mode(False):
            return self.logits.argmax(1) if self._given_classes is None else self._given_classes

    def of_class(self, values: Tensor) -> Tensor:
        """Each image's entry for its class: [N, C] to [N, 1]."""
        return values.gather(1, self.classes[:, None])


def _ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or a copy if it was born in inference mode and so could not enter a graph."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


Compute = Callable[[View], Tensor]

SHAPES = {
    ("Map", "pixel"): "[N, K, h, w]",
    ("Real", "channel"): "[N, K]",
    ("Real", "scalar"): "[N, 1]",
    ("Int", "scalar"): "[N, 1]",
}


@dataclass(frozen=True)
class Terminal:
    """One terminal.

    Attributes:
        name: as a grammar writes it.
        sort: SyGuS sort: `Map`, `Real` or `Int`.
        level: what it has a value for: each `pixel` of each channel, each `channel`, or the image (`scalar`).
        passes: cost per image, in words.
        source: the paper, or what it is.
        doc: meaning.
        compute: its tensor for a `View`, of the shape in `SHAPES`, without history.
        settings: the fields of `TerminalSettings` that it reads; None where that is not known, and may be all.
        of_class: whether it depends on the image class that is explained.
    """

    name: str
    sort: str
    level: str
    passes: str
    source: str
    doc: str
    compute: Compute
    settings: tuple[str, ...] | None = None
    of_class: bool = True

    @property
    def shape(self) -> str:
        """Of its tensor, in words."""
        return SHAPES[self.sort, self.level]


TERMINALS: Registry[Terminal] = Registry(
    "terminal",
    __package__,
    SycamError,
    first=("gradients", "head", "masking", "deeplift", "shapley", "opti", "noise", "relevance"),
)
"""By name, in the order in which people want to see them listed. Every file of this folder is looked through."""


def register_terminal(
    name: str,
    sort: str = "Map",
    level: str = "pixel",
    passes: str = "none",
    source: str = "",
    *,
    settings: Collection[str] | None = None,
    of_class: bool = True,
) -> Callable[[Compute], Compute]:
    """Register the decorated function of a `View` as a terminal; its docstring is the meaning.

    `settings` and `of_class` (see `Terminal`) let values that were kept serve other settings and classes; left out they are
    computed again for each.

    Raises:
        SycamError: the name is taken.
        ValueError: sort and level do not go together, there is no docstring, or no such setting.

    >>> @register_terminal("ones", sort="Real", level="channel", source="a control")
    ... def ones(view):
    ...     '''One for every channel.'''
    ...     return view.A.new_ones(view.A.shape[:2])
    >>> TERMINALS.pop("ones").shape
    '[N, K]'
    """
    if (sort, level) not in SHAPES:
        pairs = ", ".join(f"{sort} of {level}" for sort, level in SHAPES)
        raise ValueError(f"terminal {name!r}: no {sort} of {level}; there are {pairs}")
    unknown = set(settings or ()) - set(TerminalSettings.__dataclass_fields__)
    if unknown:
        raise ValueError(
            f"terminal {name!r}: no setting {sorted(unknown)}; there are {list(TerminalSettings.__dataclass_fields__)}"
        )

    def register(compute: Compute) -> Compute:
        doc = inspect.getdoc(compute)
        if not doc:
            raise ValueError(f"terminal {name!r} needs a docstring that says what it means")
        reads = None if settings is None else tuple(settings)
        made = Terminal(name, sort, level, passes, source, doc, compute, settings=reads, of_class=of_class)
        TERMINALS.add(name, made, compute.__module__)
        return compute

    return register


def terminal(name: str) -> Terminal:
    """The terminal of that name.

    Raises:
        SycamError: there is none; names the nearest.

    >>> terminal("dorp")
    Traceback (most recent call last):
    sycam.errors.SycamError: no terminal 'dorp'; did you mean 'drop'? There are: A, ...
    """
    return TERMINALS.find(name)


def image_keys(view: View) -> list[bytes]:
    """A key for each image, of the seed and of its pixels as float32; computed once for a view."""
    if view.keys is None:
        seed = str(view.settings.seed).encode()
        images = view.images.detach().to("cpu", torch.float32).contiguous()
        view.keys = [blake2b(image.numpy().tobytes(), digest_size=16, key=seed).digest() for image in images]
    return view.keys


def generator(key: bytes, *purpose: str | int) -> torch.Generator:
    """A generator on the CPU for one image and one purpose, the same wherever the network lies.

    >>> torch.rand(1, generator=generator(b"a", "noise", 3)) == torch.rand(1, generator=generator(b"a", "noise", 3))
    tensor([True])
    """
    digest = blake2b(" ".join(map(str, purpose)).encode(), digest_size=8, key=key).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def normal(shape: tuple[int, ...], key: bytes, *purpose: str | int) -> Tensor:
    """Standard normal numbers, float32 on the CPU whatever the network's precision and device."""
    return torch.randn(shape, generator=generator(key, *purpose))
