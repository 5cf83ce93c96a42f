"""What this package offers: the form ``gguf``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import ExporterSpec, Problem, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

GGUF = ExporterSpec(
    name="gguf",
    load="tunesmith_gguf.exporter:GgufExporter",
    summary="One GGUF file for llama.cpp, Ollama and LM Studio.",
    options="tunesmith_gguf.options:GgufOptions",
    needs=("gguf",),
)


@hookimpl
def tunesmith_exporters() -> list[ExporterSpec]:
    """One form."""
    return [GGUF]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Models and number formats that cannot be written."""
    if not any(chosen.name == GGUF.name for chosen in plan.picked("exporters")):
        return
    from tunesmith_gguf.checks import problems

    yield from problems(plan)
