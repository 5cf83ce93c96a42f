"""DFT, EAFT and ASFT against numbers worked out in plain Python, and both ways to take a mean, however a step is split."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from tunesmith.data.conversation import Tokens
from tunesmith.runtime.collate import Collator, learned
from tunesmith.runtime.session import Session
from tunesmith.testing.small_run import (
    SmallStore,
    pack,
    small_losses,
    small_model,
    small_plan,
    small_plugins,
    small_rows,
    small_session,
)
from tunesmith.testing.tiny_models import tiny_llama
from tunesmith.testing.two_processes import Job, run_in_two
from tunesmith_sft.objectives import dft, divergence, eaft

PLUGIN = "tunesmith_sft.plugin"
STEPS: dict[str, Any] = {"disable_shuffling": True, "max_steps": 2, "learning_rate": 1e-3}
WAYS: dict[str, dict[str, Any]] = {
    "dft": {"use_dft_loss": True},
    "eaft": {"use_eaft_loss": True, "eaft_alpha": 2.0},
    "asft": {"use_asft_loss": True, "asft_alpha": 0.5},
    "sequences": {"loss_normalization": "sequence"},
    "dft over sequences": {"use_dft_loss": True, "loss_normalization": "sequence"},
}
ROWS = small_rows(8, lengths=(4, 24))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def run(folder: Path, rows: Any = ROWS, *, packed: bool = False, **keys: Any) -> Session:
    plugins = small_plugins(tested=PLUGIN)
    folder.mkdir(exist_ok=True)
    session = small_session(small_plan(folder, plugins, "sft", **{**STEPS, **keys}), plugins, SmallStore(rows, packed=packed))
    session.trainer.run(session)
    return session


# ---- one token -------------------------------------------------------------------------------------------------------

LOGITS = [[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]]
TARGETS = [1, 0]


def probabilities(row: list[float]) -> list[float]:
    total = sum(map(math.exp, row))
    return [math.exp(x) / total for x in row]


def test_dft_weighs_a_token_by_its_probability() -> None:
    found = dft(torch.tensor(LOGITS), torch.tensor(TARGETS))
    chosen = [probabilities(row)[target] for row, target in zip(LOGITS, TARGETS, strict=True)]
    assert found.tolist() == pytest.approx([-p * math.log(p) for p in chosen])


def test_dft_does_not_learn_through_its_weight() -> None:
    logits = torch.tensor(LOGITS, requires_grad=True)
    dft(logits, torch.tensor(TARGETS)).sum().backward()
    for grad, row, target in zip(logits.grad.tolist(), LOGITS, TARGETS, strict=True):  # type: ignore[union-attr]
        each = probabilities(row)
        assert grad == pytest.approx([each[target] * (p - (i == target)) for i, p in enumerate(each)], abs=1e-6)


def test_eaft_weighs_a_token_by_the_entropy_of_its_prediction() -> None:
    found = eaft(torch.tensor(LOGITS), torch.tensor(TARGETS), alpha=0.5)
    expected = []
    for row, target in zip(LOGITS, TARGETS, strict=True):
        each = probabilities(row)
        entropy = -sum(p * math.log(p) for p in each)
        expected.append(-math.log(each[target]) * (entropy / 3) ** 0.5)
    assert found.tolist() == pytest.approx(expected)


def test_eaft_looks_at_the_twenty_likeliest_tokens() -> None:
    many = torch.cat([torch.zeros(20), torch.full((30,), -1.0)])[None]
    found = eaft(many, torch.tensor([3]), alpha=1.0)
    plain = torch.nn.functional.cross_entropy(many, torch.tensor([3]))
    assert float(found) == pytest.approx(float(plain) * math.log(20) / 3)


def test_the_divergence_from_the_reference() -> None:
    found = divergence(torch.tensor(LOGITS), torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]]))
    each = probabilities(LOGITS[0])
    assert found.tolist() == pytest.approx([sum((math.log(1 / 3) - math.log(p)) / 3 for p in each), 0.0], abs=1e-6)


# ---- a step ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_step_has_one_loss_however_it_is_split_or_packed(way: str, tmp_path: Path) -> None:
    small_model(tmp_path / "other")
    tiny_llama(seed=1, vocab_size=512, bos_token_id=400, eos_token_id=403, pad_token_id=401).save_pretrained(tmp_path / "other")
    keys = {**WAYS[way], **({"ref_model": str(tmp_path / "other")} if way == "asft" else {})}
    whole = small_losses(run(tmp_path / "whole", per_device_train_batch_size=8, **keys))
    split = small_losses(run(tmp_path / "split", per_device_train_batch_size=1, gradient_accumulation_steps=8, **keys))
    packs = pack(ROWS, 2)
    packed = small_losses(run(tmp_path / "packed", packs, packed=True, per_device_train_batch_size=4, **keys))
    assert split == pytest.approx(whole, rel=1e-4)
    assert packed == pytest.approx(whole, rel=1e-4)


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    jobs, whole = [], []
    for way, keys in WAYS.items():
        small_model(tmp_path / way / "model")
        jobs.append(Job(PLUGIN, "sft", str(tmp_path / way), ROWS, {**STEPS, **keys, "per_device_train_batch_size": 4}))
        whole.append(small_losses(run(tmp_path / f"{way}-1", per_device_train_batch_size=8, **keys)))
    for way, one, two in zip(WAYS, whole, run_in_two(tmp_path, jobs), strict=True):
        assert two == pytest.approx(one, rel=1e-4), way


def test_sequences_count_the_same_whatever_their_lengths(tmp_path: Path) -> None:
    found = small_losses(run(tmp_path, per_device_train_batch_size=8, loss_normalization="sequence"))[0]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    each = []
    for row in ROWS:
        batch = Collator(0)([row])
        with torch.no_grad():
            each.append(float(model(**batch).loss))
    assert found == pytest.approx(np.mean(each), rel=1e-5)
    assert found != pytest.approx(small_losses(run(tmp_path / "tokens", per_device_train_batch_size=8))[0], rel=1e-4)


def test_weights_of_a_document_add_up_to_one_in_packs_too() -> None:
    rows = [{"tokens": Tokens(np.arange(4), np.array(w, np.float32))} for w in ([0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0])]
    plain, packed = Collator(0, evenly=True)(rows), Collator(0, packed=True, evenly=True)(pack(rows, 3))
    assert float(learned(plain)) == float(learned(packed)) == pytest.approx(2.0)
    assert plain["loss_weights"][0, :4].tolist() == [0, 0, 0.5, 0.5]


def test_at_the_start_asft_is_dft(tmp_path: Path) -> None:
    first = [small_losses(run(tmp_path / way, **WAYS[way]))[0] for way in ("dft", "asft")]
    assert first[0] == pytest.approx(first[1], rel=1e-5)


def test_evaluation_goes_by_the_same_loss(tmp_path: Path) -> None:
    plugins = small_plugins(tested=PLUGIN)
    keys = {"do_train": False, "do_eval": True, "use_dft_loss": True, "compute_accuracy": True}
    plan = small_plan(tmp_path, plugins, "sft", **keys)
    session = small_session(plan, plugins, None, {"eval": SmallStore(ROWS)})
    metrics = session.trainer.run(session).metrics
    whole = run(tmp_path / "train", per_device_train_batch_size=8, use_dft_loss=True, learning_rate=0.0)
    assert metrics["eval_loss"] == pytest.approx(small_losses(whole)[0], rel=1e-5)
    assert "eval_accuracy" in metrics


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"use_dft_loss": True, "use_eaft_loss": True}, "use_dft_loss and use_eaft_loss are different losses"),
        ({"use_asft_loss": True, "label_smoothing_factor": 0.1}, "label_smoothing_factor has no meaning with use_asft_loss"),
        ({"eaft_alpha": 2.0}, "eaft_alpha has no meaning without use_eaft_loss"),
        ({"ref_model": "there"}, "ref_model has no meaning without use_asft_loss"),
    ],
)
def test_the_plan_says_what_does_not_go_together(keys: dict[str, Any], said: str, tmp_path: Path) -> None:
    plugins = small_plugins(tested=PLUGIN)
    (problem,) = plugins.check_plan(small_plan(tmp_path, plugins, "sft", **keys))
    assert said in problem.what


def test_a_resumed_run_repeats_the_losses(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"use_asft_loss": True, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    session = run(tmp_path, **keys)
    again = run(tmp_path, **keys, resume_from_checkpoint=str(session.output_dir / "checkpoint-2"))
    assert small_losses(again) == small_losses(session)
    history = json.loads((session.output_dir / "trainer_state.json").read_text())["log_history"]
    assert len([line for line in history if "loss" in line]) == 4
