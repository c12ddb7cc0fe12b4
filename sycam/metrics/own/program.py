"""An oracle that is a program in any language: called with a query file, it answers on stdout.

    PROGRAM describe             what it is: one JSON object on stdout, such as {"direction": "low", "needs": ["heatmaps"]}
    PROGRAM path/to/query.json   a number for each job on stdout, in order, as SyGuS-IF writes values: (0.5 (- 0.25) (/ 1 3)).
                                 Plain lines of numbers do as well.

A process a query, which may hold hundreds of jobs. On the way it may ask the network: it writes normalised images as raw
little-endian float32 [M, 3, H, W], prints the line `ask PATH`, and reads from stdin the line `PATH M C`, the raw file of
probabilities [M, C]. SYCAM_JOBS, SYCAM_HEIGHT, SYCAM_WIDTH and SYCAM_FOLDER (where the raw files lie) stand in the environment
for those who would rather not read JSON. `Exchange.write` documents the query file.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sycam.errors import OracleError, SycamError, asked_about
from sycam.metrics.metric import Metric
from sycam.metrics.query import Query

from .exchange import NEEDS, SECONDS, Exchange

LARGEST = 1 << 26  # bytes of an answer; a program in a loop must not fill the memory
DESCRIBE = 20.0  # seconds to say what it is
TOLD = 20  # lines of stderr that an error keeps


def program_oracle(path: Path, timeout: float | None = None) -> Metric:
    """The metric that a program answers.

    Args:
        path: the program; it must be executable.
        timeout: seconds that it may need for a query, the network's own time not counted; None for what it says itself as
            `timeout`, and else 300.

    Raises:
        SycamError: it cannot be run, or does not describe itself.
    """
    name = path.name.split(".")[0].replace("_", "-")
    try:
        said = _run(path, ["describe"], DESCRIBE, str(path), {}, lambda line: None)
        stated = json.loads(said)
    except json.JSONDecodeError:
        stated = None
    if not isinstance(stated, dict):
        raise SycamError(
            f"oracle {path}: `{path.name} describe` must print one JSON object, such as "
            f'{{"direction": "high", "bounds": [0, 1], "needs": ["heatmaps"]}}; it printed {said.strip()[:80]!r}'
        )
    known = {"name", "direction", "bounds", "passes", "needs", "timeout", "source", "doc", "percent"}
    unknown = sorted(set(stated) - known)
    needs = stated.get("needs", ["heatmaps"])
    if unknown or not isinstance(needs, list) or not set(needs) <= set(NEEDS):
        raise SycamError(
            f"oracle {path} describes itself as {json.dumps(stated)[:200]}: accepted are {', '.join(sorted(known))}, and needs "
            f"is a list of some of {', '.join(NEEDS)}"
        )
    seconds = timeout or stated.get("timeout", SECONDS)
    if not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        raise SycamError(f"oracle {path}: its timeout must be a number of seconds, not {seconds!r}")
    bounds = stated.get("bounds", [0, 1])
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise SycamError(f"oracle {path}: bounds are two numbers, [lowest, highest], null where there is none; not {bounds!r}")
    low, high = bounds
    return Metric(
        stated.get("name", name), _Program(path, tuple(needs), seconds), stated.get("direction", "high"),
        (float("-inf") if low is None else low, float("inf") if high is None else high),
        stated.get("passes", sum(number in needs for number in ("o", "d"))), bool({"masks", "boxes"} & {*needs}),
        stated.get("source", str(path)), stated.get("doc", ""), percent=bool(stated.get("percent", True)),
    )  # fmt: skip


class _Program:
    """Asks the program, a process for each query."""

    def __init__(self, path: Path, needs: tuple[str, ...], seconds: float) -> None:
        self.path, self.needs, self.seconds = path, needs, seconds

    def __call__(self, query: Query) -> Tensor:
        with tempfile.TemporaryDirectory(prefix="sycam-oracle-") as folder:
            exchange = Exchange(query, Path(folder), self.needs)
            file = exchange.write(str(self.path))
            environment = {
                "SYCAM_JOBS": str(len(query)), "SYCAM_HEIGHT": str(query.heatmaps.shape[1]),
                "SYCAM_WIDTH": str(query.heatmaps.shape[2]), "SYCAM_FOLDER": folder,
            }  # fmt: skip

            def reply(line: str) -> str | None:
                if not line.startswith("ask "):
                    return None
                path, count, classes = exchange.answer(line[4:].strip())
                return f"{path} {count} {classes}"

            try:
                text = _run(self.path, [str(file)], self.seconds, str(self.path), environment, reply)
                values = numbers(text)
            except OracleError as error:
                raise OracleError(
                    f"{error}; {asked_about(query.names)}", images=query.names, details=error.details, timed_out=error.timed_out
                ) from error
            except SycamError as error:
                raise OracleError(f"oracle {self.path} {error}; {asked_about(query.names)}", images=query.names) from error
        return torch.tensor(values, dtype=torch.float64, device=query.heatmaps.device)


def numbers(text: str) -> list[float]:
    """The numbers of an answer: a list of SyGuS-IF, or numbers apart by space.

    Raises:
        SycamError: anything else.

    >>> numbers("(0.5 (- 0.25) (/ 1 4))"), numbers("0.5\\n1e-3\\nnan")
    ([0.5, -0.25, 0.25], [0.5, 0.001, nan])
    """
    tokens = re.findall(r"[()]|[^\s()]+", text)
    if tokens[:1] == ["("] and tokens[1:2] not in (["-"], ["/"]):
        if tokens[-1] != ")":
            raise SycamError("answered with a list that does not end: its ) is missing")
        tokens = tokens[1:-1]
    found, place = [], 0
    while place < len(tokens):
        value, place = _number(tokens, place)
        found.append(value)
    return found


def _number(tokens: list[str], place: int) -> tuple[float, int]:
    """The number at `place`, and where the next begins."""
    token = tokens[place] if place < len(tokens) else ""
    if token != "(":
        try:
            return float(token), place + 1
        except ValueError:
            raise SycamError(f"answered {token or 'with an unfinished list'!r} where a number was expected") from None
    operator = tokens[place + 1] if place + 1 < len(tokens) else ""
    values: list[float] = []
    after = place + 2
    if operator not in ("-", "/"):
        raise SycamError(f"answered ({operator} ...) where a number was expected: 0.5, (- 0.5) or (/ 1 2)")
    while after < len(tokens) and tokens[after] != ")" and len(values) < 2:
        value, after = _number(tokens, after)
        values.append(value)
    if after >= len(tokens) or tokens[after] != ")" or len(values) != (1 if operator == "-" else 2):
        raise SycamError(f"answered an unfinished ({operator} ...): numbers are 0.5, (- 0.5) or (/ 1 2)")
    if operator == "-":
        return -values[0], after + 1
    if values[1] == 0:
        raise SycamError("answered a division by zero")
    return float(Fraction(values[0]) / Fraction(values[1])), after + 1


def _run(
    program: Path,
    arguments: list[str],
    seconds: float,
    name: str,
    environment: dict[str, str],
    reply: Callable[[str], str | None],
) -> str:
    """What a program prints, but for lines that `reply` answers on its stdin. Its whole process group ends with the call."""
    with tempfile.TemporaryFile() as told:
        try:
            process = subprocess.Popen(
                [str(program.resolve()), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told, bufsize=0,
                env={**os.environ, **environment}, start_new_session=True,
            )  # fmt: skip
        except OSError as problem:
            hint = (
                "its first line must name an interpreter that is installed here, such as #!/bin/sh" if problem.errno == 8 else ""
            )
            raise SycamError(f"oracle {program} cannot be run: {hint or problem.strerror}") from None
        try:
            lines = _converse(process, seconds, name, reply)
            code = process.wait(timeout=max(seconds, 1.0))
        except (subprocess.TimeoutExpired, OracleError) as error:
            message = str(error) if isinstance(error, OracleError) else f"oracle {name} did not end within {seconds:g} s"
            raise OracleError(message, details=_told(told), timed_out=getattr(error, "timed_out", True)) from None
        finally:
            _end(process)
        if code != 0:
            details = _told(told)
            last = details.splitlines()[-1] if details else "it wrote nothing to stderr"
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
            raise OracleError(f"oracle {name} {how}: {last}", details=details)
        return lines


def _converse(process: subprocess.Popen[bytes], seconds: float, name: str, reply: Callable[[str], str | None]) -> str:
    assert process.stdin is not None and process.stdout is not None
    until, rest, kept = time.monotonic() + seconds, b"", []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, until - time.monotonic())):
                raise OracleError(f"oracle {name} gave no answer within {seconds:g} s and was ended", timed_out=True)
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            *lines, rest = (rest + chunk).split(b"\n")
            lines = lines if chunk else [*lines, rest]
            for line in (each.decode("utf-8", "replace") for each in lines):
                answer = reply(line)
                if answer is None:
                    kept.append(line)
                    size += len(line) + 1
                else:
                    _say(process, answer, name)
                    until = time.monotonic() + seconds  # the network's own time is not the program's
            if size + len(rest) > LARGEST:
                raise OracleError(f"oracle {name} printed more than {LARGEST >> 20} MiB and was ended")
            if not chunk:
                return "\n".join(kept)


def _say(process: subprocess.Popen[bytes], line: str, name: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line.encode() + b"\n")  # a short line: it fits the pipe
    except BrokenPipeError:
        raise OracleError(f"oracle {name} asked the network and did not wait for the answer") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the program and whatever it started."""
    with suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _told(file: Any) -> str:
    """The last lines of what the program wrote to stderr."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - (1 << 16)))
    return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-TOLD:])
