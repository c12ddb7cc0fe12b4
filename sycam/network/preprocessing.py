"""From an image file's pixels to the tensor a CNN was trained on, and back.

One geometry serves images, masks and boxes, so that ground truth stays on the object it marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sycam.errors import SycamError

Colours = tuple[float, ...]  # one number a colour channel: three, or one for grey
Box = tuple[float, float, float, float]

IMAGENET_MEAN: Colours = (0.485, 0.456, 0.406)
IMAGENET_STD: Colours = (0.229, 0.224, 0.225)
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the network sees it.

    Images become RGB, or grey where `mean` and `std` hold one number: colours are then weighed by the luma of ITU-R 601.
    The shorter side is resized to `resize` pixels (`size` where that is None) with PIL's antialiasing, then the central
    `size` x `size` pixels are cut out. With `squash` the image is resized to `size` x `size` at once, whatever its
    shape. Last, pixels scaled to [0, 1] have `mean` subtracted and are divided by `std`, channel by channel.

    Attributes:
        size: side of the square input, pixels.
        mean: per channel, on the [0, 1] scale: three numbers, or one for a network of grey images.
        std: as many, on the [0, 1] scale.
        resize: the shorter side before the crop, pixels, at least `size`; None for `size` itself.
        interpolation: a key of `FILTERS`; masks always take the nearest pixel.
        squash: change the aspect ratio instead of cropping.

    Raises:
        SycamError: a value out of its range.

    >>> prep = Preprocessing(4, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    >>> pixels = prep.image(Image.new("L", (9, 4), 255))
    >>> pixels.shape, pixels.dtype
    (torch.Size([3, 4, 4]), torch.uint8)
    >>> prep.normalise(pixels[None]).unique().tolist()
    [1.0]
    """

    size: int
    mean: Colours
    std: Colours
    resize: int | None = None
    interpolation: str = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SycamError(f"the input size must be at least 1 pixel, not {self.size}")
        if self.resize is not None and self.resize < self.size:
            raise SycamError(
                f"cannot crop {self.size} pixels from a shorter side of {self.resize}: "
                f"give a resize of at least {self.size}, or a smaller size"
            )
        if self.squash and self.resize is not None:
            raise SycamError(f"squash resizes to {self.size}x{self.size} at once: leave resize={self.resize} out")
        if self.interpolation not in FILTERS:
            raise SycamError(f"no interpolation {self.interpolation!r}; there are {', '.join(FILTERS)}")
        for label, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, 3):
                raise SycamError(f"{label} takes three numbers, one a colour, or one for grey, not {len(values)}: {values}")
        if len(self.mean) != len(self.std):
            raise SycamError(f"mean and std must both hold three numbers or both one, not {self.mean} and {self.std}")
        if min(self.std) <= 0:
            raise SycamError(f"std must be positive in each channel, not {self.std}")

    @property
    def channels(self) -> int:
        """Of the images: 3, or 1 for grey."""
        return len(self.mean)

    @classmethod
    def from_weights(cls, weights: Any) -> Preprocessing:
        """Read the preprocessing that belongs to torchvision weights, such as `ResNet50_Weights.DEFAULT`.

        Raises:
            SycamError: the weights are not a classifier's.
        """
        transforms = weights.transforms()
        try:
            crop, resize = transforms.crop_size, transforms.resize_size
            mean, std, mode = transforms.mean, transforms.std, transforms.interpolation
        except AttributeError:
            raise SycamError(f"{weights} carries no crop size, mean and std: it is not an image classifier's") from None
        size = int(crop[0])
        return cls(size, triple(mean, "mean"), triple(std, "std"), max(int(resize[0]), size), mode.value)

    def geometry(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Where the crop lies: (width, height) after the resize, then (left, top) of the crop in it, pixels.

        Rounds as torchvision does: the longer side down, half a pixel of the crop to the even neighbour.
        """
        if self.squash:
            return self.size, self.size, 0, 0
        short = self.size if self.resize is None else self.resize
        if width <= height:
            wide, high = short, int(short * height / width)
        else:
            wide, high = int(short * width / height), short
        return wide, high, round((wide - self.size) / 2), round((high - self.size) / 2)

    def image(self, picture: Image.Image) -> Tensor:
        """The picture as the network's pixels before normalisation, uint8 [3, size, size], or [1, size, size] for grey.

        Any PIL mode becomes RGB (see `to_rgb`) or grey, and an EXIF rotation is applied.
        """
        upright = to_rgb(picture) if self.channels == 3 else to_rgb(picture).convert("L")
        pixels = torch.from_numpy(np.array(self._place(upright, FILTERS[self.interpolation])))
        return pixels.permute(2, 0, 1) if self.channels == 3 else pixels[None]

    def mask(self, picture: Image.Image) -> Tensor:
        """A mask picture in the same geometry, bool [size, size]: true where a colour is not zero; alpha is ignored."""
        upright = ImageOps.exif_transpose(picture)
        marked = np.asarray(upright) != 0  # [h, w] or [h, w, colours and alpha]
        if marked.ndim == 3:
            marked = np.any(marked[..., : 1 if upright.mode in ("LA", "La", "PA") else 3], axis=-1)
        inside = Image.fromarray(marked.astype(np.uint8))
        return torch.from_numpy(np.array(self._place(inside, Image.Resampling.NEAREST)) != 0)

    def boxes(self, boxes: Sequence[Box], size: tuple[int, int]) -> Tensor:
        """The union of boxes in the same geometry, bool [size, size].

        Args:
            boxes: (x0, y0, x1, y1) each, in pixels of the upright original, x to the right and y down.
            size: (width, height) of the original, pixels.

        Returns:
            True where a pixel's centre lies in a box; a box thinner than a pixel keeps the pixel that holds its centre.
        """
        inside = torch.zeros(self.size, self.size, dtype=torch.bool)
        centres = torch.arange(self.size, dtype=torch.float64) + 0.5
        for x0, y0, x1, y1 in self.placed_boxes(boxes, size).tolist():
            inside |= ((centres >= y0) & (centres < y1))[:, None] & ((centres >= x0) & (centres < x1))[None, :]
        return inside

    def placed_boxes(self, boxes: Sequence[Box], size: tuple[int, int]) -> Tensor:
        """Each box in the same geometry: float64 [n, 4] as (x0, y0, x1, y1) in pixels of the crop, cut off at its edges.

        Args: as `boxes` takes them. A box that lies outside of the crop is left out, so n may be smaller than their number.

        >>> Preprocessing(4, (0.5,), (0.5,)).placed_boxes([(2, 2, 12, 6), (0, 0, 4, 8)], (16, 8)).tolist()
        [[0.0, 1.0, 4.0, 3.0]]
        """
        wide, high, left, top = self.geometry(*size)
        placed = []
        for x0, y0, x1, y1 in boxes:
            spans = []
            for low, high_end, scale, offset in ((x0, x1, wide / size[0], left), (y0, y1, high / size[1], top)):
                start, end = low * scale - offset, high_end * scale - offset
                if end - start < 1:  # too thin to be sure of a pixel centre
                    start = float(np.floor((start + end) / 2))
                    end = start + 1
                spans.append((max(start, 0.0), min(end, float(self.size))))
            (left_edge, right), (upper, lower) = spans
            if left_edge < right and upper < lower:
                placed.append((left_edge, upper, right, lower))
        return torch.tensor(placed, dtype=torch.float64).view(-1, 4)

    def normalise(self, pixels: Tensor, device: torch.device | str | None = None) -> Tensor:
        """uint8 [N, 3, H, W] to the network's float32 [N, 3, H, W], on `device` (the pixels' own where None)."""
        pixels = pixels.to(device, non_blocking=True) if device is not None else pixels
        mean, std = self._channels(pixels.device)
        return (pixels.to(torch.float32) / 255 - mean) / std

    def denormalise(self, images: Tensor) -> Tensor:
        """The network's float images [N, 3, H, W] back to uint8 pixels, rounded and clipped to 0..255."""
        mean, std = self._channels(images.device)
        return ((images.to(torch.float32) * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def describe(self) -> dict[str, Any]:
        """The fields as plain data, for a manifest."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def _channels(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean = torch.tensor(self.mean, dtype=torch.float32, device=device)[:, None, None]
        return mean, torch.tensor(self.std, dtype=torch.float32, device=device)[:, None, None]

    def _place(self, picture: Image.Image, resample: Image.Resampling) -> Image.Image:
        wide, high, left, top = self.geometry(*picture.size)
        if picture.size != (wide, high):
            picture = picture.resize((wide, high), resample)
        return picture.crop((left, top, left + self.size, top + self.size))


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any PIL image as 8-bit RGB, upright.

    EXIF rotation is applied; 16-bit grey is scaled to 8 bits (PIL alone would clip it to white); transparency is laid
    over white, as viewers show it (PIL alone would show whatever colour hides beneath).

    Raises:
        SycamError: floating-point or 32-bit pixels, whose range no one can know, or a colour space PIL cannot convert.

    >>> to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I"):  # I;16 and its byte orders; I in older Pillow for 16-bit PNG
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise SycamError(f"grey values from {values.min()} to {values.max()} do not fit 16 bits: save the image with 8 or 16")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise SycamError("floating-point pixels do not say which value is white: save the image with 8 or 16 bits")
    if "transparency" in picture.info or picture.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    try:
        return picture.convert("RGB")
    except ValueError:
        raise SycamError(f"pixels of mode {picture.mode} cannot become RGB: save the image as RGB") from None


def triple(value: float | Sequence[float], what: str, channels: int = 3) -> Colours:
    """One number for all channels, or one for each, as a tuple.

    Raises:
        SycamError: another count.

    >>> triple(0.5, "mean"), triple(0.5, "mean", channels=1)
    ((0.5, 0.5, 0.5), (0.5,))
    """
    numbers = (value,) if isinstance(value, int | float) else tuple(value)
    if len(numbers) == 1:
        numbers = numbers * channels
    if len(numbers) != channels:
        wanted = "one number (its images are grey)" if channels == 1 else "one number or three, one a colour"
        raise SycamError(f"{what} takes {wanted}, not {len(numbers)}: {numbers}")
    return tuple(float(number) for number in numbers)
