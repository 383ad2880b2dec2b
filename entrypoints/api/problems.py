"""Every error as problem details (RFC 9457): one sentence for a person, nothing of what is inside."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from muster.errors import BadInput, ConfigurationError, MusterError, NotFound, Unreachable, UsageError, WrongState

MEDIA_TYPE: Final = "application/problem+json"
MOST_LETTERS: Final = 30  # of a field's name
BEARER: Final = {"WWW-Authenticate": 'Bearer realm="muster"'}
WENT_WRONG: Final = "Something went wrong here, and the server's own log says what."
NOT_SET_UP: Final = "This server is not set up for that; its operator finds out why with `muster doctor`."
NO_LEDGER: Final = "The ledger does not answer; try again in a moment."
NOTHING_HERE: Final = "There is nothing at this address."
_STATUS: Final[Mapping[type[MusterError], int]] = {NotFound: 404, WrongState: 409, UsageError: 422}


class Flaw(BaseModel):
    """What is wrong with one part of a request."""

    where: str = Field(description="such as `body.client`")
    what: str


class Problem(BaseModel):
    """Why a request was not fulfilled, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="one sentence for a person")
    errors: list[Flaw] | None = Field(None, description="what is wrong with each part of the request (422)")


class Refused(Exception):
    """A caller who is not let in."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that an operation documents, those that any may answer with among them."""
    return {it: {"model": Problem, "description": _title(it)} for it in (*statuses, 401, 403, 500, 503)}


def answer_to(error: Exception) -> Response:
    """The problem details of an error."""
    match error:
        case Refused():
            return problem(error.status, str(error), headers=BEARER if error.status == HTTPStatus.UNAUTHORIZED else {})
        case Unreachable() | TimeoutError():
            return problem(503, NO_LEDGER, headers={"Retry-After": "5"})
        case ConfigurationError():
            return problem(503, NOT_SET_UP)
        case BadInput():
            return problem(422, str(error), [Flaw(where="body", what=line) for line in error.lines])
        case UsageError():
            return problem(next(code for kind, code in _STATUS.items() if isinstance(error, kind)), str(error))
    return problem(500, WENT_WRONG)


def problem(
    status: int, detail: str, errors: Sequence[Flaw] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that says what is the matter."""
    said = Problem(title=_title(status), status=status, detail=detail, errors=list(errors) or None)
    body = orjson.dumps(said.model_dump(exclude_none=True))
    return Response(body, status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Let the application answer with problem details, whatever goes wrong, and say so in its description."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (MusterError, TimeoutError, Exception):
        app.add_exception_handler(kind, _failed)


def media_types(schema: dict[str, Any]) -> dict[str, Any]:
    """The description with the media type of its errors put right."""
    for path in schema["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= HTTPStatus.BAD_REQUEST:
                    response["content"] = {MEDIA_TYPE: response["content"].pop("application/json")}
    return schema


async def _failed(_: Request, error: Exception) -> Response:
    return answer_to(error)


async def _http(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: an unknown address, a method that is not there, a body that is no text."""
    http = cast("HTTPException", error)
    match http.status_code:
        case HTTPStatus.NOT_FOUND:
            return problem(404, NOTHING_HERE)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return problem(405, f"{request.method} is not for this address.", headers={"Allow": _allowed(request)})
        case HTTPStatus.BAD_REQUEST:
            return problem(422, "The body is not JSON.")
    return problem(http.status_code, f"{http.detail}.", headers=http.headers)


def _allowed(request: Request) -> str:
    """The methods of an address; the framework names only those of its first operation."""
    paths = request.app.openapi()["paths"]
    meant = [methods for path, methods in paths.items() if compile_path(path)[0].match(request.scope["path"])]
    return ", ".join(sorted(method.upper() for methods in meant for method in methods)) or "GET"


async def _invalid(_: Request, error: Exception) -> Response:
    """What does not fit; what was sent is not repeated."""
    wrong = cast("RequestValidationError", error).errors()
    flaws = [Flaw(where=".".join(_part(it) for it in one["loc"]), what=str(one["msg"])) for one in wrong]
    return problem(422, "The request does not fit: " + "; ".join(f"{it.where}: {it.what}" for it in flaws), flaws)


def _part(of_place: int | str) -> str:
    """A part of a place; what no field is called may be anything, a token too."""
    return str(of_place) if len(str(of_place)) <= MOST_LETTERS and str(of_place).isprintable() else "…"


def _title(status: int) -> str:
    return HTTPStatus(status).phrase
