"""What speaks against writing a model as GGUF, found while planning."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from tunesmith import Problem
from tunesmith.errors import nearest
from tunesmith.model_folder import read_json
from tunesmith.model_stores import place_in
from tunesmith.plan import Plan

from tunesmith_gguf.kinds import KINDS, STRETCHES, TOOL, TOOL_TYPES, TYPES, stretch_of


def problems(plan: Plan) -> Iterator[Problem]:
    """A number format that is not there, and models that have no place in such a file."""
    setting = plan.settings["gguf_type"]
    wanted, known = str(setting.value).lower(), (*TYPES, *TOOL_TYPES)
    if wanted not in known:
        hint = nearest(wanted, known) or f"Known are {', '.join(known)}."
        yield Problem(setting.origin, f"gguf_type: there is no {wanted}", hint)
    elif wanted in TOOL_TYPES and shutil.which(TOOL) is None:
        what = f"gguf_type: {wanted} is made by {TOOL} of llama.cpp, which is not on the path"
        yield Problem(setting.origin, what, f"Install llama.cpp, or write one of {', '.join(TYPES)}.")
    yield from _model_problems(plan)


def _model_problems(plan: Plan) -> Iterator[Problem]:
    folder = place_in(plan, str(plan.models["policy"].path)).folder if "policy" in plan.models else None
    config = read_json(folder, "config.json") if folder is not None else {}
    origin, kind = plan.settings["model_name_or_path"].origin, config.get("model_type")
    if not config:
        return
    if kind not in KINDS:
        yield Problem(origin, f"models of type {kind} cannot be written as GGUF here", f"Written are {', '.join(KINDS)}.")
    elif (stretch := stretch_of(config)["rope_type"]) not in STRETCHES:
        yield Problem(
            origin, f"positions stretched by {stretch} cannot be written as GGUF", f"Written are {', '.join(STRETCHES)}."
        )
