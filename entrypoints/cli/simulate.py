"""`muster simulate`: the upstreams' stand-in."""

from typing import Annotated

import typer

LatencyOf = Annotated[
    list[str] | None, typer.Option(metavar="NAME=MS", help="Of one upstream, instead; may be given again.")
]
Seed = Annotated[int, typer.Option(help="The same seed misbehaves in the same way.")]
Port = Annotated[int, typer.Option(help="Port on the loopback address; 0 picks a free one.", min=0, max=65535)]


def simulate(
    port: Port = 9000,
    latency_ms: Annotated[float, typer.Option(help="How long a call takes, in milliseconds.", min=0)] = 50,
    latency_of: LatencyOf = None,
    rate_per_minute: Annotated[
        int | None, typer.Option(help="Calls a minute of one upstream; above: 429.", min=1)
    ] = None,
    error_rate: Annotated[float, typer.Option(help="Share of calls that fail, 0 to 1.", min=0, max=1)] = 0,
    hang_rate: Annotated[float, typer.Option(help="Share of calls that never answer, 0 to 1.", min=0, max=1)] = 0,
    proxies: Annotated[int, typer.Option(help="Proxies on ports of their own; they are printed.", min=0, max=200)] = 0,
    dead_proxies: Annotated[int, typer.Option(help="How many of them are dead.", min=0)] = 0,
    seed: Seed = 0,
) -> None:
    """Serve stand-ins of the upstreams on 127.0.0.1 until interrupted; `GET /_sim/calls` tells what was called.

    \b
    muster simulate --port 9000 --latency-ms 100 &
    export OPENAI_BASE_URL=http://127.0.0.1:9000/v1 OPENAI_API_KEY=sim
    export PERPLEXITY_BASE_URL=http://127.0.0.1:9000 PERPLEXITY_API_KEY=sim
    export GEMINI_BASE_URL=http://127.0.0.1:9000/v1beta GEMINI_API_KEY=sim
    export ANTHROPIC_BASE_URL=http://127.0.0.1:9000 ANTHROPIC_API_KEY=sim
    export TAVILY_BASE_URL=http://127.0.0.1:9000 TAVILY_API_KEY=sim      for muster articles
    export APIFY_BASE_URL=http://127.0.0.1:9000 APIFY_TOKEN=sim
    export STORIES_BASE_URL=http://127.0.0.1:9000      and with --proxies 5: muster proxies import FILE.csv
    """  # noqa: D301, click's own sign for "do not wrap"
    from muster.simulator import Options, read_latency, serve  # noqa: PLC0415, only this command needs a server

    options = Options(
        port=port,
        latency_ms=latency_ms,
        latency_of=dict(map(read_latency, latency_of or ())),
        rate_per_minute=rate_per_minute,
        error_rate=error_rate,
        hang_rate=hang_rate,
        seed=seed,
        proxies=proxies,
        dead_proxies=dead_proxies,
    )
    serve(options)
