"""Answers by vLLM while a run learns: the plan, what reaches trl, and the steps with something that stands in for vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trl.trainer.distillation_trainer
import trl.trainer.grpo_trainer
import trl.trainer.rloo_trainer
from tunesmith.data.flow import prepare
from tunesmith.errors import ConfigError, TunesmithError
from tunesmith.plugins import Plugins
from tunesmith.runtime.session import open_session
from tunesmith.runtime.stopping import stop_ids
from tunesmith.runtime.tiny import make_tiny
from tunesmith.testing.small_prompts import Make, logged, plan_maker, prompts_home

SERVER: dict[str, Any] = {"vllm_mode": "server", "vllm_server_base_url": "http://127.0.0.1:8123", "vllm_group_port": 51999}
MODULES = (trl.trainer.grpo_trainer, trl.trainer.rloo_trainer, trl.trainer.distillation_trainer)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prompts_home(tmp_path_factory.mktemp("home"))
    make_tiny("qwen3", folder / "teacher", seed=5)
    return folder


@pytest.fixture(scope="module")
def plugins(home: Path) -> Plugins:
    return Plugins(local=home)


@pytest.fixture(scope="module")
def make(plugins: Plugins, home: Path) -> Make:
    keys = {"stage": "grpo", "per_device_train_batch_size": 8, "num_generations": 4, "reward_funcs": "singing"}
    return plan_maker(home, plugins, **keys, use_vllm=True, max_new_tokens=4, max_steps=2, learning_rate=1e-2)


class StandIn:
    """Stands where trl has vLLM, which needs a CUDA device: it answers with the weights of the last time that it was given
    some, says how likely it found each token, and refuses to answer with older weights than those of the last step."""

    made: dict[str, Any] = {}  # noqa: RUF012
    taken = 0
    #: A server tells trl how its log-probabilities are meant.
    vllm_client = SimpleNamespace(get_server_info=lambda: {"model_config": {"logprobs_mode": "processed_logprobs"}})

    def __init__(self, **given: Any) -> None:
        type(self).made, type(self).taken = given, 0
        self.model, self.length = given["model"], given["max_completion_length"]
        self.weights: dict[str, torch.Tensor] = {}

    def sync_weights(self) -> None:
        type(self).taken += 1
        self.weights = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}

    def generate(self, prompts: Sequence[list[int]], num_generations: int, **_: Any) -> Any:
        current = dict(self.model.named_parameters())
        assert all(torch.equal(current[name], weight) for name, weight in self.weights.items()), "these weights are old"
        ids, likely = zip(*map(self._one, prompts), strict=True)
        return prompts, list(ids), list(likely), None

    @torch.no_grad()
    def _one(self, prompt: list[int]) -> tuple[list[int], list[list[float]]]:
        ids, found = list(prompt), []
        for _ in range(self.length):
            logits = torch.func.functional_call(self.model, self.weights, (), {"input_ids": torch.tensor([ids])})["logits"]
            logprobs = logits[0, -1].float().log_softmax(-1)
            ids.append(int(torch.multinomial(logprobs.exp(), 1)))
            found.append([float(logprobs[ids[-1]])])
        return ids[len(prompt) :], found


@pytest.fixture
def standing_in(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    for module in MODULES:
        monkeypatch.setattr(module, "VLLMGeneration", StandIn)
        monkeypatch.setattr(module, "is_vllm_available", lambda: True, raising=False)
    return StandIn


# ---- the plan --------------------------------------------------------------------------------------------------------


def test_a_processor_and_a_stack_that_is_not_there_are_said(make: Make, home: Path) -> None:
    plan = make(output_dir=str(home / "a"))
    assert plan.stack == "vllm-rollouts"
    lacking = " ".join(f"{one.what} {one.instead}" for one in plan.missing)
    assert "vllm-rollouts is made of cutlass kernels, which cpu cannot run" in lacking
    assert "tunesmith stack create vllm-rollouts" in lacking
    with pytest.raises((ConfigError, TunesmithError), match="which cpu cannot run"):
        plan.check_ready()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"stage": "ppo"}, "use_vllm: stage: ppo has nobody answer"),
        ({"finetuning_type": "oft"}, "vLLM cannot take over what oft learns"),
        ({"quantization_bit": 4, "vllm_mode": "server"}, "a server cannot take over quantised weights"),
        ({"quantization_bit": 8}, "vLLM cannot take over weights by"),
        ({"use_transformers_continuous_batching": True}, "both answer"),
        ({"stage": "distill", "do_sample": False}, "do_sample: vLLM draws answers"),
        ({"vllm_tensor_parallel_size": 2}, "2 does not divide 1 processes"),
        ({"vllm_server_port": 8001}, "vllm_server_port has no meaning with vllm_mode: colocate"),
        ({"vllm_mode": "server", "vllm_gpu_memory_utilization": 0.5}, "vllm_gpu_memory_utilization has no meaning"),
        ({"stage": "rloo", "vllm_importance_sampling_correction": False}, "only grpo weighs tokens so"),
    ],
)
def test_what_cannot_work_is_refused(keys: dict[str, Any], words: str, make: Make, home: Path) -> None:
    if keys.get("stage") == "distill":
        keys = {**keys, "teacher_model": str(home / "teacher")}
    with pytest.raises(ConfigError, match=words):
        make(output_dir=str(home / "b"), **keys)


# ---- what reaches trl ------------------------------------------------------------------------------------------------


def trained(make: Make, plugins: Plugins, folder: Path, **keys: Any) -> Any:
    plan = replace(make(output_dir=str(folder), **keys), missing=(), stack=None)
    session = open_session(plan, plugins, prepare(plan, plugins))
    session.trainer.run(session)
    return session


@pytest.mark.parametrize("stage", ["grpo", "rloo", "distill"])
def test_arguments_reach_trl_and_every_step_answers_with_new_weights(
    stage: str, make: Make, plugins: Plugins, home: Path, standing_in: type[StandIn]
) -> None:
    folder = home / stage
    keys = {"teacher_model": str(home / "teacher"), "reward_funcs": ()} if stage == "distill" else {}
    session = trained(make, plugins, folder, stage=stage, finetuning_type="full", temperature=0.9, top_k=7, **SERVER, **keys)
    made = standing_in.made
    expected = {"mode": "server", "server_base_url": "http://127.0.0.1:8123", "group_port": 51999, "server_timeout": 240.0}
    expected |= {"temperature": 0.9, "top_k": 7, "max_completion_length": 4, "trust_remote_code": False}
    assert {name: made[name] for name in expected} == expected
    assert made["generation_kwargs"] == {"stop_token_ids": stop_ids(session.tokenizer, session.renderer)}
    assert standing_in.taken == 2
    assert len(logged(folder, "loss")) == 2


def test_tokens_are_weighed_by_how_likely_vllm_found_them(
    make: Make, plugins: Plugins, home: Path, standing_in: type[StandIn]
) -> None:
    """The same weights here and there: ratios of one."""
    trained(make, plugins, home / "ratios", finetuning_type="full", vllm_max_model_length=64, vllm_enable_sleep_mode=True)
    assert (standing_in.made["max_model_length"], standing_in.made["enable_sleep_mode"]) == (64, True)
    assert logged(home / "ratios", "sampling/importance_sampling_ratio/mean") == pytest.approx([1.0, 1.0], abs=1e-4)
    trained(make, plugins, home / "plain", finetuning_type="full", vllm_importance_sampling_correction=False)
    assert not logged(home / "plain", "sampling/importance_sampling_ratio/mean")
