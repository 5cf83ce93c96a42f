"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``; in Anthropic's where its API is spoken."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope
from tunesmith.data.openai_messages import BadMessage
from tunesmith.errors import TunesmithError

from tunesmith_api.paths import is_anthropic

log = logging.getLogger(__name__)

#: Anthropic's kinds of error that are not OpenAI's, and its names of fields that requests become.
_ANTHROPIC = {408: "timeout_error", 413: "request_too_large", 504: "timeout_error"}
_FIELDS = {"stop": "stop_sequences", "response_format": "output_config.format", "reasoning_effort": "output_config.effort"}
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

    def body(self, scope: Scope) -> dict[str, Any]:
        """The error as the API writes it that a request is one of."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        if not is_anthropic(scope):
            return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}
        kind = _ANTHROPIC.get(self.status, kind if self.status < 500 else "api_error")
        field = _FIELDS.get(self.param or "", self.param or "")
        message = self.message if self.message.startswith(field) else f"{field}: {self.message}"
        return {"type": "error", "error": {"type": kind, "message": message}}

    def event(self, scope: Scope) -> str:
        """The error in a stream that has begun."""
        return event(self.body(scope), "error" if is_anthropic(scope) else "")

    def response(self, scope: Scope) -> Response:
        """The error as an answer."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(scope), self.status, headers)


def event(data: Any, name: str = "") -> str:
    """A server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n"


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

    async def on_form(request: Request, error: RequestValidationError) -> Response:
        return of_validation(error.errors()).response(request.scope)

    async def on_http(request: Request, error: HTTPException) -> Response:
        made = ApiError(error.status_code, str(error.detail)).response(request.scope)
        made.headers.update(error.headers or {})
        return made

    async def on_any(request: Request, error: Exception) -> Response:
        return told(error).response(request.scope)

    app.add_exception_handler(RequestValidationError, on_form)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, on_http)  # type: ignore[arg-type]
    for kind in (ApiError, BadMessage, TunesmithError, TimeoutError):
        app.add_exception_handler(kind, on_any)
