"""ZeRO over two real processes: the same losses as one process, resumable, with whole weights at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tunesmith.testing import StrategySuite
from tunesmith.testing.strategy_suite import Evidence
from tunesmith.testing.together import Trial
from tunesmith_deepspeed.plugin import tunesmith_strategies

(SPEC,) = tunesmith_strategies()
#: torch's Adam, since DeepSpeed's own would be compiled first, which takes half a minute.
PLAIN_ADAM = {"zero_force_ds_cpu_optimizer": False}


def zero(stage: int, **more: Any) -> dict[str, Any]:
    return {"deepspeed": {"zero_optimization": {"stage": stage, **more}, **PLAIN_ADAM}}


class TestDeepSpeed(StrategySuite):
    spec = SPEC
    plugin = "tunesmith_deepspeed.plugin"
    wraps = ("DeepSpeedEngine",)
    runs: Mapping[str, Mapping[str, Any]] = {
        "three": zero(3, stage3_param_persistence_threshold=0),
        "two": zero(2, offload_optimizer={"device": "cpu"}),
    }

    def trials(self, folder: Path) -> dict[str, Trial]:
        again = {"resume_from_checkpoint": str(folder / "two" / "checkpoint-2"), "trust_checkpoint": True}
        found = super().trials(folder)
        return {**found, "two resumed": Trial(self.plan(folder, "two", **again), {"tested": self.plugin}, 16)}

    def test_stage_two_goes_on_too(self, seen: Evidence) -> None:
        assert seen.runs["two resumed"].losses == pytest.approx(seen.runs["two"].losses, abs=1e-6)
