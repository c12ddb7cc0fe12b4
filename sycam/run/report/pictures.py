"""Heatmaps as pictures: an overlay, one image explained, and a sheet of many images under many CAMs.

Image pixels are drawn as whole squares, an integer number of screen pixels wide, so that a 32×32 image is not blurred
into something that the network never saw.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from sycam.errors import SycamError

Picture = NDArray[np.uint8]  # [H, W, 3]

COLOURS = ListedColormap(matplotlib.colormaps["turbo"](np.linspace(0, 0.93, 256)), name="heat")
"""Readers of CAMs expect blue to red; turbo is that without jet's false edges (Mikhailov 2019), less its dark end."""

OPACITY = 0.75
"""Opacity of the hottest pixel of an overlay. The coldest is clear: where the map is silent, the image shows."""

INK, QUIET, LINE = "#1f2430", "#6b7280", "#d6d9de"


def overlay(image: Tensor, heatmap: Tensor) -> Picture:
    """The image with the heatmap over it, its colour and opacity growing with the heat.

    Args:
        image: [3, H, W], or [1, H, W] grey: uint8, or floating point in [0, 1], not normalised.
        heatmap: [H, W] in [0, 1].

    Returns:
        [H, W, 3] uint8.

    Raises:
        SycamError: another shape or range; sizes that differ.

    Cold pixels are left alone, and hot ones turn red:

    >>> overlay(torch.full((3, 1, 2), 0.5), torch.tensor([[0.0, 1.0]])).tolist()
    [[[128, 128, 128], [163, 50, 33]]]
    """
    picture = _picture(image)
    heat = _heat(heatmap, picture.shape[:2])
    # The square root lets moderate heat show: linear opacity hides everything below one half.
    strength = np.sqrt(heat)[..., None]  # [H, W, 1]
    # Under the heat the image turns grey, or a green parrot would read as warm.
    grey = picture @ np.array([[0.299], [0.587], [0.114]])  # [H, W, 1], luminance of BT.601
    beneath = (1 - strength) * picture + strength * grey
    opacity = OPACITY * strength
    return np.rint((1 - opacity) * beneath + opacity * _coloured(heat)).astype(np.uint8)


def explain_figure(
    image: Tensor,
    heatmap: Tensor,
    path: str | Path | IO[bytes],
    *,
    image_class: str,
    probability: float,
    expression: str,
    name: str = "",
    mask: Tensor | None = None,
) -> None:
    """Write one PNG that explains one image: the image, its heatmap with a colour bar, and the overlay.

    Args:
        image: [3, H, W] or [1, H, W]: uint8, or floating point in [0, 1], not normalised.
        heatmap: [H, W] in [0, 1].
        path: of the PNG, or a binary file open for writing.
        image_class: name of the class that is explained.
        probability: of that class on the plain image.
        expression: of the CAM, in the words of the grammar.
        name: of the CAM or the image, shown before the expression; may be left out.
        mask: [H, W] boolean, outlined on the image; may be left out.

    Raises:
        SycamError: another shape or range; sizes that differ; a path that cannot be written.
    """
    plain = _picture(image)
    heat = _heat(heatmap, plain.shape[:2])
    scale = max(1, round(448 / max(plain.shape[:2])))
    high, wide = plain.shape[0] * scale, plain.shape[1] * scale
    margin, gap, bar = 40, 28, 74
    width = 2 * margin + 3 * wide + 2 * gap + bar
    lines = _wrapped(expression, int((width - 2 * margin) / 15), 4)
    top, bottom = 122, 62 + 30 * len(lines) + (32 if name else 0)
    sheet = _Sheet(width, top + high + bottom, dpi=144)

    sheet.text(margin, 30, _short(image_class, int((width - 2 * margin) / 22) - 10), size=17, weight="bold")
    sheet.text(width - margin, 33, f"p = {probability:.3f}", size=14, color=QUIET, align="right")
    panels = (("image", plain), ("heatmap", _coloured(heat).astype(np.uint8)), ("overlay", overlay(image, heatmap)))
    left = margin
    for title, picture in panels:
        sheet.text(left, 88, title, size=11, color=QUIET)
        sheet.picture(left, top, picture, scale)
        if title == "image" and mask is not None:
            sheet.outline(left, top, mask, scale)
        left += wide
        if title == "heatmap":
            sheet.colour_bar(left + 12, top, 16, high)
            left += bar
        left += gap
    below = top + high + 28
    if name:
        sheet.text(margin, below, _short(name, int((width - 2 * margin) / 14)), size=11, color=QUIET)
        below += 32
    for row, line in enumerate(lines):
        sheet.text(margin, below + 30 * row, line, size=12, family="monospace")
    sheet.save(path)


def gallery(
    rows: Sequence[Tensor],
    columns: Mapping[str, Sequence[Tensor] | Tensor],
    path: str | Path | IO[bytes],
    *,
    labels: Sequence[str] | None = None,
    masks: Sequence[Tensor | None] | Tensor | None = None,
    scores: Mapping[str, Sequence[float] | Tensor] | None = None,
    direction: Literal["high", "low"] | None = None,
    title: str = "",
) -> None:
    """Write a sheet as one PNG: a row for each image, and in it the image, then the overlay of each CAM with its score.

    Args:
        rows: R images [3, H, W] or [1, H, W], of one size: uint8, or floating point in [0, 1].
        columns: name of a CAM -> its R heatmaps [H, W] in [0, 1].
        path: of the PNG, or a binary file open for writing.
        labels: R texts under the images, such as the class and its probability.
        masks: R masks [H, W] boolean (or None), outlined on the images.
        scores: name of a CAM -> R scores, written under its overlays.
        direction: "high" or "low", whichever score is better: the best of each row is then set in bold.
        title: above everything.

    Raises:
        SycamError: no images or columns; numbers of heatmaps, labels, masks or scores other than R; another shape or
            range; a path that cannot be written.
    """
    _check_counts(rows, columns, labels, masks, scores)
    pictures = [_picture(image) for image in rows]
    if len({picture.shape for picture in pictures}) > 1:
        raise SycamError(f"gallery: images of one size are needed, not {sorted({p.shape[:2] for p in pictures})}")

    scale = max(1, round(224 / max(pictures[0].shape[:2])))
    high, wide = pictures[0].shape[0] * scale, pictures[0].shape[1] * scale
    margin, gap = 28, 14
    caption = 36 if labels is not None or scores else gap
    fit = int(wide / 10.5)  # letters in the width of a picture
    headings = [textwrap.wrap(name, fit, max_lines=2, placeholder="…") or [""] for name in columns]
    top = margin + (44 if title else 0) + 20 * max(len(lines) for lines in headings) + 8
    width = 2 * margin + (1 + len(columns)) * (wide + gap) - gap
    sheet = _Sheet(width, top + len(rows) * (high + caption) + margin - gap, dpi=120)

    if title:
        sheet.text(margin, margin - 6, _short(title, int((width - 2 * margin) / 13)), size=13, weight="bold")
    for column, lines in enumerate(headings, start=1):
        middle = margin + column * (wide + gap) + wide // 2
        for line, words in enumerate(lines):
            above = 6 + 20 * (len(lines) - line)
            sheet.text(middle, top - above, words, size=10.5, weight="bold", align="center")
    table = {name: torch.as_tensor(column).tolist() for name, column in (scores or {}).items()}
    for row, (image, picture) in enumerate(zip(rows, pictures, strict=True)):
        down = top + row * (high + caption)
        under = down + high + 6
        sheet.picture(margin, down, picture, scale)
        mask = None if masks is None else masks[row]
        if mask is not None:
            sheet.outline(margin, down, mask, scale)
        if labels is not None:
            sheet.text(margin + wide // 2, under, _short(labels[row], fit + 2), color=QUIET, align="center")
        best = _best([column[row] for column in table.values()], direction)  # as printed
        for column, (name, maps) in enumerate(columns.items(), start=1):
            left = margin + column * (wide + gap)
            sheet.picture(left, down, overlay(image, maps[row]), scale)
            if name in table:
                score = f"{table[name][row]:.3f}"
                weight, colour = ("bold", INK) if score == best else ("normal", QUIET)
                sheet.text(left + wide // 2, under, score, weight=weight, color=colour, align="center")
    sheet.save(path)


def _check_counts(
    rows: Sequence[Tensor],
    columns: Mapping[str, Any],
    labels: Sequence[str] | None,
    masks: Any,
    scores: Mapping[str, Any] | None,
) -> None:
    if not len(rows) or not columns:
        raise SycamError(f"a gallery needs at least one image and one column, not {len(rows)} and {len(columns)}")
    given: list[tuple[str, Any]] = [(f"column {name!r}", maps) for name, maps in columns.items()]
    given += [("labels", labels), ("masks", masks)]
    given += [(f"scores of {name!r}", column) for name, column in (scores or {}).items()]
    for what, sequence in given:
        if sequence is not None and len(sequence) != len(rows):
            raise SycamError(f"gallery: {len(sequence)} in {what} for {len(rows)} images: give one for each image")
    strangers = [name for name in scores or {} if name not in columns]
    if strangers:
        raise SycamError(f"gallery: scores of {strangers[0]!r}, which is no column; there are {', '.join(columns)}")


def _best(scores: list[float], direction: str | None) -> str | None:
    """The best score of a row as it is printed; None where no direction says which is better, or all print the same."""
    known = sorted(score for score in scores if score == score)
    if direction is None or not known or f"{known[0]:.3f}" == f"{known[-1]:.3f}":
        return None
    return f"{known[-1 if direction == 'high' else 0]:.3f}"


class _Sheet:
    """A page measured in pixels from its top left corner. Not pyplot, so no global state and no window."""

    def __init__(self, width: int, height: int, dpi: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)

    def _axes(self, left: int, top: int, width: int, height: int) -> Any:
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def text(
        self,
        left: int,
        top: int,
        words: str,
        *,
        size: float = 10,
        color: str = INK,
        weight: str = "normal",
        family: str = "sans-serif",
        align: str = "left",
    ) -> None:
        """Words whose top lies at `top`. They are class names and expressions, in which `$` starts no formula."""
        self.figure.text(
            left / self.width,
            1 - top / self.height,
            words,
            fontsize=size,
            color=color,
            fontweight=weight,
            fontfamily=family,
            ha=align,
            va="top",
            parse_math=False,
        )

    def picture(self, left: int, top: int, picture: Picture, scale: int) -> None:
        """A picture [H, W, 3], each pixel `scale` × `scale` pixels of the page."""
        high, wide = picture.shape[0] * scale, picture.shape[1] * scale
        axes = self._axes(left, top, wide, high)
        axes.imshow(picture, interpolation="nearest", aspect="auto")
        axes.set_axis_off()

    def outline(self, left: int, top: int, mask: Tensor, scale: int) -> None:
        """The border of a mask [H, W], along the edges of its pixels."""
        inside = np.pad(np.kron(mask.detach().cpu().numpy() > 0, np.ones((scale, scale))), 1)
        high, wide = mask.shape[0] * scale, mask.shape[1] * scale
        axes = self._axes(left, top, wide, high)
        at = (np.arange(-1, wide + 1), np.arange(-1, high + 1))
        if inside.any():
            axes.contour(*at, inside, levels=[0.5], colors="black", linewidths=2.6, alpha=0.65)
            axes.contour(*at, inside, levels=[0.5], colors="white", linewidths=1.2)
        axes.set_xlim(-0.5, wide - 0.5)
        axes.set_ylim(high - 0.5, -0.5)
        axes.set_axis_off()

    def colour_bar(self, left: int, top: int, width: int, height: int) -> None:
        """The colours from 1 at the top to 0 at the bottom."""
        axes = self._axes(left, top, width, height)
        ramp = np.linspace(1, 0, 256)[:, None]
        axes.imshow(ramp, cmap=COLOURS, aspect="auto", extent=(0, 1, 0, 1), interpolation="bilinear")
        axes.set_xticks([])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.yaxis.tick_right()
        axes.tick_params(length=3, color=LINE, labelcolor=QUIET, labelsize=9)
        for side in axes.spines.values():
            side.set_visible(False)

    def save(self, path: str | Path | IO[bytes]) -> None:
        """Write the page as a PNG, the same bytes for the same page."""
        try:
            self.figure.savefig(path, format="png", dpi=self.figure.dpi, metadata={"Software": None})
        except OSError as error:
            reason = error.strerror or str(error)
            raise SycamError(f"cannot write the picture {path}: {reason}; name a file in a folder that exists") from error


def _picture(image: Tensor) -> Picture:
    """An image [3 or 1, H, W] as [H, W, 3] uint8."""
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        raise SycamError(f"an image to draw must have the shape [3, H, W] or [1, H, W], not {list(image.shape)}")
    if image.dtype != torch.uint8:
        low, high = (float(end) for end in image.detach().float().aminmax())
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise SycamError(
                f"an image to draw must be uint8 or floating point in [0, 1], not {image.dtype} from {low:g} to "
                f"{high:g}: undo the network's normalisation first, as image * std + mean does"
            )
        image = (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(image.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())


def _heat(heatmap: Tensor, size: tuple[int, ...]) -> NDArray[np.float64]:
    """A heatmap [H, W] as float64."""
    if tuple(heatmap.shape) != tuple(size):
        raise SycamError(f"a heatmap must be as large as its image, {list(size)}, not {list(heatmap.shape)}: upsample it")
    heat: NDArray[np.float64] = heatmap.detach().to("cpu", torch.float64).numpy()
    if not ((heat >= -1e-6) & (heat <= 1 + 1e-6)).all():
        raise SycamError(
            f"a heatmap to draw must lie in [0, 1], not from {heat.min():g} to {heat.max():g}: apply ReLU and min-max"
        )
    return heat.clip(0, 1)


def _coloured(heat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heat [H, W] in the colours of the map, [H, W, 3] from 0 to 255."""
    return np.asarray(COLOURS(heat))[..., :3] * 255


def _wrapped(expression: str, columns: int, lines: int) -> list[str]:
    """The expression on at most `lines` lines, broken at blanks, the rest an ellipsis."""
    return textwrap.wrap(
        expression, max(columns, 20), max_lines=lines, placeholder=" …", subsequent_indent="  ", break_on_hyphens=False
    ) or [""]


def _short(words: str, columns: int) -> str:
    """The words, cut to so many letters."""
    return words if len(words) <= columns else words[: max(columns - 1, 1)].rstrip() + "…"
