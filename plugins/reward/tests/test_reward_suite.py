"""That the stage learns, whatever way a batch is split or padded, and resumes exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tunesmith.runtime.pairs import SIDES, PairCollator
from tunesmith.testing.small_run import SmallStore, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.trainer_suite import TrainerSuite
from tunesmith_reward.plugin import STAGE


class TestReward(TrainerSuite):
    """Trains a model of two layers."""

    spec = STAGE
    plugin = "tunesmith_reward.plugin"

    def test_padding_on_either_side_gives_the_same_loss(self, tmp_path: Path) -> None:
        """Pairs of different lengths, and what is measured beside the loss."""
        plugins, rows = small_plugins(tested=self.plugin), small_rows(8, names=SIDES)
        session = small_session(small_plan(tmp_path, plugins, "rm"), plugins, SmallStore(rows))
        made = session.trainer.trainer(session)  # type: ignore[attr-defined]
        batches = [PairCollator(401, side=side)(rows) for side in ("right", "left")]
        assert not torch.equal(*(batch["attention_mask"] for batch in batches))
        with torch.no_grad():
            right, left = (made.batch_loss(made.model, batch) for batch in batches)
        assert float(left.total) / 8 == pytest.approx(float(right.total) / 8, abs=1e-6)
        for name, (total, count) in right.measures.items():
            assert float(left.measures[name][0]) / count == pytest.approx(float(total) / count, abs=1e-6), name
