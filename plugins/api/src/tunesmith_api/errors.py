"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from tunesmith.data.openai_messages import BadMessage
from tunesmith.errors import TunesmithError

log = logging.getLogger(__name__)

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """What a client is told. ``param`` names the field of the request that is wrong."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The error as OpenAI writes it."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The error as an answer."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)


def bad(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A request that cannot be answered as it stands."""
    return ApiError(400, message, param, code)


def told(error: BaseException) -> ApiError:
    """What to tell a client about any error. Of those that are ours only the log has the details."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, BadMessage):
        return bad(str(error), param=str(error).partition(" ")[0])
    if isinstance(error, TunesmithError):
        return bad(f"{error.message} {error.hint}".strip())
    if isinstance(error, TimeoutError):
        return ApiError(504, "The answer took longer than this server allows.", code="timeout")
    log.error("a request failed", exc_info=error)
    return ApiError(500, "The server made a mistake; its log says more.")


def place(location: Sequence[str | int]) -> str:
    """Where in a request something is: ``messages[0].content``."""
    steps = [step for step in location if step != "body" and not str(step).startswith(("function-", "tagged-union"))]
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def of_validation(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """The first thing that is wrong with a request's form."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return bad(f"The body is no JSON: {first.get('ctx', {}).get('error', 'it cannot be read')}.")
    where = place(first["loc"])
    if first["type"] == "extra_forbidden":
        return bad(f"The field {where} is not known here, and nothing is ignored in silence. Leave it out.", where)
    if not where:
        return bad("The body must be a JSON object, sent with Content-Type: application/json.")
    return bad(f"{where}: {first['msg']}", where)


def handle_errors(app: FastAPI) -> None:
    """Make every error that leaves ``app`` one of OpenAI's shape."""

    async def on_form(_: Request, error: RequestValidationError) -> Response:
        return of_validation(error.errors()).response()

    async def on_http(_: Request, error: HTTPException) -> Response:
        made = ApiError(error.status_code, str(error.detail)).response()
        made.headers.update(error.headers or {})
        return made

    async def on_any(_: Request, error: Exception) -> Response:
        return told(error).response()

    app.add_exception_handler(RequestValidationError, on_form)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, on_http)  # type: ignore[arg-type]
    for kind in (ApiError, BadMessage, TunesmithError, TimeoutError):
        app.add_exception_handler(kind, on_any)
