"""Which layers ``lora_target`` and its neighbours mean, and what is said when they mean nothing."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForSequenceClassification
from tunesmith.errors import TunesmithError
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import SMALL, tiny_llama, tiny_moe
from tunesmith_lora.counting import count_learning
from tunesmith_lora.options import LoraOptions
from tunesmith_lora.tuner import LoraTuner

LINEAR = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def applied(model: Any, **options: Any) -> tuple[LoraTuner, Any]:
    tuner = LoraTuner(hand_plan(LoraOptions(**options)))
    return tuner, tuner.apply(model)


def updated(model: Any) -> set[str]:
    learning = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
    return {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in learning}


def test_all_is_every_linear_layer_but_the_head() -> None:
    _, model = applied(tiny_llama())
    assert sorted(model.peft_config["default"].target_modules) == LINEAR
    assert len(updated(model)) == 2 * len(LINEAR)
    assert not any("lm_head" in name for name in updated(model))


def test_the_head_of_a_classifier_learns_in_full() -> None:
    base = LlamaForSequenceClassification(LlamaConfig(**SMALL, num_labels=1))
    _, model = applied(base)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad and "lora_" not in name}
    assert learning == {"base_model.model.score.modules_to_save.default.weight"}


def test_alpha_is_twice_the_rank_unless_given() -> None:
    assert applied(tiny_llama(), lora_rank=6)[1].peft_config["default"].lora_alpha == 12
    assert applied(tiny_llama(), lora_rank=6, lora_alpha=3)[1].peft_config["default"].lora_alpha == 3


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (("q_proj",), {"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"}),
        (("model.layers.1.mlp.up_proj",), {"model.layers.1.mlp.up_proj"}),
        (("re:.*layers\\.0\\.self_attn\\.[qv]_proj",), {f"model.layers.0.self_attn.{x}_proj" for x in "qv"}),
        (
            ("re:.*layers\\.1\\.mlp\\.[a-z]{2", "4}_proj"),
            {"model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj", "model.layers.1.mlp.gate_proj"},
        ),
    ],
)
def test_names_and_expressions(target: tuple[str, ...], expected: set[str]) -> None:
    assert updated(applied(tiny_llama(), lora_target=target)[1]) == expected


def test_ranks_can_differ() -> None:
    _, model = applied(tiny_llama(), lora_rank=4, lora_target=("q_proj", "v_proj"), lora_rank_pattern={"q_proj": 2})
    ranks = {name.split(".")[-4]: parameter.shape[0] for name, parameter in model.named_parameters() if "lora_A" in name}
    assert ranks == {"q_proj": 2, "v_proj": 4}


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        ({"lora_target": ("q_porj",)}, "lora_target: q_porj matches nothing", "Did you mean 'q_proj'?"),
        ({"lora_target": ("q_proj", "query")}, "lora_target: query matches nothing", "down_proj (×2)"),
        ({"lora_target": ("self_attn",)}, "lora_target: self_attn matches nothing", "o_proj (×2)"),
        ({"lora_target": ("re:nothing.*",)}, "lora_target: re:nothing.* matches nothing", "q_proj (×2)"),
        ({"additional_target": ("embed",)}, "additional_target: embed matches nothing", "embed_tokens (×1)"),
        ({"lora_target_parameters": ("all",)}, "has no fused experts", "Leave lora_target_parameters out"),
        ({"pissa_init": True, "lora_rank": 48}, "update of rank 48", "Write lora_rank: 32"),
        ({"lora_init": "lora_ga", "lora_rank": 20}, "lora_init: lora_ga cannot give", "Write lora_rank: 16"),
    ],
)
def test_what_does_not_exist_is_an_error_that_lists_what_does(options: dict[str, Any], said: str, hint: str) -> None:
    with pytest.raises(TunesmithError) as caught:
        applied(tiny_llama(), **options)
    assert said in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_a_weight_that_is_table_and_head_at_once_gets_no_update(target: str) -> None:
    with pytest.raises(TunesmithError, match="both the input embeddings and the output head") as caught:
        applied(tiny_llama(tie_word_embeddings=True), lora_target=("q_proj", target))
    assert "additional_target" in caught.value.hint


def test_all_leaves_fused_experts_frozen_and_says_so() -> None:
    tuner, model = applied(tiny_moe())
    assert not any("experts" in name for name in updated(model))
    assert "fused experts stay frozen (experts.down_proj, experts.gate_up_proj)" in tuner.describe(model)[-1]


def test_fused_experts_learn_when_asked_for() -> None:
    tuner, model = applied(tiny_moe(), lora_rank=2, lora_target_parameters=("mlp.experts.down_proj",))
    learning = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad and "experts" in name}
    assert set(learning.values()) == {(2 * 4, 32), (64, 2 * 4)}
    assert not any("frozen" in line for line in tuner.describe(model))


def test_unknown_expert_weights_are_listed() -> None:
    with pytest.raises(TunesmithError) as caught:
        applied(tiny_moe(), lora_target_parameters=("experts.up_proj",))
    assert "gate_up_proj (×2)" in caught.value.hint


def test_the_description_names_places_and_counts() -> None:
    tuner, model = applied(tiny_llama(), lora_rank=4, lora_target=("q_proj", "v_proj"), additional_target=("lm_head",))
    places, counts, full = tuner.describe(model)
    assert places == "updates of rank 4, alpha 8, on 4 places: q_proj (×2), v_proj (×2)"
    learns = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert counts.startswith(f"{learns:,} of ")
    assert full == "learning in full: lm_head"


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (tiny_llama, LoraOptions()),
        (tiny_llama, LoraOptions(lora_rank=3, lora_target=("re:.*q_proj",), additional_target=("lm_head",), use_dora=True)),
        (tiny_moe, LoraOptions()),
        (tiny_moe, LoraOptions(lora_rank=2, lora_target=("q_proj",), lora_target_parameters=("all",))),
    ],
)
def test_the_estimate_counts_what_then_learns(model: Any, options: LoraOptions) -> None:
    base = model()
    shapes = {name: tuple(parameter.shape) for name, parameter in base.named_parameters()}
    tuned = LoraTuner(hand_plan(options)).apply(base)
    learns = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
    assert count_learning(shapes, lambda key: getattr(options, key)) == learns
