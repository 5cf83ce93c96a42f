"""Which models a plan finds for the roles of these stages, what it refuses, and runs from a configuration to weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith import TunesmithError, launch, planning, settings
from tunesmith.errors import ConfigError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny import make_tiny

Make = Callable[..., Plan]
TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, pairs with tools and earlier turns, and feedback."""
    folder = tmp_path_factory.mktemp("home")
    make_tiny("qwen3", folder / "model")
    call = json.dumps({"name": "add", "arguments": {"a": 1}})
    turns = [("human", "Hello."), ("gpt", "Hi."), ("human", "Add 1."), ("function_call", call), ("observation", "2")]
    talk = [{"from": who, "value": words} for who, words in turns]
    pairs = [
        {
            "conversations": [*talk[:2], {"from": "human", "value": f"Give me {n}."}] if n % 2 else talk,
            "tools": json.dumps([TOOL]),
        }
        | {"chosen": {"from": "gpt", "value": f"Gladly: {n}."}, "rejected": {"from": "gpt", "value": f"Never {n}, go."}}
        for n in range(8)
    ]
    liked = [
        {"instruction": f"Give me {n}.", "output": f"Gladly: {n}." if n % 3 == 0 else f"Never {n}, go.", "kto_tag": n % 3 == 0}
        for n in range(8)
    ]
    same = [{**pairs[1], "rejected": pairs[1]["chosen"]}, pairs[3]]
    for name, rows in (("pairs", pairs), ("liked", liked), ("same", same)):
        (folder / f"{name}.json").write_text(json.dumps(rows))
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "tools": "tools"}
    entry = {"formatting": "sharegpt", "ranking": True, "columns": columns}
    info = {name: {"file_name": f"{name}.json", **entry} for name in ("pairs", "same")}
    liked_columns = {"prompt": "instruction", "response": "output", "kto_tag": "kto_tag"}
    info["liked"] = {"file_name": "liked.json", "columns": liked_columns}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="module")
def make(plugins: Plugins, home: Path) -> Make:
    def make_plan(stage: str = "dpo", **keys: Any) -> Plan:
        given: dict[str, Any] = {"model_name_or_path": str(home / "model"), "dataset_dir": str(home), "template": "qwen3"}
        given |= {"dataset": "pairs" if stage == "dpo" else "liked", "stage": stage, "output_dir": str(home / "out")}
        given |= {"backend": "cpu", "data_cache_dir": str(home / "cache"), "verbosity": "error", "disable_tqdm": True}
        given |= {
            "disable_gradient_checkpointing": True,
            "save_strategy": "no",
            "logging_steps": 1,
            "overwrite_output_dir": True,
        }
        given |= {"per_device_train_batch_size": 8, "lr_scheduler_type": "constant"}
        config = settings.read(plugins, {**given, **keys}, environ={})
        return planning.make(config, plugins, "train")

    return make_plan


@pytest.fixture(scope="module")
def adapter(make: Make, plugins: Plugins, home: Path) -> Path:
    """An adapter that changes what the model says."""
    folder = home / "adapter"
    launch.train(make(pref_loss="orpo", output_dir=str(folder), max_steps=4, learning_rate=1e-2), plugins)
    return folder


def problems(make: Make, *args: Any, **keys: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(*args, **keys)
    return caught.value.message


# ---- who is the reference --------------------------------------------------------------------------------------------


def test_under_an_adapter_the_model_is_its_own_reference(make: Make) -> None:
    wish = make(finetuning_type="lora").models["reference"]
    assert (wish.base_of, wish.path, wish.adapters) == ("policy", None, ())


def test_whole_weights_need_a_second_copy_and_the_estimate_counts_it(make: Make, home: Path) -> None:
    plan = make(finetuning_type="full")
    assert plan.models["reference"].path == str(home / "model")
    assert plan.estimate is not None
    assert plan.estimate.parts["reference model"] > 0
    assert "reference model" not in make(finetuning_type="lora").estimate.parts  # type: ignore[union-attr]


def test_going_on_from_an_adapter_the_reference_has_it_too(make: Make, adapter: Path, home: Path) -> None:
    plan = make(adapter_name_or_path=str(adapter))
    wish = plan.models["reference"]
    assert (wish.base_of, wish.adapters) == ("policy", (str(adapter),))
    assert any("as learning starts" in notice for notice in plan.notices)
    without = make(adapter_name_or_path=str(adapter), ref_model=str(home / "model")).models["reference"]
    assert (without.base_of, without.adapters) == ("policy", ())
    anew = make(adapter_name_or_path=str(adapter), create_new_adapter=True).models["reference"]
    assert (anew.base_of, anew.adapters) == ("policy", ())


@pytest.mark.parametrize("loss", ["orpo", "simpo", "sft"])
def test_some_losses_have_no_reference(loss: str, make: Make) -> None:
    assert set(make(pref_loss=loss).models) == {"policy"}
    assert "compares with no reference model" in problems(make, pref_loss=loss, precompute_ref_log_probs=True)


def test_kept_answers_need_no_second_model_unless_it_is_another_one(make: Make, adapter: Path) -> None:
    assert set(make(finetuning_type="full", precompute_ref_log_probs=True).models) == {"policy"}
    keys = {"finetuning_type": "full", "precompute_ref_log_probs": True, "ref_model_adapters": str(adapter)}
    assert make(**keys).models["reference"].adapters == (str(adapter),)


# ---- what cannot be --------------------------------------------------------------------------------------------------


def test_a_reference_with_other_words_is_refused(make: Make, home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "model", tmp_path / "other")
    file = tmp_path / "other" / "tokenizer.json"
    plain = json.loads(file.read_text())
    words = sorted(plain["model"]["vocab"], key=plain["model"]["vocab"].get)
    plain["model"]["vocab"][words[300]], plain["model"]["vocab"][words[301]] = 301, 300
    file.write_text(json.dumps(plain))
    assert "have different vocabularies: the id 300 is" in problems(make, ref_model=str(tmp_path / "other"))


def test_a_reference_that_is_not_there_is_missing(make: Make, tmp_path: Path) -> None:
    (missing,) = make(ref_model=str(tmp_path / "nowhere")).missing
    assert "ref_model: there is no folder" in missing.what


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"pref_loss": "sigmoyd"}, "pref_loss"),
        ({"pref_loss": "sigmoid,ipo", "pref_loss_weights": "1"}, "holds 1 weights, and pref_loss 2 losses"),
        ({"pref_loss": "hinge", "dpo_label_smoothing": 0.1}, "dpo_label_smoothing has no meaning with pref_loss: hinge"),
        ({"pref_loss": "exo_pair"}, "exo_pair needs doubt"),
        ({"do_predict": True, "eval_dataset": "pairs"}, "answers no prompts"),
        ({"early_stopping_steps": 2}, "early_stopping_steps needs evaluations"),
        ({"dataset": "liked"}, "liked"),
    ],
)
def test_the_plan_says_what_cannot_be(keys: dict[str, Any], said: str, make: Make) -> None:
    assert said in problems(make, **keys)


def test_feedback_with_no_weight_at_all_is_refused(make: Make) -> None:
    assert "are both 0" in problems(make, "kto", kto_chosen_weight=0, kto_rejected_weight=0)


def test_old_names_still_mean_the_same(make: Make) -> None:
    plan = make(dpo_loss="ipo", dpo_beta=0.3, dpo_ftx=0.1)
    assert (plan["pref_loss"], plan["pref_beta"], plan["pref_ftx"]) == (("ipo",), 0.3, 0.1)


# ---- runs ------------------------------------------------------------------------------------------------------------


def last(folder: Path) -> dict[str, float]:
    lines = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    found: dict[str, float] = next(line for line in reversed(lines) if "loss" in line)
    return found


@pytest.mark.parametrize(
    ("stage", "tuner", "rate"), [("dpo", "lora", 1e-2), ("dpo", "full", 1e-3), ("kto", "lora", 1e-2), ("kto", "full", 1e-3)]
)
def test_it_separates_a_small_set(stage: str, tuner: str, rate: float, make: Make, plugins: Plugins, home: Path) -> None:
    plan = make(stage, finetuning_type=tuner, max_steps=12, learning_rate=rate, pref_beta=0.5)
    launch.train(plan, plugins)
    found = last(home / "out")
    assert found["rewards/margins"] > 2
    assert found["loss"] < (0.2 if stage == "dpo" else 0.35)


def test_the_start_is_the_reference_whoever_plays_it(make: Make, plugins: Plugins, adapter: Path, home: Path) -> None:
    """Learning goes on from an adapter: nothing has moved at the first step, and the base is somewhere else."""
    keys = {"adapter_name_or_path": str(adapter), "max_steps": 1}
    launch.train(make(**keys), plugins)
    assert last(home / "out")["rewards/margins"] == pytest.approx(0, abs=1e-5)
    launch.train(make(**keys, ref_model=str(home / "model")), plugins)
    assert abs(last(home / "out")["rewards/margins"]) > 0.01
    launch.train(make(**keys, create_new_adapter=True), plugins)
    assert last(home / "out")["rewards/margins"] == pytest.approx(0, abs=1e-5)


def test_weights_are_in_memory_once(make: Make, plugins: Plugins, adapter: Path) -> None:
    from tunesmith.data.flow import prepare
    from tunesmith.runtime.session import open_session

    plan = make(adapter_name_or_path=str(adapter))
    session = open_session(plan, plugins, prepare(plan, plugins))
    policy, reference = session.models["policy"], session.models["reference"]
    assert policy is not reference
    mine = {weight.data_ptr() for weight in policy.parameters()}
    own = [name for name, weight in reference.named_parameters() if weight.data_ptr() not in mine]
    assert own
    assert all("lora_" in name for name in own)
    assert not any(weight.requires_grad for weight in reference.parameters())
    session.close()


def test_a_tuner_that_moves_the_weights_cannot_share_them(make: Make, plugins: Plugins, adapter: Path) -> None:
    plan = make(ref_model_adapters=str(adapter), pissa_init=True, lora_rank=4)
    with pytest.raises(TunesmithError, match="so that no other model can share them"):
        launch.train(plan, plugins)


def test_pairs_that_are_the_same_are_counted_and_left_out(make: Make, plugins: Plugins) -> None:
    from tunesmith.data.flow import prepare

    (report,) = prepare(make(dataset="same"), plugins).report.sources
    assert report.dropped == {"both answers are the same": 1}
    assert (report.rows_in, report.kept) == (2, 1)
    whole = report.length["longest"]
    (report,) = prepare(make(dataset="pairs", cutoff_len=whole - 12), plugins).report.sources
    assert report.kept + sum(report.dropped.values()) == report.rows_in
    assert report.dropped


def test_half_precision_agrees_with_itself(make: Make, plugins: Plugins, home: Path) -> None:
    launch.train(make(finetuning_type="full", max_steps=1, bf16=True), plugins)
    assert last(home / "out")["rewards/margins"] == pytest.approx(0, abs=2e-2)
    assert torch.isfinite(torch.tensor(last(home / "out")["loss"]))
