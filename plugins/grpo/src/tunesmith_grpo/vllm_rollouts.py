"""Answers by vLLM while a run learns: trl does it, and is told how here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tunesmith.contracts import Accelerator
from tunesmith.plan import Plan

from tunesmith_grpo.vllm_options import PREFIX, VllmRolloutOptions


class VllmRollouts(Accelerator):
    """Sets trl's arguments."""

    def __init__(self, plan: Plan) -> None:
        self._options = plan.options(VllmRolloutOptions)

    def arguments(self, plan: Plan) -> dict[str, Any]:
        """All of the keys, under the same names; only ``grpo`` weighs tokens by how likely they were in vLLM."""
        weighs = plan["stage"] == "grpo"
        return {name: value for name, value in asdict(self._options).items() if weighs or not name.startswith(PREFIX)}
