"""The accelerator ``ktransformers`` as runs call it; kt-kernel where it is, else its reference."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from tunesmith.contracts import Accelerator
from tunesmith.testing import AcceleratorSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import tiny_llama, tiny_moe
from tunesmith_ktransformers import processor
from tunesmith_ktransformers.accelerator import KTransformers
from tunesmith_ktransformers.experts import fused_experts
from tunesmith_ktransformers.options import KtOptions
from tunesmith_ktransformers.plugin import ACCELERATOR
from tunesmith_ktransformers.reference import TorchKernel

HERE = find_spec("kt_kernel") is not None and processor.best_build(processor.read_flags()) in processor.TRAINING_BUILDS


class ByReference(KTransformers):
    """The same with torch in the kernel's place."""

    kernel = TorchKernel

    def before_load(self, plan: Any) -> None:
        """There is nothing to import."""


class TestKTransformers(AcceleratorSuite):
    spec = ACCELERATOR
    options = (KtOptions(use_kt=True, kt_config={"kt_num_threads": 1}),)
    loss_tolerance = 0.05
    norm_tolerance = 0.25

    def accelerator(self) -> Accelerator:
        return (KTransformers if HERE else ByReference)(self.plan)

    def model(self) -> Any:
        """Experts stay as they are, with and without the kernel."""
        model = tiny_moe().to(torch.bfloat16)
        for _, experts in fused_experts(model):
            experts.requires_grad_(False)
        return model

    def at_work(self, accelerator: Accelerator, model: Any) -> bool:
        states = [module.kernel_state for module in model.modules() if "kernel_state" in module.__dict__]
        return len(states) == 2 and all(state.calls > 0 for state in states)


def test_weights_are_read_into_memory_and_the_model_is_free_to_move() -> None:
    accelerator = ByReference(hand_plan(KtOptions(use_kt=True), picked={"accelerators": "ktransformers"}))
    assert accelerator.placement({"device_map": {"": "cuda:0"}}) == {"device_map": {"": "cpu"}}
    assert accelerator.placement({}) == {}
    model = tiny_moe().to(torch.bfloat16)
    model.hf_device_map = {"": "cpu"}
    assert not hasattr(accelerator.after_tuner(model), "hf_device_map")


def test_a_dense_model_beside_the_one_that_learns_is_left_alone() -> None:
    accelerator = ByReference(hand_plan(KtOptions(use_kt=True), picked={"accelerators": "ktransformers"}))
    model = tiny_llama()
    assert accelerator.after_tuner(model) is model


@pytest.mark.parametrize("policy", ["retain", "recompute"])
def test_what_was_computed_is_kept_or_not(policy: Any) -> None:
    options = KtOptions(use_kt=True, kt_cpu_activation=policy)
    model = ByReference(hand_plan(options, picked={"accelerators": "ktransformers"})).after_tuner(tiny_moe())
    one, other = (module.kernel_state for module in model.modules() if "kernel_state" in module.__dict__)
    assert (one.kept is other.kept) is (policy == "recompute")
