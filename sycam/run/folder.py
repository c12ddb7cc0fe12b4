"""The folder of a run and the files in it."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sycam.cams import file_text, of_class
from sycam.errors import OracleError, SycamError
from sycam.job import Group, Job, taken_together
from sycam.job.job import OPTIONS, read_file
from sycam.metrics.protocol import protocol_text
from sycam.run.report import write_report
from sycam.run.report.pictures import explain_figure, gallery
from sycam.scoring import Terminals

from .result import Result, Row, cam_heatmaps

SHOWN = 6


@dataclass(frozen=True)
class RunFolder:
    """One run: `job.json`, `answer.sy`, `journal.sqlite`, `result.json`, `manifest.json`, `report.html`, `gallery.png` and
    `overlays/`."""

    path: Path

    @staticmethod
    def check(path: Path) -> None:
        """Refuses a folder that holds a run already, before anything is computed for it."""
        if (path / "journal.sqlite").exists():
            raise SycamError(f"{path} holds a run already: name another folder as `out`, or remove it")

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new folder at `path`.

        Raises:
            SycamError: it holds a run already, or cannot be made.
        """
        cls.check(path)
        try:
            (path / "overlays").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SycamError(f"cannot make the run's folder {path}: {error.strerror}; name another one as `out`") from None
        return cls(path)

    def options(self, *groups: type[Group]) -> dict[str, Any]:
        """The options of some groups, by name, with which the run was made.

        Raises:
            SycamError: this is no run, or one of an older sycam, or its model came as an object of a Python program.
        """
        path = self.path / "job.json"
        if not path.is_file():
            made = "was written by an older sycam, without a job.json" if self._is_old() else "holds no job.json: it is no run"
            raise SycamError(
                f"{self.path} {made}; its CAM alone is {self.path / 'answer.sy'}, drawn with the `model` that you name"
            )
        job = read_file(path)
        names = taken_together(groups)
        if "model" in job.get("brought", []) and "model" in names:
            raise SycamError(f"{self.path} was made from Python with a network of its own: name it as `model`")
        return {name: value for name, value in job.items() if name in names}

    def _is_old(self) -> bool:
        return (self.path / "manifest.json").is_file()

    def write_job(self, job: Job) -> None:
        """Before the search begins, so that a run that is killed can be made again."""
        self._json("job.json", job.plain())

    @property
    def journal(self) -> Path:
        """The log of every candidate, merge and undecided pair."""
        return self.path / "journal.sqlite"

    @property
    def failures(self) -> Path:
        """The tracebacks of oracles that failed, where any did."""
        return self.path / "oracle-errors.txt"

    def log_failure(self, error: OracleError) -> None:
        """Adds a failure of an oracle with its own traceback."""
        with self.failures.open("a", encoding="utf-8") as log:
            log.write(f"{error}\n{error.details}\n\n" if error.details else f"{error}\n\n")

    def write(self, result: Result, cache: Terminals) -> None:
        """Everything but the journal, which was written as the run went.

        Args:
            result: what was found; learns its folder.
            cache: the images that pictures are taken from (held-out ones where there are any).

        Raises:
            SycamError: a file cannot be written; what was written before stays.
        """
        result.folder = self.path
        try:
            (self.path / "answer.sy").write_text(self._answer(result), encoding="utf-8")
            self._json("manifest.json", result.manifest)
            self._json("result.json", result.describe())
            pictures = self._pictures(result, cache)
        except OSError as error:
            raise SycamError(f"cannot write to the run's folder {self.path}: {error.strerror}") from None
        write_report(self.path / "report.html", report_data(result, pictures))

    def _answer(self, result: Result) -> str:
        kind = "search images"
        comment = (
            f"Synthesised by sycam {result.manifest['sycam']} from {Path(result.job.grammar.file).name} for "
            f"{result.metric.name}:\n{result.score:.6f} on {result.counts['images_searched']} {kind} of {result.network.name}.\n"
            f"{result.verdict}\nUse it: sycam explain {self.path} IMAGE"
        )
        return file_text(result.answer.cam.name, result.term, comment)

    def _json(self, name: str, data: dict[str, Any]) -> None:
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=str)
        (self.path / name).write_text(text + "\n", encoding="utf-8")

    def _pictures(self, result: Result, cache: Terminals) -> list[dict[str, Any]]:
        """The gallery of the answer beside the best known CAMs, and an overlay of the answer for each image shown."""
        values = _shown_scores(result.answer)
        labelled = cache.images.labels
        shown = _spread(torch.where(labelled >= 0, labelled, cache.classes.cpu()), SHOWN)
        rows = [result.answer, *_best(result, 3)]
        images = cache.images.normalised(shown, result.network)
        heatmaps = cam_heatmaps(
            [row.cam for row in rows], result.network, images, cache.classes[shown], settings=cache.settings
        ).cpu()
        pixels = cache.images.pixels[shown]
        masks = cache.images.masks[shown] if cache.images.masks is not None else None
        outlines = [m if bool(m.any()) else None for m in masks] if masks is not None else None
        names = [class_name(result, int(c)) for c in cache.classes[shown]]
        labels = [f"{n}  p = {p:.2f}" for n, p in zip(names, cache.p[shown].tolist(), strict=True)]
        scores = {row.cam.name: _shown_scores(row)[shown].tolist() for row in rows}
        sheet = io.BytesIO()
        gallery(
            list(pixels), {row.cam.name: heatmaps[i] for i, row in enumerate(rows)}, sheet,
            labels=labels, masks=outlines, scores=scores, direction=result.metric.direction,
            title=f"{result.answer.cam.name}: {'a term for each image class' if _branches(result) else result.term}",
        )  # fmt: skip
        (self.path / "gallery.png").write_bytes(sheet.getvalue())
        for i, place in enumerate(shown.tolist()):
            stem = re.sub(r"[^\w.-]+", "_", str(Path(cache.images.names[place]).with_suffix("")))
            explain_figure(
                pixels[i], heatmaps[0, i], self.path / "overlays" / f"{stem}.png", image_class=names[i],
                probability=float(cache.p[place]), expression=str(of_class(result.term, int(cache.classes[place]))),
                name=f"{result.answer.cam.name} on {cache.images.names[place]}: {result.metric.name} {float(values[place]):.3f}",
                mask=outlines[i] if outlines else None,
            )  # fmt: skip
        part = "held-out images" if result.answer.held_out is not None else "search images"
        caption = f"The answer beside the best known CAMs on {part}; under each overlay its {result.metric.name}."
        return [{"caption": caption, "png": sheet.getvalue()}]


def class_name(result: Result, image_class: int) -> str:
    """What to call an image class."""
    names = result.network.class_names
    return names[image_class] if names else f"class {image_class}"


def _branches(result: Result) -> bool:
    """Whether the answer is one term for some image classes and another for others."""
    return any(row.kind == "single" for row in result.rows)


def _best(result: Result, count: int) -> list[Row]:
    """The best known CAMs of the table, best first; of those with the same scores on every image, one."""
    sign = -1.0 if result.metric.direction == "high" else 1.0
    chosen: list[Row] = []
    for row in sorted(result.rows[1:], key=lambda row: sign * float(row.total)):
        if all(not torch.allclose(_shown_scores(row), _shown_scores(other), atol=1e-6) for other in chosen):
            chosen.append(row)
    return chosen[:count]


def _shown_scores(row: Row) -> torch.Tensor:
    """A score for each held-out image, or each search image where none were held out."""
    values = row.held_out if row.held_out is not None else row.search
    return values if row.metric is None else row.metric.per_image(values)


def _spread(classes: torch.Tensor, count: int) -> torch.Tensor:
    """Places of `count` images, of as many image classes as there are."""
    seen: dict[int, list[int]] = {}
    for place, image_class in enumerate(classes.tolist()):
        seen.setdefault(image_class, []).append(place)
    turns = [places[turn] for turn in range(count) for places in seen.values() if turn < len(places)]
    return torch.tensor(sorted(turns[:count]))


def _shown_job(job: Job) -> dict[str, Any]:
    """The options of a run as the report shows them: all that have a value."""
    return {name: value for name, value in job.plain().items() if name in OPTIONS and value is not None}


def report_data(result: Result, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """What the HTML report shows of a result."""
    described = result.describe()
    network, images = result.manifest["network"], result.manifest["images"]
    grammar = Path(result.job.grammar.file).name
    counts = {k: v for k, v in result.counts.items() if isinstance(v, (int, float))}
    return {
        "title": f"{result.metric.name} on {result.network.name}, from {grammar}",
        "verdict": result.verdict,
        "stop_reason": result.search.stopped_by,
        "protocol": protocol_text(result.manifest["protocol"]).removeprefix("protocol "),
        "answer": described["answer"],
        "metric": described["metric"],
        "by_class": described["by_class"],
        "goals": described["goals"] if len(described["goals"]) > 1 else [],
        "network": {
            "name": network["name"], "weights": network["weights"], "layer": network["layer"],
            "channels": network["channels"], "map": "×".join(map(str, network["map_size"])), "classes": network["classes"],
            "input": network["preprocessing"], "device": result.manifest["device"],
        },
        "images": {
            "all": images["count"], "searched": images["search"], "held out": images["held_out"], "sha256": images["sha256"],
        },
        "rows": described["table"],
        "counts": {**counts, "seconds": result.counts["seconds"]},
        "incumbents": described["incumbents"],
        "pictures": pictures,
        "manifest": {k: v for k, v in result.manifest.items() if k not in ("job", "images")}
        | {"job": _shown_job(result.job)},
    }  # fmt: skip
