"""Adapters over a model with new tokens and stretched positions: what they need is beside them, and they load anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith.plan import ModelWish
from tunesmith.runtime.loading import load_merged, load_model, load_tokenizer
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.tiny_models import logits

PICKED = {"tuners": "lora"}
WORDS = tuple(f"<w{n}>" for n in range(120))
KEYS: dict[str, Any] = {
    "add_tokens": WORDS,
    "rope_scaling": "linear",
    "cutoff_len": 256,
    "finetuning_type": "lora",
    "lora_rank": 2,
    "save_strategy": "steps",
    "save_steps": 2,
}


@pytest.fixture(params=[None, ("embed_tokens", "lm_head")], ids=["rows stay", "rows learn"])
def learned(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, torch.Tensor, list[float], dict[str, Any]]:
    keys = {**KEYS, "additional_target": request.param}
    answers, losses = run(tmp_path, **keys)
    return tmp_path, answers, losses, keys


def run(folder: Path, **keys: Any) -> tuple[torch.Tensor, list[float]]:
    plugins = small_plugins(lora="tunesmith_lora.plugin")
    session = small_session(small_plan(folder, plugins, "small", picked=PICKED, **keys), plugins, SmallStore(small_rows(8)))
    session.trainer.run(session)
    answers = logits(session.models["policy"])
    session.close()
    return answers, small_losses(session)


def test_it_loads_merges_and_resumes(learned: tuple[Path, torch.Tensor, list[float], dict[str, Any]]) -> None:
    """On the unchanged base, with no word about tokens or positions."""
    folder, answers, losses, keys = learned
    adapter = folder / "out" / "checkpoint-4"
    assert (adapter / "base_changes.json").is_file()
    plugins = small_plugins(lora="tunesmith_lora.plugin")
    plan = small_plan(folder, plugins, "small", picked=PICKED, finetuning_type="lora", lora_rank=2)
    backend = small_session(plan, plugins, SmallStore(small_rows(2))).backend
    wish = ModelWish("policy", plan.models["policy"].path, (str(adapter),))
    assert torch.equal(logits(load_model(plan, plugins, wish, backend, training=False)), answers)
    torch.testing.assert_close(logits(load_merged(plan, plugins, wish, backend)), answers, rtol=0, atol=1e-4)
    assert load_tokenizer(plan, wish).convert_tokens_to_ids("<w119>") > 400
    again, same = run(folder, **keys, resume_from_checkpoint=str(folder / "out" / "checkpoint-2"))
    assert same == losses
    assert torch.equal(again, answers)
