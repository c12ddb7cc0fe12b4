"""The one root of every error that a user of sycam can cause."""


class SycamError(Exception):
    """Bad input or a bad environment: the message says what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with code 2. Anything that is not a `SycamError` (or
    a `sygus.SygusError`) is a bug of ours and keeps its traceback.
    """


class Unavailable(SycamError):
    """This network, these images or this installation cannot give what was asked, and other things they can.

    Terminals and baselines raise it, with the reason. Who asks for many at once, as `sycam score all` does, leaves that one
    out and says why; named alone it is an error like any other.
    """
