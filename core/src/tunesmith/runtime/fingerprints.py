"""What a run's results depend on besides its settings, as hashes: resume refuses to go on when one of them changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tunesmith.contracts import Renderer
from tunesmith.data.arrays import read_manifest
from tunesmith.data.flow import Prepared
from tunesmith.data.tokenizer_files import tokenizer_files
from tunesmith.model_stores import place_in
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.role_specs import POLICY
from tunesmith.spec import options_of


def fingerprints(plan: Plan, plugins: Plugins, model: Path, data: str, renderer: Renderer | None) -> dict[str, str]:
    """Name → hash: ``data``, ``model``, ``template`` (where there is one), ``tokenizer``, ``tuner``, and ``roles`` where there
    are further models (a reference, a reward model).

    :param model: the folder of the model and its tokenizer.
    :param data: the fingerprint of the examples before templates and tokenizers had a part in them.
    """
    found = {
        "data": data,
        "model": model_hash(model),
        "tokenizer": tokenizer_hash(plan, model),
        "tuner": tuner_hash(plan, plugins),
    }
    others = [wish for role, wish in plan.models.items() if role != POLICY.name]
    if others:
        found["roles"] = _sha256(*(role_hash(plan, wish) for wish in others))
    return found if renderer is None else {**found, "template": renderer.fingerprint}


def data_hash(prepared: Prepared) -> str:
    """Changes with the examples, their order and how they are cut; not with template and tokenizer, which have their own."""
    if prepared.stream is not None:
        return _hash_key(prepared.stream.key)
    views = [path for path in (prepared.train, *prepared.evals.values()) if path is not None]
    if not views:
        return prepared.fingerprint
    return _hash_key(read_manifest(views[0].parent)["key"])


def _hash_key(key: Mapping[str, Any]) -> str:
    return _sha256(json.dumps(_without(key, {"template", "tokenizer"}), sort_keys=True, default=str).encode())


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _without(held, names) for key, held in value.items() if key not in names}
    return [_without(held, names) for held in value] if isinstance(value, list) else value


def model_hash(folder: Path) -> str:
    """Changes with the configuration and with names and sizes of the weight files; their content is too much to read."""
    return _folder_hash(folder, "config.json")


def role_hash(plan: Plan, wish: ModelWish) -> bytes:
    """Changes with the model that plays a role, its adapters and its bits; the policy as it starts has no own weights."""
    inner = plan["adapter_folder"] if "adapter_folder" in plan.settings else None
    adapters = [_folder_hash(place_in(plan, name).found() / (inner or ""), "adapter_config.json") for name in wish.adapters]
    own = "" if wish.base_of or not wish.path else model_hash(place_in(plan, wish.path).found())
    return json.dumps([wish.role, own, adapters, wish.bits, wish.head]).encode()


def _folder_hash(folder: Path, config: str) -> str:
    weights = sorted((file.name, file.stat().st_size) for file in folder.glob("*.safetensors"))
    file = folder / config
    return _sha256(file.read_bytes() if file.is_file() else b"", json.dumps(weights).encode())


def tokenizer_hash(plan: Plan, folder: Path) -> str:
    """Changes with any file of the tokenizer, and with how it is asked to read."""
    files = [file.read_bytes() for file in tokenizer_files(folder)]
    keys = ("use_fast_tokenizer", "split_special_tokens", "add_tokens", "add_special_tokens")
    how = {key: plan[key] for key in keys if key in plan.settings and plan[key] not in ((), [])}
    return _sha256(*files, json.dumps(how).encode())


def tuner_hash(plan: Plan, plugins: Plugins) -> str:
    """Changes with the tuner's name and any of its options."""
    chosen = plan.the("tuners")
    kind = options_of(plugins.tuners.get(chosen.wanted).spec)
    options: Mapping[str, Any] = {item.name: plan[item.name] for item in fields(kind)} if kind else {}
    return _sha256(json.dumps([chosen.name, options], sort_keys=True, default=str).encode())


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
