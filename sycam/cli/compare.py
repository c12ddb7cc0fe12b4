"""`sycam compare`: results that were saved, side by side, if they were made under one protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sycam.errors import SycamError

from . import console, options


def compare(
    results: Annotated[list[Path], typer.Argument(help="Documents of `sycam score --json`, and folders of runs.")],
    across_protocols: Annotated[
        bool, typer.Option("--across-protocols", help="Show results of different protocols in one table, marked as such.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Put saved scores side by side, by metric and CAM.

    A protocol moves every number, so results of different ones are refused; with --across-protocols the table says how they
    differ.
    """
    from sycam.metrics.protocol import differences, protocol_text

    read = [_read(path) for path in results]
    apart = differences([result["protocol"] for result in read])
    if apart and not across_protocols:
        listed = "\n".join(f"  {path}: {protocol_text(result['protocol'])}" for path, result in zip(results, read, strict=True))
        raise SycamError(
            f"these results differ in {_words(apart)}, so their numbers do not compare; --across-protocols shows them\n{listed}"
        )
    warning = f"not comparable: the protocols differ in {_words(apart)}" if apart else ""
    hashes = {result["images"] for result in read}
    if len(hashes) > 1:
        console.warn("these results are on different images")
    if as_json:
        console.print_json({"results": [{"file": str(p), **r} for p, r in zip(results, read, strict=True)], "warning": warning})
        return
    for name in dict.fromkeys(name for result in read for name in result["metrics"]):
        console.out.print(_table(name, results, read, warning))
    for number, result in enumerate(read, start=1):
        console.out.print(
            f"{number}: {results[number - 1]}; {result['network']}; {protocol_text(result['protocol'])}", soft_wrap=True
        )


def _table(name: str, results: list[Path], read: list[dict[str, Any]], warning: str) -> Table:
    metric = next(result["metrics"][name] for result in read if name in result["metrics"])
    unit = "in per cent" if metric["percent"] else "plain numbers"
    caption = f"{name}, {unit}, with 95% intervals; {'higher' if metric['direction'] == 'high' else 'lower'} is better"
    if warning:
        caption = f"WARNING: {warning}.\n{caption}"
    view = Table(caption=caption, caption_justify="left", show_lines=True)
    view.add_column("CAM", ratio=1)
    for number, result in enumerate(read, start=1):
        view.add_column(f"{number}: {result['protocol']['name']}", justify="right")
    for cam in dict.fromkeys(cam for result in read for cam in result["scores"].get(name, {})):
        cells = [result["scores"].get(name, {}).get(cam) for result in read]
        view.add_row(cam, *(console.interval_text(cell, "\n", 100 if metric["percent"] else 1) for cell in cells))
    return view


def _read(path: Path) -> dict[str, Any]:
    """Of a document or a run: protocol, network, images' digest, metrics, and scores by metric and CAM."""
    file = path / "result.json" if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if "manifest" in data:
            return _of_run(data)
        scores = {m["name"]: {row["name"]: row[m["name"]] for row in data["scores"]} for m in data["metrics"]}
        return {
            "protocol": _full(data["protocol"]), "network": data["network"]["name"], "images": data["images"]["sha256"],
            "metrics": {m["name"]: {"direction": m["direction"], "percent": m["percent"]} for m in data["metrics"]},
            "scores": scores,
        }  # fmt: skip
    except OSError as error:
        raise SycamError(f"cannot read {file}: {error.strerror}") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SycamError(f"{file} is neither what `sycam score --json` prints nor a run's result.json: {error}") from None


def _of_run(data: dict[str, Any]) -> dict[str, Any]:
    metric, manifest = data["metric"], data["manifest"]
    scores = {row["name"]: row["held_out"] or row["search"] for row in data["table"]}
    return {
        "protocol": _full(manifest["protocol"]), "network": manifest["network"]["name"], "images": manifest["images"]["sha256"],
        "metrics": {metric["name"]: {"direction": metric["direction"], "percent": metric.get("percent", True)}},
        "scores": {metric["name"]: scores},
    }  # fmt: skip


def _full(protocol: Any) -> dict[str, Any]:
    if not isinstance(protocol, dict):
        raise TypeError("its protocol is not named in full, so an earlier sycam wrote it")
    return protocol


def _words(keys: list[str]) -> str:
    return ", ".join(key.replace("_", " ") for key in keys)
