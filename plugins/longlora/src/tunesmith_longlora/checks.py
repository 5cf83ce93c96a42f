"""What shifted groups cannot do, found while planning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith import Problem
from tunesmith.model_folder import find_model, read_json
from tunesmith.plan import Plan

#: Facts of a model that attends otherwise than to all that came before, and what that is called.
OTHERWISE = {
    "attention_chunk_size": "chunks of its own",
    "attn_logit_softcapping": "capped scores",
    "linear_num_key_heads": "linear attention",
    "text_config": "parts that see or hear",
}


def problems(plan: Plan) -> Iterator[Problem]:
    """Packing, models to compare with, rollouts, and models that attend in a way of their own."""
    where = plan.settings["shift_attn"].origin
    for key in ("packing", "neat_packing"):
        if key in plan.settings and plan[key]:
            yield Problem(where, f"shift_attn: groups would cross the texts that {key} joins", f"Write {key}: false.")
    if others := ", ".join(role for role in plan.models if role != "policy"):
        what = (
            f"shift_attn: the model that learns would see a quarter of a row, and what it is compared with ({others}) all of it"
        )
        yield Problem(where, what, "Leave it out, or pick a stage or loss that compares with no other model.")
    if any(dataset.kind == "prompt" for dataset in plan.datasets):
        what = f"shift_attn is for texts that are there, and the stage {plan['stage']} lets the model write them"
        yield Problem(where, what, "Leave it out.")
    if otherwise := own_attention(_config(plan)):
        yield Problem(where, f"shift_attn: this model has {otherwise}", "Leave it out.")


def own_attention(config: Mapping[str, Any]) -> str:
    """What a model's ``config.json`` says of its attention that groups would undo; empty when nothing."""
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        return f"a window of its own (sliding_window: {config['sliding_window']})"
    kinds = set(config.get("layer_types") or ()) - {"full_attention"}
    named = [words for key, words in OTHERWISE.items() if config.get(key)]
    return f"layers with {' and '.join(sorted(kinds))}" if kinds else ", ".join(named)


def _config(plan: Plan) -> Mapping[str, Any]:
    wish = plan.models.get("policy")
    if wish is None or not wish.path:
        return {}
    folder = find_model(wish.path, revision=str(plan["model_revision"]), cache_dir=plan["cache_dir"]).folder
    return read_json(folder, "config.json") if folder is not None else {}
