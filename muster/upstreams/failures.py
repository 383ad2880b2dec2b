"""What a call without an answer means: the one place that knows the transport's exceptions.

Measured with pyreqwest 0.15: its httpx transport raises `ConnectError` also when the server closes the connection
without a word, and `ConnectTimeout` also when it does not answer, both after the request was sent; only the causes
tell. Failures in the middle of a long body come as pyreqwest's own exceptions.
"""

from typing import Final

import httpx
from pyreqwest.exceptions import DetailedPyreqwestError, PoolTimeoutError, PyreqwestError

from muster.outcomes import ErrorKind, Failed, Retry
from muster.upstreams.words import sentence

FAILURES: Final = (httpx.HTTPError, PyreqwestError, OSError, ValueError)  # TimeoutError is an OSError
_IN_CONNECT: Final = "client error (Connect)"  # hyper-util's words for DNS, TCP and TLS, before anything is sent
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def outcome_of(error: Exception, *, method: str, upstream: str) -> Retry | Failed:
    """Say what a failed call means: after a POST that may have been sent, it may have been carried out and billed."""
    if isinstance(error, ValueError):
        wrong = f"{upstream}: the request cannot be sent; its address or one of its headers is not valid."
        return Failed(kind=ErrorKind.REJECTED, error=wrong)
    if _never_sent(error):
        reason = sentence(f"{upstream} could not be reached", _reason(error))
        return Retry(kind=ErrorKind.TRANSIENT, error=reason)
    is_late = isinstance(error, TimeoutError | httpx.TimeoutException)
    what = "did not answer in time" if is_late else "broke the connection off before its answer was whole"
    if method in _SAFE:
        return Retry(kind=ErrorKind.TRANSIENT, error=f"{upstream} {what}.")
    return Retry(kind=ErrorKind.UNKNOWN_OUTCOME, error=f"{upstream} {what}; it may have carried the request out.")


def _never_sent(error: Exception) -> bool:
    cause = error if isinstance(error, PyreqwestError) else error.__cause__
    if isinstance(cause, PoolTimeoutError):
        return True
    if isinstance(cause, DetailedPyreqwestError):
        return _IN_CONNECT in _causes(cause)
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


def _causes(error: DetailedPyreqwestError) -> list[str]:
    return [cause["message"] for cause in error.details["causes"] or ()]


def _reason(error: Exception) -> str:
    """The innermost cause; the outermost holds the URL with its query."""
    cause = error if isinstance(error, PyreqwestError) else error.__cause__
    causes = _causes(cause) if isinstance(cause, DetailedPyreqwestError) else []
    return causes[-1] if causes else "the connection was not made"
