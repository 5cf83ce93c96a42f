"""The order of every call in one run, seen by a plugin that stands in for each picked object and passes the calls on."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from tunesmith import launch, planning, settings
from tunesmith.plugins import Plugins

#: axis → the spec that is really at work, and the verbs of its contract.
WATCHED = {
    "launchers": ("plain", ("spread",)),
    "sources": ("file", ("rows",)),
    "formats": ("alpaca", ("read",)),
    "trainers": ("sft", ("arguments_class", "run")),
    "backends": ("cpu", ("arguments", "seed", "replace_experts", "empty_cache")),
    "accelerators": ("offload", ("arguments", "before_load", "after_load", "after_tuner")),
    "tuners": ("lora", ("apply", "initialize", "callbacks", "save", "param_groups")),
}

RECORDER = '''
"""Stands in for installed specs and writes down who is called."""
from dataclasses import replace

from tunesmith import hookimpl
from tunesmith.plugins import Plugins

TUNESMITH_API = (1, 0)
calls = []
real = {}


def note(word):
    if not calls or calls[-1] != word:
        calls.append(word)


def stand_in(axis, verbs):
    class StandIn:
        def __init__(self, *args):
            self.inner = real[axis].load()(*args)

        def __getattr__(self, name):
            found = getattr(self.inner, name)
            if name not in verbs:
                return found

            def call(*args, **kwargs):
                note(f"{axis}.{name}")
                return found(*args, **kwargs)

            return call

    return StandIn


@hookimpl
def tunesmith_check_plan(plan):
    note("check_plan")
    return []


@hookimpl
def tunesmith_run_started(session):
    note("run_started")


@hookimpl
def tunesmith_step_ended(session, step):
    note("step_ended")


@hookimpl
def tunesmith_run_ended(session, outcome):
    note("run_ended")
'''

ORDER = [
    "check_plan",
    "launchers.spread",
    "sources.rows",
    "formats.read",
    "backends.arguments",
    "accelerators.arguments",
    "trainers.arguments_class",
    "backends.seed",
    "accelerators.before_load",
    "backends.replace_experts",
    "accelerators.after_load",
    "tuners.apply",
    "accelerators.after_tuner",
    "run_started",
    "trainers.run",
    "tuners.callbacks",
    "tuners.initialize",
    "tuners.param_groups",
    "step_ended",
    "tuners.save",
    "run_ended",
    "backends.empty_cache",
]


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "recorder_plugin.py").write_text(RECORDER)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("recorder_plugin", None)
    return import_module("recorder_plugin")


def watch(plugins: Plugins, recorder: Any) -> None:
    """Put a stand-in in front of each watched object, where the run will look it up."""
    for axis, (name, verbs) in WATCHED.items():
        offer = plugins.axis(axis).get(name)
        recorder.real[axis] = offer
        kind = recorder.stand_in(axis, verbs)
        standing = type("StandingOffer", (), {"spec": offer.spec, "owner": offer.owner, "load": lambda self, kind=kind: kind})()
        plugins.axis(axis)._offers[name] = {offer.owner.plugin: standing}


def test_one_run_calls_everybody_in_the_order_of_the_design(recorder: Any, tmp_path: Path) -> None:
    from tunesmith.runtime.tiny import make_tiny

    model = make_tiny("qwen3", tmp_path / "model")
    (tmp_path / "a.json").write_text(json.dumps([{"instruction": f"Say {i}.", "output": str(i)} for i in range(8)]))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"a": {"file_name": "a.json"}}))
    plugins = Plugins(found=[*_installed(), EntryPoint("recorder", "recorder_plugin", "tunesmith")])
    watch(plugins, recorder)
    keys = {
        "model_name_or_path": str(model),
        "dataset": "a",
        "dataset_dir": str(tmp_path),
        "template": "chatml",
        "output_dir": str(tmp_path / "out"),
        "finetuning_type": "lora",
        "data_cache_dir": str(tmp_path / "cache"),
        "use_unsloth_gc": True,
        "backend": "cpu",
        "max_steps": 2,
        "save_strategy": "no",
        "cutoff_len": 64,
    }
    plan = planning.make(settings.read(plugins, keys, environ={}), plugins, "train")
    assert launch.carry_out(plan, plugins) == 0
    assert first_appearances(recorder.calls) == ORDER


def first_appearances(calls: list[str]) -> list[str]:
    return list(dict.fromkeys(calls))


def _installed() -> list[EntryPoint]:
    from importlib.metadata import entry_points

    return list(entry_points(group="tunesmith"))
