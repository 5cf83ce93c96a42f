"""The stage ``kto``: its loss by hand and by trl, one reference point for a step however it is split, what it logs."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tunesmith.contracts import Outcome
from tunesmith.data.conversation import Tokens
from tunesmith.runtime.session import Session
from tunesmith.testing.small_run import SmallStore, small_losses
from tunesmith.testing.two_processes import Job, run_in_two
from tunesmith_preference.feedback import FeedbackCollator, FeedbackRows
from tunesmith_preference.kto import kto_losses
from tunesmith_preference.options import KtoOptions

from .small_pairs import answered, pairs
from .small_stages import small_stage

PLUGIN = "tunesmith_preference.plugin"
ROWS = [{"tokens": row["chosen"], "desirable": number % 4 == 0} for number, row in enumerate(pairs(8))]
STEPS: dict[str, Any] = {"disable_shuffling": True, "max_steps": 3, "learning_rate": 1e-3, "pref_beta": 0.5}


def opened(folder: Path, home: Path, rows: Any = ROWS, evals: Any = None, **keys: Any) -> Session:
    return small_stage("kto", folder, home, rows, evals, **{**STEPS, **keys})


def run(*args: Any, **keys: Any) -> tuple[Session, Outcome]:
    session = opened(*args, **keys)
    return session, session.trainer.run(session)


def history(session: Session) -> list[dict[str, float]]:
    lines: list[dict[str, float]] = json.loads((session.output_dir / "trainer_state.json").read_text())["log_history"]
    return lines


# ---- the loss --------------------------------------------------------------------------------------------------------


def test_the_loss_of_one_answer() -> None:
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    ratios, liked = torch.tensor([1.0, 2.0, -3.0]), torch.tensor([True, False, False])
    found = kto_losses(ratios, liked, 0.5, KtoOptions(pref_beta=0.2, kto_chosen_weight=2.0, kto_rejected_weight=0.5))
    expected = [2 * (1 - sigmoid(0.2 * 0.5)), 0.5 * (1 - sigmoid(0.2 * (0.5 - 2))), 0.5 * (1 - sigmoid(0.2 * (0.5 + 3)))]
    assert found.tolist() == pytest.approx(expected)
    apo = kto_losses(ratios, liked, 0.5, KtoOptions(pref_beta=0.2, kto_loss="apo_zero_unpaired"))
    assert apo.tolist() == pytest.approx([1 - sigmoid(0.2), sigmoid(0.4), sigmoid(-0.6)])


@pytest.mark.parametrize("kind", ["kto", "apo_zero_unpaired"])
def test_a_batch_has_the_loss_that_trl_gives_it(kind: str, tmp_path: Path, home: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import KTOConfig, KTOTrainer

    class Plain(KTOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    rows = FeedbackRows(SmallStore(ROWS), 100)
    columns: dict[str, list[Any]] = {name: [] for name in ("prompt_ids", "completion_ids", "KL_completion_ids", "label")}
    for row in rows:  # type: ignore[attr-defined]
        start = int((row["tokens"].weights == 0).sum())
        columns["prompt_ids"].append(row["tokens"].ids[:start].tolist())
        columns["completion_ids"].append(row["tokens"].ids[start:].tolist())
        columns["KL_completion_ids"].append(row["other"].ids[start:].tolist())
        columns["label"].append(row["desirable"])
    args = KTOConfig(
        output_dir=str(tmp_path / "trl"), per_device_train_batch_size=8, report_to="none", bf16=False, use_cpu=True, beta=0.5,
        max_length=None, gradient_checkpointing=False, desirable_weight=1.3, undesirable_weight=0.8, loss_type=kind,
    )  # fmt: skip
    load = AutoModelForCausalLM.from_pretrained
    oracle = Plain(
        load(home / "model"), load(home / "other"), args,
        train_dataset=Dataset.from_dict(columns), processing_class=AutoTokenizer.from_pretrained(home / "model"),
    )  # fmt: skip
    batch = oracle.data_collator([oracle.train_dataset[i] for i in range(8)])
    keys = {"ref_model": str(home / "other"), "kto_chosen_weight": 1.3, "kto_rejected_weight": 0.8, "kto_loss": kind}
    session = opened(tmp_path / "ours", home, **keys)
    made = session.trainer.trainer(session)  # type: ignore[attr-defined]
    with torch.no_grad():
        theirs = float(oracle._compute_loss(oracle.model, batch, False))
        ours = made.batch_loss(made.model, FeedbackCollator(401)([rows[i] for i in range(8)]))
    assert float(ours.total) / 8 == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("kind", ["kto", "apo_zero_unpaired"])
def test_padding_on_either_side_gives_the_same_loss(kind: str, tmp_path: Path, home: Path) -> None:
    session = opened(tmp_path, home, ref_model=str(home / "other"), kto_loss=kind, pref_ftx=0.3)
    made, rows = session.trainer.trainer(session), FeedbackRows(SmallStore(ROWS), 100)  # type: ignore[attr-defined]
    batches = [FeedbackCollator(401, side=side)([rows[at] for at in range(8)]) for side in ("right", "left")]
    assert not torch.equal(*(batch["attention_mask"] for batch in batches))
    with torch.no_grad():
        right, left = (float(made.batch_loss(made.model, batch).total) / 8 for batch in batches)
    assert left == pytest.approx(right, abs=1e-6)


# ---- pairs for the reference point -----------------------------------------------------------------------------------


def test_another_rows_answer_follows_the_rows_own_prompt() -> None:
    prompts = [[5, 6], [5, 6], [7, 8, 9]]
    store = SmallStore([{"tokens": answered(p, [20 + i, 30 + i]), "desirable": True} for i, p in enumerate(prompts)])
    rows = FeedbackRows(store, 4)
    assert rows[0]["other"].ids.tolist() == [5, 6, 22, 32]  # row 1 has the same prompt, so that its answer would fit
    assert rows[1]["other"].ids.tolist() == [5, 6, 22, 32]
    assert rows[2]["other"].ids.tolist() == [7, 8, 9, 20]  # cut at four tokens
    assert rows[2]["other"].weights.tolist() == [0, 0, 0, 1]


def test_one_prompt_for_all_rows_still_has_pairs() -> None:
    store = SmallStore([{"tokens": answered([5, 6], [20 + i]), "desirable": bool(i)} for i in range(2)])
    assert FeedbackRows(store, 9)[0]["other"].ids.tolist() == [5, 6, 21]


def test_batches_hold_both_answers() -> None:
    batch = FeedbackCollator(401)([FeedbackRows(SmallStore(ROWS), 99)[i] for i in (0, 1)])
    assert batch["desirable"].tolist() == [True, False]
    assert batch["input_ids"].shape == batch["labels"].shape
    assert batch["other_input_ids"].shape == batch["other_attention_mask"].shape


# ---- splits ----------------------------------------------------------------------------------------------------------

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weighted": {"kto_chosen_weight": 2.0, "kto_rejected_weight": 0.5, "pref_ftx": 0.3},
    "apo": {"kto_loss": "apo_zero_unpaired", "pref_ftx": 0.3},
    "kept": {"precompute_ref_log_probs": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_step_has_one_loss_however_it_is_split(way: str, tmp_path: Path, home: Path) -> None:
    keys = {**WAYS[way], "ref_model": str(home / "other")}
    whole, _ = run(tmp_path / "whole", home, per_device_train_batch_size=8, **keys)
    for size in (1, 2):  # a batch of one has its own answer only, and may hold no liked answer at all
        split, _ = run(
            tmp_path / str(size), home, per_device_train_batch_size=size, gradient_accumulation_steps=8 // size, **keys
        )
        assert small_losses(split) == pytest.approx(small_losses(whole), rel=1e-4)
        for one, other in zip(history(whole)[:3], history(split)[:3], strict=True):
            for measure in ("kl", "rewards/margins", "rewards/chosen", "logps/rejected"):
                assert one[measure] == pytest.approx(other[measure], rel=1e-3, abs=1e-5)


def test_two_processes_have_the_losses_of_one(tmp_path: Path, home: Path) -> None:
    jobs, whole = [], []
    for way, keys in WAYS.items():
        keys = {**keys, **STEPS, "ref_model": str(home / "other")}
        (tmp_path / way).mkdir()
        half = {**keys, "model_name_or_path": str(home / "model"), "per_device_train_batch_size": 4}
        jobs.append(Job(PLUGIN, "kto", str(tmp_path / way), ROWS, half))
        whole.append(small_losses(run(tmp_path / f"{way}-1", home, per_device_train_batch_size=8, **keys)[0]))
    for way, one, two in zip(WAYS, whole, run_in_two(tmp_path, jobs), strict=True):
        assert two == pytest.approx(one, rel=1e-4), way


# ---- measuring and saying --------------------------------------------------------------------------------------------


def test_it_logs_what_users_expect(tmp_path: Path, home: Path) -> None:
    session, _ = run(tmp_path, home, per_device_train_batch_size=8)
    sides = {f"{name}/{side}" for name in ("rewards", "logps", "logits") for side in ("chosen", "rejected")}
    first, last = history(session)[0], history(session)[2]
    assert first.keys() >= {*sides, "rewards/margins", "kl", "loss"}
    assert first["loss"] == pytest.approx(0.5, abs=1e-5)
    assert last["rewards/margins"] > 0


def test_it_pulls_liked_answers_up_and_others_down(tmp_path: Path, home: Path) -> None:
    session, _ = run(tmp_path, home, per_device_train_batch_size=8, max_steps=16)
    last = history(session)[15]
    assert last["rewards/chosen"] > 0.5
    assert last["rewards/rejected"] < -0.5
    assert last["loss"] < 0.4


def test_evaluation_measures_the_same(tmp_path: Path, home: Path) -> None:
    evals = {"eval": SmallStore([{"tokens": r["chosen"], "desirable": bool(i % 2)} for i, r in enumerate(pairs(5, seed=4))])}
    keys = {"do_train": False, "do_eval": True, "ref_model": str(home / "other"), "per_device_eval_batch_size": 5}
    _, outcome = run(tmp_path, home, ROWS, evals, **keys)
    metrics = outcome.metrics
    assert metrics["eval_rewards/margins"] == pytest.approx(metrics["eval_rewards/chosen"] - metrics["eval_rewards/rejected"])
    assert metrics["eval_loss"] > 0


@pytest.mark.parametrize(
    ("liked", "keys", "said"),
    [
        (1, {}, "kto_chosen_weight: 7 to 9.33"),
        (8, {}, "All answers are of one kind: 8 liked, 0 not"),
        (4, {}, ""),
        (2, {"kto_rejected_weight": 1 / 3}, ""),
    ],
)
def test_a_lopsided_set_is_pointed_out(
    liked: int, keys: dict[str, Any], said: str, tmp_path: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**row, "desirable": number < liked} for number, row in enumerate(ROWS)]
    session = opened(tmp_path, home, rows, **keys)
    with caplog.at_level(logging.WARNING, "tunesmith_preference.stages"):
        session.trainer.trainer(session)  # type: ignore[attr-defined]
    assert said in caplog.text
    assert bool(said) == bool(caplog.text)


def test_a_cut_answer_keeps_both_kinds_of_tokens() -> None:
    row = {"tokens": Tokens(np.arange(4), np.array([0, 0, 1, 1], np.float32)), "desirable": True}
    (other,) = (FeedbackRows(SmallStore([row, {**row, "tokens": answered([9], [1, 2, 3])}]), 3)[0]["other"],)
    assert other.ids.tolist() == [0, 1, 1]
