"""The `muster` command: every sentence and exit code that a terminal sees."""

import sys

__all__ = ["main"]

INTERRUPTED = 130


def main() -> None:
    """Run the command; an error is one clear sentence and the documented exit code, never a traceback."""
    try:
        code = _answer()
    except KeyboardInterrupt:  # also while the imports below take their second
        code = INTERRUPTED
    sys.exit(code)


def _answer() -> int:
    from entrypoints.cli.streams import ready_streams  # noqa: PLC0415, Ctrl+C must be caught from here on

    ready_streams()
    from entrypoints.cli.app import app  # noqa: PLC0415
    from entrypoints.cli.speech import check_words, complain  # noqa: PLC0415

    try:
        check_words(sys.argv)
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception as error:  # noqa: BLE001, the last door before the terminal
        return complain(error)
    return 0
