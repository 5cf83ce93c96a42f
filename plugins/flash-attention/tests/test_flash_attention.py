"""Kernels by name: what a plan says of each, which one a model gets, and that packed documents stay apart with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith import AcceleratorSpec, planning, settings
from tunesmith.errors import ConfigError, TunesmithError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.isolation import LEAK, check_isolation, measure_leak
from tunesmith.runtime.loading import load_base
from tunesmith.testing import AcceleratorSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_run import small_model
from tunesmith.testing.tiny_models import tiny_llama, tiny_moe
from tunesmith_flash_attention.accelerator import AttentionKernel, check_capability
from tunesmith_flash_attention.plugin import KERNELS

PLUGINS = Plugins()
GPU = torch.cuda.is_available()
#: What can run here, and what the rest waits for.
HERE = {"eager": True, "sdpa": True, "flex_attention": True, "flash_attention_2": GPU and bool(find_spec("flash_attn"))}


@pytest.fixture(autouse=True)
def not_compiled() -> Iterator[None]:
    """FlexAttention computes the same without being compiled, which takes half a minute for each shape on a CPU."""
    with torch.compiler.set_stance("default" if GPU else "force_eager"):
        yield


class TestPlugin(PluginSuite):
    plugin = "flash-attention"
    folder = Path(__file__).parents[1]


class Kernel(AcceleratorSuite):
    """Trains with the kernel, where a device and the package are here."""

    loss_tolerance = 2e-2
    norm_tolerance = 5e-2

    @property
    def keys(self) -> dict[str, Any]:  # type: ignore[override]
        assert self.spec.switch is not None
        return {"flash_attn": self.spec.switch.value}

    def model(self) -> Any:
        return tiny_llama().to(torch.bfloat16)

    def trained(self, accelerator: Any, folder: Path) -> Any:
        if not GPU:
            pytest.skip(f"{self.spec.name} trains on a CUDA device only, and there is none")
        if lacking := [name for name in self.spec.needs if not find_spec(name)]:
            pytest.skip(f"{', '.join(lacking)} is not installed")
        self.asked = accelerator.kernel if accelerator else "eager"
        return super().trained(accelerator, folder)

    def accelerator(self) -> Any:
        if self.spec.dtypes and not GPU:
            pytest.skip(f"{self.spec.name} works on CUDA devices only, and there is none")
        return super().accelerator()

    def at_work(self, accelerator: Any, model: Any) -> bool:
        return bool(model.config._attn_implementation == accelerator.kernel)


class TestFa2(Kernel):
    spec = KERNELS[0]


class TestFa3(Kernel):
    spec = KERNELS[1]


class TestFlex(Kernel):
    spec = KERNELS[2]


# ---- what a plan says ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small")


def plan(model: Path, command: str = "train", **keys: Any) -> Plan:
    given = {"model_name_or_path": str(model), "template": "chatml", "output_dir": "out", "backend": "cpu", **keys}
    if command == "train":
        given["dataset"] = "nothing"
    return planning.make(settings.read(PLUGINS, given, environ={}), PLUGINS, command)


def lacking(plan: Plan) -> str:
    return " | ".join(f"{problem.what} {problem.instead}" for problem in plan.missing)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"flash_attn": "fa2", "bf16": True}, "needs the package flash_attn, which is not installed"),
        ({"flash_attn": "fa3", "bf16": True}, "needs the package flash_attn_interface"),
        ({"flash_attn": "fa3", "bf16": True}, "the backend cpu has no fa3 attention Write one of sdpa, eager"),
        ({"flash_attn": "flex"}, "flex cannot train on cpu: it has no backward pass there"),
    ],
)
def test_a_kernel_that_cannot_be_had_is_missing_before_anything_is_loaded(model: Path, keys: dict[str, Any], said: str) -> None:
    assert said in lacking(plan(model, **keys))


def test_flash_kernels_want_half_precision(model: Path) -> None:
    with pytest.raises(ConfigError, match="fa2 does not compute in float32"):
        plan(model, flash_attn="fa2", finetuning_type="full")
    with pytest.raises(ConfigError, match="fa2 does not compute in float32"):
        plan(model, flash_attn="fa2", finetuning_type="lora")  # over a model that is in float32


def test_flex_answers_on_a_cpu(model: Path) -> None:
    made = plan(model, "chat", flash_attn="flex")
    assert "flash_attn" not in lacking(made)
    assert [chosen.name for chosen in made.picked("accelerators")] == ["flex"]


def test_the_plan_says_what_auto_comes_to(model: Path) -> None:
    made = plan(model)
    assert made["flash_attn"] == "auto"
    assert made.settings["flash_attn"].origin == "default: sdpa on cpu, eager for a model that has no sdpa"
    assert not list(made.picked("accelerators"))


# ---- what a model gets -----------------------------------------------------------------------------------------------


def test_flex_is_what_the_model_computes_with(model: Path) -> None:
    from tunesmith_cpu.backend import CpuBackend

    made = plan(model, "chat", flash_attn="flex")
    loaded = load_base(made, PLUGINS, made.models["policy"], CpuBackend(made), training=False)
    assert loaded.config._attn_implementation == "flex_attention"
    ids = torch.arange(3, 15)[None]
    plain = load_base(made_with(made, "sdpa"), PLUGINS, made.models["policy"], CpuBackend(made), training=False)
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, plain(ids).logits, atol=1e-5)


def made_with(plan: Plan, value: str) -> Plan:
    from dataclasses import replace

    setting = replace(plan.settings["flash_attn"], value=value)
    return replace(plan, settings={**plan.settings, "flash_attn": setting})


def kernel(spec: AcceleratorSpec) -> AttentionKernel:
    assert spec.switch is not None
    return AttentionKernel(hand_plan(flash_attn=spec.switch.value))


def test_another_kernel_than_the_one_asked_for_is_an_error() -> None:
    with pytest.raises(TunesmithError, match="flex was asked for, and the text model of LlamaForCausalLM uses sdpa"):
        kernel(KERNELS[2]).after_load(tiny_llama())


def test_a_device_of_an_older_generation_is_refused() -> None:
    check_capability("fa2", (8, 0), "A100")
    with pytest.raises(TunesmithError, match=r"fa3 needs compute capability 9.0, and A100 has 8.0"):
        check_capability("fa3", (8, 0), "A100")


# ---- packed documents ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", list(HERE))
@pytest.mark.parametrize("make", [tiny_llama, tiny_moe], ids=["dense", "experts"])
def test_no_packed_document_sees_another(attention: str, make: Any) -> None:
    if not HERE[attention]:
        pytest.skip(f"{attention} needs a CUDA device and its package")
    model = make(attn_implementation=attention)
    if attention.startswith("flash"):
        model = model.to("cuda", torch.bfloat16)
    assert model.config._attn_implementation == attention
    with torch.no_grad():
        assert measure_leak(model, nullcontext(), 1) < LEAK
        check_isolation(model, nullcontext(), rows=2)


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flex_attention"])
def test_a_leak_would_be_seen(attention: str) -> None:
    """The same model leaks where it is given a mask of ones, so that the test above can fail."""
    model = tiny_llama(attn_implementation=attention)
    usual = model.forward

    def with_a_mask(input_ids: torch.Tensor, position_ids: torch.Tensor, **kwargs: Any) -> Any:
        return usual(input_ids=input_ids, position_ids=position_ids, attention_mask=torch.ones_like(input_ids), **kwargs)

    model.forward = with_a_mask
    with torch.no_grad():
        assert measure_leak(model, nullcontext(), 1) > LEAK
