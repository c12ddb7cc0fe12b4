"""`sycam synth`: the main job."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from sycam.job import ImageSpec, Job, JobError, ModelSpec, OutputSpec, ScoringSpec, SearchSpec, TerminalSettings, read_job
from sycam.job.job import FULLY_CHECKED

from . import console, options

GRAMMAR_HELP = "A .sy file, or gradient, perturbation, pixelwise, laws, gain, cheap-gain. Not needed with --job."
JOB_HELP = "A run's job.json, or a TOML file of options by name; options given here go over those in it."


@options.command(Job, ModelSpec, ImageSpec, SearchSpec, ScoringSpec, TerminalSettings, OutputSpec)
def synth(
    given: dict[str, Any],
    grammar: Annotated[Optional[str], typer.Argument(help=GRAMMAR_HELP, show_default=False)] = None,
    job_file: Annotated[
        Optional[Path], typer.Option("--job", help=JOB_HELP, show_default=False, rich_help_panel="Search")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Find the expression of GRAMMAR whose heatmaps score best.

    With no more than a grammar it runs on the embedded digits and network. The answer, the log of every candidate, pictures
    and an HTML report go to the run's folder.
    """
    if job_file is None and grammar is None:
        raise typer.BadParameter("name a grammar, such as gradient, or give --job FILE")
    try:
        job = read_job(job_file, given, grammar) if job_file is not None else Job.make(grammar or "", given, what="the command")
    except JobError as error:
        if error.job is not None and FULLY_CHECKED & {*given}:
            from sycam.run.bench import Plan

            Plan.read(error.job, mistakes=error.mistakes)  # tells these and its own
        raise
    console.show_tracebacks(job.output.traceback)
    _run(job, as_json)


def _run(job: Job, as_json: bool) -> None:
    from dataclasses import replace

    from sycam.run.bench import Plan
    from sycam.run.observe import Observer
    from sycam.run.synthesize import run

    from .watch import Watch

    plan = Plan.read(job)
    metric = plan.goals.metric
    name = f"{job.grammar.name}-{re.sub('[^A-Za-z0-9.@+-]', 'x', metric.name)}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = Path(job.output.out or Path("runs") / name)
    plan = replace(plan, job=replace(job, output=replace(job.output, out=str(folder))))
    store = options.store(job.output)
    if as_json:
        console.print_json(run(plan, Observer(), store).describe())
        return
    with Watch(metric) as watch:
        result = run(plan, watch, store).describe()
    console.print_result(result, metric, folder, kept=store is not None)
