"""`Network`: a CNN classifier with a target layer, as everything else in sycam sees it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from sycam.errors import SycamError, Unavailable
from sycam.network.cut import cut
from sycam.network.device import check_precision, computing_in, keep_freed_memory
from sycam.network.layers import check_calls, check_layer, choose_layer, layer_module
from sycam.network.outputs import ClassTokens, Output, Reshape, catching, evaluating, replacing
from sycam.network.preprocessing import Preprocessing


@dataclass
class Passes:
    """How many images went through the network, and through which part.

    Attributes:
        full: forward through the whole model.
        tail: forward through the part after the layer.
        backward: back from the logits to the layer.
    """

    full: int = 0
    tail: int = 0
    backward: int = 0

    def add(self, more: Mapping[str, int]) -> None:
        """Counts passes of a copy of the network elsewhere."""
        for name, passes in more.items():
            setattr(self, name, getattr(self, name) + passes)


class Network:
    """A classifier, its preprocessing and its target layer.

    Every method takes normalised float images and leaves the model as it found it: parameters, their gradients, hooks
    and train or eval flags; it computes in eval mode. What methods return are ordinary tensors without history, unless
    stated.

    Activations are maps [N, K, h, w] for every method, whatever the layer returns: see `sycam.network.outputs`.

    Args:
        model: returns logits [N, C]. Used as it is where it lies on `device` already and in single or double precision;
            copied otherwise. Half precision (float16, bfloat16) becomes float32 in that copy: sums over pixels and the
            small differences that perturbation CAMs look at do not survive it, and activations overflow.
        preprocessing: the input it was trained on.
        layer: the target layer's name; None for the default (`find_target_layer`).
        device: such as `cpu` or `cuda:1`.
        output: where the logits lie in what the model returns (`sycam.network.outputs`): a key, field or index; None for
            the default.
        reshape: between the layer's output and maps; None to tell by its shape.
        name: for reports; the class name where None.
        class_names: one a class; None, or another number of them than there are classes, for unknown.
        weights: where the weights came from, for reports.
        precision: in which masked images are classified (`logits`): `float32`, as the network computes everything else; `bf16`,
            on CPUs and GPUs that have it; or `tf32`, on GPUs. Of the latter two scores are rounded: see `benchmarks/RESULTS.md`.
        own: the model belongs to sycam, which puts it in eval mode, freezes it, and lays its weights out for speed
            (channels-last: on a CPU it halves MobileNetV2's time, and logits move by 2e-6 of the largest).

    Attributes:
        n_classes: C.
        channels: K of the layer.
        map_size: (h, w) of the layer.
        passes: images computed so far.
        dtype: floating-point type of the images it takes and of what it returns.
        probe: sha256 of the bits of activations and logits of two seeded random images: it tells networks of the same weights
            apart that compute otherwise (code, device, precision, threads).
        notes: what the user should be told, such as an unusual default layer.
        recipe: arguments with which `load_network` makes it again on any device; None where it was made of a module.
        memo: what others remember about this network, such as its linear head.

    Raises:
        SycamError: the layer does not fit, or the model does not return finite logits.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    >>> network = Network(net, Preprocessing(8, (0.5,) * 3, (0.5,) * 3))
    >>> network.layer, network.channels, network.map_size, network.n_classes
    ('1', 4, (6, 6), 5)
    >>> A, logits = network.activations(torch.randn(2, 3, 8, 8))
    >>> network.gradient(A, None, logits.argmax(1)).shape, network.passes
    (torch.Size([2, 4, 6, 6]), Passes(full=2, tail=2, backward=2))
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        layer: str | None = None,
        *,
        device: torch.device | str = "cpu",
        output: str | int | None = None,
        reshape: Reshape | None = None,
        name: str | None = None,
        class_names: list[str] | None = None,
        weights: str | None = None,
        precision: str = "float32",
        own: bool = False,
    ) -> None:
        self.device = _indexed(torch.device(device))
        self.precision = check_precision(precision, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        tensors = [*model.parameters(), *model.buffers()]
        types = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        self.dtype = torch.float64 if types == {torch.float64} else torch.float32
        self._given = "mixed precision" if len(types) > 1 else str(*types or {self.dtype}).removeprefix("torch.")
        if any(tensor.device != self.device for tensor in tensors) or types - {self.dtype}:
            model, own = copy.deepcopy(model).to(self.device, self.dtype), True
        if own:
            model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model, self._own = model, own
        self.preprocessing = preprocessing
        self.name = name or type(model).__name__
        self.weights = weights
        self.passes = Passes()
        self.memo: dict[str, Any] = {}
        self.recipe: dict[str, Any] | None = None
        self._output = Output(self.name, None if output is None else str(output))
        self._overwrites_input = False  # until seen
        self._not_finite = torch.zeros((), dtype=torch.bool, device=self.device)
        self._tokens = ClassTokens()

        # Seeded: the verification must not depend on, or move, the caller's random state.
        side, colours = preprocessing.size, preprocessing.channels
        examples = self._placed(torch.randn(2, colours, side, side, generator=torch.Generator().manual_seed(0)))
        self.notes: list[str] = []
        self.layer_chosen_by = "default" if layer is None else "user"
        self.layer, self.reshape = self._at(layer, reshape, examples[:1].clone())
        self._module = layer_module(model, self.layer)
        before = examples._version  # counts in-place changes
        A, logits = self.activations(examples)
        self._overwrites_input = examples._version != before
        self.n_classes = logits.shape[1]
        if self.n_classes < 2:
            raise SycamError(f"{self.name} has one output: a softmax over it is always 1, give a network of two classes or more")
        self.probe = _bits(A, logits)
        self.channels, self.map_size = A.shape[1], (A.shape[2], A.shape[3])
        self.class_names = class_names if class_names and len(class_names) == self.n_classes else None
        self._cut = cut(model, self._module, examples, self._output)
        self._has_tokens = len(self._tokens) > 0
        self.passes = Passes()  # those of the verification are nobody's

    def _at(self, layer: str | None, reshape: Reshape | None, example: Tensor) -> tuple[str, Reshape]:
        """The layer, the default where None, and how its output becomes maps."""
        try:
            if layer is None:
                choice = choose_layer(self.model, example, self._output)
                layer = choice.layer
                self.notes += [choice.note] if choice.note else []
            if reshape is None:
                return layer, check_layer(self.model, layer, example, self._output)
            check_calls(self.model, layer, example, self._output)
        except SycamError:
            raise
        except Exception as problem:  # a model may fail in any way
            first = (str(problem).splitlines() or [""])[0]
            raise SycamError(
                f"{self.name} cannot classify an image {list(example.shape)}: {type(problem).__name__}: {first} "
                "(is `size` right?)"
            ) from problem
        return layer, reshape

    def logits(self, images: Tensor) -> Tensor:
        """Logits [N, C] of images [N, 3, H, W].

        Raises:
            SycamError: a logit is not finite. On a GPU, where asking would stall the stream, the next `check_finite`,
                `activations` or `gradient` raises it.
        """
        with evaluating(self.model), torch.inference_mode(), computing_in(self.precision, self.device):
            logits = self._output(self.model(self._placed(images))).to(self.dtype)
        self.passes.full += len(images)
        self._look(logits)
        return logits.clone()  # leaves inference mode, so that it may take part in a gradient

    def differentiable(self, images: Tensor) -> Tensor:
        """Logits [N, C] of images [N, 3, H, W], with history back to the images if they require grad and grad mode is on.

        Raises:
            SycamError: as `logits`.
            Unavailable: the images require grad and the model cuts the history.
        """
        with evaluating(self.model):
            logits = self._output(self.model(self._placed(images)))
        self.passes.full += len(images)
        self._look(logits.detach())
        if images.requires_grad and torch.is_grad_enabled() and not logits.requires_grad:
            raise Unavailable(f"no gradient reaches the image from the logits of {self.name}: the model switches gradients off")
        return logits

    def activations(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's activations A [N, K, h, w] and the logits [N, C] of images [N, 3, H, W], in one pass."""
        placed = self._placed(images)
        with evaluating(self.model), torch.no_grad(), catching(self._module) as caught:
            logits = self._output(self.model(placed))
        self.passes.full += len(images)
        self._look(logits)
        self.check_finite()
        maps, rest = self.reshape.split(caught[0])
        if rest is not None:
            self._tokens.keep(images.to(placed), rest)
        return maps.contiguous(), logits

    def tail(self, activations: Tensor, images: Tensor | None = None) -> Tensor:
        """Logits [N, C] where the layer returns the given activations [N, K, h, w].

        Gradients flow from the logits to the activations if they require it and grad mode is on.

        Args:
            activations: one stack of maps for each result.
            images: [N, 3, H, W], as many; needed only where `needs_images`.
        """
        if self._cut.tail is None:
            if images is None:
                raise ValueError(f"{self.name} could not be cut at {self.layer} ({self.cut_reason}): tail needs the images")
            with evaluating(self.model), replacing(self._module, activations, self.reshape):
                logits = self._output(self.model(self._placed(images)))
            self.passes.full += len(images)
            return logits
        if images is None and self._has_tokens:
            raise ValueError(f"layer {self.layer} of {self.name} returns more than maps (class tokens): tail needs the images")
        rest = self._tokens_of(images) if images is not None and self._has_tokens else None
        with evaluating(self._cut.tail):
            logits = self._cut.tail(self.reshape.join(activations, rest))
        self.passes.tail += len(activations)
        return logits

    @property
    def needs_images(self) -> bool:
        """Whether `tail` and `gradient` need the images.

        They run the whole model where it could not be cut; where the layer has class tokens, these are looked up by the
        image, and computed by a full pass if `activations` has not seen it lately.
        """
        return self._cut.tail is None or self._has_tokens

    @property
    def tail_graph(self) -> fx.GraphModule | None:
        """The traced part from what the layer returns, which `reshape` joins of maps, to logits; shares the model's modules.

        None where it could not be cut.
        """
        return self._cut.tail

    @property
    def output(self) -> str | None:
        """Where the logits lie in what the model returns, as it was given."""
        return self._output.wanted

    @property
    def cut_reason(self) -> str:
        """Why the model could, or could not, be cut at the layer (see `sycam.network.cut`)."""
        return self._cut.reason

    def _tokens_of(self, images: Tensor) -> Tensor:
        """The class tokens of images, [N, extra, K]."""
        images = images.to(self.device, self.dtype)
        missing = self._tokens.missing(images)
        if len(missing):
            self.activations(images[missing])
        return self._tokens.of(images)

    def gradient(self, activations: Tensor, images: Tensor | None, classes: Tensor, of: str = "logit") -> Tensor:
        """Gradient with respect to the activations of each image's class, [N, K, h, w].

        Args:
            activations: [N, K, h, w].
            images: [N, 3, H, W]; may be None where `needs_images` is false.
            classes: [N], int64.
            of: `logit` or `probability`.
        """
        if of not in ("logit", "probability"):
            raise SycamError(f"no gradient of {of!r}; there are logit, probability")
        with torch.inference_mode(False), torch.enable_grad():
            leaf = _ordinary(activations).detach().requires_grad_()
            logits = self.tail(leaf, None if images is None else _ordinary(images))
            outputs = (logits if of == "logit" else logits.softmax(1)).gather(1, _ordinary(classes)[:, None])
            gradient = None
            if outputs.requires_grad:
                (gradient,) = torch.autograd.grad(outputs.sum(), leaf, allow_unused=True)
            if gradient is None:
                raise Unavailable(
                    f"no gradient reaches layer {self.layer!r} from the logits of {self.name}: they do not depend on it, or "
                    "the model switches gradients off after it; name another layer"
                )
        self.passes.backward += len(activations)
        self._look(logits.detach())
        self.check_finite()
        return gradient

    def check_finite(self) -> None:
        """Raise if any logit since the last check was not finite.

        Raises:
            SycamError: names the model.
        """
        if bool(self._not_finite):
            self._not_finite = torch.zeros_like(self._not_finite)
            raise SycamError(
                f"{self.name} returned logits that are NaN or infinite: its weights are broken, or its input is not "
                f"preprocessed as it expects (mean {self.preprocessing.mean}, std {self.preprocessing.std})"
            )

    def weights_digest(self) -> str:
        """sha256 over names, types, shapes and bytes of all weights and buffers, in hexadecimal.

        Computed once where the model belongs to sycam; a caller's own may be trained further meanwhile.
        """
        if "weights_digest" not in self.memo or not self._own:
            digest = hashlib.sha256()
            for key, value in sorted(self.model.state_dict().items()):
                if isinstance(value, Tensor):
                    digest.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
                    digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            self.memo["weights_digest"] = digest.hexdigest()
        return str(self.memo["weights_digest"])

    def describe(self) -> dict[str, Any]:
        """What a manifest says about the network, as plain data."""
        return {
            "name": self.name,
            "weights": self.weights,
            "weights_sha256": self.weights_digest(),
            "layer": self.layer,
            "layer_chosen_by": self.layer_chosen_by,
            "channels": self.channels,
            "map_size": list(self.map_size),
            "classes": self.n_classes,
            "preprocessing": self.preprocessing.describe(),
            "device": str(self.device),
            "cut": self._cut.tail is not None,
            "cut_reason": self.cut_reason,
            "memory_format": "channels_last",
            "precision": str(self.dtype).removeprefix("torch.") if self.precision == "float32" else self.precision,
            "given_in": self._given,
            "notes": self.notes,
            "passes": asdict(self.passes),
        }

    def _placed(self, images: Tensor) -> Tensor:
        placed = images.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        return placed.clone() if self._overwrites_input and placed.data_ptr() == images.data_ptr() else placed

    def _look(self, logits: Tensor) -> None:
        # Not in place: a flag born in inference mode could not be changed outside it.
        self._not_finite = self._not_finite | ~logits.isfinite().all()
        if self.device.type == "cpu":
            self.check_finite()


def _bits(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or a copy if it was born in inference mode and so could not enter a graph."""
    return tensor.clone() if tensor.is_inference() else tensor


def _indexed(device: torch.device) -> torch.device:
    """`cuda` as `cuda:0`, the current one, so that devices can be compared."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
