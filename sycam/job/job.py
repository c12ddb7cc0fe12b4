"""The record of everything that a run is, and the files that hold one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from sycam.errors import SycamError
from sygus.errors import SygusError, nearest

from .groups import ImageSpec, ModelSpec, OutputSpec, ScoringSpec, SearchSpec, TerminalSettings
from .option import Group, Mistakes, check_names, make_groups, option, taken_together, values_in

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

METRIC_HELP = (
    "What is searched for: a name of sycam list metrics, a weighted sum of such, or your own: file.py:Name, a program, an "
    "installed one."
)


@dataclass(frozen=True)
class GrammarFile:
    """A grammar: where it was read, and its text, which stays what it was when the file changes."""

    file: str
    text: str

    @classmethod
    def read(cls, spec: str | Path) -> GrammarFile:
        """The grammar at a path, or that of this name which comes with sycam.

        Raises:
            SygusError: there is none, or it cannot be read. SycamError: it is neither a path nor a name.

        >>> GrammarFile.read("gradient").name
        'gradient'
        """
        from sygus.language.reader import text_of

        if not isinstance(spec, str | Path):
            raise SycamError(f"a grammar is a path or a name, not {spec!r}")
        path = find_grammar(spec)
        return cls(str(path), text_of(path))

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return Path(self.file).stem


FULLY_CHECKED = frozenset(("metric", "protocol", "cost", "by_class", "learner"))
"""Options of which only who loads torch knows whether they are right."""


class JobError(SycamError):
    """A job with mistakes.

    Attributes:
        mistakes: all of them.
        job: the job with the defaults in their place, in which there may be more; None where there is not even a grammar.
    """

    def __init__(self, message: str, mistakes: Mistakes, job: Job | None) -> None:
        super().__init__(message)
        self.mistakes, self.job = mistakes, job


@dataclass(frozen=True)
class Job(Group):
    """Everything that a run is: data only, names and paths, never objects that run.

    Attributes:
        grammar: what is searched. metric: what for; None for the file's objective, and for average-gain where it states none.
        seed: of the split and every random choice.
        network, data, search, scoring, terminals, output: see the groups.
        brought: names of options that were objects of the Python program that made the job, and cannot be read back: of these the
            job holds a description only.

    >>> job = Job.make("gradient", {"budget": 20, "limit": 12})
    >>> job.search.budget, job.data.limit, job.network.model
    (20, 12, 'embedded')
    >>> Job.make("gradient", {"max_size": 0, "limt": 12, "stopping": "soon"})
    Traceback (most recent call last):
    sycam.job.job.JobError: the job has 3 mistakes:
      no option 'limt'; did you mean 'limit'?
      `max_size` must be a whole number, at least 1, not 0
      `stopping` must be 'exact' or 'racing', not 'soon'
    """

    title: ClassVar[str] = "Search"

    grammar: GrammarFile
    metric: str | None = option(
        None, METRIC_HELP, shown=True, flags=("--oracle",), names="code", usual="the file's objective, or average-gain"
    )
    seed: int = option(
        0, "Of every random choice.", shown=True, fits=lambda seed: 0 <= seed < 2**63, wanted="a whole number from 0 below 2^63"
    )
    network: ModelSpec = field(default_factory=ModelSpec)
    data: ImageSpec = field(default_factory=ImageSpec)
    search: SearchSpec = field(default_factory=SearchSpec)
    scoring: ScoringSpec = field(default_factory=ScoringSpec)
    terminals: TerminalSettings = field(default_factory=TerminalSettings)
    output: OutputSpec = field(default_factory=OutputSpec)
    brought: tuple[str, ...] = ()

    @classmethod
    def make(
        cls, grammar: str | Path | GrammarFile, given: Mapping[str, Any], brought: Iterable[str] = (), what: str = "the job"
    ) -> Job:
        """The job with these options, each by its name; the defaults for all others.

        Raises:
            SycamError: all mistakes at once, each with the option's name. SygusError: the grammar alone cannot be read.
        """
        mistakes = Mistakes()
        check_names(given, OPTIONS, mistakes)
        own = values_in(cls, given, mistakes)
        given = {"terminal_seed": own.get("seed", 0), **given}
        made = make_groups(GROUPS, given, mistakes)
        job = None
        with mistakes.of("grammar"):
            file = grammar if isinstance(grammar, GrammarFile) else GrammarFile.read(grammar)
            job = cls(file, **own, **made, brought=tuple(brought))
        try:
            mistakes.tell(what)
        except SycamError as error:
            raise JobError(str(error), mistakes, job) from None
        assert job is not None
        return job

    def plain(self) -> dict[str, Any]:
        """The job as JSON holds it, every option by its name but those of `output`; paths are absolute."""
        groups = [super().plain(), *(getattr(self, name).plain() for name in GROUPS if name != "output")]
        values = {name: value for group in groups for name, value in group.items()}
        found = {name: value if name in self.brought else _absolute(OPTIONS[name].names, value) for name, value in values.items()}
        file = {"file": str(Path(self.grammar.file).absolute()), "text": self.grammar.text}
        return {"sycam": version("sycam"), "grammar": file, **found, "brought": list(self.brought)}


GROUPS: dict[str, type[Group]] = {
    "network": ModelSpec, "data": ImageSpec, "search": SearchSpec, "scoring": ScoringSpec, "terminals": TerminalSettings,
    "output": OutputSpec,
}  # fmt: skip
"""The groups of a job, by its attributes."""
OPTIONS = taken_together([Job, *GROUPS.values()])
"""Every option by its name."""


def read_job(path: Path, given: Mapping[str, Any], grammar: str | Path | None = None) -> Job:
    """The job in a TOML or JSON file, with what is given on top.

    A file names options as `Job.make` does, and `grammar`, a path or a name. Relative paths are looked for in the working folder,
    as on the command line.

    Raises:
        SycamError: no such file; it is neither TOML nor JSON; all mistakes in it at once.
    """
    data = read_file(path)
    if {"manifest", "load", "versions"} & {*data}:
        raise SycamError(f"{path} is no job: name a run's job.json, or a TOML file of options")
    data.pop("sycam", None)
    objects = [name for name in data.pop("brought", []) if name not in given]
    named = grammar if grammar is not None else data.pop("grammar", None)
    data.pop("grammar", None)
    if objects:
        listed = ", ".join(f"`{name}`" for name in objects)
        raise SycamError(f"{path} was made in Python, where {listed} came as an object: name it anew")
    if isinstance(named, Mapping):
        if not all(isinstance(named.get(key), str) for key in ("file", "text")):
            raise SycamError(f"{path}: grammar must be a text, or have a file and a text")
        named = GrammarFile(named["file"], named["text"])
    if named is None:
        raise SycamError(f'{path} names no grammar: write grammar = "gradient", or a path')
    return Job.make(named, {**data, **given}, what=str(path))


def read_file(path: Path) -> dict[str, Any]:
    """What a JSON or TOML file says, by name.

    Raises:
        SycamError: it cannot be read, or is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SycamError(f"cannot read the job {path}: {error.strerror}") from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SycamError(f"{path} is no {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from None
    if not isinstance(data, dict):
        raise SycamError(f"{path} is no job: it holds a {type(data).__name__}, not options by name")
    return data


def grammar_folder() -> Path:
    """Where the grammars that come with sycam lie: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "grammars"
    return inside if inside.is_dir() else package.parent / "grammars"


def find_grammar(spec: str | Path) -> Path:
    """The grammar file that `spec` names: a path, or the name of a grammar that comes with sycam.

    >>> find_grammar("gradient").name
    'gradient.sy'
    """
    path = Path(spec)
    if path.exists():
        return path
    shipped = {p.stem: p for p in grammar_folder().glob("**/*.sy") if p.stem != "known"}
    if str(spec) in shipped:
        return shipped[str(spec)]
    raise SygusError(f"no grammar file {path}{nearest(str(spec), shipped)}")


def _absolute(names: str, value: Any) -> Any:
    """The value with an absolute path, where it names a file that is there."""
    if not isinstance(value, str) or not names:
        return value
    file, rest = value, ""
    if names == "code" and (found := re.fullmatch(r"(.+\.py)(:.*)", value)):
        file, rest = found[1], found[2]
    path = Path(file).expanduser()
    there = path.is_file() if names == "code" else path.exists()
    return f"{path.absolute()}{rest}" if there else value
