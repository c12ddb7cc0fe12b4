"""A worker as a process: `python -m sycam.workers.serve SOCKET` answers messages on an inherited socket until that closes."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection
from types import FrameType

from sygus.solver.messages import end_with_parent

from .message import pack_parts
from .pool import OUT_OF_MEMORY
from .shard import Shard


def main() -> None:
    """Answers until there is no one to answer."""
    end_with_parent()
    busy = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        if busy:  # between two messages there is nothing to interrupt
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    connection = Connection(int(sys.argv[1]))
    shard = Shard()
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            busy = True
            answer = shard.answer(message)
            busy = False
        except KeyboardInterrupt:
            busy = False
            answer = pack_parts({"interrupted": True}, [])
        except MemoryError:
            sys.exit(OUT_OF_MEMORY)
        finally:
            busy = False
        try:
            connection.send_bytes(answer)
        except OSError:
            return


if __name__ == "__main__":
    main()
