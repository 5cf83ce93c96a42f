"""Products in fp8: rounded as a device rounds, in the right layers, plain weights on disk, refused where there are no units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torchao.float8.float8_linear import Float8Linear
from tunesmith import TunesmithError, planning, settings
from tunesmith.errors import ConfigError
from tunesmith.plugins import Plugins
from tunesmith.testing import AcceleratorSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_run import small_model
from tunesmith.testing.tiny_models import logits, tiny_llama, tiny_moe
from tunesmith_torchao.float8 import Float8Training, check_capability
from tunesmith_torchao.options import Float8Options
from tunesmith_torchao.plugin import FLOAT8

PLUGINS = Plugins()


def emulated() -> Float8Training:
    """One that multiplies in full what it rounded: there are no fp8 units on the processors that test this."""
    accelerator = Float8Training(hand_plan(Float8Options(fp8=True)))
    accelerator.emulate = True
    return accelerator


def converted(model: Any) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, Float8Linear)}


class TestFloat8(AcceleratorSuite):
    """It rounds, on purpose, and so it learns near the plain run only."""

    spec = FLOAT8
    options = (Float8Options(fp8=True),)
    loss_tolerance = 0.25
    norm_tolerance = 1.5

    def accelerator(self) -> Float8Training:
        return emulated()

    def at_work(self, accelerator: Any, model: Any) -> bool:
        return bool(converted(model))


class TestHalfPrecision(TestFloat8):
    def model(self) -> Any:
        return super().model().to(torch.bfloat16)


def test_a_product_by_hand() -> None:
    """e4m3 has three bits behind the point: with the largest number at 448, 1.0 of 1.7 becomes 256 of 448, 1.3 becomes 352."""
    model = tiny_llama()
    layer = emulated().after_load(model).model.layers[0].mlp.up_proj
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, :3] = torch.tensor([1.7, 1.0, 1.3])
        given = torch.zeros(1, layer.in_features)
        given[0, :3] = torch.tensor([0.0, 1.0, 1.0])
        rounded = layer(given)[0, 0].item()
    # 1.0 * 448 / 1.7 = 263.5, between 256 and 288; 1.3 * 448 / 1.7 = 342.6, between 320 and 352.
    assert rounded == pytest.approx((256 + 352) * 1.7 / 448, rel=1e-6)


def test_blocks_are_converted_and_nothing_else() -> None:
    model = emulated().after_load(tiny_llama())
    kinds = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert {name.rpartition(".")[2] for name in converted(model)} == set(kinds)
    assert len(converted(model)) == len(kinds) * model.config.num_hidden_layers
    routed = emulated().after_load(tiny_moe())
    assert converted(routed)
    assert not any("lm_head" in name or name.endswith(("gate", "router")) for name in converted(routed))


def test_what_an_adapter_adds_is_computed_in_full_and_merges_into_plain_weights() -> None:
    model = get_peft_model(emulated().after_load(tiny_llama()), LoraConfig(r=16, target_modules="all-linear"))
    assert converted(model)
    assert all(name.endswith("base_layer") for name in converted(model))
    before = model.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight.clone()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.01)
    merged = model.merge_and_unload()
    assert not torch.equal(merged.model.layers[0].mlp.up_proj.weight, before)


def test_what_is_saved_is_the_plain_model(tmp_path: Path) -> None:
    plain = tiny_llama()
    model = emulated().after_load(tiny_llama())
    assert not torch.equal(logits(model), logits(plain))
    model.save_pretrained(tmp_path)
    again = type(plain).from_pretrained(tmp_path)
    assert not converted(again)
    assert torch.equal(logits(again), logits(plain))


def test_a_model_whose_sides_do_not_fit_is_an_error() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(24, 24)])

    with pytest.raises(TunesmithError, match="no layer of Odd has sides that are multiples of 16"):
        emulated().after_load(Odd())  # type: ignore[arg-type]


def test_old_devices_are_refused_by_name() -> None:
    check_capability((8, 9), "L4")
    check_capability((10, 0), "B200")
    with pytest.raises(TunesmithError, match=r"needs compute capability 8\.9, and A100 has 8\.0"):
        check_capability((8, 0), "A100")


# ---- plans -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small")


def refused(folder: Path, **more: Any) -> str:
    """What a plan with fp8 says against it."""
    keys = {"model_name_or_path": str(folder), "stage": "sft", "output_dir": str(folder.parent / "out"), "fp8": True}
    with pytest.raises(ConfigError) as found:
        planning.make(settings.read(PLUGINS, {**keys, **more}, environ={}), PLUGINS, "train")
    return "\n".join(f"{problem.what} {problem.instead}" for problem in found.value.problems)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "float8 is made of float8 kernels, which cpu cannot run NVIDIA devices from compute capability 8.9"),
        ({"fp8_backend": "te"}, "FP8 is computed by torchao here"),
        ({"fp16": True}, "float8 does not compute in float16"),
        ({"quantization_bit": 8, "quantization_method": "torchao"}, "these are quantised already"),
        ({"fsdp": "full_shard", "nproc_per_node": 2}, "not built over weights that processes share out"),
        ({"fp8_enable_fsdp_float8_all_gather": True}, "not built over weights that processes share out"),
    ],
    ids=lambda value: "-".join(value) or "cpu" if isinstance(value, dict) else "",
)
def test_plans_say_what_cannot_be(folder: Path, more: dict[str, Any], said: str) -> None:
    assert said in refused(folder, backend="cpu", **more)
