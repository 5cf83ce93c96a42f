"""What this package offers: the command ``export``, and the form ``safetensors``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tunesmith import CommandSpec, ExporterSpec, Notice, Problem, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

#: What export_quantization_bit has meant so far, alone.
GPTQ = "gptq"
COMMAND = CommandSpec(
    name="export",
    load="tunesmith_export.command:export",
    summary="Merge adapters into a model and write it whole.",
    options="tunesmith_export.options:ExportOptions",
    section="Run",
    picks=("templates", "backends", "quantizers", "exporters"),
    requires=("model_name_or_path", "export_dir"),
    packs="export_quantization_bit",
    packs_with=GPTQ,
    wants=("conversation", "document"),
    calibrates="export_quantization_dataset",
)

SAFETENSORS = ExporterSpec(
    name="safetensors",
    load="tunesmith_export.exporter:SafetensorsExporter",
    summary="Sharded safetensors with tokenizer, template, model card and Modelfile.",
    takes="adapters",
)


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """One command."""
    return [COMMAND]


@hookimpl
def tunesmith_exporters() -> list[ExporterSpec]:
    """One form."""
    return [SAFETENSORS]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterable[Problem | Notice]:
    """What makes an export impossible, found before anything is loaded."""
    if plan.command != COMMAND.name:
        return ()
    from tunesmith_export.checks import notices, problems

    return [*problems(plan), *notices(plan)]
