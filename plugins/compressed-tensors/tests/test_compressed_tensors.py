"""The quantizer ``compressed-tensors``: real files in its format, read packed and plain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from tunesmith.errors import TunesmithError
from tunesmith.plan import ModelWish
from tunesmith.testing import PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.quantizer_suite import WIDE, recognised
from tunesmith.testing.tiny_models import logits, tiny_batch, tiny_llama
from tunesmith_compressed_tensors.plugin import SPEC
from tunesmith_compressed_tensors.quantizer import CompressedTensorsQuantizer

GROUP = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}}
CONFIG = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "config_groups": {"group_0": GROUP},
    "ignore": ["lm_head"],
}


class TestPlugin(PluginSuite):
    plugin = "compressed-tensors"
    folder = Path(__file__).parents[1]


def write(base: Path) -> Path:
    """Eight bits with a scale for each row, as llm-compressor writes them."""
    folder = base / "model"
    tiny_llama(**WIDE).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith("proj.weight")]:
        scale = tensors[name].abs().amax(dim=1, keepdim=True) / 127
        tensors[f"{name}_scale"] = scale
        tensors[name] = (tensors[name] / scale).round().clamp(-128, 127).to(torch.int8)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": CONFIG}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("packed"))


def test_it_is_read_into_plain_weights(folder: Path) -> None:
    """Every tuner can train them, and adapters merge."""
    quantizer = CompressedTensorsQuantizer(hand_plan(model_revision="main", cache_dir=None, hf_hub_token=None))
    wish = ModelWish("policy", str(folder), quantizer=SPEC.name)
    kwargs = quantizer.arguments(wish, torch.float32)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map={"": "cpu"}, **kwargs)
    quantizer.check(model, wish)
    layer, plain = model.model.layers[0].mlp.up_proj, tiny_llama(**WIDE)
    assert type(layer) is torch.nn.Linear
    assert layer.weight.dtype == torch.float32
    assert not hasattr(model.config, "quantization_config")
    assert torch.allclose(layer.weight, plain.model.layers[0].mlp.up_proj.weight, atol=1e-3)
    assert 0 < (logits(model) - logits(plain)).norm() < 0.05 * logits(plain).norm()
    model.train()(**tiny_batch()).loss.backward()
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("command", ["chat", "train"])
def test_it_is_recognised_while_planning(tmp_path: Path, command: str) -> None:
    wish = recognised(tmp_path, command=command, **CONFIG).models["policy"]
    assert (wish.quantizer, wish.packed) == ("compressed-tensors@compressed-tensors", False)


def test_weights_that_are_still_packed_are_refused(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(TunesmithError, match="14 layers of LlamaForCausalLM"):
        CompressedTensorsQuantizer(hand_plan()).check(model, ModelWish("policy", str(folder), quantizer=SPEC.name))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
