"""FSDP2 over two real processes: the losses of one process, resumable, with whole weights at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tunesmith.testing import StrategySuite
from tunesmith.testing.strategy_suite import Evidence
from tunesmith.testing.together import Trial
from tunesmith_fsdp.plugin import tunesmith_strategies

(SPEC,) = tunesmith_strategies()
EVALUATED = {"metric_for_best_model": "loss", "eval_strategy": "steps", "eval_steps": 2}


class TestFsdp(StrategySuite):
    spec = SPEC
    plugin = "tunesmith_fsdp.plugin"
    wraps = ("FSDPLlamaForCausalLM", "FSDPModule")
    runs: Mapping[str, Mapping[str, Any]] = {
        "plain": {"fsdp": True},
        "accumulated": {"fsdp": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2},
        "whole": {"fsdp": "shard_grad_op offload", "fsdp_config": {"auto_wrap_policy": "NO_WRAP"}},
        "copies": {"fsdp": True, "parallelism_config": {"dp_replicate_size": 2, "dp_shard_size": 1}},
        "best": {"fsdp": True, "load_best_model_at_end": True, **EVALUATED},
    }

    def trials(self, folder: Path) -> dict[str, Trial]:
        found = super().trials(folder)
        half = {"bf16": True, "save_strategy": "no", "output_dir": str(folder / "half")}
        return {**found, "half": replace(found["plain"], plan=self.plan(folder, "plain", **half))}

    def test_nothing_else_wraps_it(self, seen: Evidence) -> None:
        assert all("DistributedDataParallel" not in one.wrapped for one in seen.runs.values())

    def test_half_precision_is_close(self, seen: Evidence) -> None:
        assert not seen.runs["half"].error
        assert seen.runs["half"].losses == pytest.approx(seen.alone.losses, rel=0.02)
        assert seen.runs["half"].losses != seen.alone.losses
