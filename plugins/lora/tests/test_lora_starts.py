"""What an update starts from: data, gradients, what quantising lost, repeated layers; in runs, and against the papers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tunesmith.errors import TunesmithError
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.tiny_models import logits, tiny_batch, tiny_llama
from tunesmith_lora.options import LoraOptions
from tunesmith_lora.tuner import LoraTuner


def fitted(rows: int = 32, model: Any = None, **options: Any) -> tuple[LoraTuner, Any]:
    """A tuner and a model that it has fitted to random rows."""
    tuner = LoraTuner(hand_plan(LoraOptions(**options)))
    torch.manual_seed(0)
    tuned = tuner.apply(tiny_llama() if model is None else model)
    tuner.initialize(tuned, (tiny_batch(seed=seed, rows=1) for seed in range(rows)), lambda batch: tuned(**batch).loss)
    return tuner, tuned


def inputs_of(layer: str, rows: int = 32) -> torch.Tensor:
    """What goes into a layer of the plain model for those rows: (tokens, width)."""
    model, seen = tiny_llama(), []
    model.get_submodule(layer).register_forward_hook(lambda _, given, __: seen.append(given[0].detach().flatten(0, -2)))
    for seed in range(rows):
        logits(model, tiny_batch(seed=seed, rows=1))
    return torch.cat(seen)


@pytest.mark.parametrize("method", ["olora", "corda", "lora_ga", "eva", "orthogonal", "mica", "gaussian"])
def test_every_start_answers_as_the_base(method: str) -> None:
    tuner, model = fitted(lora_init=method, lora_rank=4)
    assert torch.allclose(logits(model), logits(tiny_llama()), atol=2e-3 if method == "lora_ga" else 1e-4)
    with tuner.without(model):
        assert torch.allclose(logits(model), logits(tiny_llama()), atol=2e-3 if method == "lora_ga" else 1e-4)


def test_eva_finds_the_principal_directions_of_the_input() -> None:
    """They hold nearly as much of the input's variance as the best directions of that number."""
    _, model = fitted(rows=64, lora_init="eva", lora_rank=4, lora_eva_rho=1.0, lora_eva_tau=0.9999, lora_target=("down_proj",))
    for number in (0, 1):
        layer = model.base_model.model.model.layers[number].mlp.down_proj
        states = inputs_of(f"model.layers.{number}.mlp.down_proj", rows=64)
        states -= states.mean(0)
        _, values, _ = torch.linalg.svd(states, full_matrices=False)
        held = (states @ layer.lora_A["default"].weight.T).square().sum() / values[:4].square().sum()
        assert 0.9 < float(held) <= 1.001


def test_eva_moves_ranks_and_keeps_their_number() -> None:
    _, model = fitted(lora_init="eva", lora_rank=4, lora_target=("q_proj", "o_proj", "up_proj", "down_proj"))
    ranks = [weight.shape[0] for name, weight in model.named_parameters() if "lora_A" in name]
    assert len(set(ranks)) > 1
    assert sum(ranks) == 4 * 8


def test_eva_says_when_it_does_not_come_to_an_end() -> None:
    with pytest.raises(TunesmithError, match="do not stand still"):
        fitted(rows=1, lora_init="eva", lora_rank=32, lora_eva_rho=2.0, lora_target=("q_proj", "down_proj"))


def test_corda_takes_the_part_of_the_weight_that_the_data_uses() -> None:
    """Instruction-previewed: more of the output for such inputs is in the update than PiSSA puts there."""
    states = inputs_of("model.layers.1.mlp.up_proj")
    shares = {}
    for method in ("corda", "pissa"):
        _, model = fitted(lora_init=method, pissa_iter=-1, lora_rank=8, lora_target=("up_proj",))
        layer = model.base_model.model.model.layers[1].mlp.up_proj
        whole = tiny_llama().model.layers[1].mlp.up_proj.weight.detach()
        shares[method] = float((states @ layer.get_delta_weight("default").T).norm() / (states @ whole.T).norm())
    assert shares["corda"] > shares["pissa"]


def test_lora_ga_spans_the_first_gradient() -> None:
    """``B`` holds left and ``A`` right singular vectors of the gradient of the mean loss over the rows."""
    _, model = fitted(rows=4, lora_init="lora_ga", lora_rank=2, lora_ga_scale="unit", lora_target=("up_proj",))
    base = tiny_llama().requires_grad_(True)
    for seed in range(4):
        (base(**tiny_batch(seed=seed, rows=1)).loss / 4).backward()
    left, _, right = torch.linalg.svd(base.model.layers[0].mlp.up_proj.weight.grad)
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    first, second = layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach()
    assert torch.allclose((first @ right[:2].T).abs(), torch.eye(2), atol=1e-2)
    columns = second / second.norm(dim=0)
    assert torch.allclose((columns.T @ left[:, 2:4]).abs(), torch.eye(2), atol=1e-2)


@pytest.mark.parametrize("method", ["olora", "corda", "lora_ga"])
def test_what_moved_weights_is_plain_for_peft(method: str, tmp_path: Path) -> None:
    tuner, model = fitted(lora_init=method, lora_rank=2)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model(**tiny_batch()).loss.backward()
    optimizer.step()
    tuner.save(model, tmp_path)
    assert torch.allclose(logits(PeftModel.from_pretrained(tiny_llama(), tmp_path)), logits(model), atol=2e-3)


# -- in a run ------------------------------------------------------------------------------------------------------------


def run(folder: Path, **keys: Any) -> tuple[Any, list[float]]:
    plugins = small_plugins(lora="tunesmith_lora.plugin")
    given = {"finetuning_type": "lora", "lora_rank": 4, "lora_target": ("q_proj", "v_proj"), "max_steps": 6, **keys}
    opened = small_session(
        small_plan(folder, plugins, "small", picked={"tuners": "lora"}, **given), plugins, SmallStore(small_rows(16))
    )
    opened.trainer.run(opened)
    return opened, small_losses(opened)


@pytest.mark.parametrize("method", ["eva", "corda", "lora_ga"])
def test_a_resumed_run_is_the_uninterrupted_one(method: str, tmp_path: Path) -> None:
    keys = {"lora_init": method, "lora_init_samples": 16, "learning_rate": 1e-3, "lora_dropout": 0.1}
    _, whole = run(tmp_path, save_strategy="steps", save_steps=3, **keys)
    _, resumed = run(tmp_path, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3"), **keys)
    assert resumed == whole


# -- repeated layers -----------------------------------------------------------------------------------------------------


def test_layers_are_repeated_with_updates_of_their_own(tmp_path: Path) -> None:
    tuner, model = fitted(lora_layer_replication=("0-2", "0-2"), lora_rank=2, lora_target=("q_proj",))
    layers = model.base_model.model.model.layers
    assert len(layers) == 4
    shared = [layer.self_attn.q_proj.get_base_layer().weight.data_ptr() for layer in layers]
    assert shared[:2] == shared[2:]
    for layer in layers:
        torch.nn.init.normal_(layer.self_attn.q_proj.lora_B["default"].weight)
    tuner.save(model, tmp_path)
    again = LoraTuner(hand_plan(LoraOptions())).load(tiny_llama(), tmp_path, trainable=False)
    assert torch.equal(logits(again), logits(model))
    with pytest.raises(TunesmithError, match="repeated layers cannot be merged"):
        tuner.merge(model)


# -- what quantising lost ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="LoftQ needs bitsandbytes, which is not installed")
def test_loftq_starts_nearer_to_the_full_model_than_quantising_alone(tmp_path: Path) -> None:
    from transformers import BitsAndBytesConfig, LlamaForCausalLM

    full = tiny_llama(hidden_size=128, intermediate_size=256)
    full.save_pretrained(tmp_path)

    def quantized() -> Any:
        return LlamaForCausalLM.from_pretrained(
            tmp_path, quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        )

    places = {"model_name_or_path": str(tmp_path), "cache_dir": None, "model_revision": "main", "hf_hub_token": None}
    tuner = LoraTuner(hand_plan(LoraOptions(lora_init="loftq", lora_rank=16), **places))
    model = tuner.apply(quantized())
    lost = (logits(quantized()) - logits(full)).norm()
    assert (logits(model) - logits(full)).norm() < 0.8 * lost
    tuner.save(model, tmp_path / "adapter")
    again = LoraTuner(hand_plan(LoraOptions())).load(quantized(), tmp_path / "adapter", trainable=False).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items() if "lora_" in name)
