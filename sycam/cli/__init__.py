"""The command line; `app` has the commands, and this module what must work before torch is loaded, which takes seconds."""

from __future__ import annotations

import io
import sys

INTERRUPTED = 130


def main() -> None:
    """Runs the command line. Bad input: one message on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show λ shows a question mark
    try:
        from sycam.errors import OracleError, SycamError
        from sygus import SygusError

        from .app import app
        from .console import fail, fail_of_oracle
    except KeyboardInterrupt:
        print("error: interrupted: there is no answer yet", file=sys.stderr)
        sys.exit(INTERRUPTED)
    try:
        app()
    except OracleError as error:
        fail_of_oracle(error)
        sys.exit(2)
    except (SycamError, SygusError) as error:
        fail(str(error))
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer's own exit code for Ctrl-C; during a search the loop ends with its best instead
            fail("interrupted: there is no answer yet")
        raise


__all__ = ["main"]
