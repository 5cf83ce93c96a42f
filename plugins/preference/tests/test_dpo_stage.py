"""The stage ``dpo``: its losses however a step is split, its reference models, what it logs and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith.contracts import Outcome
from tunesmith.errors import TunesmithError
from tunesmith.runtime.pairs import PairCollator
from tunesmith.runtime.session import Session
from tunesmith.testing.small_run import SmallStore, small_losses, small_model
from tunesmith.testing.two_processes import Job, run_in_two
from tunesmith_preference.answers import read_answers
from tunesmith_preference.options import KINDS

from .small_pairs import pairs
from .small_stages import small_stage

PLUGIN = "tunesmith_preference.plugin"
ROWS = pairs(8)
STEPS: dict[str, Any] = {"disable_shuffling": True, "max_steps": 2, "learning_rate": 1e-3}


def opened(folder: Path, home: Path, rows: Any = ROWS, evals: Any = None, **keys: Any) -> Session:
    return small_stage("dpo", folder, home, rows, evals, **{**STEPS, **keys})


def run(*args: Any, **keys: Any) -> tuple[Session, Outcome]:
    session = opened(*args, **keys)
    return session, session.trainer.run(session)


def keys_of(name: str) -> dict[str, Any]:
    smooth = 0.1 if KINDS[name].smooths else 0.0
    return {
        "pref_loss": (name,),
        "dpo_label_smoothing": smooth,
        "pref_ftx": 0.2,
        "pref_bco_weight": 0.1 if name == "hinge" else 0.0,
    }


def history(session: Session) -> list[dict[str, float]]:
    lines: list[dict[str, float]] = json.loads((session.output_dir / "trainer_state.json").read_text())["log_history"]
    return lines


# ---- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_step_has_one_loss_however_it_is_split(name: str, tmp_path: Path, home: Path) -> None:
    keys = {**keys_of(name), "ref_model": str(home / "other")}
    whole, _ = run(tmp_path / "whole", home, per_device_train_batch_size=8, **keys)
    split, _ = run(tmp_path / "split", home, per_device_train_batch_size=1, gradient_accumulation_steps=8, **keys)
    assert small_losses(split) == pytest.approx(small_losses(whole), rel=1e-4)
    for one, other in zip(history(whole)[:2], history(split)[:2], strict=True):
        for measure in ("rewards/margins", "rewards/accuracies", "logps/chosen", "logits/rejected"):
            assert one[measure] == pytest.approx(other[measure], rel=1e-3, abs=1e-5)


def test_two_processes_have_the_losses_of_one(tmp_path: Path, home: Path) -> None:
    folders = [tmp_path / name for name in KINDS]
    jobs, whole = [], []
    for name, folder in zip(KINDS, folders, strict=True):
        keys = {**keys_of(name), **STEPS, "ref_model": str(home / "other")}
        folder.mkdir()
        half = {**keys, "model_name_or_path": str(home / "model"), "per_device_train_batch_size": 4}
        jobs.append(Job(PLUGIN, "dpo", str(folder), ROWS, half))
        whole.append(small_losses(run(tmp_path / f"{name}-1", home, per_device_train_batch_size=8, **keys)[0]))
    for name, one, two in zip(KINDS, whole, run_in_two(tmp_path, jobs), strict=True):
        assert two == pytest.approx(one, rel=1e-4), name


def test_padding_on_either_side_gives_the_same(home: Path, tmp_path: Path) -> None:
    model = opened(tmp_path, home).models["policy"]
    with torch.no_grad():
        right, left = (read_answers(model, PairCollator(401, side=side)(ROWS)) for side in ("right", "left"))
    torch.testing.assert_close(right.logps, left.logps, rtol=1e-4, atol=1e-4)
    assert (
        right.lengths.tolist()
        == left.lengths.tolist()
        == [int(row[s].weights.sum()) for s in ("chosen", "rejected") for row in ROWS]
    )


@pytest.mark.parametrize("name", KINDS)
def test_padding_on_either_side_gives_the_same_loss(name: str, home: Path, tmp_path: Path) -> None:
    session = opened(tmp_path, home, **keys_of(name), ref_model=str(home / "other"))
    made = session.trainer.trainer(session)  # type: ignore[attr-defined]
    batches = [PairCollator(401, side=side)(ROWS) for side in ("right", "left")]
    with torch.no_grad():
        right, left = (float(made.batch_loss(made.model, batch).total) / 8 for batch in batches)
    assert left == pytest.approx(right, rel=1e-6, abs=1e-6)


# ---- reference models ------------------------------------------------------------------------------------------------


def test_nothing_has_moved_at_the_first_step(tmp_path: Path, home: Path) -> None:
    session, _ = run(tmp_path, home, per_device_train_batch_size=8)
    first = history(session)[0]
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-6)
    assert first["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert history(session)[1]["rewards/margins"] > 0


@pytest.mark.parametrize("named", [False, True])
def test_kept_answers_of_the_reference_change_nothing(named: bool, tmp_path: Path, home: Path) -> None:
    keys: dict[str, Any] = {"per_device_train_batch_size": 4, "max_steps": 4, "ld_alpha": 0.5}
    keys |= {"ref_model": str(home / "other")} if named else {}
    asked, _ = run(tmp_path / "asked", home, **keys)
    kept, _ = run(tmp_path / "kept", home, precompute_ref_log_probs=True, **keys)
    assert small_losses(kept) == pytest.approx(small_losses(asked), abs=1e-6)
    assert "reference" not in kept.models
    assert (kept.output_dir / "reference_log_probs" / "train.safetensors").is_file()


def test_a_resumed_run_reads_what_was_kept(tmp_path: Path, home: Path) -> None:
    keys: dict[str, Any] = {"max_steps": 4, "precompute_ref_log_probs": True, "save_strategy": "steps", "save_steps": 2}
    session, _ = run(tmp_path, home, **keys)
    assert "reference" not in session.plan.models
    start = str(session.output_dir / "checkpoint-2")
    again, _ = run(tmp_path, home, **keys, resume_from_checkpoint=start)
    assert small_losses(again) == small_losses(session)
    (session.output_dir / "reference_log_probs" / "train.safetensors").unlink()
    lost = opened(tmp_path, home, **keys, resume_from_checkpoint=start)
    with pytest.raises(TunesmithError, match="before it learned"):
        lost.trainer.run(lost)


def test_bco_measures_from_where_it_was_when_it_is_resumed(tmp_path: Path, home: Path) -> None:
    keys: dict[str, Any] = {
        "max_steps": 4,
        "pref_bco_weight": 0.5,
        "save_strategy": "steps",
        "save_steps": 1,
        "logging_steps": 2,
    }
    session, _ = run(tmp_path, home, **keys)
    for step in (1, 3):  # in the middle of a log interval too
        again, _ = run(tmp_path, home, **keys, resume_from_checkpoint=str(session.output_dir / f"checkpoint-{step}"))
        timed = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}
        plain = [[{k: v for k, v in line.items() if k not in timed} for line in history(one)] for one in (session, again)]
        assert plain[0] == plain[1]


# ---- measuring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 8])
def test_evaluation_is_a_mean_over_pairs(size: int, tmp_path: Path, home: Path) -> None:
    evals = {"eval": SmallStore(pairs(5, seed=3))}
    keys = {"do_train": False, "do_eval": True, "per_device_eval_batch_size": size, "ref_model": str(home / "other")}
    _, outcome = run(tmp_path, home, ROWS, evals, **keys)
    _, one = run(tmp_path / "one", home, ROWS, evals, **{**keys, "per_device_eval_batch_size": 5})
    for name in ("eval_loss", "eval_rewards/chosen", "eval_rewards/accuracies", "eval_logits/chosen"):
        assert outcome.metrics[name] == pytest.approx(one.metrics[name], rel=1e-4)


def test_it_logs_what_users_expect(tmp_path: Path, home: Path) -> None:
    session, _ = run(tmp_path, home)
    sides = {f"{name}/{side}" for name in ("rewards", "logps", "logits") for side in ("chosen", "rejected")}
    assert history(session)[0].keys() >= {*sides, "rewards/accuracies", "rewards/margins", "loss", "grad_norm"}
    odds, _ = run(tmp_path / "orpo", home, pref_loss=("orpo",))
    first = history(odds)[0]
    assert first["loss"] == pytest.approx(first["sft_loss"] + 0.1 * first["odds_ratio_loss"], rel=1e-5)


def test_dropout_is_off_unless_it_is_wanted(tmp_path: Path) -> None:
    small_model(tmp_path / "model", attention_dropout=0.5)
    losses = [
        small_losses(run(tmp_path / str(off), tmp_path, disable_dropout=off, learning_rate=0.0)[0])[0] for off in (True, False)
    ]
    assert losses[0] == pytest.approx(0.693147, abs=1e-5)
    assert losses[1] != pytest.approx(0.693147, abs=1e-3)


def test_the_best_weights_are_taken(tmp_path: Path, home: Path) -> None:
    evals = {"eval": SmallStore(pairs(4, seed=9))}
    keys: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    keys |= {"load_best_model_at_end": True, "metric_for_best_model": "rewards/margins", "max_steps": 4, "do_eval": True}
    session, outcome = run(tmp_path, home, ROWS, evals, **keys, greater_is_better=True)
    judged = [line["eval_rewards/margins"] for line in history(session) if "eval_rewards/margins" in line]
    assert outcome.metrics["eval_rewards/margins"] == pytest.approx(max(judged), abs=1e-5)
