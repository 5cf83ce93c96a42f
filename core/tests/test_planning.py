"""Plans: what is chosen and why, what counts, what is wrong, what is not here; without torch."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tunesmith import known_keys, planning, settings
from tunesmith.errors import ConfigError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.spec import options_of

COMPAT = Path(__file__).parent / "compat" / "configs"
MakePlan = Callable[..., Plan]


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tunesmith.runtime.tiny import make_tiny

    return make_tiny("llama", tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = [{"instruction": "Say a.", "output": "a"}]
    (folder / "a.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"a": {"file_name": "a.json"}, "gone": {"file_name": "gone.json"}}))
    return folder


@pytest.fixture
def make(plugins: Plugins, model: Path, data: Path, tmp_path: Path) -> MakePlan:
    def make_plan(command: str = "train", strict: bool = False, **keys: Any) -> Plan:
        complete = {"model_name_or_path": str(model), "dataset": "a", "dataset_dir": str(data), "template": "chatml"}
        complete |= {"output_dir": str(tmp_path / "out"), "backend": "cpu", **keys}
        config = settings.read(plugins, {key: value for key, value in complete.items() if value is not None}, environ={})
        return planning.make(config, plugins, command, strict=strict)

    return make_plan


def problems(make: MakePlan, **keys: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(**keys)
    return caught.value.message


# ---- what is chosen --------------------------------------------------------------------------------------------------


def test_a_complete_configuration_plans_with_nothing_missing(make: MakePlan) -> None:
    plan = make(finetuning_type="lora", lora_rank=4)
    assert plan.missing == ()
    chosen = {c.axis: c.name for c in plan.chosen}
    assert chosen["trainers"] == "sft"
    assert chosen["tuners"] == "lora"
    assert chosen["backends"] == "cpu"
    assert chosen["templates"] == "chatml"
    assert chosen["formats"] == "alpaca"
    assert plan["lora_rank"] == 4
    assert plan.settings["lora_rank"].given
    assert plan.settings["lora_dropout"].origin == "default"
    assert [dataset.name for dataset in plan.datasets] == ["a"]


def test_the_plan_survives_being_written_and_read(make: MakePlan, tmp_path: Path) -> None:
    plan = make(finetuning_type="lora", lora_target="q_proj,v_proj")
    plan.write(tmp_path / "plan.json")
    again = Plan.read(tmp_path / "plan.json")
    assert again.chosen == plan.chosen
    assert again.models == plan.models
    assert again.datasets == plan.datasets
    kind = next(options_of(offer.spec) for offer in Plugins().tuners if offer.spec.name == "lora")
    assert again.options(kind) == plan.options(kind)


def test_secrets_are_masked_wherever_a_plan_is_written(make: MakePlan) -> None:
    plan = make(hf_hub_token="hush-hush")
    assert "hush-hush" not in plan.to_json()
    assert "hush-hush" in plan.to_json(secrets=True)


def test_a_stage_shows_its_own_defaults_as_such(make: MakePlan, data: Path) -> None:
    (data / "p.txt").write_text("one\ntwo\n")
    info = json.loads((data / "dataset_info.json").read_text())
    (data / "dataset_info.json").write_text(json.dumps({**info, "p": {"file_name": "p.txt", "columns": {"prompt": "text"}}}))
    plan = make(stage="pt", dataset="p", template=None)
    assert plan["packing"] is True
    assert plan.settings["packing"].origin == "default of stage pt"


def test_training_is_what_train_does_unless_only_judging_is_asked_for(make: MakePlan) -> None:
    assert make()["do_train"] is True
    assert make(do_eval=True, val_size=0.5)["do_train"] is False


def test_an_accelerator_is_picked_by_its_switch(make: MakePlan) -> None:
    assert not list(make().picked("accelerators"))
    assert [chosen.name for chosen in make(use_unsloth_gc=True).picked("accelerators")] == ["offload"]


# ---- what does not count ---------------------------------------------------------------------------------------------


def test_a_key_of_somebody_not_in_use_is_kept_as_unused_and_refused_by_strict(make: MakePlan) -> None:
    plan = make(finetuning_type="full", lora_rank=4)
    assert plan.unused["lora_rank"].value == 4
    assert "lora_rank" not in plan.settings
    with pytest.raises(ConfigError, match="lora_rank is not used by this run: it belongs to lora"):
        make(finetuning_type="full", lora_rank=4, strict=True)


# ---- what is not here ------------------------------------------------------------------------------------------------


def test_what_is_required_and_not_given_is_missing(make: MakePlan) -> None:
    missing = " ".join(map(str, make(dataset=None, output_dir=None).missing))
    assert "dataset is not given" in missing
    assert "output_dir is not given" in missing


def test_missing_things_are_fatal_to_who_carries_the_plan_out(make: MakePlan) -> None:
    with pytest.raises(ConfigError, match="dataset is not given"):
        make(dataset=None).check_ready()


def test_a_model_that_is_not_there_is_missing_with_the_nearest_folder(make: MakePlan, model: Path) -> None:
    (problem,) = make(model_name_or_path=str(model.parent / "tinny")).missing
    assert "there is no folder" in problem.what
    assert problem.instead == "Did you mean 'tiny'?"


def test_a_dataset_whose_file_is_gone_is_missing(make: MakePlan) -> None:
    assert any("gone.json" in str(problem) for problem in make(dataset="a,gone").missing)


def test_a_dataset_that_is_not_declared_suggests_the_nearest(make: MakePlan) -> None:
    assert any("'b'" in problem.what for problem in make(dataset="b").missing)


def test_a_known_name_that_no_package_brings_is_missing_and_an_unknown_one_is_wrong(make: MakePlan, model: Path) -> None:
    bare = Plugins(without={offer.owner.plugin for offer in Plugins().backends if offer.spec.name != "cpu"})
    chat = {"model_name_or_path": str(model), "template": "chatml", "backend": "npu"}
    plan = planning.make(settings.read(bare, chat, environ={}), bare, "chat")
    assert any("'npu' is not installed" in problem.what for problem in plan.missing)
    assert "Did you mean 'sft'" in problems(make, stage="stf")


def test_a_key_that_nobody_built_yet_is_missing_unless_it_asks_for_nothing(
    make: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(known_keys.not_owned())
    known["acme_speed"] = replace(known["downsample_mode"], name="acme_speed", only_with="", owner="tunesmith-acme")
    monkeypatch.setattr("tunesmith.keys.not_owned", lambda: known)
    (problem,) = make(acme_speed="4x").missing
    assert (problem.what, problem.instead) == ("acme_speed: 4x is not built yet", "It will come with tunesmith-acme.")
    assert make(acme_speed=None).missing == ()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"nnodes": "2"}, "Write master_addr: the address of machine 0."),
        ({"rdzv_id": "here"}, "Write master_addr: the address of machine 0."),
        ({"nnodes": "2", "master_addr": "node-0", "max_restarts": 1}, "Write rdzv_id: a name, the same on every machine."),
        ({"nnodes": "two"}, "nnodes must be a number"),
    ],
)
def test_processes_of_several_machines_must_find_each_other(make: MakePlan, keys: dict[str, Any], told: str) -> None:
    assert told in problems(make, **keys)


@pytest.mark.parametrize("command", ["train", "chat", "export"])
def test_an_attention_kind_that_nobody_brings_is_missing_for_every_command(model: Path, command: str) -> None:
    host = Plugins()
    bare = Plugins(without={offer.owner.plugin for offer in host.accelerators})
    keys = {"model_name_or_path": str(model), "dataset": "a", "template": "chatml", "output_dir": "out", "flash_attn": "fa2"}
    keys |= {"export_dir": "nowhere"} if command == "export" else {}
    plan = planning.make(settings.read(bare, keys, environ={}), bare, command)
    assert any("flash_attn: fa2 is not installed" in problem.what for problem in plan.missing)


LOSSES = """
from tunesmith import AcceleratorSpec, Switch, hookimpl

TUNESMITH_API = (1, 0)

@hookimpl
def tunesmith_accelerators():
    return [
        AcceleratorSpec("one", "x:y", "One.", switch=Switch("plot_loss"), losses=("token",), backends=("tpu",)),
        AcceleratorSpec("other", "x:y", "Other.", switch=Switch("do_sample"), losses=("token",), dtypes=("float16",)),
    ]
"""


def test_accelerators_that_cannot_work_here_or_together_are_named(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "tunesmith_local.py").write_text(LOSSES)
    plugins = Plugins(local=tmp_path)
    keys = {"model_name_or_path": str(model), "dataset": "a", "dataset_dir": str(data), "template": "chatml", "backend": "cpu"}
    keys |= {"output_dir": str(tmp_path / "out"), "plot_loss": True, "do_sample": True, "bf16": True}
    with pytest.raises(ConfigError) as caught:
        planning.make(settings.read(plugins, keys, environ={}), plugins, "train")
    said = caught.value.message
    assert "one does not work on cpu\n    It works on tpu." in said
    assert "other does not compute in bfloat16\n    It takes float16." in said
    assert "other and one both compute the token loss" in said


# ---- what is wrong ---------------------------------------------------------------------------------------------------


def test_problems_of_reading_and_of_planning_come_together(plugins: Plugins) -> None:
    config = settings.gather(plugins, {"stage": "stf", "lora_rank": 0, "learning_rat": 1}, environ={})
    with pytest.raises(ConfigError) as caught:
        planning.make(config, plugins, "train")
    for word in ("'stf'", "lora_rank must be", "learning_rat"):
        assert word in caught.value.message


def test_every_problem_is_reported_at_once(make: MakePlan) -> None:
    told = problems(make, stage="stf", bf16=True, fp16=True, mask_history=True, train_on_prompt=True, template="chatmel")
    for word in ("'stf'", "bf16 and fp16 are both on", "contradict each other", "'chatmel'"):
        assert word in told


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"val_size": 0.1, "eval_dataset": "a"}, "val_size and eval_dataset are both given"),
        ({"finetuning_type": "full", "adapter_name_or_path": "ADAPTER"}, "full cannot go on from an adapter"),
        ({"streaming": True}, "streaming: true needs max_steps"),
        ({"streaming": True, "max_steps": 5, "val_size": 0.1}, "val_size is a share, and a stream has no length"),
        ({"streaming": True, "max_steps": 5, "max_samples": 9}, "max_samples has no meaning with streaming: true"),
        ({"template": "./nowhere.toml"}, "there is no template file"),
        ({"model_name_or_path": "EMPTY"}, "holds no config.json"),
    ],
)
def test_combinations_that_cannot_work(make: MakePlan, tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    (tmp_path / "ADAPTER").mkdir()
    (tmp_path / "ADAPTER" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (tmp_path / "EMPTY").mkdir()
    here = {key: str(tmp_path / value) if value in ("ADAPTER", "EMPTY") else value for key, value in keys.items()}
    assert says in problems(make, **here)


def test_no_template_and_a_tokenizer_without_one(make: MakePlan, model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in model.iterdir():
        if file.name != "chat_template.jinja":
            (bare / file.name).write_bytes(file.read_bytes())
    assert "brings no chat template" in problems(make, template=None, model_name_or_path=str(bare))
    assert make(template=None).missing == ()


def test_an_output_folder_with_another_run_names_both_ways_out(make: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "out" / "checkpoint-3").mkdir(parents=True)
    told = problems(make)
    assert "resume_from_checkpoint: true" in told
    assert "overwrite_output_dir: true" in told
    assert make(overwrite_output_dir=True).missing == ()


# ---- what it says of the template --------------------------------------------------------------------------------------


def test_a_model_that_looks_like_another_templates_is_noted(make: MakePlan, model: Path, tmp_path: Path) -> None:
    (tmp_path / "Qwen3-8B").symlink_to(model)
    plan = make(model_name_or_path=str(tmp_path / "Qwen3-8B"), template="vicuna")
    assert any("looks like a model of the template qwen3" in notice for notice in plan.notices)
    same = make(model_name_or_path=str(tmp_path / "Qwen3-8B"), template="qwen3")
    assert not any("looks like" in notice for notice in same.notices)


def test_where_a_template_departs_from_the_published_one_is_noted(make: MakePlan) -> None:
    assert any(
        notice.startswith("template llama3_2: The published template prints the day")
        for notice in make(template="llama3_2").notices
    )


def test_a_mistake_in_a_template_file_is_found_while_planning(make: MakePlan, tmp_path: Path) -> None:
    file = tmp_path / "acme.toml"
    file.write_text('[acme]\nuser = "{contnt}"\nprompt = ""\nreply = "{content}"\n')
    told = problems(make, template=str(file))
    assert "acme.toml" in told
    assert "contnt" in told


# ---- adapters and memory ---------------------------------------------------------------------------------------------


def test_a_folder_with_an_adapter_stands_for_its_model(make: MakePlan, model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(model)}))
    plan = make("chat", model_name_or_path=str(adapter), dataset=None, output_dir=None)
    assert plan.models["policy"].path == str(model)
    assert plan.models["policy"].adapters == (str(adapter),)
    assert any("holds an adapter" in notice for notice in plan.notices)


def test_a_trained_model_is_served_with_the_template_it_was_trained_with(make: MakePlan, model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(model)}))
    make(template="vicuna", default_system="Be brief.").write(adapter / "plan.json")
    keys: dict[str, Any] = {"model_name_or_path": str(adapter), "dataset": None, "output_dir": None}
    plan = make("chat", template=None, **keys)
    assert plan["template"] == "vicuna"
    assert plan["default_system"] == "Be brief."
    assert plan.settings["template"].origin == f"read from {adapter}/plan.json"
    assert plan.the("templates").name == "vicuna"
    assert make("chat", template="chatml", **keys)["default_system"] is None


def test_the_memory_estimate_counts_what_learns(make: MakePlan) -> None:
    full, lora = make(finetuning_type="full").estimate, make(finetuning_type="lora").estimate
    assert full is not None
    assert lora is not None
    assert full.trainable == full.parameters == lora.parameters
    assert 0 < lora.trainable < full.trainable
    assert lora.parts["optimizer"] < full.parts["optimizer"]
    assert full.parts["optimizer"] == full.trainable * 2 * 4


# ---- configurations that people already have -------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(COMPAT.glob("*.yaml")), ids=lambda file: file.stem)
def test_known_configurations_plan(plugins: Plugins, file: Path) -> None:
    plan = planning.make(settings.read(plugins, file, environ={}), plugins, "train")
    assert plan.missing, "nothing that these files name is on a test machine"
    assert all(problem.where.startswith(str(file)) for problem in plan.missing)


def test_planning_imports_nothing_heavy(tmp_path: Path, model: Path, data: Path) -> None:
    run = tmp_path / "run.yaml"
    run.write_text(
        f"model_name_or_path: {model}\ndataset: a\ndataset_dir: {data}\ntemplate: chatml\noutput_dir: {tmp_path}/o\n"
    )
    code = (
        "import sys; from tunesmith.cli.main import main\n"
        f"status = main(['plan', {str(run)!r}])\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'accelerate', 'numpy'} & set(sys.modules)\n"
        "sys.exit(status or bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "plan of tunesmith train" in done.stdout


# ---- optimizers of transformers ----------------------------------------------------------------------------------------


def test_an_optimizer_of_transformers_says_what_to_install(make: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optimi" else name)
    missing = [problem for problem in make(optim="stable_adamw").missing if "optimi" in problem.what]
    assert [problem.instead for problem in missing] == ["pip install torch-optimi"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"optim": "galore_adamw"}, "optim: galore_adamw keeps objects in its state that only pickle could write"),
        ({"optim": "apollo_adamw_layerwise"}, "Write use_apollo: true"),
        ({"optim": "adamw_anyprecision"}, "published no longer"),
        ({"optim": "schedule_free_adamw", "lr_scheduler_type": "cosine"}, "Write lr_scheduler_type: constant"),
    ],
)
def test_an_optimizer_of_transformers_that_would_not_do_is_refused(make: MakePlan, keys: dict[str, str], words: str) -> None:
    assert words in problems(make, **keys)


# ---- what is changed in a model before it learns -----------------------------------------------------------------------


def test_described_words_are_added_to_those_given_one_by_one(make: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text('"<calm>": quiet\n"<storm>": loud\n', encoding="utf-8")
    plan = make(add_tokens="<a>", new_special_tokens_config=str(tmp_path / "words.yaml"), init_special_tokens="desc_init")
    assert plan["add_tokens"] == ("<a>", "<calm>", "<storm>")
    assert plan.settings["add_tokens"].origin.startswith("read from")
    assert "3 tokens are added: <a>, <calm>, <storm>" in plan.notices
    assert any("the rows of new tokens do not learn: finetuning_type: lora" in notice for notice in plan.notices)
    learns = make(add_tokens="<a>", additional_target="embed_tokens,lm_head")
    assert not any("do not learn" in notice for notice in learns.notices)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no file"),
        ("[a, b]", "maps no words to descriptions"),
        ("a: {", "is no YAML"),
        ("'<a>': ''", "'<a>' has no description in words"),
    ],
)
def test_a_file_of_words_that_cannot_be_read(make: MakePlan, tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "words.yaml").write_text(text, encoding="utf-8")
    assert words in problems(make, new_special_tokens_config=str(tmp_path / "words.yaml"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"init_special_tokens": "desc_init"}, "init_special_tokens: desc_init needs descriptions"),
        ({"add_tokens": "<a>", "add_special_tokens": "<a>"}, "<a>: in add_tokens and in add_special_tokens"),
        ({"rope_scaling": "yarn", "cutoff_len": 16}, "rope_scaling: yarn has nothing to stretch: cutoff_len is 16"),
        ({"upcast_layernorm": True, "pure_bf16": True}, "upcast_layernorm needs mixed precision"),
        ({"moe_aux_loss_coef": 0.1}, "moe_aux_loss_coef: this model has no router"),
        ({"mixture_of_depths": "convert"}, "mixture_of_depths"),
        ({"offload_folder": "somewhere"}, "offload_folder"),
    ],
)
def test_changes_that_cannot_be_made(make: MakePlan, keys: dict[str, Any], words: str) -> None:
    assert words in problems(make, **keys)


def test_stretched_positions_are_shown(make: MakePlan) -> None:
    found = [notice for notice in make(rope_scaling="linear", cutoff_len=100000).notices if "rope_scaling" in notice]
    assert found
    assert "linear stretches positions from" in found[0]


def test_changes_are_left_to_training(make: MakePlan) -> None:
    plan = make("chat", add_tokens="<a>", dataset=None, output_dir=None)
    assert plan["add_tokens"] == ()
    assert "add_tokens is for training; what was trained with it brings it along" in plan.notices


def test_plugins_can_say_what_a_user_should_know(model: Path, tmp_path: Path) -> None:
    """Beside problems: what they say is listed in the plan, and nothing is refused for it."""
    (tmp_path / "tunesmith_local.py").write_text(
        "from tunesmith import Notice, hookimpl\nTUNESMITH_API = (1, 0)\n"
        "@hookimpl\ndef tunesmith_check_plan(plan):\n    return [Notice(f'{plan.command} takes a while')]\n"
    )
    plugins = Plugins(local=tmp_path)
    config = settings.read(plugins, {"model_name_or_path": str(model), "backend": "cpu"}, environ={})
    assert "chat takes a while" in planning.make(config, plugins, "chat").notices


def test_plugins_can_say_what_this_machine_lacks(model: Path, tmp_path: Path) -> None:
    """It is listed, and fatal only to whoever carries the plan out."""
    (tmp_path / "tunesmith_local.py").write_text(
        "from tunesmith import Lacking, hookimpl\nTUNESMITH_API = (1, 0)\n"
        "@hookimpl\ndef tunesmith_check_plan(plan):\n    return [Lacking('here', 'there is no abacus', 'Buy one.')]\n"
    )
    plugins = Plugins(local=tmp_path)
    config = settings.read(plugins, {"model_name_or_path": str(model), "backend": "cpu"}, environ={})
    plan = planning.make(config, plugins, "chat")
    assert [one.what for one in plan.missing if "abacus" in one.what] == ["there is no abacus"]
    with pytest.raises(ConfigError, match="here: there is no abacus"):
        plan.check_ready()


def test_commands_that_only_answer_pick_no_accelerator_that_is_for_training(make: MakePlan) -> None:
    plan = make("chat", use_unsloth_gc=True, dataset=None, output_dir=None)
    assert not list(plan.picked("accelerators"))
