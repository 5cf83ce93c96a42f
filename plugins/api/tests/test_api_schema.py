"""The server does what its own OpenAPI page says, whatever is sent: schemathesis makes up requests, good and bad."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.configuration import set_hypothesis_home_dir
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import KEY
from .running import MODEL, Running

pytestmark = pytest.mark.xdist_group("api")
# It keeps what it finds in the source here; not in the checkout.
set_hypothesis_home_dir(f"{tempfile.gettempdir()}/tunesmith-hypothesis")
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
]
BOUNDED = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)


def small(body: Any) -> None:
    """Aim a request that might be answered at the model that is there, and let it ask for little."""
    if not isinstance(body, dict):
        return
    if isinstance(body.get("model"), str):
        body["model"] = MODEL
    for name, most in (("max_tokens", 2), ("max_completion_tokens", 2), ("n", 2)):
        if isinstance(body.get(name), int) and body[name] > most:
            body[name] = most


def check_page(url: str) -> int:
    """Try every operation of a server's page; returns how many there were."""
    page = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in page.get_all_operations()]
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try_out(operation, mode)
    return len(operations)


def try_out(operation: Any, mode: GenerationMode) -> None:
    """Send made-up requests of one kind."""
    if mode is GenerationMode.NEGATIVE and operation.method.upper() == "GET":
        return

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case: Any) -> None:
        small(case.body)
        case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, checks=CHECKS, timeout=60)

    attempt()


def test_it_does_what_its_page_says(server: Running) -> None:
    assert check_page(server.url) == 10
