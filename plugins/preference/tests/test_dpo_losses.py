"""Every loss of the stage ``dpo``: trl's number where trl has the loss, a number worked out by hand where it has not."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.nn.functional import logsigmoid
from transformers import AutoTokenizer
from tunesmith.runtime.pairs import PairCollator
from tunesmith.testing.small_run import SmallStore, small_plan, small_plugins, small_session
from tunesmith_preference.dpo import DpoTrainer
from tunesmith_preference.losses import LOSSES, Pairs, loss_of
from tunesmith_preference.options import KINDS, DpoOptions

from .small_pairs import pairs

PLUGIN = "tunesmith_preference.plugin"
#: Losses that trl has, with the smoothing that each is compared at.
IN_TRL: Mapping[str, float] = {
    **dict.fromkeys(("hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down", "discopop", "sft"), 0.0),
    **{"sigmoid": 0.0, "sigmoid_norm": 0.0, "exo_pair": 0.1, "robust": 0.1, "aot": 0.1, "aot_unpaired": 0.1},
}
ROWS = pairs(6)


def trainer(home: Path, **keys: Any) -> DpoTrainer:
    plugins = small_plugins(tested=PLUGIN)
    plan = small_plan(home, plugins, "dpo", ref_model=str(home / "other"), **keys)
    session = small_session(plan, plugins, SmallStore(ROWS))
    made: DpoTrainer = session.trainer.trainer(session)
    return made


@pytest.fixture(scope="module")
def oracle(home: Path) -> Any:
    """trl's trainer over the same rows, in one batch."""
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    class Plain(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    columns: dict[str, list[Any]] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
    for row in ROWS:
        start = int((row["chosen"].weights == 0).sum())
        columns["prompt_ids"].append(row["chosen"].ids[:start].tolist())
        for name in ("chosen", "rejected"):
            columns[f"{name}_ids"].append(row[name].ids[start:].tolist())
    args = DPOConfig(
        output_dir=str(home / "trl"), per_device_train_batch_size=len(ROWS), report_to="none", bf16=False, use_cpu=True,
        max_length=None, gradient_checkpointing=False, label_smoothing=0.1, ld_alpha=None,
    )  # fmt: skip
    load = AutoModelForCausalLM.from_pretrained
    return Plain(
        copy.deepcopy(load(home / "model")), copy.deepcopy(load(home / "other")), args,
        train_dataset=Dataset.from_dict(columns), processing_class=AutoTokenizer.from_pretrained(home / "model"),
    )  # fmt: skip


def trl_loss(oracle: Any, name: str, smoothing: float, **changes: Any) -> float:
    batch = oracle.data_collator([oracle.train_dataset[i] for i in range(len(ROWS))])
    oracle.loss_types, oracle.loss_weights, oracle.label_smoothing = [name], [1.0], smoothing
    oracle.ld_alpha = changes.get("ld_alpha")
    with torch.no_grad():
        return float(oracle._compute_loss(oracle.model, batch, False))


def our_loss(made: DpoTrainer) -> float:
    with torch.no_grad():
        return float(made.batch_loss(made.model, PairCollator(0)(ROWS)).total / len(ROWS))


@pytest.mark.parametrize("name", IN_TRL)
def test_a_loss_is_that_of_trl(name: str, home: Path, oracle: Any) -> None:
    made = trainer(home, pref_loss=(name,), dpo_label_smoothing=IN_TRL[name], pref_beta=0.1)
    assert our_loss(made) == pytest.approx(trl_loss(oracle, name, IN_TRL[name]), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_words_beyond_the_shorter_answer_weigh_less_as_in_trl(alpha: float, home: Path, oracle: Any) -> None:
    made = trainer(home, ld_alpha=alpha)
    assert our_loss(made) == pytest.approx(trl_loss(oracle, "sigmoid", 0.0, ld_alpha=alpha), rel=1e-5)
    assert our_loss(made) != pytest.approx(our_loss(trainer(home)), rel=1e-3)


def test_several_losses_are_added_up(home: Path, oracle: Any) -> None:
    made = trainer(home, pref_loss=("sigmoid", "bco_pair", "sft"), pref_loss_weights=(0.8, 0.2, 1.0))
    parts = [trl_loss(oracle, name, 0.0) for name in ("sigmoid", "bco_pair", "sft")]
    assert our_loss(made) == pytest.approx(0.8 * parts[0] + 0.2 * parts[1] + parts[2], rel=1e-5)


# ---- by hand ---------------------------------------------------------------------------------------------------------

CHOSEN, REJECTED = [-4.0, -9.0], [-6.0, -3.0]
REF_CHOSEN, REF_REJECTED = [-5.0, -7.0], [-5.5, -6.0]
CHOSEN_LENGTH, REJECTED_LENGTH = [2, 3], [4, 1]


def made_up(**changes: Any) -> Pairs:
    tensors = [torch.tensor(values) for values in (CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, CHOSEN_LENGTH, REJECTED_LENGTH)]
    return Pairs(*tensors, tensors[0] / tensors[4], tensors[1] / tensors[5], tensors[0], **changes)


def minus_log_sigmoid(x: float) -> float:
    return math.log1p(math.exp(-x))


def test_sigmoid_with_doubt() -> None:
    margins = [(-4 + 5) - (-6 + 5.5), (-9 + 7) - (-3 + 6)]
    expected = [0.8 * minus_log_sigmoid(0.5 * m) + 0.2 * minus_log_sigmoid(-0.5 * m) for m in margins]
    found = loss_of(made_up(), DpoOptions(pref_beta=0.5, dpo_label_smoothing=0.2))
    assert found.tolist() == pytest.approx(expected)


def test_orpo() -> None:
    expected = []
    for better, worse in zip([-2.0, -3.0], [-1.5, -3.0], strict=True):  # per token
        odds = math.log(math.exp(better) / (1 - math.exp(better))) - math.log(math.exp(worse) / (1 - math.exp(worse)))
        expected.append(-better + 0.3 * minus_log_sigmoid(odds))
    assert loss_of(made_up(), DpoOptions(pref_loss=("orpo",), pref_beta=0.3)).tolist() == pytest.approx(expected)


def test_simpo() -> None:
    expected = [minus_log_sigmoid(2.0 * (-2.0 + 1.5) - 0.7), minus_log_sigmoid(2.0 * 0.0 - 0.7)]
    found = loss_of(made_up(), DpoOptions(pref_loss=("simpo",), pref_beta=2.0, simpo_gamma=0.7))
    assert found.tolist() == pytest.approx(expected)


def test_kto_pair() -> None:
    chosen, rejected = [1.0, -2.0], [-0.5, 3.0]  # ratios; their means are -0.5 and 1.25
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    expected = [
        ((1 - sigmoid(0.5 * (c - 1.25))) + (1 - sigmoid(0.5 * (0.0 - r)))) / 2 for c, r in zip(chosen, rejected, strict=True)
    ]
    assert loss_of(made_up(), DpoOptions(pref_loss=("kto_pair",), pref_beta=0.5)).tolist() == pytest.approx(expected)


def test_bco_beside_another_loss() -> None:
    pairs = made_up(shift=0.25)
    plain = loss_of(pairs, DpoOptions(pref_beta=0.5))
    bco = [minus_log_sigmoid(0.5 * c - 0.25) + minus_log_sigmoid(-(0.5 * r - 0.25)) for c, r in ((1.0, -0.5), (-2.0, 3.0))]
    found = loss_of(pairs, DpoOptions(pref_beta=0.5, pref_bco_weight=0.5))
    assert found.tolist() == pytest.approx([(p + 0.5 * b) / 1.5 for p, b in zip(plain.tolist(), bco, strict=True)])


def test_the_plain_loss_beside_it_is_per_token() -> None:
    plain = loss_of(made_up(), DpoOptions())
    found = loss_of(made_up(), DpoOptions(pref_ftx=0.1))
    assert (found - plain).tolist() == pytest.approx([0.1 * 2.0, 0.1 * 3.0])


def test_every_loss_that_is_known_is_there() -> None:
    assert set(LOSSES) == set(KINDS) == {*IN_TRL, "kto_pair", "orpo", "simpo"}


@pytest.mark.parametrize("name", KINDS)
def test_a_loss_pulls_the_better_answer_up_or_the_worse_one_down(name: str) -> None:
    pairs = made_up()
    for tensor in (pairs.chosen, pairs.rejected):
        tensor.requires_grad_()
    beyond = Pairs(
        pairs.chosen, pairs.rejected, pairs.ref_chosen, pairs.ref_rejected, pairs.chosen_length, pairs.rejected_length,
        pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length, pairs.chosen,
    )  # fmt: skip
    options = DpoOptions(pref_loss=(name,), dpo_label_smoothing=0.1 if KINDS[name].smooths else 0.0)
    loss_of(beyond, options).sum().backward()
    assert torch.isfinite(pairs.chosen.grad).all()  # type: ignore[arg-type]
    pull = pairs.chosen.grad - (pairs.rejected.grad if pairs.rejected.grad is not None else 0)  # type: ignore[operator]
    assert float(pull.sum()) < 0


def test_a_share_of_a_sorted_loss_has_the_gradient_of_the_whole() -> None:
    torch.manual_seed(0)
    chosen, rejected = torch.randn(6, requires_grad=True), torch.randn(6, requires_grad=True)
    zeros, ones = torch.zeros(6), torch.ones(6)
    options = DpoOptions(pref_loss=("aot_unpaired",), pref_beta=0.7)
    whole = Pairs(chosen, rejected, zeros, zeros, ones, ones, chosen, rejected, chosen)
    total = loss_of(whole, options).sum()
    plain = -logsigmoid(0.7 * (chosen.sort().values - rejected.sort().values)).sum()
    assert float(total) == pytest.approx(float(plain), rel=1e-6)
    for mine, straight in zip(
        torch.autograd.grad(total, (chosen, rejected)), torch.autograd.grad(plain, (chosen, rejected)), strict=True
    ):
        torch.testing.assert_close(mine, straight)
