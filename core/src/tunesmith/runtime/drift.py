"""Whether a checkpoint still belongs to this run: what it was made from, compared with what is there now."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from tunesmith.errors import TunesmithError
from tunesmith.host_options import DataOptions, ModelOptions
from tunesmith.known_keys import HOST, TRANSFORMERS
from tunesmith.model_folder import read_json
from tunesmith.plan import Plan, is_secret
from tunesmith.runtime.checkpoint import Checkpoint

log = logging.getLogger(__name__)


def check_drift(checkpoint: Checkpoint, now: Mapping[str, str], plan: Plan) -> None:
    """Refuse to go on when what the checkpoint was made from has changed.

    :param now: fingerprint by name (``data``, ``template``, ``tokenizer``, ``tuner``, ``model``, ``roles``) of this run.
    :raises TunesmithError: names everything that changed and ``allow_drift`` does not, and the keys that differ.
    """
    if checkpoint.manifest is None:
        return
    then = checkpoint.manifest.fingerprints
    changed = [name for name in now if name in then and then[name] != now[name]]
    if refused := [name for name in changed if name not in plan["allow_drift"]]:
        keys = "; ".join(_differences(checkpoint, plan, changed))
        raise TunesmithError(
            f"{checkpoint.folder} cannot be continued: {' and '.join(refused)} changed since it was written"
            f"{f' ({keys})' if keys else ''}.",
            f"Undo the change, start anew in another folder, or accept it with allow_drift: {','.join(changed)}",
        )
    if changed:
        log.warning("Going on although %s changed: allow_drift says so.", " and ".join(changed))


def _differences(checkpoint: Checkpoint, plan: Plan, changed: Collection[str]) -> Iterator[str]:
    """The keys that the checkpoint's own plan has another value of, among those that could be the reason."""
    then: Mapping[str, Any] = read_json(checkpoint.folder, "plan.json").get("settings", {})
    for key in dict.fromkeys(_suspects(plan, changed)):
        if key in then and not is_secret(key):
            before, after = then[key]["value"], json.loads(json.dumps(plan[key], default=str))
            if before != after:
                yield f"{key} was {json.dumps(before, ensure_ascii=False)}, now {json.dumps(after, ensure_ascii=False)}"


def _suspects(plan: Plan, changed: Collection[str]) -> Iterable[str]:
    if "tuner" in changed:
        tuner = plan.the("tuners").owner.plugin
        yield from (key for key, setting in plan.settings.items() if key == "finetuning_type" or setting.owner == tuner)
    if "roles" in changed:
        yield from (key for key, setting in plan.settings.items() if setting.owner not in (HOST, TRANSFORMERS))
    for kind in (DataOptions, ModelOptions) if set(changed) - {"tuner"} else ():
        yield from (item.name for item in fields(kind) if item.name in plan.settings)
