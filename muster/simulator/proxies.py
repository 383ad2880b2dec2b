"""Real proxies on loopback ports, some of them dead: they forward plain requests, tunnel CONNECT, and log each use.

Whose user name begins with `sim-407` is asked for other credentials.
"""

import asyncio
import base64
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from muster.simulator.stories import handle_of

_HOST: Final = "127.0.0.1"
_CHUNK: Final = 1 << 16
_REFUSED: Final = b"HTTP/1.1 407 Credentials Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n"
_LOST: Final = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_HOPS: Final = ("proxy-", "connection:", "keep-alive:")  # headers that are for the proxy alone


@dataclass
class Use:
    """One request that came by; the clock is this machine's, the same in every process."""

    proxy: str
    profile: str  # empty where the proxy was only looked at
    began: float
    ended: float | None = None


@dataclass
class Proxies:
    """So many proxies, the last of which are dead: their port is taken, and nobody listens."""

    count: int = 0
    dead: int = 0
    uses: list[Use] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _taken: list[socket.socket] = field(default_factory=list)

    async def start(self) -> None:
        """Open the ports."""
        for number in range(self.count):
            taken = socket.socket()
            taken.bind((_HOST, 0))
            address = f"{_HOST}:{taken.getsockname()[1]}"
            self.addresses.append(address)
            if number >= self.count - self.dead:
                self._taken.append(taken)
            else:
                self._servers.append(await asyncio.start_server(_Proxy(address, self.uses), sock=taken))

    def stop(self) -> None:
        """Close the ports."""
        for server in self._servers:
            server.close()
        for taken in self._taken:
            taken.close()

    def snapshot(self) -> dict[str, Any]:
        """Everything as `/_sim/pairs` gives it."""
        living = self.count - self.dead
        proxies = [{"address": address, "dead": at >= living} for at, address in enumerate(self.addresses)]
        return {"proxies": proxies, "uses": [asdict(use) for use in self.uses]}


class _Proxy:
    """What one port does with a connection: a request, or a tunnel."""

    def __init__(self, address: str, uses: list[Use]) -> None:
        self._address, self._uses = address, uses

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *headers = head.rstrip("\r\n").split("\r\n")
            method, target, _ = line.split(" ", 2)
            use = Use(self._address, _profile(target), time.monotonic())
            self._uses.append(use)
            try:
                if _is_refused(headers):
                    writer.write(_REFUSED)
                elif method == "CONNECT":
                    await _tunnel(target, reader, writer)
                else:
                    await _forward(method, target, headers, reader, writer)
            finally:
                use.ended = time.monotonic()
        with suppress(OSError):
            writer.close()
            await writer.wait_closed()


async def _tunnel(target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, _, port = target.rpartition(":")
    there = await _reach(host, int(port), writer)
    if there is not None:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await _join(there, reader, writer)


async def _forward(
    method: str, target: str, headers: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    url = urlsplit(target)
    there = await _reach(url.hostname or "", url.port or 80, writer)
    if there is not None:
        path = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
        kept = [it for it in headers if not it.lower().startswith(_HOPS)]
        there[1].write("\r\n".join([f"{method} {path} HTTP/1.1", *kept, "connection: close", "", ""]).encode("latin-1"))
        await _join(there, reader, writer)


async def _reach(
    host: str, port: int, writer: asyncio.StreamWriter
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    try:
        return await asyncio.open_connection(host, port)
    except OSError:
        writer.write(_LOST)
        return None


async def _join(
    there: tuple[asyncio.StreamReader, asyncio.StreamWriter], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry bytes both ways until either side has had enough."""
    pumps = [asyncio.create_task(it) for it in (_pump(reader, there[1]), _pump(there[0], writer))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        there[1].close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()


def _profile(target: str) -> str:
    """Whom a request is about, by its name or its id."""
    query = parse_qs(urlsplit(target).query)
    if names := query.get("username"):
        return names[0]
    return handle_of(query.get("reel_ids", [""])[0])


def _is_refused(headers: list[str]) -> bool:
    given = next((it.partition(" ")[2] for it in headers if it.lower().startswith("proxy-authorization:")), "")
    try:
        return base64.b64decode(given.rpartition(" ")[2]).startswith(b"sim-407")
    except ValueError:
        return False
