"""A process of this package that is spoken to in lines of JSON, by one who never waits longer than a limit."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class LineProcess:
    """`python -m module` behind two pipes.

    Args:
        module: what to run; it answers a line of JSON on stdin with one or more on stdout.
        arguments: of the module.
        seconds: how long one message may take in either direction.

    Attributes:
        pid: of the process.
    """

    def __init__(self, module: str, *arguments: str, seconds: float) -> None:
        self.seconds = seconds
        self._rest = b""
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        os.set_blocking(self._to.fileno(), False)  # a process that hangs does not empty its pipe
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def send(self, message: dict[str, Any]) -> bool:
        """Whether the process took `message` in time."""
        rest, until = memoryview(json.dumps(message).encode() + b"\n"), time.monotonic() + self.seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._to, selectors.EVENT_WRITE)
            while rest:
                if not selector.select(max(0.0, until - time.monotonic())):
                    return False
                try:
                    rest = rest[os.write(self._to.fileno(), rest) :]
                except BrokenPipeError:
                    return False
        return True

    def receive(self) -> dict[str, Any] | None:
        """The next message; None if the process has ended or needs too long."""
        until = time.monotonic() + self.seconds
        parts = [self._rest]
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            while b"\n" not in parts[-1]:
                if not selector.select(max(0.0, until - time.monotonic())):
                    return None
                chunk = os.read(self._from.fileno(), 1 << 20)
                if not chunk:
                    return None
                parts.append(chunk)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._from.close()
        self._to.close()  # raw: nothing is left to be flushed
