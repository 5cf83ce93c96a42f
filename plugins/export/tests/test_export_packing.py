"""Models quantised on export, each by its library for real, and read back as anybody would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from tunesmith.cli.main import main
from tunesmith.runtime.tiny import make_tiny

IDS = torch.arange(5, 25)[None]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model wide enough for the blocks of bitsandbytes."""
    return make_tiny("qwen3", tmp_path_factory.mktemp("wide") / "wide", hidden=128, intermediate=256)


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=IDS).logits.float()


@pytest.mark.parametrize(
    ("method", "bits", "more", "kind", "most"),
    [
        ("bitsandbytes", 4, [], "Linear4bit", 0.4),
        ("bitsandbytes", 8, [], "Linear8bitLt", 0.1),
        ("torchao", 8, [], "Int8Tensor", 0.1),
        ("torchao", 8, ["torchao_format=float"], "Float8Tensor", 0.2),
    ],
)
def test_a_model_is_quantised_and_reads_back(
    method: str, bits: int, more: list[str], kind: str, most: float, wide: Path, tmp_path: Path
) -> None:
    """transformers alone reads what was written, in the library's own layers, near to the plain model's answers."""
    pytest.importorskip(f"tunesmith_{method}", reason="the quantizer's own package does it")
    pytest.importorskip(method, reason="the quantizer's library does it")
    out = tmp_path / "out"
    keys = [f"model_name_or_path={wide}", f"export_dir={out}", f"export_quantization_bit={bits}"]
    assert main(["export", *keys, f"quantization_method={method}", *more, "--quiet"]) == 0
    report = json.loads((out / "export_report.json").read_text())
    assert (report["quantizer"], report["bits"], report["verified"]) == (method, bits, True)
    assert report["quantized_back"]["typical"] < 1e-3
    assert f"quantised to {bits} bits by {method}" in (out / "README.md").read_text()
    model = AutoModelForCausalLM.from_pretrained(out)
    layer = model.model.layers[0].mlp.up_proj
    assert kind in (type(layer).__name__, type(layer.weight).__name__)
    plain = logits(wide)
    apart = float((logits(out) - plain).square().mean().sqrt() / plain.std())
    assert 0 < apart < most
    assert {"tokenizer.json", "chat_template.jinja", "generation_config.json"} <= {file.name for file in out.iterdir()}
    assert not (out / ".merged").exists()
    smaller = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    assert smaller < sum(file.stat().st_size for file in wide.glob("*.safetensors"))
