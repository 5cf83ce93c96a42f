"""Training arguments: the user's words win, contradictions are errors, and the host's choices are few and known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainingArguments
from tunesmith.errors import ConfigError, TunesmithError
from tunesmith.runtime.arguments import Demand, build_arguments
from tunesmith.testing.small_run import small_plan, small_plugins

DEMANDS = (Demand("the backend processor", {"use_cpu": True}),)


def build(folder: Path, *demands: Demand, **keys: Any) -> Any:
    plan = small_plan(folder, small_plugins(), "small", **keys)
    return build_arguments(plan, TrainingArguments, (*DEMANDS, *demands))


def test_the_hosts_choices(tmp_path: Path) -> None:
    args = build(tmp_path)
    assert args.output_dir == str(tmp_path / "out")
    assert args.remove_unused_columns is False
    assert args.label_names == ["labels"]
    assert args.report_to == []
    assert args.use_cache is False


@pytest.mark.parametrize(
    ("keys", "on", "reentrant"),
    [
        ({"disable_gradient_checkpointing": False}, True, True),
        ({"disable_gradient_checkpointing": False, "use_reentrant_gc": False}, True, False),
        ({"disable_gradient_checkpointing": True}, False, True),
        ({"disable_gradient_checkpointing": False, "gradient_checkpointing": False}, False, True),
    ],
)
def test_activations_are_recomputed_unless_switched_off(
    tmp_path: Path, keys: dict[str, Any], on: bool, reentrant: bool
) -> None:
    args = build(tmp_path, **keys)
    assert args.activation_checkpointing is on
    assert args.activation_checkpointing_kwargs == {"use_reentrant": reentrant}


def test_shuffling_can_be_switched_off(tmp_path: Path) -> None:
    assert build(tmp_path, disable_shuffling=True).train_sampling_strategy == "sequential"
    assert build(tmp_path).train_sampling_strategy == "random"


def test_what_a_part_needs_is_set(tmp_path: Path) -> None:
    args = build(tmp_path, Demand("the accelerator fast", {"dataloader_num_workers": 0, "tf32": None, "torch_compile": False}))
    assert args.use_cpu is True


def test_a_part_against_the_user_is_an_error_that_names_both(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        build(tmp_path, Demand("the accelerator fast", {"gradient_checkpointing": False}), activation_checkpointing=True)
    (problem,) = caught.value.problems
    assert problem.where == "by hand"
    assert problem.what == "activation_checkpointing is True, and the accelerator fast needs False"


def test_the_same_wish_is_no_contradiction(tmp_path: Path) -> None:
    assert build(tmp_path, Demand("the accelerator fast", {"learning_rate": 0.5}), learning_rate=0.5).learning_rate == 0.5


def test_two_parts_against_each_other_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the accelerator b needs tf32: False, and the accelerator a needs another"):
        build(tmp_path, Demand("the accelerator a", {"tf32": True}), Demand("the accelerator b", {"tf32": False}))


def test_an_argument_that_the_stage_lacks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the stage small has no argument predict_with_generate"):
        build(tmp_path, predict_with_generate=True)


def test_what_transformers_refuses_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match=r"cannot be used together: .*load_best_model_at_end"):
        build(tmp_path, load_best_model_at_end=True, eval_strategy="steps", eval_steps=3, save_strategy="steps", save_steps=4)


def test_trackers_that_plugins_bring_are_not_asked_of_transformers(tmp_path: Path) -> None:
    assert build(tmp_path, report_to=("tensorboard",)).report_to == ["tensorboard"]
