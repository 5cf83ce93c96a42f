"""Losses that an accelerator computes in place of the stages: the run goes as it would without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_session

from .small_pairs import pairs

STEPS: dict[str, Any] = {"max_steps": 4, "learning_rate": 1e-2, "per_device_train_batch_size": 4, "disable_shuffling": True}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def run(folder: Path, accelerator: str, **keys: Any) -> tuple[list[float], Any]:
    plugins = small_plugins(
        tested="tunesmith_preference.plugin", cross="tunesmith_cross_entropy.plugin", liger="tunesmith_liger.plugin"
    )
    picked = {"accelerators": accelerator} if accelerator else {}
    plan = small_plan(folder, plugins, "dpo", picked=picked, **{**STEPS, **keys})
    session = small_session(plan, plugins, SmallStore(pairs(16)))
    session.trainer.run(session)
    return small_losses(session), session


@pytest.mark.parametrize(
    "keys", [{}, {"ld_alpha": 0.5, "pref_ftx": 0.2}, {"pref_loss": ("orpo",)}], ids=["dpo", "more", "orpo"]
)
def test_log_probabilities_come_from_chunked_cross_entropy(home: Path, keys: dict[str, Any]) -> None:
    pytest.importorskip("tunesmith_cross_entropy", reason="the accelerator compared with is not installed")
    plain, _ = run(home, "", **keys)
    found, session = run(home, "cross-entropy", cross_entropy_chunk=7, **keys)
    assert session.accelerators[0].tokens > 0
    assert found == pytest.approx(plain, abs=2e-5)
    assert plain[0] != plain[-1]


@pytest.mark.parametrize("kind", ["sigmoid", "hinge", "nca_pair", "sppo_hard", "apo_zero", "apo_down"])
def test_losses_of_pairs_come_from_liger(home: Path, kind: str) -> None:
    pytest.importorskip("tunesmith_liger", reason="the accelerator compared with is not installed")
    pytest.importorskip("liger_kernel", reason="its losses come from the package liger-kernel")
    plain, _ = run(home, "", pref_loss=(kind,))
    found, session = run(home, "liger-preference", pref_loss=(kind,))
    assert session.accelerators[0].pairs == 16
    assert found == pytest.approx(plain, rel=1e-4, abs=2e-5)
    assert plain[0] != plain[-1]
