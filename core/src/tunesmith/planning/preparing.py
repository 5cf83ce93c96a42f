"""What a run changes in its model before it learns: new tokens, stretched positions, number formats, the router's loss."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from tunesmith.config import Setting
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import read_json
from tunesmith.new_words import read_descriptions
from tunesmith.planning.draft import Draft
from tunesmith.planning.models import find_in
from tunesmith.rope import stretch

WORDS, SPECIAL, DESCRIBED = "add_tokens", "add_special_tokens", "new_special_tokens_config"
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


def prepare(draft: Draft) -> None:
    """Check each change, and say what it comes to."""
    if not draft.picked("trainers"):
        _leave_to_training(draft)
        return
    _described(draft)
    _tokens(draft)
    _rope(draft)
    _formats(draft)
    _router(draft)


def _leave_to_training(draft: Draft) -> None:
    """A model that was trained with such changes brings them along."""
    for key in (WORDS, SPECIAL, DESCRIBED, "resize_vocab", "rope_scaling"):
        if draft.value(key):
            draft.notices.append(f"{key} is for training; what was trained with it brings it along")
            draft.settings[key] = replace(draft.settings[key], value=draft.config.keys[key].default)


def _described(draft: Draft) -> None:
    """Add the words of the file to those that are given one by one."""
    if draft.value(DESCRIBED) is None:
        if draft.value("init_special_tokens") != "noise_init":
            what = f"init_special_tokens: {draft.value('init_special_tokens')} needs descriptions"
            draft.problem("init_special_tokens", what, f"Give {DESCRIBED}: a YAML file of words and descriptions.")
        return
    named = Path(str(draft.value(DESCRIBED))).expanduser()
    beside = draft.config.file.parent / named if draft.config.file else named
    file = beside if beside.is_file() else named
    try:
        words = tuple(read_descriptions(file))
    except TunesmithError as error:
        draft.note_error(DESCRIBED, error)
        return
    draft.settings[DESCRIBED] = replace(draft.settings[DESCRIBED], value=str(file.resolve()))
    every = tuple(dict.fromkeys((*(draft.value(WORDS) or ()), *words)))
    draft.settings[WORDS] = Setting(every, f"read from {file}", "host", given=True)


def _tokens(draft: Draft) -> None:
    words, special = tuple(draft.value(WORDS) or ()), tuple(draft.value(SPECIAL) or ())
    both = set(words) & set(special)
    if both:
        draft.problem(SPECIAL, f"{', '.join(sorted(both))}: in {WORDS} and in {SPECIAL}", "Keep it in one of them.")
    if any(not word.strip() for word in (*words, *special)):
        draft.problem(WORDS if any(not word.strip() for word in words) else SPECIAL, "an empty token cannot be added")
    if not words and not special:
        return
    count = len(words) + len(special)
    draft.notices.append(f"{count} {'tokens are' if count > 1 else 'token is'} added: {', '.join((*special, *words)[:8])}")
    if special:
        draft.notices.append(f"{SPECIAL}: only templates write these; in the text of data they stay text ({WORDS} makes words)")
    for spec in draft.picked("tuners"):
        if spec.saves == "adapter" and not _rows_learn(draft, spec):
            what = f"the rows of new tokens do not learn: finetuning_type: {spec.name} leaves embeddings and output head alone"
            draft.notices.append(f"{what}; a tuner that trains them, or additional_target: embed_tokens,lm_head, lets them")


def _rows_learn(draft: Draft, spec: Any) -> bool:
    """Whether a tuner would train anything of an embedding, asked of its own count."""
    if not spec.trainable:
        return True
    module, _, function = spec.trainable.partition(":")
    return bool(getattr(import_module(module), function)({"model.embed_tokens.weight": (64, 8)}, draft.value))


def _config(draft: Draft) -> dict[str, Any]:
    wish = draft.models.get("policy")
    folder = find_in(draft, wish.path).folder if wish is not None and wish.path else None
    config = read_json(folder, "config.json") if folder is not None else {}
    return {**config, **(config.get("text_config") or {})}


def _rope(draft: Draft) -> None:
    kind, config = draft.value("rope_scaling"), _config(draft)
    if kind is None or not config:
        return
    if "rope_theta" not in config and "max_position_embeddings" in config and "rope_parameters" not in config:
        config["rope_theta"] = None  # older files leave the default out
    try:
        found = stretch(config, kind, int(draft.value("cutoff_len")))
    except TunesmithError as error:
        draft.note_error("rope_scaling", error)
        return
    longest = f"{config['max_position_embeddings']} to {int(config['max_position_embeddings'] * found.factor)}"
    draft.notices.append(f"rope_scaling: {kind} stretches positions from {longest} tokens (factor {found.factor:g})")


def _formats(draft: Draft) -> None:
    if draft.value("upcast_layernorm") and draft.value("pure_bf16"):
        what = "upcast_layernorm needs mixed precision to bring its results back, and pure_bf16 has none"
        draft.problem("upcast_layernorm", what, "Write bf16: true, or leave upcast_layernorm out.")


def _router(draft: Draft) -> None:
    if draft.value("moe_aux_loss_coef") is None:
        return
    for spec in draft.picked("trainers"):
        if not spec.router_loss:
            what = f"moe_aux_loss_coef: the stage {spec.name} does not learn from the router's loss"
            draft.problem("moe_aux_loss_coef", what, "Leave it out.")
    config = _config(draft)
    if config and not any(config.get(key) for key in EXPERTS):
        draft.problem("moe_aux_loss_coef", "moe_aux_loss_coef: this model has no router", "Leave it out.")
