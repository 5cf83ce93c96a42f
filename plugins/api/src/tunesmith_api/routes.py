"""The endpoints."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from tunesmith_api import chat, completions, rating
from tunesmith_api.answering import unless_gone
from tunesmith_api.anthropic import messages
from tunesmith_api.anthropic import replies as anthropic
from tunesmith_api.anthropic.protocol import Counted, MessagesRequest
from tunesmith_api.events import EventStream
from tunesmith_api.protocol import ChatRequest, CompletionRequest, EmbeddingRequest, ScoreRequest
from tunesmith_api.replies import ChatCompletion, Completion, Embeddings, ErrorBody, Health, Model, Models, Scores
from tunesmith_api.service import Service, answer

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request cannot be answered; `param` names the field."},
    401: {"model": ErrorBody, "description": "The key is missing or wrong."},
    403: {"model": ErrorBody, "description": "The rules of this server forbid it."},
    404: {"model": ErrorBody, "description": "There is no such model."},
}
WORK: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    408: {"model": ErrorBody, "description": "The request did not arrive in time."},
    413: {"model": ErrorBody, "description": "The request is too large."},
    429: {"model": ErrorBody, "description": "Too many wait already; `Retry-After` says when to come back."},
    504: {"model": ErrorBody, "description": "The answer took too long."},
}
MESSAGES: dict[int | str, dict[str, Any]] = {at: {**told, "model": anthropic.ErrorBody} for at, told in WORK.items()}
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}

router = APIRouter()


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


@router.post(
    "/v1/chat/completions", response_model=ChatCompletion, response_model_exclude_unset=True, responses={**WORK, **EVENTS}
)
async def chat_completions(body: ChatRequest, request: Request) -> Any:
    """The next turn of a conversation."""
    service = _service(request)
    made = await asyncio.to_thread(chat.prepare, service, body)
    if body.stream:
        return EventStream(chat.chunks(made), service.metrics, service.options.api_timeout)
    return chat.completion(made, await unless_gone(request.receive, answer(service, made.job), service.metrics))


@router.post(
    "/v1/messages", response_model=anthropic.Reply, response_model_exclude_unset=True, responses={**MESSAGES, **EVENTS}
)
async def anthropic_messages(body: MessagesRequest, request: Request) -> Any:
    """The next turn of a conversation, in Anthropic's words."""
    service = _service(request)
    made = await asyncio.to_thread(messages.prepare, service, body)
    if body.stream:
        return EventStream(messages.events(made), service.metrics, service.options.api_timeout)
    (said,) = await unless_gone(request.receive, answer(service, made.job), service.metrics)
    return messages.message(made, said)


@router.post("/v1/messages/count_tokens", response_model=anthropic.TokenCount, responses=MESSAGES)
async def anthropic_count_tokens(body: Counted, request: Request) -> Any:
    """How many tokens a conversation has."""
    return {"input_tokens": await asyncio.to_thread(messages.count_tokens, _service(request), body)}


@router.post("/v1/completions", response_model=Completion, response_model_exclude_unset=True, responses={**WORK, **EVENTS})
async def text_completions(body: CompletionRequest, request: Request) -> Any:
    """How texts go on."""
    service = _service(request)
    job = await asyncio.to_thread(completions.prepare, service, body)
    if body.stream:
        return EventStream(completions.chunks(service, job), service.metrics, service.options.api_timeout)
    answers = await unless_gone(request.receive, answer(service, job), service.metrics)
    return completions.completion(service, job, answers)


@router.post("/v1/embeddings", response_model=Embeddings, responses=WORK)
async def embeddings(body: EmbeddingRequest, request: Request) -> Any:
    """Vectors for texts, where the engine can."""
    service = _service(request)
    return await unless_gone(request.receive, rating.embeddings(service, body), service.metrics)


@router.post("/v1/score/evaluation", response_model=Scores, responses=WORK)
async def score_evaluation(body: ScoreRequest, request: Request) -> Any:
    """Rewards of texts, where the model has a value head."""
    service = _service(request)
    return await unless_gone(request.receive, rating.scores(service, body), service.metrics)


@router.get("/v1/models", response_model=Models, responses=ERRORS)
async def models(request: Request) -> Any:
    """The model and its adapters."""
    service = _service(request)
    return {"object": "list", "data": [_card(service, name) for name in service.names]}


@router.get("/v1/models/{model:path}", response_model=Model, responses=ERRORS)
async def model(model: str, request: Request) -> Any:
    """One of them."""
    service = _service(request)
    service.adapter(model)
    return _card(service, model)


def _card(service: Service, name: str) -> dict[str, Any]:
    parent = service.options.api_model_name if service.names[name] else None
    return {"id": name, "object": "model", "created": service.created, "owned_by": "tunesmith", "parent": parent}


@router.get("/health", response_model=Health, responses={403: ERRORS[403]})
async def health() -> Any:
    """That the server is there; asks for no key."""
    return {"status": "ok"}


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}, **{at: ERRORS[at] for at in (401, 403)}})
async def metrics(request: Request) -> Response:
    """What the server counts, for Prometheus."""
    return Response(_service(request).metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})
