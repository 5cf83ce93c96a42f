"""A tiny model, and a tuner of the tests' own whose merges can be made to go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tunesmith.host_options import DataOptions, GenerationOptions, ModelOptions, RunOptions
from tunesmith.plan import ModelWish, Plan
from tunesmith.runtime.tiny import make_tiny
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_export.options import ExportOptions

#: A tuner that adds a matrix to the head's input projection of one layer. ``how`` in its file says how it merges.
NUDGE = """
import json

import torch
from safetensors.torch import load_file
from tunesmith import AdapterMark, TunerSpec, hookimpl
from tunesmith.contracts import Tuner

TUNESMITH_API = (1, 0)
TARGET = "model.layers.0.mlp.down_proj"


@hookimpl
def tunesmith_tuners():
    common = {"load": "tunesmith_local:Nudge", "summary": "For tests.", "saves": "adapter"}
    return [
        TunerSpec("nudge", marks=(AdapterMark("nudge.json", "kind", "nudge"),), **common),
        TunerSpec("fixed", marks=(AdapterMark("nudge.json", "kind", "fixed"),), mergeable=False, **common),
    ]


class Nudge(Tuner):
    def apply(self, model):
        return model

    def save(self, model, directory):
        raise NotImplementedError

    def load(self, model, path, *, trainable):
        self.how = json.loads((path / "nudge.json").read_text())["how"]
        layer = model.get_submodule(TARGET)
        self.delta = load_file(path / "nudge.safetensors")["delta"].to(layer.weight.dtype)
        self.hook = layer.register_forward_hook(lambda _, args, out: out + args[0] @ self.delta.T)
        return model

    def merge(self, model):
        self.hook.remove()
        factor = {"well": 1.0, "forgets": 0.0, "doubles": 2.0}[self.how]
        with torch.no_grad():
            model.get_submodule(TARGET).weight.add_(factor * self.delta)
        return model
"""


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with tokenizer and template."""
    return make_tiny("llama", tmp_path_factory.mktemp("export") / "base")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes adapters of the tuner above."""
    import torch
    from safetensors.torch import save_file

    config = json.loads((base / "config.json").read_text())

    def make(name: str, *, how: str = "well", size: float = 0.5, kind: str = "nudge", seed: int = 0) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        shape = (config["hidden_size"], config["intermediate_size"])
        delta = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * size
        save_file({"delta": delta}, folder / "nudge.safetensors")
        (folder / "nudge.json").write_text(json.dumps({"kind": kind, "how": how}))
        return folder

    return make


@pytest.fixture
def plan_of(base: Path, tmp_path: Path) -> Callable[..., Plan]:
    """Plans of exports of the tiny model, with the local plugin above."""
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "tunesmith_local.py").write_text(NUDGE)

    def make(*adapters: Path, path: Path = base, export: dict[str, Any] | None = None, **keys: Any) -> Plan:
        names = tuple(str(adapter) for adapter in adapters)
        template, generation = keys.pop("template", None), keys.pop("generation", {})
        model = ModelOptions(**{"model_name_or_path": str(path), "adapter_name_or_path": names, **keys})
        options = (model, DataOptions(template=template))
        more = (GenerationOptions(**generation), RunOptions(), ExportOptions(**(export or {})))
        plan = hand_plan(*options, *more, picked={"exporters": "safetensors"}, command="export")
        return replace(plan, models={"policy": ModelWish("policy", str(path), names)}, local=str(tmp_path / "local"))

    return make
