"""Plans with a server as the engine: what is the server's affair is asked of nobody else."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from tunesmith import api
from tunesmith.plan import Plan
from tunesmith.runtime.tiny import make_tiny


def plan(folder: Path, engine: str) -> Plan:
    return api.plan({"model_name_or_path": str(folder), "infer_backend": engine, "backend": "auto"}, command="api")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says it holds weights quantised by GPTQ, whose library is not here, and one by a method nobody knows."""
    folder = make_tiny("qwen3", tmp_path_factory.mktemp("packed") / "model")
    said(folder, "gptq")
    return folder


def said(folder: Path, method: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": method, "bits": 4}}))


@pytest.mark.parametrize("method", ["gptq", "fp8", "a-method-of-tomorrow"])
def test_a_quantised_model_needs_no_reader_of_ours(packed: Path, method: str) -> None:
    said(packed, method)
    made = plan(packed, "vllm-cpu")
    assert f"holds weights quantised by {method}; vllm-cpu reads them by itself" in "\n".join(made.notices)
    assert list(made.picked("quantizers")) == []
    assert [lack.what for lack in made.missing if "stack" not in lack.what] == []


def test_an_engine_in_this_process_needs_one(packed: Path) -> None:
    said(packed, "gptq")
    assert any("gptqmodel" in lack.what for lack in plan(packed, "huggingface").missing)


def test_how_many_devices_a_server_uses_is_its_own_affair(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices are made up; an engine in this process does use one of them only."""
    choose = import_module("tunesmith.planning.choose")
    real = choose.probe_backend
    monkeypatch.setattr(choose, "probe_backend", lambda offer: replace(real(offer), devices=2))
    note = "one process uses one of the 2 devices here"
    assert note not in plan(packed, "vllm-cpu").notices
    assert note in plan(packed, "huggingface").notices
