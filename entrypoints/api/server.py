"""Serving the API until the process is asked to end; what it works then is given back cleanly."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from entrypoints.api.app import create_app
from entrypoints.api.works import Say, Works
from muster import signals
from muster.errors import ConfigurationError
from muster.settings import Settings
from muster.wiring import open_book

GRACE_S: Final = 10  # for answers under way
LOOK_S: Final = 0.1
BACKLOG: Final = 2048


async def serve(settings: Settings, host: str, port: int, say: Say, note: Say) -> None:
    """Answer, drive and reconcile until SIGTERM or SIGINT; `say` tells where it listens, `note` what goes wrong.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    with _bound(host, port) as listener, signals.watched():
        async with open_book(settings) as book:
            works = Works(book, settings, note)
            server = _Server(
                uvicorn.Config(
                    create_app(book, settings, works),
                    ws="none",
                    lifespan="off",
                    access_log=False,
                    log_level="warning",
                    server_header=False,
                    proxy_headers=False,  # who asks is the peer itself, whatever a header says
                    timeout_graceful_shutdown=GRACE_S,
                )
            )
            if not await book.tokens.all():
                note("No token was made yet: only this machine is answered. `muster tokens create --all` makes one.")
            works.pull()
            works.begin("The end", _end(server))
            say(f"muster on http://{_written(host)}:{listener.getsockname()[1]}")
            try:
                await server.serve(sockets=[listener])
            finally:
                signals.stop()  # whatever ended the answering ends the work
                await works.end()


class _Server(uvicorn.Server):
    """Leaves the signals to those who handle them for the whole process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _end(server: uvicorn.Server) -> None:
    """Stop answering as soon as the process is asked to end."""
    while not signals.stopping():  # noqa: ASYNC110, a signal sets no event of a loop
        await asyncio.sleep(LOOK_S)
    server.should_exit = True


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {_written(host)}:{port}: {os.strerror(error.errno or 0)}."
        ) from None


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
