"""Rows that a quantizer looks at to decide how to round, by the data road."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunesmith import TunesmithError
from tunesmith.config import Setting
from tunesmith.data.flow import prepare
from tunesmith.data.store import TokenStore
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins

#: Of the order that several datasets are mixed in.
SEED = 42


def calibration_rows(plan: Plan, plugins: Plugins, whole: Path) -> list[list[int]]:
    """The first ``export_quantization_nsamples`` rows of the named datasets, shuffled together, each in token ids.

    Rows longer than ``export_quantization_maxlen`` are cut.

    :raises TunesmithError: there is nothing to look at.
    """
    wanted = plan["export_quantization_nsamples"]
    told: Mapping[str, Any] = {
        "cutoff_len": plan["export_quantization_maxlen"],
        "max_samples": wanted,
        "overflow": "truncate",
        "packing": False,
        "neat_packing": False,
        "streaming": False,
        "val_size": 0.0,
        "tokenized_path": None,
    }
    settings = {key: replace(setting, value=told[key]) if key in told else setting for key, setting in plan.settings.items()}
    settings["seed"] = Setting(SEED, "default", "host")  # exports have no key for it
    there = replace(plan, settings=settings, models={"policy": ModelWish("policy", str(whole))})
    view = prepare(there, plugins).train
    if view is None:
        raise TunesmithError("There are no rows to quantise by.", "Name others in export_quantization_dataset.")
    store = TokenStore.open(view)
    (name,) = store.sequences
    return [[int(id_) for id_ in store[at][name].ids] for at in range(min(wanted, len(store)))]
