"""What ``lora`` writes and reads: files other programs understand, and folders that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, VeraConfig, get_peft_model
from tunesmith.errors import TunesmithError
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import logits, tiny_batch, tiny_llama
from tunesmith_lora.options import LoraOptions
from tunesmith_lora.tuner import LoraTuner


def tuner(**options: Any) -> LoraTuner:
    return LoraTuner(hand_plan(LoraOptions(**options), learning_rate=1e-3))


def learned(one: LoraTuner, base: Any, rate: float = 1e-3) -> Any:
    torch.manual_seed(0)
    model = one.apply(base)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for _ in range(3):
        model(**tiny_batch()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def test_peft_alone_reads_what_is_saved(tmp_path: Path) -> None:
    one = tuner(lora_rank=4)
    model = learned(one, tiny_llama())
    one.save(model, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert torch.equal(logits(PeftModel.from_pretrained(tiny_llama(), tmp_path)), logits(model))


def test_the_configuration_is_written_alike_every_time(tmp_path: Path) -> None:
    one = tuner()
    one.save(one.apply(tiny_llama()), tmp_path)
    targets = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets)


def test_an_adapter_of_peft_is_read(tmp_path: Path) -> None:
    model = get_peft_model(tiny_llama(), LoraConfig(r=3, target_modules=["v_proj"], init_lora_weights=False))
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(tuner().load(tiny_llama(), tmp_path, trainable=False)), logits(model))


def test_a_converted_pissa_adapter_is_plain_for_peft(tmp_path: Path) -> None:
    one = tuner(lora_rank=4, pissa_init=True, pissa_convert=True, lora_rank_pattern={"q_proj": 2})
    model = learned(one, tiny_llama())
    one.save(model, tmp_path)
    plain = PeftModel.from_pretrained(tiny_llama(), tmp_path)
    config = plain.peft_config["default"]
    assert (config.r, config.rank_pattern, config.init_lora_weights) == (8, {"q_proj": 4}, True)
    assert torch.allclose(logits(plain), logits(model), atol=1e-4)
    with plain.disable_adapter():
        assert torch.equal(logits(plain), logits(tiny_llama()))


def test_pissa_starts_as_the_base_from_its_principal_part() -> None:
    model = tuner(lora_rank=4, pissa_init=True, pissa_iter=-1, lora_target=("q_proj",)).apply(tiny_llama())
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    weight = tiny_llama().model.layers[0].self_attn.q_proj.weight.detach()
    left, values, right = torch.linalg.svd(weight)
    principal = left[:, :4] @ torch.diag(values[:4]) @ right[:4]
    assert torch.allclose(layer.get_delta_weight("default"), principal, atol=1e-5)
    assert torch.allclose(layer.get_base_layer().weight, weight - principal, atol=1e-5)
    assert torch.allclose(logits(model), logits(tiny_llama()), atol=1e-4)


def test_several_adapters_are_merged_one_after_the_other(tmp_path: Path) -> None:
    first, second = tuner(lora_rank=2, lora_target=("q_proj",)), tuner(lora_rank=3, lora_target=("v_proj",))
    first.save(learned(first, tiny_llama()), tmp_path / "a")
    base = tuner().load(tiny_llama(), tmp_path / "a", trainable=False)
    base = tuner().merge(base)
    expected = learned(second, base)
    second.save(expected, tmp_path / "b")
    both = tiny_llama()
    for name in ("a", "b"):
        one = tuner()
        both = one.merge(one.load(both, tmp_path / name, trainable=False))
    assert torch.allclose(logits(both), logits(expected), atol=1e-5)


def test_another_kind_of_adapter_is_refused(tmp_path: Path) -> None:
    get_peft_model(tiny_llama(), VeraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    with pytest.raises(TunesmithError, match="VERA"):
        tuner().load(tiny_llama(), tmp_path, trainable=False)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(TunesmithError, match=r"no adapter_model\.safetensors"):
        tuner().load(tiny_llama(), tmp_path, trainable=False)


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match=r"adapter_config\.json is missing"):
        tuner().load(tiny_llama(), tmp_path, trainable=True)


@pytest.mark.parametrize("other", [{"hidden_size": 32}, {"num_hidden_layers": 1}])
def test_an_adapter_of_another_model_is_refused(tmp_path: Path, other: dict[str, int]) -> None:
    one = tuner()
    one.save(one.apply(tiny_llama(**other)), tmp_path)
    with pytest.raises(TunesmithError, match="does not fit LlamaForCausalLM"):
        tuner().load(tiny_llama(), tmp_path, trainable=True)


def test_the_last_adapter_goes_on_unless_a_new_one_is_wanted() -> None:
    assert tuner().continues()
    assert not tuner(create_new_adapter=True).continues()


def test_loraplus_has_its_own_rates() -> None:
    options = LoraOptions(lora_target=("q_proj", "embed_tokens"), additional_target=("norm",), loraplus_lr_ratio=16.0)
    one = LoraTuner(hand_plan(options, learning_rate=1e-4, weight_decay=0.1))
    model = one.apply(tiny_llama())
    groups = one.param_groups(model)
    assert groups is not None
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            rate = 1e-6 if "embedding_B" in name else 16e-4 if "lora_B" in name else 1e-4
            assert group["lr"] == pytest.approx(rate), name
            assert group["weight_decay"] == (0.0 if "norm" in name else 0.1), name
