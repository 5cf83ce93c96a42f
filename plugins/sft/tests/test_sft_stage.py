"""What the stages learn, measure and write, on a model of two layers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.trainer_utils import SchedulerType
from tunesmith.contracts import Outcome
from tunesmith.data.conversation import Tokens
from tunesmith.errors import TunesmithError
from tunesmith.runtime.artefacts import finish
from tunesmith.runtime.collate import Collator, learned
from tunesmith.runtime.session import Session
from tunesmith.runtime.token_loss import token_loss
from tunesmith.testing.small_run import SmallStore, pack, small_losses, small_plan, small_plugins, small_rows, small_session


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def opened(folder: Path, rows: Any = None, evals: Mapping[str, Any] = {}, *, stage: str = "sft", **keys: Any) -> Session:
    plugins = small_plugins(sft="tunesmith_sft.plugin")
    plan = small_plan(folder, plugins, stage, **keys)
    return small_session(plan, plugins, SmallStore(small_rows(16)) if rows is None else rows, evals)


def run(folder: Path, *args: Any, **keys: Any) -> tuple[Session, Outcome]:
    session = opened(folder, *args, **keys)
    return session, session.trainer.run(session)


def by_hand(folder: Path, rows: list[Any]) -> tuple[float, float]:
    """Loss and accuracy of the model in ``folder`` over all tokens that are learned, in one batch."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    batch = Collator(pad=0)(rows)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    loss = token_loss(logits, batch["labels"], batch.get("loss_weights"), learned(batch))
    counted = batch["labels"][:, 1:] != -100
    right = (logits[:, :-1].argmax(-1) == batch["labels"][:, 1:])[counted]
    return float(loss), float(right.float().mean())


# ---- learning --------------------------------------------------------------------------------------------------------


def test_packs_have_the_losses_of_their_rows(tmp_path: Path) -> None:
    rows = small_rows(16)
    keys: dict[str, Any] = {"disable_shuffling": True, "num_train_epochs": 2.0}
    plain, _ = run(tmp_path / "plain", SmallStore(rows), per_device_train_batch_size=4, **keys)
    packed, _ = run(tmp_path / "packed", SmallStore(pack(rows, 2), packed=True), per_device_train_batch_size=2, **keys)
    assert small_losses(packed) == pytest.approx(small_losses(plain), abs=1e-4)


def test_weighted_tokens_do_not_depend_on_the_split_either(tmp_path: Path) -> None:
    rows = [
        {"tokens": Tokens(row["tokens"].ids, row["tokens"].weights * (0.5 + i % 3))} for i, row in enumerate(small_rows(16))
    ]
    whole, _ = run(tmp_path / "whole", SmallStore(rows), per_device_train_batch_size=8)
    split, _ = run(tmp_path / "split", SmallStore(rows), per_device_train_batch_size=1, gradient_accumulation_steps=8)
    assert small_losses(split) == pytest.approx(small_losses(whole), abs=1e-4)


def test_rows_come_in_their_order_when_shuffling_is_off(tmp_path: Path) -> None:
    rows = small_rows(4)
    session, _ = run(tmp_path, SmallStore(rows), disable_shuffling=True, learning_rate=0.0)
    expected = [by_hand(tmp_path / "model", rows[at : at + 2])[0] for at in (0, 2)]
    assert small_losses(session) == pytest.approx(expected, abs=1e-5)


def test_a_row_with_nothing_to_learn_costs_nothing(tmp_path: Path) -> None:
    session, _ = run(tmp_path, SmallStore([{"tokens": Tokens([5, 6, 7], [0.0, 0.0, 0.0])}] * 2))
    assert small_losses(session) == [0.0]


@pytest.mark.parametrize("scheduler", [kind.value for kind in SchedulerType])
def test_every_scheduler_of_transformers_runs(tmp_path: Path, scheduler: str) -> None:
    more = {
        "cosine_with_min_lr": {"min_lr": 1e-5},
        "cosine_warmup_with_min_lr": {"min_lr": 1e-5},
        "warmup_stable_decay": {"num_decay_steps": 1},
    }
    keys: dict[str, Any] = {"lr_scheduler_type": scheduler, "lr_scheduler_kwargs": more.get(scheduler), "max_steps": 3}
    evals = {"eval": SmallStore(small_rows(2, seed=1))}
    session, outcome = run(
        tmp_path, None, evals, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=2, **keys
    )
    assert outcome.steps == 3
    start = str(session.output_dir / "checkpoint-2")
    again, _ = run(tmp_path, None, evals, eval_strategy="steps", eval_steps=1, resume_from_checkpoint=start, **keys)
    assert small_losses(again) == small_losses(session)


@pytest.mark.parametrize("optimizer", ["adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"])
def test_optimizers_of_torch_run_and_resume_exactly(tmp_path: Path, optimizer: str) -> None:
    keys = {"optim": optimizer, "max_steps": 4, "learning_rate": 1e-3}
    session, _ = run(tmp_path, save_strategy="steps", save_steps=2, **keys)
    again, _ = run(tmp_path, resume_from_checkpoint=str(session.output_dir / "checkpoint-2"), **keys)
    assert small_losses(again) == small_losses(session)
    assert len(set(small_losses(session))) == 4


def test_neftune_adds_noise_while_training_only(tmp_path: Path) -> None:
    evals = {"eval": SmallStore(small_rows(4, seed=1))}
    keys: dict[str, Any] = {"learning_rate": 0.0, "do_eval": True, "max_steps": 1}
    plain, judged = run(tmp_path / "plain", None, evals, **keys)
    noisy, judged_noisy = run(tmp_path / "noisy", None, evals, neftune_noise_alpha=50.0, **keys)
    assert small_losses(plain) != small_losses(noisy)
    assert judged.metrics["eval_loss"] == judged_noisy.metrics["eval_loss"]


def test_group_by_length_resumes_exactly(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"train_sampling_strategy": "group_by_length", "num_train_epochs": 2.0}
    rows = SmallStore(small_rows(16, lengths=(4, 40)))
    session, _ = run(tmp_path, rows, save_strategy="steps", save_steps=5, **keys)
    for step in (5, 10):
        again, _ = run(tmp_path, rows, resume_from_checkpoint=str(session.output_dir / f"checkpoint-{step}"), **keys)
        assert small_losses(again) == small_losses(session)


def test_gradient_checkpointing_changes_no_loss(tmp_path: Path) -> None:
    losses = []
    for name, keys in (
        ("off", {"disable_gradient_checkpointing": True}),
        ("reentrant", {"disable_gradient_checkpointing": False, "use_reentrant_gc": True}),
        ("other", {"disable_gradient_checkpointing": False, "use_reentrant_gc": False}),
    ):
        session, _ = run(tmp_path / name, **keys)
        assert session.models["policy"].is_gradient_checkpointing is (name != "off")
        losses.append(small_losses(session))
    assert losses[0] == losses[1] == losses[2]


def test_plugins_hear_of_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(tmp_path, gradient_accumulation_steps=2)
    heard: list[int] = []
    monkeypatch.setattr(session.plugins, "step_ended", lambda session, step: heard.append(step))
    session.trainer.run(session)
    assert heard == [1, 2, 3, 4]


def test_the_tuners_groups_and_callbacks_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import TrainerCallback

    seen: list[Any] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *args: Any, optimizer: Any, **kwargs: Any) -> None:
            seen.append([group["lr"] for group in optimizer.param_groups])

    session = opened(tmp_path, max_steps=1)
    groups = [{"params": [weight], "lr": 0.5 / (i + 1)} for i, weight in enumerate(session.models["policy"].parameters())]
    monkeypatch.setattr(session.tuner, "param_groups", lambda model: groups)
    monkeypatch.setattr(session.tuner, "callbacks", lambda session: [Watch()])
    session.trainer.run(session)
    assert seen == [[0.5 / (i + 1) for i in range(len(groups))]]


# ---- measuring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 8])
def test_evaluation_is_the_mean_over_tokens_however_it_is_split(tmp_path: Path, size: int) -> None:
    rows = small_rows(7, seed=5, lengths=(4, 40))
    evals = {"eval": SmallStore(rows)}
    keys: dict[str, Any] = {"do_train": False, "do_eval": True, "compute_accuracy": True}
    _, outcome = run(tmp_path, None, evals, per_device_eval_batch_size=size, **keys)
    loss, accuracy = by_hand(tmp_path / "model", rows)
    assert outcome.metrics["eval_loss"] == pytest.approx(loss, abs=1e-5)
    assert outcome.metrics["eval_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_each_dataset_is_judged_by_itself_and_all_together(tmp_path: Path) -> None:
    rows = {"a": small_rows(3, seed=5), "b": small_rows(5, seed=6, lengths=(20, 40))}
    evals = {name: SmallStore(held) for name, held in rows.items()}
    _, outcome = run(tmp_path, None, evals, do_train=False, do_eval=True, eval_on_each_dataset=True)
    for name, held in rows.items():
        assert outcome.metrics[f"eval_{name}_loss"] == pytest.approx(by_hand(tmp_path / "model", held)[0], abs=1e-5)
    assert outcome.metrics["eval_loss"] == pytest.approx(by_hand(tmp_path / "model", [*rows["a"], *rows["b"]])[0], abs=1e-5)


def test_perplexity_is_told_for_plain_text(tmp_path: Path) -> None:
    evals = {"eval": SmallStore(small_rows(3))}
    _, outcome = run(tmp_path, None, evals, stage="pt", template=None, do_train=False, do_eval=True)
    assert outcome.metrics["eval_perplexity"] == pytest.approx(math.exp(outcome.metrics["eval_loss"]))


def test_effective_tokens_are_counted(tmp_path: Path) -> None:
    session, outcome = run(tmp_path, include_effective_tokens_per_second=True, num_train_epochs=2.0)
    assert session.train_data is not None
    tokens = 2 * session.train_data.lengths().sum()
    expected = tokens / outcome.metrics["train_runtime"]
    assert outcome.metrics["effective_tokens_per_sec"] == pytest.approx(expected, rel=1e-3)


# ---- the best weights, stopping early --------------------------------------------------------------------------------

BEST: dict[str, Any] = {
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "do_eval": True,
    "learning_rate": 0.05,
}


def test_the_best_weights_are_taken_and_kept(tmp_path: Path) -> None:
    evals = {"eval": SmallStore(small_rows(4, seed=9))}
    session, outcome = run(tmp_path, None, evals, **BEST)
    finish(session, outcome)
    state = json.loads((session.output_dir / "trainer_state.json").read_text())
    judged = {entry["step"]: entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry}
    best = min(judged.values())
    assert best < judged[8], "the last weights must not be the best, or this proves nothing"
    assert outcome.metrics["eval_loss"] == pytest.approx(best, abs=1e-6)
    assert by_hand(session.output_dir, small_rows(4, seed=9))[0] == pytest.approx(best, abs=1e-5)
    assert Path(state["best_model_checkpoint"]).is_dir()
    assert len(list(session.output_dir.glob("checkpoint-*"))) == 2


def test_it_stops_early_and_forgets_nothing_on_resuming(tmp_path: Path) -> None:
    evals = {"eval": SmallStore(small_rows(4, seed=9))}
    keys = {**BEST, "early_stopping_steps": 2, "save_total_limit": None, "num_train_epochs": 4.0}
    session, outcome = run(tmp_path, None, evals, **keys)
    assert outcome.stopped == "early stopping"
    assert outcome.steps < 32
    start = str(session.output_dir / f"checkpoint-{outcome.steps - 1}")
    again, resumed = run(tmp_path, None, evals, **keys, resume_from_checkpoint=start)
    assert resumed.steps == outcome.steps
    assert small_losses(again) == small_losses(session)


def test_early_stopping_goes_by_all_datasets_together(tmp_path: Path) -> None:
    evals = {name: SmallStore(small_rows(3, seed=seed)) for name, seed in (("a", 9), ("b", 10))}
    keys = {**BEST, "early_stopping_steps": 2, "num_train_epochs": 4.0, "eval_on_each_dataset": True}
    _, outcome = run(tmp_path, None, evals, **keys)
    assert outcome.stopped == "early stopping"
    assert outcome.metrics.keys() >= {"eval_a_loss", "eval_b_loss", "eval_loss"}


# ---- predicting ------------------------------------------------------------------------------------------------------


def test_predictions_are_what_the_model_says_to_each_prompt(tmp_path: Path) -> None:
    rows = small_rows(5, seed=3, lengths=(4, 20))
    session, outcome = run(
        tmp_path, None, {"eval": SmallStore(rows)}, do_train=False, do_predict=True, skip_special_tokens=False
    )
    lines = [json.loads(line) for line in (session.output_dir / "generated_predictions.jsonl").read_text().splitlines()]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    for row, line in zip(rows, lines, strict=True):
        ids, half = row["tokens"].ids, len(row["tokens"].ids) // 2
        prompt = torch.tensor([ids[:half].tolist()])
        said = model.generate(prompt, generation_config=session.generation_config)[0, half:]
        assert line["prompt"] == session.tokenizer.decode(ids[:half])
        assert line["label"] == session.tokenizer.decode(ids[half:])
        assert line["predict"].startswith(session.tokenizer.decode(said))
    assert outcome.metrics["predict_samples_per_second"] > 0


def test_evaluation_generates_when_asked_to(tmp_path: Path) -> None:
    evals = {"eval": SmallStore(small_rows(4, seed=3, lengths=(4, 6)))}
    keys: dict[str, Any] = {"predict_with_generate": True, "generation_max_length": 12, "metric_for_best_model": "exact_match"}
    session, outcome = run(tmp_path, None, evals, eval_strategy="steps", eval_steps=4, **keys)
    history = json.loads((session.output_dir / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "eval_exact_match" in entry] == [4, 8]
    assert outcome.metrics["eval_exact_match"] == 0.0


def test_answers_that_are_right_are_counted(tmp_path: Path) -> None:
    rows = small_rows(2, seed=3, lengths=(6, 6))
    store, keys = SmallStore(rows), {"do_predict": True, "num_train_epochs": 60.0, "per_device_train_batch_size": 2}
    _, outcome = run(tmp_path, store, {"eval": store}, **keys, max_new_tokens=len(rows[0]["tokens"].ids) // 2)
    assert outcome.metrics["predict_exact_match"] == 1.0


def test_packed_rows_are_predicted_one_by_one(tmp_path: Path) -> None:
    rows = small_rows(4, seed=3)
    keys: dict[str, Any] = {"do_train": False, "do_predict": True}
    texts = []
    for name, store in (("plain", SmallStore(rows)), ("packed", SmallStore(pack(rows, 2), packed=True))):
        session, _ = run(tmp_path / name, None, {"eval": store}, **keys)
        texts.append((session.output_dir / "generated_predictions.jsonl").read_text())
    assert texts[0] == texts[1]


def test_rows_without_a_prompt_cannot_be_predicted(tmp_path: Path) -> None:
    rows = SmallStore([{"tokens": Tokens([5, 6], [1.0, 1.0])}])
    with pytest.raises(TunesmithError, match="no prompt or no answer"):
        run(tmp_path, None, {"eval": rows}, do_train=False, do_predict=True)


# ---- files -----------------------------------------------------------------------------------------------------------


def test_a_finished_run_leaves_what_users_expect(tmp_path: Path) -> None:
    evals = {"eval": SmallStore(small_rows(4, seed=9))}
    keys: dict[str, Any] = {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "do_predict": True,
        "compute_accuracy": True,
        "plot_loss": True,
    }
    session, outcome = run(tmp_path, None, evals, **keys, save_strategy="steps", save_steps=4)
    finish(session, outcome)
    names = {path.name for path in session.output_dir.iterdir()}
    assert names == {
        *("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
        *("chat_template.jinja", "plan.json", "data_report.json", "README.md", "checkpoint-4", "checkpoint-8"),
        *("train_results.json", "eval_results.json", "predict_results.json", "all_results.json"),
        *("trainer_state.json", "trainer_log.jsonl", "generated_predictions.jsonl"),
        *("training_loss.png", "training_eval_loss.png", "training_eval_accuracy.png"),
    }
    results = {name: json.loads((session.output_dir / f"{name}_results.json").read_text()) for name in ("train", "eval", "all")}
    assert results["train"]["train_loss"] == outcome.metrics["train_loss"]
    assert results["eval"].keys() >= {"eval_loss", "eval_accuracy", "epoch"}
    assert results["all"] == dict(outcome.metrics)
    assert json.loads((session.output_dir / "config.json").read_text())["use_cache"] is True
    assert json.loads((session.output_dir / "generation_config.json").read_text())["eos_token_id"] == [
        session.tokenizer.eos_token_id
    ]
    for file in session.output_dir.rglob("*"):
        assert file.suffix not in {".bin", ".pt", ".pth", ".pkl"}
    lines = [json.loads(line) for line in (session.output_dir / "trainer_log.jsonl").read_text().splitlines()]
    assert [line["current_steps"] for line in lines if "loss" in line] == list(range(1, 9))
    assert lines[0].keys() >= {"total_steps", "loss", "lr", "epoch", "percentage", "elapsed_time", "remaining_time"}


def test_tensorboard_gets_the_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    session, _ = run(tmp_path, report_to=("tensorboard",), logging_dir=str(tmp_path / "board"))
    found = events.EventAccumulator(str(tmp_path / "board"))
    found.Reload()
    assert [event.value for event in found.Scalars("train/loss")] == pytest.approx(small_losses(session))


# ---- what cannot be done ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "keys", "said"),
    [
        ("sft", {"do_predict": True, "train_on_prompt": True}, "do_predict cannot tell prompts from answers"),
        ("pt", {"predict_with_generate": True}, "plain text has no prompts"),
    ],
)
def test_the_plan_says_what_cannot_be_done(tmp_path: Path, stage: str, keys: dict[str, Any], said: str) -> None:
    plugins = small_plugins(sft="tunesmith_sft.plugin")
    (problem,) = plugins.check_plan(small_plan(tmp_path, plugins, stage, **keys))
    assert said in problem.what
    assert problem.where == "by hand"
