"""Every weight accounted for, in the right number format, with the right tuner for each adapter."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from tunesmith import AdapterMark, TunerSpec, hookimpl
from tunesmith.contracts import Tuner
from tunesmith.errors import TunesmithError
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime import loading
from tunesmith.runtime.session import open_session
from tunesmith.testing.small_parts import Processor
from tunesmith.testing.small_run import SmallPrepared, small_model, small_plan, small_plugins
from tunesmith.testing.tiny_models import logits

MODULE = "an_adapter_for_tests"


class Shift(Tuner):
    """Scales all logits by one learned number; merging scales the weights for good. Tells what it was asked."""

    told: ClassVar[list[str]] = []

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def apply(self, model: Any) -> Any:
        self.told.append("apply")
        model.requires_grad_(False)
        head = model.lm_head
        head.shift = torch.nn.Parameter(torch.zeros((), dtype=head.weight.dtype))
        head.hook = head.register_forward_hook(lambda head, _, output: output * (1 + head.shift))
        return model

    def load(self, model: Any, path: Path, *, trainable: bool) -> Any:
        self.told.append(f"load {path.name} {trainable}")
        self.apply(model).lm_head.shift.requires_grad_(trainable).data.fill_(
            json.loads((path / "shift.json").read_text())["by"]
        )
        self.told.pop()
        return model

    def save(self, model: Any, directory: Path) -> None:
        (directory / "shift.json").write_text(json.dumps({"kind": "shift", "by": model.lm_head.shift.item()}))

    def merge(self, model: Any) -> Any:
        self.told.append("merge")
        model.lm_head.hook.remove()
        model.lm_head.weight.data *= 1 + model.lm_head.shift.data
        del model.lm_head.shift, model.lm_head.hook
        return model

    def continues(self) -> bool:
        return self.plan["continues"] if "continues" in self.plan.settings else True


@pytest.fixture
def plugins() -> Iterator[Plugins]:
    """The small parts, and a tuner that makes adapters."""
    module = ModuleType(MODULE)

    @hookimpl
    def tunesmith_tuners() -> list[TunerSpec]:
        mark = AdapterMark("shift.json", "kind", "shift")
        return [TunerSpec("shift", f"{MODULE}:Shift", "For tests.", saves="adapter", marks=(mark,))]

    module.tunesmith_tuners, module.Shift, module.TUNESMITH_API = tunesmith_tuners, Shift, (1, 0)  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    Shift.told.clear()
    yield Plugins(
        found=[EntryPoint("small", "tunesmith.testing.small_parts", "tunesmith"), EntryPoint("shift", MODULE, "tunesmith")]
    )
    del sys.modules[MODULE]


def load(
    folder: Path, plugins: Plugins | None = None, *, training: bool = False, adapters: tuple[str, ...] = (), **keys: Any
) -> Any:
    plugins = plugins or small_plugins()
    plan = small_plan(folder, plugins, "small", picked={"tuners": keys.pop("tuner", "everything")}, **keys)
    wish = ModelWish("policy", plan["model_name_or_path"], adapters)
    return loading.load_model(plan, plugins, wish, Processor(plan), training=training)


# ---- weights ---------------------------------------------------------------------------------------------------------


def change_weights(folder: Path, **changes: Any) -> None:
    """Write the small model with tensors added, replaced or (``None``) left out."""
    file = small_model(folder / "model") / "model.safetensors"
    weights = load_file(str(file)) | {name.replace("__", "."): value for name, value in changes.items()}
    save_file({name: value for name, value in weights.items() if value is not None}, str(file), metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__norm__weight": None, "lm_head__weight": None}, "missing: lm_head.weight, model.norm.weight"),
        ({"model__extra__weight": torch.ones(3)}, "superfluous: model.extra.weight"),
        ({"model__norm__weight": torch.ones(3)}, "of another shape: model.norm.weight"),
    ],
)
def test_weights_that_do_not_fit_are_listed(tmp_path: Path, changes: Mapping[str, Any], said: str) -> None:
    change_weights(tmp_path, **changes)
    with pytest.raises(TunesmithError, match="do not fit LlamaForCausalLM") as caught:
        load(tmp_path)
    assert said in caught.value.message


def test_a_file_cut_short_is_the_users_error(tmp_path: Path) -> None:
    file = small_model(tmp_path / "model") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(TunesmithError, match="cannot be loaded"):
        load(tmp_path)


def test_tied_weights_are_not_missing(tmp_path: Path) -> None:
    small_model(tmp_path / "model", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(str(tmp_path / "model" / "model.safetensors"))
    assert load(tmp_path).lm_head.weight is not None


def test_training_from_scratch_ignores_the_weights(tmp_path: Path) -> None:
    saved = load(tmp_path)
    torch.manual_seed(3)
    fresh = load(tmp_path, training=True, train_from_scratch=True)
    torch.manual_seed(3)
    again = load(tmp_path, training=True, train_from_scratch=True)
    assert not torch.equal(fresh.lm_head.weight, saved.lm_head.weight)
    assert torch.equal(fresh.lm_head.weight, again.lm_head.weight)


def test_for_inference_nothing_learns_and_nothing_drops_out(tmp_path: Path) -> None:
    model = load(tmp_path)
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(("wanted", "kernel"), [("auto", "sdpa"), ("disabled", "eager"), ("eager", "eager"), ("sdpa", "sdpa")])
def test_flash_attn_names_the_attention(tmp_path: Path, wanted: str, kernel: str) -> None:
    assert load(tmp_path, flash_attn=wanted).config._attn_implementation == kernel


# ---- number formats --------------------------------------------------------------------------------------------------

FULL, HALF = torch.float32, torch.bfloat16


@pytest.mark.parametrize(
    ("tuner", "saved", "keys", "learns", "stays"),
    [
        ("everything", FULL, {}, FULL, None),
        ("everything", HALF, {}, FULL, None),
        ("everything", HALF, {"bf16": True}, FULL, None),
        ("everything", FULL, {"pure_bf16": True}, HALF, None),
        ("shift", HALF, {}, FULL, HALF),
        ("shift", FULL, {}, FULL, FULL),
        ("shift", FULL, {"bf16": True}, FULL, HALF),
        ("shift", HALF, {"pure_bf16": True}, HALF, HALF),
    ],
)
def test_weights_are_held_as_the_table_says(
    tmp_path: Path, plugins: Plugins, tuner: str, saved: torch.dtype, keys: dict[str, Any], learns: torch.dtype, stays: Any
) -> None:
    small_model(tmp_path / "model", dtype=str(saved).removeprefix("torch."))
    plan = small_plan(tmp_path, plugins, "small", picked={"tuners": tuner}, **keys)
    model = open_session(plan, plugins, SmallPrepared()).models["policy"]  # type: ignore[arg-type]
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {learns}
    assert {weight.dtype for weight in model.parameters() if not weight.requires_grad} == ({stays} if stays else set())


@pytest.mark.parametrize(("wanted", "dtype"), [("auto", HALF), ("float32", FULL), ("bfloat16", HALF)])
def test_infer_dtype_is_for_inference(tmp_path: Path, wanted: str, dtype: torch.dtype) -> None:
    from dataclasses import replace

    small_model(tmp_path / "model", dtype="bfloat16")
    plugins = small_plugins()
    plan = replace(small_plan(tmp_path, plugins, "small", infer_dtype=wanted), command="chat")
    wish = ModelWish("policy", plan["model_name_or_path"])
    assert loading.load_model(plan, plugins, wish, Processor(plan), training=False).dtype is dtype


# ---- adapters --------------------------------------------------------------------------------------------------------


def shifts(folder: Path, *by: float) -> tuple[str, ...]:
    """Adapters on disk, one to each number."""
    made = []
    for number, amount in enumerate(by):
        place = folder / f"shift{number}"
        place.mkdir(parents=True)
        (place / "shift.json").write_text(json.dumps({"kind": "shift", "by": amount}))
        made.append(str(place))
    return tuple(made)


def session(folder: Path, plugins: Plugins, adapters: tuple[str, ...], **keys: Any) -> Any:
    from dataclasses import replace

    plan = small_plan(folder, plugins, "small", picked={"tuners": "shift"}, **keys)
    wish = replace(plan.models["policy"], adapters=adapters)
    return open_session(replace(plan, models={"policy": wish}), plugins, SmallPrepared())  # type: ignore[arg-type]


def test_for_training_earlier_adapters_are_merged_and_the_last_learns_on(tmp_path: Path, plugins: Plugins) -> None:
    head = load(tmp_path).lm_head.weight
    model = session(tmp_path, plugins, shifts(tmp_path, 0.5, 0.25)).models["policy"]
    assert Shift.told == ["load shift0 False", "merge", "load shift1 True"]
    assert torch.allclose(model.lm_head.weight, head * 1.5)
    assert model.lm_head.shift.item() == 0.25
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == ["lm_head.shift"]


def test_a_tuner_may_start_a_new_adapter_over_all_given_ones(tmp_path: Path, plugins: Plugins) -> None:
    session(tmp_path, plugins, shifts(tmp_path, 0.5), continues=False)
    assert Shift.told == ["load shift0 False", "merge", "apply"]


def test_for_inference_the_last_adapter_stays_on_top(tmp_path: Path, plugins: Plugins) -> None:
    model = load(tmp_path, plugins, adapters=shifts(tmp_path, 0.5, 0.25), tuner="shift")
    assert Shift.told == ["load shift0 False", "merge", "load shift1 False"]
    assert not model.lm_head.shift.requires_grad


def test_all_can_be_merged(tmp_path: Path, plugins: Plugins) -> None:
    plan = small_plan(tmp_path, plugins, "small")
    wish = ModelWish("policy", plan["model_name_or_path"], shifts(tmp_path, 0.5, 0.25))
    model = loading.load_merged(plan, plugins, wish, Processor(plan))
    head = load(tmp_path).lm_head.weight
    assert torch.allclose(model.lm_head.weight, head * 1.5 * 1.25)
    assert logits(model).shape[-1] == 512


def test_an_unknown_adapter_names_the_marks_that_are_known(tmp_path: Path, plugins: Plugins) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TunesmithError, match="no adapter that an installed tuner wrote") as caught:
        load(tmp_path, plugins, adapters=(str(tmp_path / "empty"),))
    assert "shift.json (shift)" in caught.value.hint


def test_a_resumed_adapter_run_takes_the_checkpoints_adapter(tmp_path: Path, plugins: Plugins) -> None:
    from tunesmith.testing.small_run import SmallStore, small_losses, small_rows

    losses = []
    for keys in (
        {"save_strategy": "steps", "save_steps": 3},
        {"resume_from_checkpoint": str(tmp_path / "out" / "checkpoint-3")},
    ):
        opened = session(tmp_path, plugins, (), **keys)
        opened.train_data = SmallStore(small_rows(16))
        opened.trainer.run(opened)
        losses.append(small_losses(opened))
    assert losses[0] == losses[1]
    assert Shift.told == ["apply", "load checkpoint-3 True"]


# ---- code that comes with a model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "config", "runs"),
    [
        ({}, {"auto_map": {"AutoConfig": "x.X"}, "model_type": "acme"}, False),
        ({"trust_remote_code": True}, {"auto_map": {"AutoConfig": "x.X"}, "model_type": "acme"}, True),
        ({"trust_remote_code": True}, {"auto_map": {"AutoConfig": "x.X"}, "model_type": "llama"}, False),
        ({"trust_remote_code": True}, {"model_type": "acme"}, False),
    ],
)
def test_code_of_a_local_model_runs_only_when_asked_for_and_needed(
    tmp_path: Path, keys: dict[str, Any], config: dict[str, Any], runs: bool
) -> None:
    plan = small_plan(tmp_path, small_plugins(), "small", **keys)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert loading.runs_own_code(plan, str(tmp_path), tmp_path) is runs


def test_code_of_a_hub_model_needs_a_pinned_commit(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "x.X"}, "model_type": "acme"}))
    plan = small_plan(tmp_path, small_plugins(), "small", trust_remote_code=True)
    with pytest.raises(TunesmithError, match="can change under you"):
        loading.runs_own_code(plan, "acme/model", tmp_path)
    pinned = small_plan(tmp_path, small_plugins(), "small", trust_remote_code=True, model_revision="0" * 40)
    assert loading.runs_own_code(pinned, "acme/model", tmp_path)
