"""Every error a person can meet, each with the exit code the command line answers with.

MusterError
├── UsageError (2)           the caller's words are off
│   ├── NotFound             no such client, batch, run or upstream
│   ├── BadInput             a file or value that cannot be taken; names each bad line
│   └── WrongState           the command does not fit the state the thing is in
│       └── Busy             somebody else is at it
├── ConfigurationError (3)   a setting is missing or wrong
│   └── Unreachable          the database or Prefect's API does not answer
├── LeaseLost (1)            another driver took the batch; nothing more may be written
├── WorkFailed (1)           a run that could not do its work
│   └── Unsettled            a workload could not write the rows that its outcomes make
└── Interrupted (130)        asked to stop; everything finished is kept
"""

from collections.abc import Sequence


class MusterError(Exception):
    """Root of the tree; `exit_code` is what the command line answers with."""

    exit_code = 1


class UsageError(MusterError):
    """The caller's words are off."""

    exit_code = 2


class NotFound(UsageError):
    """No such client, batch, run or upstream."""


class BadInput(UsageError):
    """A file or value that cannot be taken; `lines` holds one sentence for each bad line."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class WrongState(UsageError):
    """The command does not fit the state the thing is in."""


class Busy(WrongState):
    """Somebody else is at it; it may be free later."""


class ConfigurationError(MusterError):
    """A setting is missing or wrong."""

    exit_code = 3


class Unreachable(ConfigurationError):
    """The database or Prefect's API does not answer."""


class LeaseLost(MusterError):
    """Another driver took the batch; nothing more may be written."""


class WorkFailed(MusterError):
    """A run that could not do its work."""


class Unsettled(WorkFailed):
    """A workload could not write the rows that its outcomes make; the cause is its own bug, not the database's."""


class Interrupted(MusterError):
    """Asked to stop; everything finished is kept."""

    exit_code = 130
