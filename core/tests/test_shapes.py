"""Shapes of models without torch: headers, arithmetic, damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tunesmith import TunesmithError
from tunesmith.planning.shapes import read_shape

FAMILIES = ("llama", "qwen3", "qwen3-moe", "mistral")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tunesmith.runtime.tiny import make_tiny

    return make_tiny(request.param, tmp_path_factory.mktemp("models") / request.param)


def count(folder: Path) -> int:
    from transformers import AutoModelForCausalLM

    return sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(folder).parameters())


def test_headers_and_arithmetic_agree_with_the_loaded_model(model: Path, tmp_path: Path) -> None:
    truth = count(model)
    by_headers = read_shape(model)
    assert by_headers is not None
    assert by_headers.basis == "weight files"
    assert by_headers.parameters == truth
    (tmp_path / "config.json").write_text((model / "config.json").read_text())
    by_arithmetic = read_shape(tmp_path)
    assert by_arithmetic is not None
    assert by_arithmetic.basis == "config.json"
    assert by_arithmetic.parameters == pytest.approx(truth, rel=0.02)


def test_a_model_that_does_not_tell_its_shape_has_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert read_shape(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b'\x08\x00\x00\x00\x00\x00\x00\x00{"a"', b"\xff" * 8 + b"{}"])
def test_a_damaged_weight_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, "num_hidden_layers": 1}))
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(TunesmithError, match=r"model\.safetensors is damaged"):
        read_shape(tmp_path)
