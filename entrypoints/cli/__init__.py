"""The `muster` command: every sentence and exit code that a terminal sees."""

import sys

from entrypoints.cli.app import app
from entrypoints.cli.speech import complain
from muster.errors import Interrupted, MusterError

__all__ = ["main"]


def main() -> None:
    """Run the command; an error is one clear sentence and the documented exit code, never a traceback."""
    try:
        app()
    except MusterError as error:
        complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(Interrupted.exit_code)
    except Exception as error:  # noqa: BLE001, the last door before the terminal
        complain(error)
        sys.exit(1)
