"""The application: every noun's operations behind the gate, every error as problem details."""

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI

from entrypoints.api import batches, details, health, metrics, orders, problems, proxies, runs, stream
from entrypoints.api.desk import Desk
from entrypoints.api.gate import Gate
from entrypoints.api.works import Works
from muster.ledger import Book
from muster.settings import Settings

ABOUT: Final = """Nightly batches for many clients over paid HTTP APIs, every item accounted for.

A token of `muster tokens create` opens it; one for a client sees that client alone, and everything else is 404.
Errors are problem details (RFC 9457). Pages come with `next`, the `cursor` of the following one."""


def create_app(book: Book, settings: Settings, works: Works) -> FastAPI:
    """The API over a ledger; what is started goes on in `works`."""
    app = _App(
        title="Muster",
        version=version("muster"),
        description=ABOUT,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    for part in (batches, orders, details, stream, runs, proxies, health, metrics):
        app.include_router(part.router)
    problems.install(app)
    app.add_middleware(Gate, book=book, settings=settings)
    app.state.desk = Desk(book, settings, works)
    return app


class _App(FastAPI):
    """Describes its errors as what they are."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = problems.media_types(super().openapi())
        return self.openapi_schema
