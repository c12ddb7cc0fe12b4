"""`sycam list`: what there is."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from . import console, options


class What(str, Enum):
    """What can be listed."""

    metrics = "metrics"
    terminals = "terminals"
    operators = "operators"
    cams = "cams"
    models = "models"
    datasets = "datasets"
    options = "options"


def list_(what: Annotated[What, typer.Argument(help="What to list.")], as_json: options.Json = False) -> None:
    """List metrics, terminals, operators, CAMs, models, data sets, or options of a job."""
    entries = {
        What.metrics: _metrics, What.terminals: _terminals, What.operators: _operators, What.cams: _cams, What.models: _models,
        What.datasets: _datasets, What.options: _options,
    }[what]()  # fmt: skip
    if as_json:
        console.print_json({what.value: [dict(entry) for entry in entries]})
        return
    for entry in entries:
        name, doc, source = entry.pop("name"), entry.pop("meaning", ""), entry.pop("source", "")
        facts = ", ".join(f"passes: {value}" if key == "passes" else value for key, value in entry.items() if value)
        console.out.print(Text.assemble((name, "bold"), "  ", (facts, "cyan")))
        if doc:
            console.out.print(Padding(Text(doc.replace("\n", " ")), (0, 0, 0, 4)))
        if source:
            console.out.print(Padding(Text(source, style="dim"), (0, 0, 0, 4)))


def _options() -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "flag": one.flag if one.shown else f"--set {name}=...",
            "group": options.PANELS[name],
            "default": f"default: {one.default_text}" if one.default_text else "",
            "meaning": console.with_flags(one.help),
        }
        for name, one in options.ALL.items()
    ]


def _metrics() -> list[dict[str, str]]:
    from sycam.metrics.metric import METRICS
    from sycam.metrics.own.plugin import installed_metrics

    return [
        {
            "name": m.name,
            "direction": f"{'↑' if m.direction == 'high' else '↓'} {m.direction}",
            "bounds": f"[{m.bounds[0]:g}, {m.bounds[1]:g}]",
            "passes": f"{m.passes} masked pass{'' if m.passes == 1 else 'es'} an image",
            "masks": "needs masks or boxes" if m.needs_masks else "",
            "meaning": m.doc,
            "source": m.source,
        }
        for m in sorted([*METRICS.values(), *installed_metrics(console.warn)], key=lambda m: m.name)
    ]


def _terminals() -> list[dict[str, str]]:
    from sycam.terminals import TERMINALS

    varies = {"pixel": "one for each channel and pixel", "channel": "one for each channel", "scalar": "one for the image"}
    return [
        {"name": t.name, "sort": t.sort, "varies": varies[t.level], "passes": t.passes, "meaning": t.doc,
         "source": t.source}
        for t in TERMINALS.values()
    ]  # fmt: skip


def _operators() -> list[dict[str, str]]:
    from sycam.theory import OPERATORS
    from sygus.core import FUNCTIONS

    rows = [
        {
            "name": o.name,
            "signature": f"({' '.join(map(str, o.parameters))}) {o.result}",
            "meaning": o.doc + (f": {o.body}" if o.body else ""),
        }
        for o in OPERATORS.values()
    ]
    meaning = "SyGuS-IF's own: no declare-fun. x / 0 = 0; sqrt is of the positive part"
    return [*rows, {"name": " ".join(sorted(FUNCTIONS)), "signature": "core", "meaning": meaning}]


def _cams() -> list[dict[str, str]]:
    from sycam.cams import BASELINES, known_cams

    terms = [
        {"name": c.name, "kind": c.kind, "sort": str(c.term.sort), "terminals": f"over {', '.join(c.terminals)}",
         "passes": c.passes, "meaning": c.expression, "source": c.reference}
        for c in known_cams().values()
    ]  # fmt: skip
    functions = [
        {"name": b.name, "kind": b.kind, "sort": b.expression, "passes": b.passes, "meaning": b.doc.split("\n\n")[0],
         "source": b.reference}
        for b in sorted(BASELINES.values(), key=lambda b: b.kind)
    ]  # fmt: skip
    return [*terms, *functions]


def _datasets() -> list[dict[str, str]]:
    from sycam.images import DATASETS

    return [
        {
            "name": name,
            "options": "&".join(f"{option}={default}" for option, default in dataset.options.items()),
            "meaning": dataset.gives,
            "source": f"--dataset {name}:PATH, where PATH holds {dataset.layout}",
        }
        for name, dataset in sorted(DATASETS.items())
    ]


def _models() -> list[dict[str, str]]:
    import torchvision

    rows = [{"name": "embedded", "kind": "comes with sycam", "meaning": "handwritten digits on textured grounds"}]
    for name in torchvision.models.list_models(module=torchvision.models):
        weights = ", ".join(w.name for w in torchvision.models.get_model_weights(name))
        rows.append({"name": name, "kind": "torchvision", "weights": weights})
    own = "your own factory; strings after a second colon are its arguments: models.py:load:tiny_darknet"
    return [*rows, {"name": "file.py:function, package.module:function", "kind": "factory", "meaning": own}]
