"""What a run is, as data: every option with its default, help and check, and the record of them all. No torch."""

from .groups import ImageSpec, ModelSpec, OutputSpec, ScoringSpec, SearchSpec, TerminalSettings
from .job import Job, JobError, read_job
from .option import Group, Mistakes, Option, parse, taken_together

__all__ = [
    "Group", "ImageSpec", "Job", "JobError", "Mistakes", "ModelSpec", "Option", "OutputSpec", "ScoringSpec", "SearchSpec",
    "TerminalSettings", "parse", "read_job", "taken_together",
]  # fmt: skip
