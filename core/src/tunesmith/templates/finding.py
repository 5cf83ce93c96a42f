"""Names, files and plans → templates and renderers."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import TunesmithError
from tunesmith.specs import TemplateSpec, ToolSyntaxSpec
from tunesmith.templates.toml_tables import headers, is_part

if TYPE_CHECKING:
    from tunesmith.contracts import Renderer, ToolSyntax
    from tunesmith.plan import Plan
    from tunesmith.plugins import Plugins
    from tunesmith.templates.model import ToolTable
    from tunesmith.templates.render import DeclaredRenderer

#: The word that asks for the tokenizer's own template; ``None`` means the same.
AUTO = "auto"
_SUMMARY = re.compile(r'^summary\s*=\s*"(.*)"\s*$')
_MODELS = re.compile(r"^models\s*=\s*(\[.*\])\s*$")


def templates_in(package: str) -> list[TemplateSpec]:
    """Every template in the TOML files of a package, or of a folder of it named as a sub-package.

    Only headings, ``summary`` and ``models`` are read (each on one line), so that it costs next to nothing. Tables whose name
    begins with ``_`` are there to be extended and are not listed.
    """
    folder = Path(str(files(package)))
    return [spec for path in sorted(folder.glob("*.toml")) for spec in _listed(path)]


def _listed(path: Path) -> Iterator[TemplateSpec]:
    for name, lines in headers(path):
        if is_part(lines[0]) or name.startswith("_"):
            continue
        summary = next((found[1] for line in lines if (found := _SUMMARY.match(line))), "")
        models = next((found[1] for line in lines if (found := _MODELS.match(line))), "[]")
        yield TemplateSpec(name, str(path), name, summary, tuple(ast.literal_eval(models)))


def syntax_in(package: str, name: str) -> ToolTable:
    """The tool syntax ``[syntax.NAME]`` in the TOML files of a package, for the modules that tool syntax specs name."""
    from tunesmith.templates.parse import read_tool_table
    from tunesmith.templates.toml_tables import file_with

    folder = Path(str(files(package)))
    path = file_with(folder, f"syntax.{name}")
    if path is None:
        raise TunesmithError(f"The package {package} has no tool syntax {name!r}.")
    return read_tool_table(path, name)


def renderer_for(
    wanted: TemplateSpec | str | Path, *, tools: ToolTable | ToolSyntax | None = None, **options: Any
) -> DeclaredRenderer:
    """A renderer by a spec, or by a file like ``./acme.toml`` or ``./acme.toml:table``.

    :param tools: a tool syntax instead of the template's own.
    :param options: fields of :class:`tunesmith.templates.render.Options`.
    :raises ConfigError: the table is wrong; lists everything with file and line.
    """
    from tunesmith.templates.parse import read_template, split_wanted
    from tunesmith.templates.render import DeclaredRenderer, Options

    if isinstance(wanted, TemplateSpec):
        return DeclaredRenderer(read_template(wanted), Options(**options), tools)
    found = split_wanted(str(wanted))
    if found is None:
        raise TunesmithError(f"{str(wanted)!r} is no template file.", "Write a path that ends in .toml, or .toml:table.")
    return DeclaredRenderer(read_template(*found), Options(**options), tools)


def spec_for(wanted: str, plugins: Plugins, folder: Path | None = None) -> TemplateSpec:
    """The spec of a name, or of a template file, which is looked for beside the configuration.

    :raises TunesmithError: there is no such template; names the nearest.
    """
    from tunesmith.templates.parse import split_wanted

    found = split_wanted(wanted)
    if found is None:
        spec: TemplateSpec = plugins.templates.get(wanted).spec
        return spec
    path, table = found
    beside = (folder or Path()) / path
    return TemplateSpec(table or path.stem, str(beside if beside.is_file() else path), table)


def make_renderer(plan: Plan, plugins: Plugins, model_folder: Path) -> Renderer:
    """The renderer of a run, by its keys ``template``, ``default_system``, ``tool_format``, ``enable_thinking``,
    ``reasoning_effort``, ``preserve_thinking`` and ``template_date``.

    :param model_folder: the folder of the model's tokenizer, for its own template and its special tokens.
    :raises TunesmithError: no such template; the tokenizer lacks a token that the template needs.
    """
    from tunesmith.templates.media_renderer import seeing
    from tunesmith.templates.tokenizer_facts import check_tokens, tokenizer_facts

    facts = tokenizer_facts(model_folder)
    wanted = plan["template"]
    options = run_options(plan)
    if wanted in (None, AUTO):
        from tunesmith.templates.auto_media import SeeingAutoRenderer
        from tunesmith.templates.likeness import like

        if _value(plan, "tool_format"):
            raise TunesmithError(
                "tool_format has no meaning with the tokenizer's own template.", "Name a template, or leave it out."
            )
        return seeing(SeeingAutoRenderer(facts, options, partial(like, plugins=plugins)), plan, plugins, model_folder)
    spec = spec_for(str(wanted), plugins, Path(plan.config_folder))
    renderer = declared(spec, plugins, tool_format=_value(plan, "tool_format"), options=options | facts.ends())
    check_tokens(renderer, facts)
    return seeing(renderer, plan, plugins, model_folder)


def declared(
    spec: TemplateSpec, plugins: Plugins | None, *, tool_format: str | None = None, options: Mapping[str, Any] = {}
) -> DeclaredRenderer:
    """A renderer by a spec, tool syntaxes that other plugins offer included.

    :raises TunesmithError: no tool syntax of that name.
    """
    from dataclasses import replace

    from tunesmith.templates.parse import read_template
    from tunesmith.templates.render import DeclaredRenderer, Options

    known = None if plugins is None else plugins.templates
    template = read_template(spec, find=lambda name: known.get(name).spec if known and name in known else None)
    if isinstance(template.tools, str) and plugins is not None:
        template = replace(template, tools=_syntax(template.tools, plugins))
    picked = _syntax(tool_format, plugins) if tool_format and plugins is not None else None
    return DeclaredRenderer(template, Options(**options), picked)


def _syntax(name: str, plugins: Plugins) -> Any:
    offer = plugins.tool_syntaxes.get(name)
    found = offer.load()
    assert isinstance(offer.spec, ToolSyntaxSpec)
    return found() if isinstance(found, type) else found


def _value(plan: Plan, key: str) -> Any:
    return plan[key] if key in plan.settings else None


def run_options(plan: Plan) -> dict[str, Any]:
    """What a run's keys say about its template."""
    from tunesmith.templates.parse import check_date

    day = _value(plan, "template_date")
    return {
        "default_system": _value(plan, "default_system"),
        "enable_thinking": _value(plan, "enable_thinking"),
        "effort": _value(plan, "reasoning_effort"),
        "preserve_thinking": bool(_value(plan, "preserve_thinking")),
        "date": None if day is None else check_date(str(day)),
    }


def read_json(path: Path) -> Any:
    """A JSON file of a model folder; ``{}`` where there is none.

    :raises TunesmithError: it is no JSON.
    """
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TunesmithError(f"{path} is no JSON: {error}.") from error
