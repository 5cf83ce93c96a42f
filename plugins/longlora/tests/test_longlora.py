"""Shifted groups: by hand, without a look ahead, only while a model learns, and refused where they would undo something."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, MistralConfig, MistralForCausalLM
from tunesmith import TunesmithError, planning, settings
from tunesmith.errors import ConfigError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.testing import AcceleratorSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_run import small_model
from tunesmith.testing.tiny_models import SMALL, tiny_batch, tiny_llama, tiny_moe
from tunesmith_longlora.accelerator import ShiftedGroups
from tunesmith_longlora.checks import own_attention
from tunesmith_longlora.groups import group_size, shifted_attention, spans
from tunesmith_longlora.options import LongLoraOptions
from tunesmith_longlora.plugin import ACCELERATOR

PLUGINS = Plugins()


class TestPlugin(PluginSuite):
    plugin = "longlora"
    folder = Path(__file__).parents[1]


class TestShiftedGroups(AcceleratorSuite):
    """It learns from less context, on purpose, and so near the plain run only."""

    spec = ACCELERATOR
    options = (LongLoraOptions(shift_attn=True),)
    loss_tolerance = 0.8
    norm_tolerance = 10.0

    def at_work(self, accelerator: Any, model: Any) -> bool:
        return bool(accelerator.calls >= self.steps)


class TestCheckpointed(TestShiftedGroups):
    arguments = MappingProxyType({"activation_checkpointing": True})


# ---- by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "size", "straight", "shifted"),
    [
        (8, 2, [[0, 1], [2, 3], [4, 5], [6, 7]], [[0], [1, 2], [3, 4], [5, 6], [7]]),
        (10, 4, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]], [[0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]),
        (1, 2, [[0]], [[0]]),
    ],
)
def test_groups_by_hand(length: int, size: int, straight: list[list[int]], shifted: list[list[int]]) -> None:
    assert group_size(length) == size
    for first, groups in ((size, straight), (size // 2, shifted)):
        places = [
            list(range(start + one * width, start + (one + 1) * width))
            for start, many, width in spans(length, size, first)
            for one in range(many)
        ]
        assert places == groups


@pytest.mark.parametrize("length", [1, 2, 7, 8, 10, 33])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (3, 1)])
@pytest.mark.parametrize("padded", [None, "left", "right"])
def test_it_is_attention_with_a_mask_of_groups(length: int, heads: tuple[int, int], padded: str | None) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, count, length, 5) for count in (heads[0], heads[1], heads[1]))
    there = torch.ones(2, length, dtype=torch.bool)
    if padded:
        hidden = length // 3
        there[1, :hidden] = padded != "left"
        there[1, length - hidden :] &= padded != "right"
    found, _ = shifted_attention(None, query, key, value, there if padded else None, scaling=0.3)
    allowed = torch.stack([seen(length, shifted=head >= (heads[0] + 1) // 2) for head in range(heads[0])])
    mask = (allowed & there[:, None, None, :]) | torch.eye(length, dtype=torch.bool)
    key, value = (part.repeat_interleave(heads[0] // heads[1], 1) for part in (key, value))
    weights = (query @ key.transpose(2, 3) * 0.3).masked_fill(~mask, -torch.inf).softmax(-1)
    assert torch.allclose(found, (weights @ value).transpose(1, 2), atol=1e-5)


def seen(length: int, *, shifted: bool) -> torch.Tensor:
    """Who sees whom, told by the group of each place: half a group is added before places are counted off."""
    size = group_size(length)
    group = [(place + (size // 2 if shifted else 0)) // size for place in range(length)]
    return torch.tensor([[group[a] == group[b] and b <= a for b in range(length)] for a in range(length)])


# ---- in a model ------------------------------------------------------------------------------------------------------


def deepseek() -> Any:
    torch.manual_seed(0)
    return DeepseekV3ForCausalLM(
        DeepseekV3Config(
            **{**SMALL, "num_key_value_heads": 4}, moe_intermediate_size=32, n_routed_experts=4, num_experts_per_tok=2,
            n_group=1, topk_group=1, first_k_dense_replace=1,
            kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8,
            v_head_dim=16,
        )
    )  # fmt: skip


MODELS = {"llama": tiny_llama, "moe": tiny_moe, "deepseek": deepseek}


@pytest.mark.parametrize("name", MODELS)
def test_nothing_sees_what_comes_after_it(name: str) -> None:
    """As published, the first tokens of a row would see its last ones."""
    model = ShiftedGroups(hand_plan()).after_load(MODELS[name]()).train()
    words = model.get_input_embeddings()(tiny_batch(length=16)["input_ids"]).detach().requires_grad_()
    for at in (0, 5, 14):
        (slope,) = torch.autograd.grad(model(inputs_embeds=words).logits[:, at].float().pow(2).sum(), words)
        assert slope[:, : at + 1].abs().sum() > 0
        assert not slope[:, at + 1 :].any()


def test_two_layers_carry_words_over_the_borders_of_groups() -> None:
    model = ShiftedGroups(hand_plan()).after_load(tiny_llama()).train()
    words = model.get_input_embeddings()(tiny_batch(length=16)["input_ids"]).detach().requires_grad_()
    (slope,) = torch.autograd.grad(model(inputs_embeds=words).logits[:, 9].pow(2).sum(), words)
    reach = slope.abs().sum((0, 2)) > 0
    assert reach[4:10].all()  # its group begins at 8, the shifted one at 6, whose tokens saw those from 4 on
    assert not reach[:4].any()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_what_does_not_learn_is_as_it_was(attention: str) -> None:
    model, batch = tiny_llama(attn_implementation=attention), tiny_batch(length=16)
    plain = model(**batch).logits
    ShiftedGroups(hand_plan()).after_load(model).train()
    learning = model(**batch).logits
    model.eval()
    assert torch.equal(model(**batch).logits, plain)
    assert not torch.allclose(learning, plain, atol=1e-3)
    assert model.config._attn_implementation == attention
    assert model.generate(batch["input_ids"], max_new_tokens=3, do_sample=False).shape == (2, 19)


def test_under_an_adapter_and_recomputed_the_gradients_are_the_same() -> None:
    found = []
    for again in (False, True):
        accelerator = ShiftedGroups(hand_plan())
        model = accelerator.after_load(tiny_llama())
        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(target_modules="all-linear", init_lora_weights=False)).train()
        if again:
            model.enable_input_require_grads()
            model.activation_checkpointing_enable({"use_reentrant": False})
        model(**tiny_batch(length=16)).loss.backward()
        assert accelerator.calls == 1
        found.append({name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad})
    assert found[0]
    for name, grad in found[0].items():
        assert torch.allclose(grad, found[1][name], atol=1e-6), name


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_not_seen(side: str) -> None:
    model = ShiftedGroups(hand_plan()).after_load(tiny_llama()).train()
    batch = tiny_batch(length=16)
    hidden = slice(0, 5) if side == "left" else slice(11, 16)
    shown = slice(5, 16) if side == "left" else slice(0, 11)
    batch["attention_mask"][:, hidden] = 0
    first = model(batch["input_ids"], batch["attention_mask"]).logits
    batch["input_ids"][:, hidden] = 99
    second = model(batch["input_ids"], batch["attention_mask"]).logits
    assert torch.allclose(first[:, shown], second[:, shown], atol=1e-5)
    assert not torch.isnan(first).any()


def test_a_pass_that_goes_on_from_another_is_an_error() -> None:
    query, key = torch.randn(1, 2, 1, 4), torch.randn(1, 2, 5, 4)
    with pytest.raises(RuntimeError, match="keys of earlier calls"):
        shifted_attention(None, query, key, key, None)


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small")


def plan(model: Path, **keys: Any) -> Plan:
    given = {
        "model_name_or_path": str(model), "template": "chatml", "output_dir": "out", "backend": "cpu", "dataset": "nothing",
        "shift_attn": True, **keys,
    }  # fmt: skip
    return planning.make(settings.read(PLUGINS, given, environ={}), PLUGINS, "train")


@pytest.mark.parametrize("keys", [{}, {"stage": "rm"}, {"stage": "dpo", "pref_loss": "orpo"}])
def test_a_plan_picks_it(model: Path, keys: dict[str, Any]) -> None:
    assert [chosen.name for chosen in plan(model, **keys).picked("accelerators")] == ["longlora"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"packing": True}, "groups would cross the texts that packing joins"),
        ({"neat_packing": True}, "groups would cross the texts that neat_packing joins"),
        ({"flash_attn": "flex"}, "flex"),
        ({"stage": "dpo"}, r"what it is compared with \(reference\) all of it"),
    ],
)
def test_what_it_cannot_go_with(model: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(model, **keys)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"sliding_window": 4096}, "a window of its own (sliding_window: 4096)"),
        ({"sliding_window": 4096, "use_sliding_window": False}, ""),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layers with sliding_attention"),
        ({"attn_logit_softcapping": 50.0}, "capped scores"),
        ({"model_type": "llama"}, ""),
    ],
)
def test_models_that_attend_otherwise(config: dict[str, Any], said: str) -> None:
    assert own_attention(config) == said


def test_a_model_with_a_window_is_refused_when_it_is_there_too() -> None:
    with pytest.raises(TunesmithError, match="has a window of its own"):
        ShiftedGroups(hand_plan()).after_load(MistralForCausalLM(MistralConfig(**SMALL, sliding_window=8)))
