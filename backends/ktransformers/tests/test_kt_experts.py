"""Experts behind the kernel against torch's own: answers, gradients, training, files; by the reference and by kt-kernel."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from tunesmith import TunesmithError
from tunesmith_ktransformers import experts, processor
from tunesmith_ktransformers.experts import put_in
from tunesmith_ktransformers.kernel import KtKernel, Sizes, Tuning
from tunesmith_ktransformers.reference import TorchKernel
from tunesmith_ktransformers.rounding import rounded

VOCABULARY, CHOSEN = 256, 2
BUILD = processor.best_build(processor.read_flags())
WHY_NOT = (
    "kt-kernel is not installed here: it lives in the stack ktransformers"
    if find_spec("kt_kernel") is None
    else f"kt-kernel has no backward pass for this processor ({BUILD})"
)
REAL = pytest.param(KtKernel, marks=pytest.mark.skipif(
    find_spec("kt_kernel") is None or BUILD not in processor.TRAINING_BUILDS, reason=WHY_NOT
), id="kt-kernel")  # fmt: skip
each_kernel = pytest.mark.parametrize("kind", [pytest.param(TorchKernel, id="reference"), REAL])

SHARED: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 128,
    "moe_intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_experts_per_tok": CHOSEN,
    "initializer_range": 0.03,
    "pad_token_id": 0,
}


def qwen(**more: Any) -> Any:
    config = Qwen3MoeConfig(**SHARED, num_experts=8, head_dim=32, decoder_sparse_step=1, norm_topk_prob=True, **more)
    return Qwen3MoeForCausalLM(config)


def qwen_last() -> Any:
    """With experts in the last layer only: what comes before is the same to the bit, so that no token is routed otherwise."""
    return qwen(mlp_only_layers=[0])


def deepseek() -> Any:
    """Multi-head latent attention, a dense first layer, a shared expert, and scores that choose by group."""
    latent = {"q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 32}
    routing = {"n_routed_experts": 8, "n_shared_experts": 1, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1}
    return DeepseekV3ForCausalLM(DeepseekV3Config(**SHARED, **latent, **routing, routed_scaling_factor=1.5))


each_model = pytest.mark.parametrize("build", [qwen, deepseek])
each_stable_model = pytest.mark.parametrize("build", [qwen_last, deepseek])


def made(build: Any) -> Any:
    torch.manual_seed(0)
    return build().to(torch.bfloat16).eval()


def with_updates(model: Any, *, learn: bool = True) -> Any:
    """The model with peft's updates on experts and attention, B too away from zero."""
    target = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["o_proj"], target_parameters=target)
    tuned = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1  # float32, as runs train them
            parameter.requires_grad_(learn)
    return tuned


PLAIN = Tuning()


def behind(kind: Any, model: Any, tuning: Tuning = PLAIN) -> Any:
    """``model`` with the kernel behind its experts."""
    layers = put_in(model, maker(kind, tuning), retain=tuning.retain, tokens=tuning.tokens, chosen=CHOSEN)
    assert layers >= 1
    return model


def maker(kind: Any, tuning: Tuning) -> Any:
    return lambda number, sizes, rank: kind(number, sizes, tuning, rank)


def ids(rows: int = 2, length: int = 24, seed: int = 5) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def answers(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids(), use_cache=False).logits.float()
    return logits


def distance(model: Any, other: Any) -> float:
    """How far two models' answers are apart, over the tokens that both send to the same experts.

    A token that sits between two experts may go the other way after a rounding, which says nothing about the experts.
    """
    (one, routes), (two, others) = (_routed(each) for each in (model, other))
    alike = torch.stack([(a == b).all(-1) for a, b in zip(routes, others, strict=True)]).all(0)
    assert alike.float().mean() > 0.9
    return gap(one.flatten(0, 1)[alike], two.flatten(0, 1)[alike])


def _routed(model: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    routes: list[torch.Tensor] = []
    modules = [module for _, module in experts.fused_experts(model)]
    hooks = [module.register_forward_pre_hook(lambda _, given: routes.append(given[1].sort(-1).values)) for module in modules]
    answer = answers(model)
    for hook in hooks:
        hook.remove()
    return answer, routes


def gap(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def gradients(model: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(input_ids=ids(), labels=ids(), use_cache=False).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# ---- what it computes ------------------------------------------------------------------------------------------------


@each_kernel
@each_model
@pytest.mark.parametrize("bits", [16, 8, 4])
def test_answers_are_those_of_torch_with_the_weights_that_the_kernel_holds(kind: Any, build: Any, bits: int) -> None:
    model = made(build)
    plain = copy.deepcopy(model)
    for _, module in experts.fused_experts(plain):
        for weight in (module.gate_up_proj, module.down_proj):
            weight.data = rounded(weight.data, bits).to(torch.bfloat16)
    assert distance(behind(kind, model, Tuning(bits=bits)), plain) < 0.01


@each_kernel
@each_stable_model
def test_updates_of_experts_answer_and_learn_as_under_torch(kind: Any, build: Any) -> None:
    model = with_updates(made(build))
    plain = copy.deepcopy(model)
    wanted = gradients(plain)
    behind(kind, model)
    assert distance(model, plain) < 0.01
    found = gradients(model)
    assert found.keys() == wanted.keys()
    assert any("experts" in name for name in found)
    for part in ("experts", "o_proj"):
        names = [name for name in wanted if part in name]
        flat = [torch.cat([one[name].flatten() for name in names]) for one in (found, wanted)]
        assert gap(*flat) < 0.01, part


@each_kernel
def test_gradients_do_not_depend_on_how_the_tokens_are_cut_or_kept(kind: Any) -> None:
    found = []
    for tuning in (Tuning(), Tuning(retain=True), Tuning(tokens=32)):
        model = behind(kind, with_updates(made(qwen)), tuning)
        found.append(gradients(model))
    for other in found[1:]:
        assert max(gap(other[name], found[0][name]) for name in found[0]) < 0.006  # sums of bfloat16 in another order


@each_kernel
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers_have_the_gradients_of_others(kind: Any, reentrant: bool) -> None:
    model = behind(kind, with_updates(made(qwen)).train())
    wanted = gradients(model)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    found = gradients(model)
    assert max(gap(found[name], wanted[name]) for name in wanted) < 1e-6


@each_kernel
@pytest.mark.parametrize("retain", [False, True])
def test_two_forwards_before_their_backwards_do_not_mix(kind: Any, retain: bool) -> None:
    model = behind(kind, with_updates(made(qwen)), Tuning(retain=retain))
    alone = []
    for seed in (5, 6):
        model.zero_grad()
        model(input_ids=ids(seed=seed), labels=ids(seed=seed), use_cache=False).loss.backward()
        alone.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    model.zero_grad()
    losses = [model(input_ids=ids(seed=seed), labels=ids(seed=seed), use_cache=False).loss for seed in (5, 6)]
    sum(losses).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert gap(parameter.grad, alone[0][name] + alone[1][name]) < 1e-3, name


@each_kernel
def test_a_loss_falls_as_it_does_under_torch(kind: Any) -> None:
    curves = []
    for put in (False, True):
        model = with_updates(made(qwen_last)).train()
        if put:
            behind(kind, model)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
        curve = []
        for _ in range(12):
            loss = model(input_ids=ids(), labels=ids(), use_cache=False).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            curve.append(loss.item())
        curves.append(curve)
    assert curves[0][-1] < curves[0][0] - 0.5
    assert curves[1] == pytest.approx(curves[0], rel=0.01)


# ---- around it -------------------------------------------------------------------------------------------------------


@each_kernel
def test_steps_of_any_optimizer_reach_the_kernel(kind: Any) -> None:
    """One that writes through .data is not seen by torch's count of writes."""
    model = behind(kind, with_updates(made(qwen)))
    before = answers(model)
    gradients(model)
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.data.add_(parameter.grad, alpha=-5.0)
    assert gap(answers(model), before) > 1e-3


@each_kernel
def test_what_peft_saves_is_what_peft_reads_and_merges(kind: Any, tmp_path: Path) -> None:
    model = behind(kind, with_updates(made(deepseek), learn=False))
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(made(deepseek), tmp_path)
    assert distance(model, loaded) < 0.01
    assert distance(model, loaded.merge_and_unload()) < 0.01


@each_kernel
def test_without_the_adapter_the_base_answers(kind: Any) -> None:
    base = answers(behind(kind, made(qwen_last)))
    model = behind(kind, with_updates(made(qwen_last)))
    with model.disable_adapter():
        assert gap(answers(model), base) < 0.01
    assert gap(answers(model), base) > 0.02


def test_experts_with_updates_of_other_ranks_and_scales() -> None:
    model = made(qwen_last)
    target = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    ranks = {"gate_up_proj": 2, "down_proj": 6}
    config = LoraConfig(r=4, lora_alpha=8, target_modules=[], target_parameters=target, rank_pattern=ranks, use_rslora=True)
    tuned = get_peft_model(model, config)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    plain = copy.deepcopy(tuned)
    behind(TorchKernel, tuned)
    assert distance(tuned, plain) < 0.01
    wanted, found = gradients(plain), gradients(tuned)
    assert max(gap(found[name], wanted[name]) for name in wanted if "experts" in name) < 0.02


def test_weights_leave_torch_and_cannot_be_merged_into() -> None:
    model = behind(TorchKernel, with_updates(made(qwen)))
    assert all(p.device.type == "meta" for n, p in model.named_parameters() if "experts" in n and "lora_" not in n)
    assert model.to(torch.float32) is model  # what is nowhere stays there
    with pytest.raises(TunesmithError, match="cannot be merged"):
        model.merge_and_unload()


def test_experts_of_another_kind_are_refused_by_name() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_up_proj = torch.nn.Parameter(torch.zeros(2, 64, 32))
            self.down_proj = torch.nn.Parameter(torch.zeros(2, 32, 32))
            self.has_bias, self.act_fn = True, torch.nn.GELU()

    model = torch.nn.ModuleDict({"layer": Odd()})
    with pytest.raises(TunesmithError, match="layer: these experts have biases and use GELU"):
        behind(TorchKernel, model)


def test_sizes_that_would_end_the_process_are_a_sentence() -> None:
    with pytest.raises(TunesmithError, match="blocks of 32, and here they are 64 → 48") as caught:
        TorchKernel(0, Sizes(4, 2, 64, 48), Tuning(), 0)
    assert caught.value.hint == "Leave use_kt out."
    with pytest.raises(TunesmithError, match="blocks of 128") as caught:
        TorchKernel(0, Sizes(4, 2, 64, 64), Tuning(bits=4), 0)
    assert caught.value.hint == "Write kt_bits: 16 or 8"
