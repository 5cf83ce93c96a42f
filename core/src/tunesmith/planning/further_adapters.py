"""Adapters that are to be served beside the model: named well, there, and of use to the engine."""

from __future__ import annotations

from tunesmith.errors import TunesmithError
from tunesmith.further_adapters import named_paths
from tunesmith.planning.draft import Draft
from tunesmith.planning.models import check_adapter
from tunesmith.specs import POLICY, EngineSpec

KEY = "serve_adapters"


def check_further_adapters(draft: Draft) -> None:
    """Note what is wrong with ``serve_adapters``; without an engine there is nobody to serve them."""
    entries, policy = draft.value(KEY), draft.models.get(POLICY.name)
    if not entries or policy is None:
        return
    engines: list[EngineSpec] = draft.picked("engines")
    if not engines:
        draft.unused[KEY] = draft.settings[KEY]
        return
    for engine in engines:
        if not engine.adapters:
            draft.problem(KEY, f"the engine {engine.name} loads no adapters beside a model", "Pick another infer_backend.")
    try:
        for path in named_paths(entries).values():
            check_adapter(draft, KEY, path, str(policy.path))
    except TunesmithError as error:
        draft.note_error(KEY, error)
