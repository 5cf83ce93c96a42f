"""Old names: each becomes today's key with a notice, or is refused with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
from tunesmith import settings
from tunesmith.config import RunConfig
from tunesmith.errors import ConfigError, Problem
from tunesmith.keys import KeyTable
from tunesmith.known_keys import rows, training_arguments
from tunesmith.plugins import Plugins
from tunesmith.translations import REFUSE, translations

HOST_ONLY = Plugins(found=[])
TABLE = KeyTable.of(HOST_ONLY)

#: Every training argument that transformers had in version 4 and has no longer.
REMOVED = """
adafactor fp16_backend fp16_opt_level fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap group_by_length
half_precision_backend include_inputs_for_metrics include_tokens_per_second jit_mode_eval logging_dir mp_parameters
no_cuda overwrite_output_dir past_index per_gpu_train_batch_size per_gpu_eval_batch_size push_to_hub_model_id
push_to_hub_organization push_to_hub_token ray_scope save_safetensors torchdynamo tpu_metrics_debug tpu_num_cores
use_legacy_prediction_loop use_mps_device warmup_ratio evaluation_strategy
""".split()  # noqa: SIM905  # a list of thirty strings is no easier to read


def read(**given: Any) -> RunConfig:
    return settings.read(HOST_ONLY, given, environ={})


def problem(**given: Any) -> Problem:
    with pytest.raises(ConfigError) as caught:
        read(**given)
    (one,) = caught.value.problems
    return one


@pytest.mark.parametrize("name", REMOVED)
def test_every_argument_that_transformers_removed_is_still_understood(name: str) -> None:
    assert name in translations() or TABLE[name].status == "owned"
    assert name in rows()


def test_what_transformers_has_is_not_called_removed() -> None:
    assert not set(REMOVED) & set(training_arguments())


@pytest.mark.parametrize(
    ("old", "given", "new", "value"),
    [
        ("warmup_ratio", 0.1, "warmup_steps", 0.1),
        ("evaluation_strategy", "no", "eval_strategy", "no"),
        ("no_cuda", "true", "backend", "cpu"),
        ("use_cpu", True, "backend", "cpu"),
        ("use_mps_device", True, "backend", "mps"),
        ("gradient_checkpointing", "yes", "disable_gradient_checkpointing", False),
        ("gradient_checkpointing", False, "disable_gradient_checkpointing", True),
        ("activation_checkpointing", False, "disable_gradient_checkpointing", True),
        (
            "gradient_checkpointing_kwargs",
            {"preserve": False},
            "activation_checkpointing_kwargs",
            {"preserve": False},
        ),
        ("group_by_length", True, "train_sampling_strategy", "group_by_length"),
        ("push_to_hub_model_id", "a/b", "hub_model_id", "a/b"),
        ("push_to_hub_token", "t", "hub_token", "t"),
        ("per_gpu_train_batch_size", 4, "per_device_train_batch_size", 4),
        ("per_gpu_eval_batch_size", 4, "per_device_eval_batch_size", 4),
        ("adafactor", True, "optim", "adafactor"),
        ("include_inputs_for_metrics", True, "include_for_metrics", ("inputs",)),
        ("include_tokens_per_second", True, "include_effective_tokens_per_second", True),
        ("torchdynamo", "inductor", "torch_compile_backend", "inductor"),
        ("tpu_metrics_debug", True, "debug", ("tpu_metrics_debug",)),
        ("eval_num_beams", 3, "generation_num_beams", 3),
        ("checkpoint_dir", "a,b", "adapter_name_or_path", ("a", "b")),
        ("model", "m", "model_name_or_path", "m"),
        ("load_in_4bit", True, "quantization_bit", 4),
        ("sample_backend", "hf", "infer_backend", "huggingface"),
        ("flash_attn", "true", "flash_attn", "fa2"),
        ("flash_attn", "off", "flash_attn", "disabled"),
        ("flash_attn", "flash_attention_2", "flash_attn", "fa2"),
    ],
)
def test_an_old_name_becomes_todays_key_and_says_so(old: str, given: Any, new: str, value: Any) -> None:
    config = read(**{old: given})
    assert {key: setting.value for key, setting in config.settings.items()} == {new: value}
    assert config.settings[new].origin == "Python"
    (notice,) = config.notices
    assert notice.startswith(f"Python: {old}")
    assert new in notice


@pytest.mark.parametrize(
    ("old", "given"),
    [
        ("save_safetensors", True),
        ("no_cuda", False),
        ("group_by_length", "no"),
        ("low_cpu_mem_usage", True),
        ("fp16_backend", "auto"),
        ("fp16_opt_level", "O2"),
        ("jit_mode_eval", False),
        ("mp_parameters", ""),
        ("past_index", -1),
        ("ray_scope", "all"),
        ("use_legacy_prediction_loop", False),
        ("ignore_pad_token_for_loss", True),
        ("max_length", 512),
        ("disable_version_check", True),
    ],
)
def test_an_old_name_that_changes_nothing_is_left_out_and_says_so(old: str, given: Any) -> None:
    config = read(**{old: given})
    assert config.settings == {}
    (notice,) = config.notices
    assert notice.startswith(f"Python: {old}: ")
    assert "is left out (" in notice


@pytest.mark.parametrize(
    ("old", "given", "instead"),
    [
        ("save_safetensors", False, "Weights are written as safetensors only"),
        ("warmup_ratio", 100, "a number of steps goes to warmup_steps"),
        ("half_precision_backend", "apex", "Only torch's own mixed precision"),
        ("jit_mode_eval", True, "try torch_compile"),
        ("mp_parameters", "x", "SageMaker"),
        ("past_index", 2, "past states"),
        ("push_to_hub_organization", "acme", "hub_model_id: ORGANISATION/NAME"),
        ("tpu_num_cores", 8, "no TPU backend"),
        ("low_cpu_mem_usage", "false", "leave it out"),
        ("ignore_pad_token_for_loss", False, "never learned"),
        ("max_source_length", 512, "cutoff_len"),
    ],
)
def test_what_can_no_longer_be_had_is_refused_with_the_reason(old: str, given: Any, instead: str) -> None:
    found = problem(**{old: given})
    assert found.what.startswith(f"{old}: ")
    assert found.what.endswith("is not supported")
    assert instead in found.instead


def test_a_value_of_the_wrong_type_under_an_old_name_is_told_under_that_name() -> None:
    assert problem(no_cuda="perhaps").what == "no_cuda must be true or false, not 'perhaps'"
    assert problem(evaluation_strategy="step").what.startswith("eval_strategy must be one of no, steps, epoch")


def test_old_and_new_name_may_agree_and_may_not_disagree() -> None:
    assert read(evaluation_strategy="steps", eval_strategy="steps").value("eval_strategy") == "steps"
    found = problem(warmup_ratio=0.1, warmup_steps=100)
    assert found.what == "warmup_ratio and warmup_steps (Python) mean the same and say different things"
    assert found.instead == "Keep warmup_steps."


def test_an_old_name_on_the_command_line_beats_the_new_one_in_the_file() -> None:
    config = settings.read(HOST_ONLY, {"warmup_steps": 100}, ["warmup_ratio=0.1"], {})
    assert (config.value("warmup_steps"), config.origin("warmup_steps")) == (0.1, "command line")


def test_the_table_leads_to_keys_that_exist() -> None:
    everything = {*TABLE, *rows()}
    assert {row.new.partition(".")[0] for each in translations().values() for row in each} - {"", REFUSE} <= everything
    assert {name for name in translations() if name not in rows()} == set()
    assert all(row.note for each in translations().values() for row in each if row.new in ("", REFUSE))


def test_every_row_that_is_called_translated_has_a_translation() -> None:
    assert {row.name for row in rows().values() if row.status == "translated"} <= set(translations())
