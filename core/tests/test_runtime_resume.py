"""Going on from a checkpoint: refused when something changed, exact in half precision, and from other programs with trust."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer, TrainingArguments
from tunesmith.errors import TunesmithError
from tunesmith.runtime.artefacts import finish
from tunesmith.runtime.checkpoint import checkpoints_in
from tunesmith.runtime.collate import Collator, Rows
from tunesmith.testing.small_run import (
    SmallStore,
    small_losses,
    small_model,
    small_plan,
    small_plugins,
    small_rows,
    small_session,
)


def session(folder: Path, **keys: Any) -> Any:
    plugins = small_plugins()
    return small_session(small_plan(folder, plugins, "small", **keys), plugins, SmallStore(small_rows(16)))


def run(folder: Path, **keys: Any) -> list[float]:
    opened = session(folder, **keys)
    opened.trainer.run(opened)
    return small_losses(opened)


SAVES: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3}


@pytest.mark.parametrize("keys", [{"bf16": True}, {"pure_bf16": True}, {"fp16": False, "gradient_accumulation_steps": 2}])
def test_it_is_exact_in_every_number_format(tmp_path: Path, keys: dict[str, Any]) -> None:
    small_model(tmp_path / "model", dtype="bfloat16")
    whole = run(tmp_path, **SAVES, **keys)
    assert run(tmp_path, **keys, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3")) == whole


def test_dropout_goes_on_where_it_was(tmp_path: Path) -> None:
    small_model(tmp_path / "model", attention_dropout=0.5)
    whole = run(tmp_path, **SAVES, num_train_epochs=2.0)
    for step in (3, 9):
        start = str(tmp_path / "out" / f"checkpoint-{step}")
        assert run(tmp_path, num_train_epochs=2.0, resume_from_checkpoint=start) == whole


def test_data_loaded_by_workers_comes_in_the_same_order(tmp_path: Path) -> None:
    whole = run(tmp_path, **SAVES, dataloader_num_workers=1)
    assert run(tmp_path, dataloader_num_workers=1, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-6")) == whole


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    whole = run(tmp_path, **SAVES, max_steps=5)
    opened = session(tmp_path, max_steps=5, resume_from_checkpoint=True)
    outcome = opened.trainer.run(opened)
    assert outcome.steps == 5
    assert small_losses(opened) == whole
    assert outcome.metrics["train_loss"] == pytest.approx(sum(whole) / 5)


def test_the_loss_of_the_whole_run_is_told_after_resuming(tmp_path: Path) -> None:
    run(tmp_path, **SAVES)
    opened = session(tmp_path, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-6"))
    outcome = opened.trainer.run(opened)
    assert outcome.metrics["train_loss"] == pytest.approx(sum(small_losses(opened)) / 8)


def test_the_log_holds_each_step_once(tmp_path: Path) -> None:
    run(tmp_path, **SAVES)
    run(tmp_path, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3"))
    lines = (tmp_path / "out" / "trainer_log.jsonl").read_text().splitlines()
    assert [json.loads(line)["current_steps"] for line in lines] == list(range(1, 9))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tokenizer", lambda folder: _append(folder / "model" / "tokenizer_config.json", '{"model_max_length": 99}')),
        ("model", lambda folder: _append(folder / "model" / "config.json", '{"rms_norm_eps": 1e-3}')),
    ],
)
def test_what_changed_is_named_before_anything_is_loaded(
    tmp_path: Path, name: str, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, **SAVES)
    change(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("tunesmith.runtime.loading.load_base", None)
        with pytest.raises(TunesmithError, match=f"cannot be continued: {name} changed"):
            session(tmp_path, resume_from_checkpoint=True)
    session(tmp_path, resume_from_checkpoint=True, allow_drift=(name,))


def _append(file: Path, more: str) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **json.loads(more)}))


def test_a_changed_template_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, **SAVES)
    monkeypatch.setattr(
        "tunesmith.testing.small_run.TEMPLATE",
        "[small]\nuser = '{content}'\nprompt = ''\nreply = '{content}<|im_end|>'\nstop = ['<|im_end|>']\n",
    )
    with pytest.raises(TunesmithError, match="cannot be continued: template changed"):
        session(tmp_path, resume_from_checkpoint=True)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = run(tmp_path, **SAVES)
    (tmp_path / "out" / "checkpoint-8" / "optimizer.safetensors").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert run(tmp_path, resume_from_checkpoint=True) == whole
    assert "checkpoint-8 is not used: optimizer.safetensors has 0 bytes" in caplog.text


def test_weights_alone_can_be_gone_on_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, **SAVES, save_only_model=True)
    start = tmp_path / "out" / "checkpoint-3"
    assert not (start / "optimizer.json").exists()
    assert len(run(tmp_path, resume_from_checkpoint=str(start))) == 8
    assert "the optimizer starts anew" in caplog.text


@pytest.mark.parametrize("strategy", ["steps", "best"])
def test_a_signal_while_evaluating_cuts_the_evaluation_short(tmp_path: Path, strategy: str) -> None:
    from transformers import TrainerCallback

    class Signal(TrainerCallback):
        def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    def opened(**keys: Any) -> Any:
        keys = {"eval_strategy": "steps", "eval_steps": 2, "metric_for_best_model": "loss", "save_strategy": strategy, **keys}
        made = session(tmp_path, **keys)
        made.eval_data = {"eval": SmallStore(small_rows(8, seed=5))}
        return made

    first = opened()
    first.callbacks = (Signal(),)
    outcome = first.trainer.run(first)
    assert (outcome.steps, outcome.stopped) == (4, "SIGTERM")
    assert checkpoints_in(tmp_path / "out")[-1].name == "checkpoint-4"
    again = opened(resume_from_checkpoint=True)
    again.trainer.run(again)
    assert small_losses(again) == run(tmp_path / "whole")


# ---- another program's checkpoint ------------------------------------------------------------------------------------


def foreign(folder: Path) -> tuple[Path, list[float]]:
    """What transformers' own trainer does and saves, on the same model and rows."""
    from transformers import AutoModelForCausalLM

    small_model(folder / "model")
    args = TrainingArguments(
        str(folder / "theirs"), use_cpu=True, save_steps=4, logging_steps=1, per_device_train_batch_size=2, num_train_epochs=1,
        learning_rate=1e-2, lr_scheduler_type="constant", remove_unused_columns=False, disable_tqdm=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    trainer = Trainer(model, args, Collator(401), Rows(SmallStore(small_rows(16))))  # type: ignore[arg-type]
    trainer.train()
    return folder / "theirs" / "checkpoint-4", [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_a_checkpoint_of_transformers_needs_trust_and_then_goes_on_exactly(tmp_path: Path) -> None:
    start, losses = foreign(tmp_path)
    with pytest.raises(TunesmithError, match="it has no manifest"):
        run(tmp_path, resume_from_checkpoint=str(start))
    assert run(tmp_path, resume_from_checkpoint=str(start), trust_checkpoint=True) == losses


def test_pickled_code_in_a_trusted_checkpoint_does_not_run(tmp_path: Path) -> None:
    import pickle

    import torch

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    start, _ = foreign(tmp_path)
    torch.save(Evil(), start / "optimizer.pt")
    with pytest.raises(pickle.UnpicklingError):
        run(tmp_path, resume_from_checkpoint=str(start), trust_checkpoint=True)
    assert not (tmp_path / "ran").exists()


# ---- the output folder -----------------------------------------------------------------------------------------------


def test_overwriting_begins_with_an_empty_run(tmp_path: Path) -> None:
    run(tmp_path, **SAVES)
    (tmp_path / "out" / "notes.md").write_text("mine")
    opened = session(tmp_path, overwrite_output_dir=True)
    finish(opened, opened.trainer.run(opened))
    assert checkpoints_in(tmp_path / "out") == []
    assert (tmp_path / "out" / "notes.md").is_file()
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_results_that_cannot_be_written_leave_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = session(tmp_path, **SAVES)
    outcome = opened.trainer.run(opened)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tunesmith.runtime.artefacts.sync_tree", full)
    with pytest.raises(TunesmithError, match=r"Writing the results into .* failed: No space left on device") as caught:
        finish(opened, outcome)
    assert "checkpoint-8 is intact" in caught.value.hint
    assert not list((tmp_path / "out").glob(".staging*"))
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_what_a_crash_left_half_written_is_removed(tmp_path: Path) -> None:
    run(tmp_path, **SAVES)
    shutil.copytree(tmp_path / "out" / "checkpoint-3", tmp_path / "out" / ".staging-checkpoint-9")
    session(tmp_path, resume_from_checkpoint=True)
    assert not list((tmp_path / "out").glob(".staging*"))


def test_a_tuner_sees_rows_before_the_first_step_and_never_when_resumed(tmp_path: Path) -> None:
    """One row at a time, in an order of their own; looking at them changes nothing about what is then learned."""
    plain = run(tmp_path, **SAVES)
    seen: list[Any] = []

    def watched(**keys: Any) -> list[float]:
        opened = session(tmp_path, **keys)

        def look(model: Any, examples: Any, loss: Any) -> None:
            assert model is opened.models["policy"]
            seen.extend((batch["input_ids"].tolist(), float(loss(batch).detach())) for batch in examples)

        opened.tuner.initialize = look
        opened.trainer.run(opened)
        return small_losses(opened)

    assert watched(**SAVES, overwrite_output_dir=True) == plain
    assert len(seen) == 16
    assert all(len(rows) == 1 for rows, _ in seen)
    assert len({str(rows) for rows, _ in seen}) == 16
    assert [rows[0] for rows, _ in seen] != [row["tokens"].ids.tolist() for row in small_rows(16)]
    assert all(loss > 0 for _, loss in seen)
    again, seen[:] = list(seen), []
    assert watched(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3")) == plain
    assert not seen
    watched(overwrite_output_dir=True)
    assert seen == again
