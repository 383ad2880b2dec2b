"""`muster serve`: the HTTP API, and a driver beside it."""

from typing import Annotated

import typer

from entrypoints.cli.speech import note, run, say
from muster.settings import Settings


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 picks a free one.", min=0, max=65535)] = 8080,
) -> None:
    """Serve the HTTP API, work whatever is queued or started, and reconcile, until interrupted.

    Until a token is made, only this machine is answered. The description is at /docs and /openapi.json.

    \b
    muster tokens create --all --name ops
    muster serve --host 0.0.0.0 --port 8080
    curl -H 'Authorization: Bearer …' http://127.0.0.1:8080/batches
    """  # noqa: D301, click's own sign for "do not wrap"
    from entrypoints.api.server import serve as serve_api  # noqa: PLC0415, only this command needs a server

    run(serve_api(Settings.read(), host, port, say, note))
    note("Asked to stop; everything finished is kept, and what is open is queued.")
