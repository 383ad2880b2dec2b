"""A loopback server that speaks the upstreams' wire shapes and misbehaves on request.

What misbehaves is in a table, `behaviour.MARKERS`; what every call goes through is in `gate`; what tells one upstream
from the others is in one file each, named in `UPSTREAMS`. Every answer and every fault follows from the seed.
"""

from collections.abc import Callable, Mapping

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from muster.simulator import anthropic, apify, chat, gemini, perplexity, stories, tavily
from muster.simulator.gate import Door, Gate
from muster.simulator.options import Options, read_latency
from muster.simulator.proxies import Proxies
from muster.simulator.server import listen
from muster.simulator.wire import Upstream

__all__ = ["UPSTREAMS", "Options", "create_app", "read_latency", "serve"]

UPSTREAMS: Mapping[str, Callable[[Gate], Upstream]] = {
    chat.NAME: chat.upstream,
    perplexity.NAME: perplexity.upstream,
    gemini.NAME: gemini.upstream,
    anthropic.NAME: anthropic.upstream,
    apify.NAME: apify.upstream,
    stories.NAME: stories.upstream,
    tavily.NAME: tavily.upstream,
}


def create_app(options: Options, proxies: Proxies | None = None) -> Starlette:
    """The simulator as an ASGI application, with counters and runs of its own; it tells what came by the proxies."""
    gate = Gate(options, UPSTREAMS)
    upstreams = [make(gate) for make in UPSTREAMS.values()]
    doors = [
        Route(endpoint.path, Door(gate, upstream, endpoint), methods=[endpoint.method])
        for upstream in upstreams
        for endpoint in upstream.endpoints
    ]
    return Starlette(routes=[*doors, *_own_routes(gate, proxies or Proxies())])


def serve(options: Options) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT; says on standard output where, once it listens."""
    proxies = Proxies(options.proxies, options.dead_proxies)
    listen(create_app(options, proxies), options.port, proxies)


def _own_routes(gate: Gate, proxies: Proxies) -> list[Route]:
    async def calls(_request: Request) -> Response:
        return _json(gate.calls.snapshot())

    async def pairs(_request: Request) -> Response:
        return _json(proxies.snapshot())

    async def reset(_request: Request) -> Response:
        gate.reset()
        proxies.uses.clear()
        return _json({"ok": True})

    async def health(_request: Request) -> Response:
        return _json({"ok": True})

    return [
        Route("/_sim/calls", calls),
        Route("/_sim/pairs", pairs),
        Route("/_sim/reset", reset, methods=["POST"]),
        Route("/_sim/health", health),
    ]


def _json(data: object) -> Response:
    return Response(orjson.dumps(data), media_type="application/json")
