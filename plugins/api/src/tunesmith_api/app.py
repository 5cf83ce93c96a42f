"""The application: endpoints inside, and around them what looks at every request first."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from tunesmith_api.answering import ClientGone
from tunesmith_api.body import BodyLimits
from tunesmith_api.errors import handle_errors
from tunesmith_api.guard import Guard, Recorder
from tunesmith_api.routes import router
from tunesmith_api.service import Service


def make_app(service: Service) -> ASGIApp:
    """Everything of a server but its socket."""
    api = FastAPI(
        title="Tunesmith",
        description="OpenAI's API, answered by a model of one's own.",
        root_path=service.options.fastapi_root_path,
        redoc_url=None,
    )
    api.state.service = service
    api.include_router(router)
    handle_errors(api)
    api.add_exception_handler(ClientGone, _nobody)
    api.openapi = cache(partial(_page, api.openapi))  # type: ignore[method-assign]
    options, known = service.options, frozenset(route.path for route in router.routes if isinstance(route, APIRoute))
    inner = Guard(BodyLimits(api, options.api_max_body * 2**20), options)
    return Recorder(inner, service.metrics, known, options.api_verbose)


async def _nobody(_: Request, __: Exception) -> Response:
    """Sent to a client that went."""
    return Response(status_code=499)


def _page(whole: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The OpenAPI page without the errors that FastAPI would send and this server does not; made when it is first asked for."""
    page = whole()
    for path in page["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        page["components"]["schemas"].pop(name, None)
    page["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    page["security"] = [{"key": []}, {}]
    return page
