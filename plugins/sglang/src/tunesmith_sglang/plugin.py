"""What this package offers: the engine ``sglang`` and the stack that it lives in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import EngineSpec, Problem, StackSpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

ENGINE = EngineSpec(
    "sglang",
    "tunesmith_sglang.engine:SglangEngine",
    "SGLang, as a server in a stack of its own.",
    options="tunesmith_sglang.options:SglangOptions",
    stack="sglang",
)

STACK = StackSpec(
    "sglang",
    "SGLang and the versions that it wants.",
    requirements=("sglang>=0.5.23,<0.6",),
    kind="server",
    pins=("torch==2.14.1", "transformers==5.19.0", "tokenizers==0.23.2", "openai==2.8.0"),
)


@hookimpl
def tunesmith_engines() -> list[EngineSpec]:
    """Generation by SGLang."""
    return [ENGINE]


@hookimpl
def tunesmith_stacks() -> list[StackSpec]:
    """Where it runs."""
    return [STACK]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What the server cannot do, and what of its arguments is said twice."""
    if not any(chosen.name == ENGINE.name for chosen in plan.picked("engines")):
        return
    from tunesmith_sglang.checks import problems

    yield from problems(plan)
