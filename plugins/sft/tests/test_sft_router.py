"""The router's loss of a mixture of experts in the stage's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.small_tokenizers import write_tokenizer
from tunesmith.testing.tiny_models import tiny_moe


def first_loss(folder: Path, **keys: float) -> float:
    model = folder / "model"
    write_tokenizer(model)
    tiny_moe(vocab_size=512, bos_token_id=400, eos_token_id=403, pad_token_id=401).save_pretrained(model)
    plugins = small_plugins(sft="tunesmith_sft.plugin")
    keys = {"max_steps": 1, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, **keys}
    session = small_session(small_plan(folder, plugins, "sft", **keys), plugins, SmallStore(small_rows(4)))
    session.trainer.run(session)
    session.close()
    return small_losses(session)[0]


def test_it_is_added_once_for_an_accumulated_batch(tmp_path: Path) -> None:
    """Even shares would give 1 for each of the two experts that answer; four batches give their mean, not their sum."""
    plain = first_loss(tmp_path / "plain")
    one, three = (first_loss(tmp_path / str(weight), moe_aux_loss_coef=weight) for weight in (1.0, 3.0))
    assert 1.5 < one - plain < 3.5
    assert three - plain == pytest.approx(3 * (one - plain), rel=1e-4)
    assert first_loss(tmp_path / "nothing", moe_aux_loss_coef=0.0) == pytest.approx(plain, rel=1e-6)
