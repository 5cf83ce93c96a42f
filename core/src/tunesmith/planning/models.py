"""A model's folder and its adapters: where they are, and whether they can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.config import Setting
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import Whereabouts, bears, has_weights, missing_shards, read_json
from tunesmith.model_names import suggestion
from tunesmith.model_stores import store_for
from tunesmith.plan import ModelPlace
from tunesmith.planning.draft import Draft
from tunesmith.planning.shapes import check_weight_files
from tunesmith.specs import POLICY, Role, TunerSpec


def unfold_adapter(draft: Draft, role: Role, name: str, adapters: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """A model folder that holds an adapter stands for its base with that adapter on top."""
    folder = find_in(draft, name).folder
    if folder is None or (folder / "config.json").is_file() or not (spec := tuner_of(draft, folder)):
        return name, adapters
    base = base_of(folder)
    if base is None:
        what = f"{name} holds an adapter and does not say of which model"
        draft.problem(role.model, what, f"Name the model, and give the folder as {role.adapters}.")
        return name, adapters
    draft.notices.append(f"{name} holds an adapter ({spec.name}); its model is {base}")
    for key, value in ((role.model, base), (role.adapters, (name, *adapters))):
        draft.settings[key] = Setting(value, f"read from {name}", draft.config.keys[key].owner, given=True)
    return base, (name, *adapters)


def base_of(folder: Path) -> str | None:
    """The model that the adapter in ``folder`` was trained on, by its own files."""
    named = read_json(folder, "adapter_config.json").get("base_model_name_or_path")
    if named:
        return str(named)
    settings: dict[str, Any] = read_json(folder, "plan.json").get("settings", {})
    model = settings.get("model_name_or_path", {}).get("value")
    return str(model) if model else None


def tuner_of(draft: Draft, folder: Path) -> TunerSpec | None:
    """The tuner whose mark the folder bears."""
    specs: list[TunerSpec] = [offer.spec for offer in draft.plugins.tuners]
    return next((spec for spec in specs for mark in spec.marks if bears(folder, mark)), None)


def find_in(draft: Draft, name: str) -> Whereabouts:
    """Where a model or adapter of this run lies."""
    try:
        source, store = store_for(name, draft.plugins, draft.value)
        place = store.find(name)
    except TunesmithError as error:
        return Whereabouts(name, None, reason=error.message.rstrip("."), hint=error.hint)
    if place.folder is not None and place.commit:
        draft.places[name] = ModelPlace(str(place.folder), source, place.commit)
    return place


def check_model(draft: Draft, key: str, name: str) -> None:
    """Note what is wrong with the model that ``key`` names, or missing of it."""
    place = find_in(draft, name)
    if place.folder is None:
        if place.fetchable:
            draft.notices.append(f"{place.reason}; it will be fetched when the run starts")
        else:
            hint = suggestion(name, draft.plugins) or place.hint
            draft.lacks(key, f"{key}: {place.reason}", hint)
        return
    try:
        config, missing = read_json(place.folder, "config.json"), missing_shards(place.folder)
        check_weight_files(place.folder)
    except TunesmithError as error:
        draft.note_error(key, error)
        return
    if not config:
        what = "an empty" if (place.folder / "config.json").is_file() else "no"
        draft.problem(key, f"{place.folder} holds {what} config.json, so it is no model", "Give a model's folder.")
    elif not has_weights(place.folder) and not (key == POLICY.model and draft.value("train_from_scratch")):
        draft.problem(key, f"{place.folder} holds no weights", "Give a complete model, or train_from_scratch: true.")
    elif missing:
        draft.problem(key, f"{place.folder} lacks {', '.join(missing)}", "Copy or download the rest of it.")
    elif "auto_map" in config and not draft.value("trust_remote_code"):
        draft.notices.append(f"{name} brings code of its own, which is not used: trust_remote_code is false")


def check_adapter(draft: Draft, key: str, name: str, model: str) -> None:
    """Note what is wrong with an adapter that ``key`` names and that is to lie on ``model``."""
    place = find_in(draft, name)
    if place.folder is None:
        if not place.fetchable:
            draft.lacks(key, f"{key}: {place.reason}", place.hint)
        return
    if tuner_of(draft, place.folder) is None:
        names = ", ".join(f"{m.file} ({o.spec.name})" for o in draft.plugins.tuners for m in o.spec.marks)
        what = f"{place.folder} bears no mark of an installed tuner"
        draft.problem(key, what, f"An adapter's folder holds one of: {names or 'none is known'}.")
        return
    try:
        check_weight_files(place.folder)
        _compare_base(draft, name, base_of(place.folder), model)
    except TunesmithError as error:
        draft.note_error(key, error)


def _compare_base(draft: Draft, adapter: str, base: str | None, model: str) -> None:
    """An adapter may fit another model than its own in shape and still be of no use there."""
    if base is not None and Path(base).resolve().name != Path(model).expanduser().resolve().name:
        draft.notices.append(f"the adapter {adapter} was trained on {base}, not on {model}")
