"""The accelerator ``cross-entropy`` against the conformance suite, against torch, and in real runs."""

from __future__ import annotations

import math
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from tunesmith.errors import TunesmithError
from tunesmith.runtime.token_loss import token_losses
from tunesmith.testing import AcceleratorSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.tiny_models import tiny_batch, tiny_llama, tiny_moe
from tunesmith_cross_entropy.accelerator import ChunkedCrossEntropy, output_layer
from tunesmith_cross_entropy.chunked import linear_cross_entropy
from tunesmith_cross_entropy.options import CrossEntropyOptions
from tunesmith_cross_entropy.plugin import ACCELERATOR

ON = CrossEntropyOptions(chunked_cross_entropy=True, cross_entropy_chunk=5)


class TestPlugin(PluginSuite):
    plugin = "cross-entropy"
    folder = Path(__file__).parents[1]


class Case(AcceleratorSuite):
    spec = ACCELERATOR
    options = (ON,)
    loss_tolerance = 2e-5
    norm_tolerance = 1e-4

    def at_work(self, accelerator: Any, model: Any) -> bool:
        return bool(accelerator.tokens == self.steps * 2 * 12)


class TestDense(Case):
    pass


class TestCheckpointed(Case):
    arguments = MappingProxyType({"activation_checkpointing": True})


class TestExperts(Case):
    def model(self) -> Any:
        return tiny_moe()


class TestTiedWeights(Case):
    def model(self) -> Any:
        return tiny_llama(tie_word_embeddings=True)


# ---- the sum ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
def test_losses_and_gradients_are_those_of_torch(chunk: int, smoothing: float, bias: bool) -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 40, (3, 10))
    labels[torch.rand(3, 10) < 0.4] = -100
    weights = torch.rand(3, 10)
    found = []
    for way in ("plain", "chunked"):
        torch.manual_seed(1)
        hidden, weight = torch.randn(3, 10, 8, requires_grad=True), torch.randn(40, 8, requires_grad=True)
        offset = torch.randn(40, requires_grad=True) if bias else None
        if way == "plain":
            logits = torch.nn.functional.linear(hidden, weight, offset)
            losses = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=smoothing
            ).view(3, 10)
        else:
            losses = linear_cross_entropy(hidden, weight, offset, labels, chunk=chunk, smoothing=smoothing)
        (losses * weights).sum().backward()
        found.append((losses.detach(), hidden.grad, weight.grad, offset.grad if offset is not None else torch.zeros(1)))
    for plain, chunked in zip(*found, strict=True):
        assert torch.allclose(plain, chunked, atol=1e-5, rtol=1e-5)


def test_a_loss_by_hand() -> None:
    hidden, weight = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = linear_cross_entropy(hidden, weight, None, torch.tensor([0]), chunk=1)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_a_batch_with_nothing_to_learn_costs_nothing_and_keeps_its_graph() -> None:
    hidden, weight = torch.randn(1, 4, 8, requires_grad=True), torch.randn(40, 8, requires_grad=True)
    losses = linear_cross_entropy(hidden, weight, None, torch.full((1, 4), -100), chunk=2)
    losses.sum().backward()
    assert not losses.any()
    assert weight.grad is not None
    assert not weight.grad.any()


def test_logits_are_never_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    usual = torch.nn.functional.linear

    def watched(some: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:
        seen.append(some.shape[0])
        return usual(some, weight, bias)

    monkeypatch.setattr("tunesmith_cross_entropy.chunked.linear", watched)
    hidden = torch.randn(4, 25, 8, requires_grad=True)
    linear_cross_entropy(hidden, torch.randn(40, 8), None, torch.zeros(4, 25, dtype=torch.long), chunk=16).sum().backward()
    assert max(seen) == 16
    assert sum(seen) == 2 * 100  # forward, and again on the way back


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_autocast_computes_as_it_would_without(dtype: torch.dtype) -> None:
    model, batch = tiny_llama(), tiny_batch()
    one = ChunkedCrossEntropy(hand_plan(ON))
    labels = batch.pop("labels")
    with torch.autocast("cpu", dtype):
        plain = token_losses(model(**batch).logits, labels)
        one.after_tuner(model)
        found, _ = one.token_loss(model, batch, labels, 0.0)
    assert torch.allclose(found, plain, atol=1e-6)


# ---- models ----------------------------------------------------------------------------------------------------------


def test_evaluation_and_generation_still_see_logits() -> None:
    plain, model = tiny_llama(), ChunkedCrossEntropy(hand_plan(ON)).after_tuner(tiny_llama())
    ids = tiny_batch()["input_ids"]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, plain(ids).logits)
        kwargs = {"max_new_tokens": 4, "do_sample": False}
        assert torch.equal(model.generate(ids, **kwargs), plain.generate(ids, **kwargs))


def test_a_model_that_changes_its_logits_afterwards_is_refused() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM
    from tunesmith.testing.tiny_models import SMALL

    config = Gemma2Config(**{**SMALL, "head_dim": 16, "initializer_range": 1.0, "tie_word_embeddings": True})
    with pytest.raises(TunesmithError, match="Gemma2ForCausalLM changes its logits"):
        ChunkedCrossEntropy(hand_plan(ON)).after_tuner(Gemma2ForCausalLM(config))


def test_under_adapters_the_layer_that_learns_is_taken_and_an_adapted_one_refused() -> None:
    peft = pytest.importorskip("peft", reason="the package peft, which makes the adapter, is not installed")
    whole = peft.get_peft_model(tiny_llama(), peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"]))
    assert output_layer(whole).weight.requires_grad
    labels = tiny_batch()["labels"]
    one = ChunkedCrossEntropy(hand_plan(ON))
    losses, _ = one.token_loss(one.after_tuner(whole), {"input_ids": labels}, labels, 0.0)
    losses.sum().backward()
    assert output_layer(whole).weight.grad.any()
    adapted = peft.get_peft_model(tiny_llama(), peft.LoraConfig(target_modules=["q_proj", "lm_head"]))
    with pytest.raises(TunesmithError, match="an output layer of the kind"):
        output_layer(adapted)


# ---- whole runs ------------------------------------------------------------------------------------------------------


def run(folder: Path, on: bool, **keys: Any) -> list[float]:
    pytest.importorskip("tunesmith_sft", reason="the stage sft, which is trained here, is not installed")
    plugins = small_plugins(sft="tunesmith_sft.plugin", cross="tunesmith_cross_entropy.plugin")
    picked = {"accelerators": "cross-entropy"} if on else {}
    given = {"chunked_cross_entropy": True, "cross_entropy_chunk": 7, **keys} if on else keys
    plan = small_plan(folder, plugins, "sft", picked=picked, **given)
    rows = SmallStore(small_rows(16))
    session = small_session(plan, plugins, rows, {"eval": SmallStore(small_rows(4, seed=1))})
    outcome = session.trainer.run(session)
    assert not on or session.accelerators[0].tokens > 0  # type: ignore[attr-defined]
    return [*small_losses(session), outcome.metrics["eval_loss"], outcome.metrics.get("eval_accuracy", 0.0)]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"gradient_accumulation_steps": 2, "label_smoothing_factor": 0.1},
        {"compute_accuracy": True, "disable_gradient_checkpointing": False},
        {"bf16": True},
    ],
    ids=["plain", "smoothed", "accuracy", "bf16"],
)
def test_a_run_goes_as_it_would_without(tmp_path: Path, keys: dict[str, Any]) -> None:
    keys = {"do_eval": True, **keys}
    tolerance = 2e-2 if keys.get("bf16") else 2e-5
    assert run(tmp_path / "with", True, **keys) == pytest.approx(run(tmp_path / "plain", False, **keys), abs=tolerance)
