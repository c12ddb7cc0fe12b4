"""The main job: a grammar file goes in, the best CAM of that grammar comes out, with the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from sycam.errors import SycamError
from sycam.images import ImageSet, ImageSource
from sycam.job import Job, JobError, ModelSpec, TerminalSettings
from sycam.metrics.metric import Metric
from sycam.metrics.protocol import Protocol
from sycam.network import Network
from sycam.search import search
from sycam.store import TerminalStore

from .bench import Bench, Objects, Plan
from .conclude import conclude
from .observe import Observer
from .result import Result


def synthesize(
    grammar: str | Path | Job,
    metric: str | Metric | None = None,
    model: str | nn.Module | Network | None = None,
    images: str | Path | ImageSet | ImageSource | None = None,
    *,
    observer: Observer | None = None,
    store: TerminalStore | None = None,
    **options: Any,
) -> Result:
    """Finds the expression of `grammar` whose heatmaps score best.

    Args:
        grammar: a `.sy` file, the name of a grammar that comes with sycam ("gradient", "perturbation", "pixelwise"), or a `Job`,
            which says all the rest.
        metric: a name of `sycam list metrics`, `file.py:Name` of your own, or a `Metric`. None for the file's objective, and
            for average-gain where it states none.
        model: see `load_network`; a `Network` is used as it is; None for the embedded one.
        images: see `load_images`; an `ImageSource` for data sets and ground truth from elsewhere; None for the embedded ones,
            which go with the embedded model.
        observer: told of progress.
        store: where terminals are looked up before they are computed, and kept; None for nowhere.
        options: any option of a job by its name (`sycam list options`): `budget`, `out`, `layer`, `seed`, ...; `protocol` may be
            a `Protocol`, `reshape` a function (see `load_network`), and `terminals` a `TerminalSettings`.

    Returns:
        The answer, the table, the counts and the manifest.

    Raises:
        SycamError, SygusError: bad input, with place and remedy.

    >>> import torch
    >>> result = synthesize("gradient", budget=20, limit=12)
    >>> result.metric.name, len(result.rows) > 3, result.cam(torch.zeros(1, 3, 64, 64)).shape
    ('average-gain', True, torch.Size([1, 64, 64]))
    """
    if isinstance(grammar, Job):
        if options or any(given is not None for given in (metric, model, images)):
            raise SycamError("a Job says all that a run is: change it by dataclasses.replace, or give a grammar and options")
        job, objects = grammar, Objects()
    else:
        job, objects = job_of(grammar, metric, model, images, options)
    return run(Plan.read(job, objects), observer or Observer(), store)


def run(plan: Plan, observer: Observer, store: TerminalStore | None = None) -> Result:
    """The four steps of a run: prepare, search, conclude, write.

    Args:
        plan: what is asked for. observer, store: see `synthesize`.
    """
    with Bench.prepare(plan, observer, store) as bench:
        with bench.clock.phase("search"):
            found = search(bench.learner, bench.goals, bench.policy, bench.budget, bench.watch)
        result = conclude(bench, found)
        bench.write(result)
    return bench.delivered(result)


def job_of(grammar: str | Path, metric: Any, model: Any, images: Any, options: dict[str, Any]) -> tuple[Job, Objects]:
    """The job that Python's keywords make, and the objects that it can only describe.

    >>> job, objects = job_of("gradient", None, None, None, {"budget": "60s", "layer": "features.3"})
    >>> job.search.budget, job.network.layer, objects == Objects()
    ('60s', 'features.3', True)
    """
    given = {"metric": metric, "model": "embedded" if model is None else model, "images": images, **options}
    objects = Objects(
        metric if isinstance(metric, Metric) else None,
        model if isinstance(model, nn.Module | Network) else None,
        images if isinstance(images, ImageSet) else None,
        options.get("protocol") if isinstance(options.get("protocol"), Protocol) else None,
        given.pop("reshape", None),
    )
    if isinstance(images, ImageSource):
        given |= {"images": images.path, "dataset": images.dataset, "masks": images.masks, "boxes": images.boxes}
    if isinstance(settings := given.pop("terminals", None), TerminalSettings):
        given |= settings.plain()
    if isinstance(model, Network) and (
        own := [name for name in (*ModelSpec.options(), "reshape") if options.get(name) is not None]
    ):
        raise SycamError(f"{', '.join(own)}: a Network is used as it is; give these to load_network")
    given |= objects.described()
    try:
        return Job.make(grammar, given, objects.names), objects
    except JobError as error:
        if error.job is not None:
            Plan.read(error.job, objects, error.mistakes)  # tells these and its own
        raise
