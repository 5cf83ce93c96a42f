"""What this package offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import EngineSpec, Problem, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_engines() -> list[EngineSpec]:
    """Generation by transformers, on any device that it runs on."""
    load = "tunesmith_huggingface.engine:HuggingfaceEngine"
    return [EngineSpec("huggingface", load, "Generation by transformers: no server, any device, adapters as trained.")]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """``serve_adapters`` lies on the model's own weights."""
    wish, setting = plan.models.get("policy"), plan.settings.get("serve_adapters")
    ours = any(chosen.name == "huggingface" for chosen in plan.picked("engines"))
    if ours and setting is not None and setting.value and wish is not None and len(wish.adapters) > 1:
        what = f"serve_adapters needs the model's own weights, and adapter_name_or_path merges {wish.adapters[0]} into them"
        yield Problem(setting.origin, what, "Export the merged model first, or serve each adapter by name.")
