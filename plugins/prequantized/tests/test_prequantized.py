"""The quantizers ``fp8`` and ``mxfp4``: real files in these formats, read into plain weights on a processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GptOssConfig, GptOssForCausalLM
from tunesmith.contracts import Quantizer
from tunesmith.errors import TunesmithError
from tunesmith.plan import ModelWish
from tunesmith.testing import PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.quantizer_suite import WIDE, recognised
from tunesmith.testing.tiny_models import logits, tiny_llama
from tunesmith_prequantized.quantizer import Fp8Quantizer, Mxfp4Quantizer

#: What the sixteen patterns of MXFP4 (one sign, two exponent, one mantissa bit) mean.
NUMBERS = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
NUMBERS = torch.cat([NUMBERS, -NUMBERS])


class TestPlugin(PluginSuite):
    plugin = "prequantized"
    folder = Path(__file__).parents[1]


def read(kind: type[Quantizer], folder: Path, name: str, *, packed: bool = False) -> Any:
    quantizer = kind(hand_plan(model_revision="main", cache_dir=None, hf_hub_token=None))
    wish = ModelWish("policy", str(folder), quantizer=name, packed=packed)
    kwargs = quantizer.arguments(wish, torch.float32)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map={"": "cpu"}, **kwargs)
    model = quantizer.after_load(model, wish)
    quantizer.check(model, wish)
    return model


def describe(folder: Path, **config: Any) -> None:
    plain = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**plain, "quantization_config": config}))


@pytest.fixture(scope="module")
def fp8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as DeepSeek publishes them: blocks of 128 × 128 with a scale each."""
    folder = tmp_path_factory.mktemp("fp8") / "model"
    tiny_llama(**WIDE, num_key_value_heads=4).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith("proj.weight")]:
        rows, columns = tensors[name].shape
        blocks = tensors[name].reshape(rows // 128, 128, columns // 128, 128)
        scale = blocks.abs().amax(dim=(1, 3)) / 448
        tensors[name] = (blocks / scale[:, None, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    describe(folder, quant_method="fp8", weight_block_size=[128, 128], activation_scheme="dynamic")
    return folder


def test_fp8_weights_become_plain_ones(fp8: Path) -> None:
    model, plain = read(Fp8Quantizer, fp8, "fp8"), tiny_llama(**WIDE, num_key_value_heads=4)
    layer, other = model.model.layers[0].mlp.up_proj, plain.model.layers[0].mlp.up_proj
    assert type(layer) is torch.nn.Linear
    assert (layer.weight - other.weight).norm() < 0.04 * other.weight.norm()
    assert (logits(model) - logits(plain)).norm() < 0.15 * logits(plain).norm()
    assert not hasattr(model.config, "quantization_config")


def test_plain_weights_do_not_pass_for_packed_ones(fp8: Path) -> None:
    with pytest.raises(TunesmithError, match="No layer of LlamaForCausalLM"):
        read(Fp8Quantizer, fp8, "fp8", packed=True)


def test_mxfp4_experts_become_plain_ones(tmp_path: Path) -> None:
    """Each number is the pattern's value times two to the power of its block's scale, minus 127."""
    folder = tmp_path / "model"
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 32}
    config = GptOssConfig(**sizes, num_key_value_heads=1, num_local_experts=2, num_experts_per_tok=1, vocab_size=64)
    torch.manual_seed(0)
    GptOssForCausalLM(config).save_pretrained(folder)
    tensors, expected = load_file(folder / "model.safetensors"), {}
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inner, outer = tensors.pop(name).shape
        codes = torch.randint(0, 16, (experts, outer, inner // 32, 32))
        scales = torch.randint(120, 130, (experts, outer, inner // 32), dtype=torch.uint8)
        low, high = codes[..., 0::2], codes[..., 1::2]
        tensors[f"{name}_blocks"], tensors[f"{name}_scales"] = (low + 16 * high).to(torch.uint8), scales
        values = NUMBERS[codes] * torch.exp2(scales[..., None].float() - 127)
        expected[name] = values.reshape(experts, outer, inner).transpose(1, 2)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    describe(folder, quant_method="mxfp4")
    model = read(Mxfp4Quantizer, folder, "mxfp4")
    assert len(expected) == 2
    model.save_pretrained(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    for name, weight in expected.items():
        assert torch.equal(model.get_parameter(name).float(), weight)
        assert torch.equal(saved[name].float(), weight)


@pytest.mark.parametrize("method", ["fp8", "mxfp4"])
def test_a_published_model_is_recognised_while_planning(tmp_path: Path, method: str) -> None:
    """Training loads it into plain weights, so that every tuner can train it; on a processor there is no other way."""
    plan = recognised(tmp_path, command="train", quant_method=method)
    assert (plan.models["policy"].quantizer, plan.models["policy"].packed) == (f"{method}@prequantized", False)
    chat = recognised(tmp_path, command="chat", quant_method=method)
    assert not chat.models["policy"].packed
    assert any(
        f"{method} weights are loaded into plain ones: the backend cpu runs no triton kernels" in n for n in chat.notices
    )
