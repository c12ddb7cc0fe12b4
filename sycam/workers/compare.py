"""A comparison of CAMs on workers: each unit of images goes to whoever is free, and the tables are joined."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sycam.baselines import Baseline
from sycam.comparison import Asked, Table
from sycam.errors import OracleError
from sycam.images import ImageSet
from sycam.network import Network
from sycam.oracle.units import unit_of, within_units
from sycam.store import Stored, TerminalStore

from .message import Answer, Job, encode_drawables, unpack_error
from .pool import Pool
from .recipe import recipe_of
from .shard import pack_images, pack_store


def tabulate_on(
    pool: Pool,
    asked: Asked,
    network: Network,
    images: ImageSet,
    classes: Tensor | None = None,
    *,
    on_batch: Callable[[int], None] | None = None,
    store: TerminalStore | None = None,
) -> Table:
    """What `tabulate` gives, bit for bit.

    Args:
        pool: the workers; the protocol is theirs.
        asked, network, images, classes, on_batch, store: see `tabulate`.

    Raises:
        SycamError: a metric or a CAM that workers cannot know.
    """
    head = {
        "cams": encode_drawables([cam if isinstance(cam, Baseline) else cam.term for cam in asked.cams]),
        "names_of_cams": [cam.name for cam in asked.cams],
        "metrics": [recipe_of(metric) for metric in asked.metrics],
        "optional": [place for place, cam in enumerate(asked.cams) if cam in asked.optional],
        "settings": asked.settings.describe(),
        "on_error": asked.on_error,
        "store": pack_store(store),
        "apart": not bool(images.has_mask.all()),
    }
    jobs = []
    for places in within_units(unit_of(len(images)), len(images)):
        packed, tensors = pack_images(images.select(slice(int(places[0]), int(places[-1]) + 1)))
        if classes is not None:
            tensors["classes"] = classes[places]
        jobs.append(Job("compare", {**head, **packed}, tensors))
    done: list[int] = []

    def step(place: int) -> None:
        done.append(len(jobs[place].head["names"]))
        if on_batch:
            on_batch(sum(done))

    answers = pool.ask(jobs, together=False, on_answer=step)
    for answer in answers:
        network.passes.add(answer.head["passes"])
    return Table.joined([_table(answer, asked) for answer in answers])


def _table(answer: Answer, asked: Asked) -> Table:
    head, tensors = answer.head, answer.tensors
    stopped = unpack_error(head["stopped"]) if head["stopped"] else None
    assert stopped is None or isinstance(stopped, OracleError)
    return Table(
        {metric.name: tensors[f"values.{metric.name}"] for metric in asked.metrics},
        tensors["empty"].to(torch.int64),
        Stored(**head["stored"]),
        dict(map(tuple, head["reasons"])),
        {(place, name): reason for place, name, reason in head["failed"]},
        stopped,
        tensors["shap_error"],
    )
