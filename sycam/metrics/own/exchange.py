"""A query as files, for an oracle in another process, and the answers to what that asks the network.

`query.json` holds what is small, and raw little-endian files beside it what is large. There is no code in either.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sycam.errors import SycamError
from sycam.metrics.components import boxes_of_parts
from sycam.metrics.query import Query

SECONDS = 300.0
"""How long an oracle may think about one query where nobody says otherwise."""
TENSORS = ("heatmaps", "images", "masks")
NUMBERS = ("o", "d")
NEEDS = (*TENSORS, *NUMBERS, "boxes")
TYPES: dict[str, Any] = {"float32": np.dtype("<f4"), "uint8": np.dtype("u1")}


@dataclass
class Exchange:
    """One query in a folder of its own.

    Args:
        query: what is asked.
        folder: an empty folder.
        needs: of `NEEDS`, what the oracle wants to see: `o` and `d` cost a pass a job each.
    """

    query: Query
    folder: Path
    needs: Iterable[str] = TENSORS

    def write(self, oracle: str) -> Path:
        """Writes the query and returns the path of its `query.json`:

        {"sycam": 1, "oracle": "...", "jobs": N, "images": B, "channels": 3, "height": H, "width": W,
         "classes": [N], "labels": [N], "predicted": [N], "p": [N], "o": [N], "d": [N], "names": [N], "image_index": [N],
         "boxes": B lists of [x0, y0, x1, y1] in pixels or null, "fill": [3] or null, "batch": n, "curves": [...],
         "files": {"heatmaps": {"path": "...", "type": "float32", "shape": [N, H, W]},     a job after the other
                   "images":   {"path": "...", "type": "float32", "shape": [B, 3, H, W]},  normalised; image_index says whose
                   "masks":    {"path": "...", "type": "uint8", "shape": [N, H, W]}}}      0 or 1, where there are any
        """
        query, needs = self.query, set(self.needs)
        files = {}
        if "heatmaps" in needs:
            files["heatmaps"] = self._file("heatmaps", query.heatmaps, "float32")
        if "images" in needs:
            files["images"] = self._file("images", query._images, "float32")
        if "masks" in needs and query.has_masks:
            files["masks"] = self._file("masks", query.masks, "uint8")
        numbers = {name: getattr(query, name).double().tolist() for name in ("p", *NUMBERS) if name == "p" or name in needs}
        document = {
            "sycam": 1, "oracle": oracle, "jobs": len(query), "images": len(query._images), "channels": query._images.shape[1],
            "height": query.heatmaps.shape[1], "width": query.heatmaps.shape[2], "classes": query.classes.tolist(),
            "labels": query.labels.tolist(), "predicted": query.predicted.tolist(), **numbers,
            "boxes": self._boxes("boxes" in needs), "curves": list(query._curves),
            "names": query.names, "image_index": query.image_index.tolist(), "batch": query.batch,
            "fill": None if query._fill is None else query._fill.flatten().tolist(), "files": files,
        }  # fmt: skip
        path = self.folder / "query.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    def answer(self, path: str) -> tuple[Path, int, int]:
        """Asks the network about images [M, 3, H, W] in a raw float32 file.

        Returns:
            The raw float32 file of probabilities [M, C], M and C.

        Raises:
            SycamError: there is no such file, or its size is no number of images.
        """
        probabilities = self.query.ask(self._images_in(path))
        found = self._file("probabilities", probabilities, "float32")
        return Path(found["path"]), *probabilities.shape

    def redraw(self, path: str, jobs: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draws the candidates of some jobs [M] on images [M, 3, H, W] in a raw float32 file.

        Returns:
            The files of heatmaps [M, H, W] and of probabilities [M, C].

        Raises:
            SycamError: as `answer`; not one image a job; or only heatmaps are known, not what drew them.
        """
        images = self._images_in(path)
        if len(images) != len(jobs) or not all(0 <= job < len(self.query) for job in jobs):
            raise SycamError(
                f"asks to redraw {len(images)} images for the jobs {list(jobs)[:8]}: one of the {len(self.query)} each"
            )
        maps, probabilities = self.query.redraw(images, torch.tensor(jobs, device=self.query.image_index.device))
        return self._file("redrawn", maps, "float32"), self._file("probabilities", probabilities, "float32")

    def _images_in(self, path: str) -> Tensor:
        shape = tuple(self.query._images.shape[1:])
        try:
            values = np.fromfile(path, dtype=TYPES["float32"])
        except OSError as problem:
            raise SycamError(f"asks about images in {path}, which cannot be read: {problem.strerror}") from None
        each = math.prod(shape)
        if not len(values) or len(values) % each:
            raise SycamError(f"asks about images in {path}: {len(values)} numbers are no images of {'x'.join(map(str, shape))}")
        return torch.from_numpy(values.astype(np.float32)).view(-1, *shape).to(self.query._images)

    def _boxes(self, wanted: bool) -> list[list[list[float]]] | None:
        """Of each image, as they were given; where none were, and boxes are wanted, those around the parts of its mask."""
        boxes: Sequence[Tensor] | None = self.query._boxes
        if boxes is None and wanted and self.query._masks is not None:
            boxes = [found[found.any(1)] for found in boxes_of_parts(self.query._masks)]
        return None if boxes is None else [found.tolist() for found in boxes]

    def _file(self, name: str, tensor: Tensor, kind: str) -> dict[str, Any]:
        file = self.folder / f"{name}.{'f32' if kind == 'float32' else 'u8'}"
        tensor.detach().cpu().numpy().astype(TYPES[kind]).tofile(file)
        return {"path": str(file), "type": kind, "shape": list(tensor.shape)}


def read_tensor(file: dict[str, Any]) -> Tensor:
    """The tensor that `Exchange` wrote."""
    values = np.fromfile(file["path"], dtype=TYPES[file["type"]])
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="))).view(file["shape"])
