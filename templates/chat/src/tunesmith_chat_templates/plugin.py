"""What this package offers: the templates of its TOML files, and tool syntaxes that any template can be given."""

from __future__ import annotations

from pathlib import Path

from tunesmith import ModelCatalogueSpec, TemplateSpec, ToolSyntaxSpec, hookimpl
from tunesmith.templates import templates_in

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_templates() -> list[TemplateSpec]:
    """Every table of the TOML files here."""
    return templates_in(__package__)


@hookimpl
def tunesmith_models() -> list[ModelCatalogueSpec]:
    """The models that people fine-tune, with their names on three hubs."""
    file = Path(__file__).with_name("models.csv")
    return [ModelCatalogueSpec("published", str(file), "Published models, their templates and their names on the hubs.")]


@hookimpl
def tunesmith_tool_syntaxes() -> list[ToolSyntaxSpec]:
    """The tables of tools.toml, under the names that `tool_format` knows them by."""
    module = "tunesmith_chat_templates.syntaxes"
    return [
        ToolSyntaxSpec("default", f"{module}:default", "Action and Action Input on lines of their own, for any model."),
        ToolSyntaxSpec("qwen", f"{module}:qwen", "JSON in <tool_call> tags, as Qwen2.5 and Hermes write calls."),
        ToolSyntaxSpec("qwen3_5", f"{module}:qwen3_5", "Parameters in tags of their own, as Qwen3.5 writes calls."),
        ToolSyntaxSpec("llama3", f"{module}:llama3", "A bare JSON object, as Llama 3.1 writes a call."),
        ToolSyntaxSpec("glm4", f"{module}:glm4", "A name and its JSON arguments on two lines, as GLM-4 writes a call."),
        ToolSyntaxSpec("glm4_moe", f"{module}:glm4_moe", "Keys and values in tags, as GLM-4.5 writes calls."),
        ToolSyntaxSpec("ling", f"{module}:ling", "JSON in <tool_call> tags, as Ling 2.0 writes calls."),
        ToolSyntaxSpec("mistral", f"{module}:mistral", "A JSON list after [TOOL_CALLS], as Mistral v0.3 writes calls."),
    ]
