"""Models and adapters that a server of its own loads by itself: what it can be given, found out while planning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.config import Setting
from tunesmith.errors import Problem, TunesmithError
from tunesmith.model_folder import BASE_CHANGES, read_json
from tunesmith.model_stores import place_in, value_in
from tunesmith.plan import Plan


@dataclass(frozen=True)
class ServedAdapters:
    """Adapters by the names that the server knows them by. ``loaded``: the one that lies on the model as loaded, if any."""

    by_name: Mapping[str, Path]
    loaded: str | None = None


@dataclass(frozen=True)
class AdapterLimits:
    """What a server can load beside a model, by peft's ``adapter_config.json``.

    :param kind: the one ``peft_type``.
    :param without: entries that must not be set.
    :param highest_rank: the largest rank; ``None`` where the server looks for itself.
    """

    kind: str
    without: tuple[str, ...] = ()
    highest_rank: int | None = None


def adapter_names(plan: Plan) -> Mapping[str, str]:
    """Name → folder or hub name of every adapter that the server is to have; that of the plan is called by its folder."""
    given = plan.models["policy"].adapters
    names = {Path(name).name: name for name in given[-1:]}
    further = value_in(plan, "serve_adapters")
    return {**names, **dict(pair.split("=", 1) for pair in further or ())}


def served_adapters(plan: Plan) -> ServedAdapters:
    """The adapters of a plan and where they lie.

    :raises TunesmithError: one of them is not on this machine.
    """
    loaded = plan.models["policy"].adapters[-1:]
    by_name = {name: place_in(plan, place).found() / _inside(plan) for name, place in adapter_names(plan).items()}
    return ServedAdapters(by_name, Path(loaded[0]).name if loaded else None)


def _inside(plan: Plan) -> str:
    return str(value_in(plan, "adapter_folder") or "")


def served_context(plan: Plan, longest: tuple[int, bool]) -> int:
    """How many tokens a sequence may have: as given, else at most what the model was made for."""
    wanted, given = longest
    place = place_in(plan, str(plan.models["policy"].path))
    config = read_json(place.folder, "config.json") if place.folder else {}
    own = config.get("text_config", config).get("max_position_embeddings")
    return wanted if given or not own else min(wanted, int(own))


def check_served(plan: Plan, engine: str, limits: AdapterLimits) -> Iterator[Problem]:
    """What a server cannot do that the run asks for; messages call it ``engine``."""
    if value_in(plan, "quantization_bit") is not None:
        instead = "Export a quantised model and serve that, or ask the server for it in its own words."
        what = f"{engine} loads the model by itself and knows no quantization_bit"
        yield Problem(plan.settings["quantization_bit"].origin, what, instead)
    wish, where = plan.models["policy"], _origin(plan, "adapter_name_or_path")
    if wish.head != "lm":
        yield Problem(_origin(plan, "infer_backend"), f"{engine} cannot rate texts", "Take an infer_backend that can.")
    if len(wish.adapters) > 1:
        yield Problem(
            where, f"{engine} puts one adapter on the model, not {len(wish.adapters)}", "Merge them: tunesmith export"
        )
    for name, place in adapter_names(plan).items():
        folder = place_in(plan, place).folder
        for fault in adapter_faults(folder / _inside(plan), limits) if folder else ():
            yield Problem(where, f"{engine} cannot serve the adapter {name}: {fault}", "Merge it: tunesmith export")


def said_twice(plan: Plan, key: str, ours: Mapping[str, str]) -> Iterator[Problem]:
    """Arguments among those that ``key`` hands on as they are, although we set them.

    :param ours: the server's names of what we set → the key that says it; empty for what the engine sets by itself.
    """
    for name in (plan[key] or {}).keys() & ours.keys():
        instead = f"Write {ours[name]}: …" if ours[name] else "It is set by the engine itself; leave it out."
        yield Problem(plan.settings[key].origin, f"{key} sets {name}", instead)


def _origin(plan: Plan, key: str) -> str:
    setting: Setting | None = plan.settings.get(key)
    return setting.origin if setting is not None else ""


def adapter_faults(folder: Path, limits: AdapterLimits) -> Iterator[str]:
    """Why a server cannot load the adapter in a folder."""
    try:
        config: Mapping[str, Any] = read_json(folder, "adapter_config.json")
    except TunesmithError as error:
        yield error.message
        return
    if config.get("peft_type") != limits.kind:
        yield f"it is {config.get('peft_type') or 'no adapter of peft'}, not {limits.kind}"
        return
    for key in limits.without:
        if config.get(key) not in (None, False, "none", []):
            yield f"it has {key}: {config[key]}"
    if (folder / BASE_CHANGES).is_file():
        yield "it brings tokens of its own, or other positions"
    rank = max([int(config.get("r", 0)), *map(int, (config.get("rank_pattern") or {}).values())])
    if limits.highest_rank is not None and rank > limits.highest_rank:
        yield f"its rank is {rank}, and the server is started for ranks up to {limits.highest_rank}"
