"""The accelerators of Liger: what a plan says, what is patched where Triton is, and its losses on this machine."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch.nn.functional import logsigmoid
from tunesmith import planning, settings
from tunesmith.errors import ConfigError, TunesmithError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.token_loss import token_losses
from tunesmith.testing import AcceleratorSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_run import small_model
from tunesmith.testing.tiny_models import tiny_batch, tiny_llama
from tunesmith_liger.kernels import LigerKernels, patched
from tunesmith_liger.known import known_models
from tunesmith_liger.options import LigerOptions, LigerPreferenceOptions
from tunesmith_liger.plugin import KERNELS, PAIR_LOSSES, PREFERENCE
from tunesmith_liger.preference import LigerPreference

PLUGINS = Plugins()
TRITON = find_spec("triton") is not None
DEVICE = torch.accelerator.current_accelerator()


class TestPlugin(PluginSuite):
    plugin = "liger"
    folder = Path(__file__).parents[1]


class TestKernels(AcceleratorSuite):
    spec = KERNELS
    options = (LigerOptions(enable_liger_kernel=True),)
    keys = MappingProxyType({"liger_kernel_config": None})
    loss_tolerance = 1e-4
    norm_tolerance = 1e-3

    def trained(self, accelerator: Any, folder: Path) -> Any:
        if DEVICE is None or not TRITON:
            pytest.skip("Liger's kernels are Triton's, which needs a device and the package triton")
        return super().trained(accelerator, folder)

    def at_work(self, accelerator: Any, model: Any) -> bool:
        return bool(patched(model))


class TestPreference(AcceleratorSuite):
    """Without pairs there is nothing for it to do: the token loss stays the model's own."""

    spec = PREFERENCE
    options = (LigerPreferenceOptions(liger_preference_loss=True),)

    def at_work(self, accelerator: Any, model: Any) -> bool:
        return accelerator.asked is None


# ---- what a plan says ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small")


def plan(model: Path, **keys: Any) -> Plan:
    given = {"model_name_or_path": str(model), "template": "chatml", "output_dir": "out", "backend": "cpu", "dataset": "none"}
    return planning.make(settings.read(PLUGINS, {**given, **keys}, environ={}), PLUGINS, "train")


def test_on_a_cpu_the_plan_says_what_can_be_used_instead(model: Path) -> None:
    (problem,) = (one for one in plan(model, enable_liger_kernel=True).missing if "triton kernels" in one.what)
    assert problem.what == "liger is made of triton kernels, which cpu cannot run"
    assert "liger_preference_loss" in problem.instead
    assert "chunked_cross_entropy" in problem.instead


def test_a_model_that_liger_does_not_know_is_an_error(model: Path, tmp_path: Path) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "qwen3_5_mo"}))
    with pytest.raises(ConfigError, match="Liger knows no model of type 'qwen3_5_mo'"):
        plan(tmp_path, enable_liger_kernel=True)


@pytest.mark.parametrize(
    ("kernels", "said"),
    [
        ({"ropes": True}, "Liger has no kernel 'ropes' for llama"),
        ({"geglu": False}, "Liger has no kernel 'geglu' for llama"),
        ({"cross_entropy": True}, "replaces torch's own for the whole process"),
    ],
)
def test_a_kernel_that_the_model_has_not_is_an_error(model: Path, kernels: dict[str, bool], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(model, enable_liger_kernel=True, liger_kernel_config=kernels)
    assert said in caught.value.message


def test_the_names_that_users_write_are_understood(model: Path) -> None:
    made = plan(model, use_liger_kernel=True, liger_kernel_config={"rope": True, "cross_entropy": False})
    assert [chosen.name for chosen in made.picked("accelerators")] == ["liger"]


def test_what_liger_knows_is_read_from_its_source() -> None:
    known = known_models()
    assert {"llama", "qwen3", "gemma2", "mistral", "phi3"} <= set(known)
    assert known["llama"] == {"rope", "cross_entropy", "fused_linear_cross_entropy", "rms_norm", "swiglu"}


@pytest.mark.skipif(not TRITON, reason="Liger's kernels import triton")
def test_what_is_read_is_what_liger_would_do() -> None:
    import inspect

    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    assert known_models().keys() == MODEL_TYPE_TO_APPLY_LIGER_FN.keys()
    for kind, function in MODEL_TYPE_TO_APPLY_LIGER_FN.items():
        assert known_models()[kind] == set(inspect.signature(function).parameters) - {"model", "kwargs"}


def liger_plan(kernels: dict[str, bool] | None = None) -> Plan:
    return hand_plan(LigerOptions(enable_liger_kernel=True), liger_kernel_config=kernels)


# ---- kernels ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not TRITON, reason="Liger's kernels import triton")
def test_one_model_is_patched_and_no_other() -> None:
    from transformers.models.llama import modeling_llama

    before, product = dict(vars(modeling_llama)), torch.nn.functional.cross_entropy
    model = LigerKernels(liger_plan()).after_load(tiny_llama())
    names = patched(model)
    assert {"the model", "model.norm", "model.layers.0.mlp", "model.layers.1.input_layernorm"} <= set(names)
    assert not patched(tiny_llama())
    assert all(getattr(modeling_llama, name) is value for name, value in before.items())
    assert torch.nn.functional.cross_entropy is product
    rotary = model.model.layers[0].self_attn.forward.__globals__["apply_rotary_pos_emb"]
    assert rotary.__module__.startswith("liger_kernel")
    some = liger_plan({"swiglu": False, "fused_linear_cross_entropy": False})
    names = patched(LigerKernels(some).after_load(tiny_llama()))
    assert "the model" not in names
    assert not any(name.endswith("mlp") for name in names)


def test_a_loaded_model_of_an_unknown_type_is_an_error() -> None:
    model = tiny_llama()
    model.config.model_type = "llamb"
    with pytest.raises(TunesmithError, match="Liger knows no model of type 'llamb'"):
        LigerKernels(liger_plan()).after_load(model)


# ---- losses ----------------------------------------------------------------------------------------------------------


def by_hand(kind: str, chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    """Losses of the log-ratios of both answers, as the papers write them."""
    better, worse = beta * chosen, beta * rejected
    margin = better - worse
    return {
        "sigmoid": -logsigmoid(margin),
        "hinge": torch.relu(1 - margin),
        "nca_pair": -logsigmoid(better) - 0.5 * logsigmoid(-better) - 0.5 * logsigmoid(-worse),
        "sppo_hard": (chosen - 0.5 / beta) ** 2 + (rejected + 0.5 / beta) ** 2,
        "apo_zero": 1 - torch.sigmoid(better) + torch.sigmoid(worse),
        "apo_down": torch.sigmoid(better) + 1 - torch.sigmoid(margin),
    }[kind]


@pytest.mark.parametrize("kind", PAIR_LOSSES)
def test_a_chunked_loss_and_its_gradients_are_the_plain_ones(kind: str) -> None:
    batch = tiny_batch(seed=3, rows=6)
    labels = batch.pop("labels")
    labels[:, :4] = -100
    labels[1, 9:] = -100
    generator = torch.Generator().manual_seed(1)
    reference = tuple(-20 * torch.rand(3, generator=generator) for _ in range(2))
    plain, model = tiny_llama(), tiny_llama()
    one = LigerPreference(hand_plan())
    one.after_tuner(model)
    losses, chosen, rejected = one.losses()[f"pairs:{kind}"](model, batch, labels, reference, 0.1)
    logps = -token_losses(plain(**batch).logits, labels).sum(-1)
    expected = by_hand(kind, *(own - ref for own, ref in zip(logps.chunk(2), reference, strict=True)), 0.1)
    assert torch.allclose(losses, expected, atol=1e-5, rtol=1e-5)
    assert torch.allclose(torch.cat([chosen, rejected]), logps.detach(), atol=1e-4)
    weights = torch.tensor([1.0, 0.5, 2.0])
    (losses * weights).sum().backward()
    (expected * weights).sum().backward()
    for (name, mine), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-5, rtol=1e-4), name
    assert one.pairs == 3


def test_outside_of_a_loss_the_model_gives_logits() -> None:
    plain, model = tiny_llama(), tiny_llama()
    LigerPreference(hand_plan()).after_tuner(model)
    ids = tiny_batch()["input_ids"]
    assert torch.equal(model(ids).logits, plain(ids).logits)


def test_an_output_layer_that_is_not_plain_is_refused() -> None:
    model = tiny_llama()
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(TunesmithError, match="of the kind Sequential, not a plain linear one"):
        LigerPreference(hand_plan()).after_tuner(model)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"stage": "sft"}, "the stage sft learns no pairs"),
        ({"stage": "dpo", "pref_loss": "ipo"}, "Liger has no ipo"),
        ({"stage": "dpo", "pref_ftx": 0.1}, "pref_ftx has no part in Liger's losses"),
    ],
)
def test_a_loss_that_liger_has_not_is_an_error(model: Path, keys: dict[str, Any], said: str) -> None:
    pytest.importorskip("tunesmith_preference", reason="the stage dpo, which takes the loss, is not installed")
    with pytest.raises(ConfigError) as caught:
        plan(model, liger_preference_loss=True, **keys)
    assert said in caught.value.message
