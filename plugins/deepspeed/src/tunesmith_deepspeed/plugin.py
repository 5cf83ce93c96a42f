"""What this package offers: the strategy ``deepspeed``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import Problem, StrategySpec, TunesmithError, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_strategies() -> list[StrategySpec]:
    """Picked by the key ``deepspeed``, or because ``accelerate launch`` was told to use it."""
    return [
        StrategySpec(
            "deepspeed",
            "tunesmith_deepspeed.strategy:DeepSpeed",
            "ZeRO: optimizer, gradients and weights in parts, on devices or offloaded.",
            options="tunesmith_deepspeed.options:DeepspeedOptions",
            needs=("deepspeed",),
            when="tunesmith_deepspeed.choice:wanted",
            priority=20,
            shards="tunesmith_deepspeed.choice:shards",
            together=True,
            pickles=True,
            resumes="same",
            notices="tunesmith_deepspeed.choice:notices",
        )
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What DeepSpeed would refuse after the model is loaded."""
    if not any(chosen.name == "deepspeed" for chosen in plan.picked("strategies")):
        return
    from tunesmith_deepspeed.checks import faults
    from tunesmith_deepspeed.config import read_config
    from tunesmith_deepspeed.options import DeepspeedOptions

    where = plan.settings["deepspeed"].origin
    options = plan.options(DeepspeedOptions)
    try:
        config, _ = read_config(options.deepspeed, options.deepspeed_config, Path(plan.config_folder))
    except TunesmithError as error:
        yield Problem(where, error.message.rstrip("."), error.hint)
        return
    yield from faults(plan, config, where)
