"""Models quantised on export, each by its library for real, and read back as anybody would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from tunesmith.cli.main import main
from tunesmith.model_heads import VALUE_HEAD
from tunesmith.runtime.tiny import make_tiny
from tunesmith.runtime.value_head import write_value_head

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
    pytest.importorskip(f"tunesmith_{method}", reason=f"tunesmith-{method} is not installed, which packs the weights")
    pytest.importorskip(method, reason=f"{method} is not installed, which packs the weights")
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


def test_a_value_head_comes_along_as_it_is_or_its_lack_is_said(
    wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tunesmith_torchao", reason="tunesmith-torchao is not installed, which packs the weights")
    shutil.copytree(wide, tmp_path / "model")
    write_value_head({"summary.weight": torch.randn(1, 128), "summary.bias": torch.ones(1)}, tmp_path / "model")
    head = (tmp_path / "model" / VALUE_HEAD).read_bytes()
    keys = [f"model_name_or_path={tmp_path / 'model'}", "--no-verify"]
    out = tmp_path / "out"
    assert main(["export", *keys, f"export_dir={out}", "export_quantization_bit=8", "quantization_method=torchao"]) == 0
    assert (out / VALUE_HEAD).read_bytes() == head
    pytest.importorskip("tunesmith_gguf", reason="tunesmith-gguf is not installed, which writes the other form")
    capsys.readouterr()
    assert main(["export", *keys, f"export_dir={tmp_path / 'gguf'}", "export_format=gguf"]) == 0
    assert "no value_head.safetensors: the form gguf has no place for it" in capsys.readouterr().out
