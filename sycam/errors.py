"""The one root of every error that a user of sycam can cause."""


class SycamError(Exception):
    """Bad input or a bad environment: the message says what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with code 2. Anything that is not a `SycamError` (or
    a `sygus.SygusError`) is a bug of ours and keeps its traceback.
    """
