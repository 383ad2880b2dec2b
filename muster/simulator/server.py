"""Runs an ASGI application on the loopback interface alone, and stops at once when told to."""

import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread

import uvicorn
from starlette.types import ASGIApp

from muster.errors import ConfigurationError
from muster.simulator.proxies import Proxies

_HOST = "127.0.0.1"
_BACKLOG = 4096
_IDLE_SECONDS = 120  # longer than any client keeps a connection, so that no call meets a closing one
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listen(app: ASGIApp, port: int, proxies: Proxies) -> None:
    """Serve the application and the proxies until SIGTERM or SIGINT; port 0 picks a free one."""
    config = uvicorn.Config(
        app,
        loop="auto",  # uvloop and httptools, which are dependencies; pure Python where one is missing
        http="auto",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=0,
    )
    with _bound(port) as listener, _signals_end_quietly():
        _Server(config, proxies).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says where it listens, and cuts off what is under way at its end."""

    def __init__(self, config: uvicorn.Config, proxies: Proxies) -> None:
        super().__init__(config)
        self._proxies = proxies

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._proxies.start()
        for listener in sockets or ():
            sys.stdout.write(f"simulator on http://{_HOST}:{listener.getsockname()[1]}\n")
        for proxy in self._proxies.snapshot()["proxies"]:
            sys.stdout.write(f"proxy on http://{proxy['address']}{' (dead)' if proxy['dead'] else ''}\n")
        sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._proxies.stop()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # calls under way are cut off on purpose
        for connection in tuple(self.server_state.connections):
            connection.transport.close()  # or a hanging call would be answered after all, with a 500
        await super().shutdown(sockets)


def _bound(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port), backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"The simulator cannot listen on {_HOST}:{port}: {error.strerror}.") from error


@contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """Uvicorn raises the signal again once it has stopped: let that end nothing but the server."""
    if current_thread() is not main_thread():
        yield
        return
    before = {name: signal.signal(name, lambda *_: None) for name in _SIGNALS}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
