"""What this package offers: the stage ``ppo``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunesmith import Problem, TrainerSpec, hookimpl
from tunesmith.roles import POLICY, REFERENCE, REWARD, weight_problems

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


def asks_a_model(value: Callable[[str], Any]) -> bool:
    """Whether a reward model rates answers: unless functions do, and none is named."""
    return bool(value(REWARD.model)) or not value("reward_funcs")


STAGE = TrainerSpec(
    "ppo",
    "tunesmith_ppo.stage:PpoStage",
    "Answer prompts, have the answers rated, and learn from that (PPO).",
    options="tunesmith_ppo.options:PpoOptions",
    wants=("prompt",),
    roles=(
        replace(POLICY, head="value"),
        REFERENCE,
        replace(REWARD, needed="tunesmith_ppo.plugin:asks_a_model"),
    ),
    # What is learned are the probabilities of all tokens, so all of them are drawn from.
    defaults={"temperature": 1.0, "top_p": 1.0, "top_k": 0},
)
#: Keys that this stage cannot honour, each with the reason and what to write instead.
REFUSED = {
    "do_predict": ("the stage ppo does not keep its answers", "Use do_eval: true, or predict with stage: sft."),
    "predict_with_generate": ("the stage ppo does not keep its answers", "Use do_eval: true."),
    "streaming": ("the stage ppo learns from a buffer of prompts several times", "Write streaming: false"),
}


@hookimpl
def tunesmith_trainers() -> list[TrainerSpec]:
    """One stage."""
    return [STAGE]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What the stage cannot do, known before anything is loaded."""
    if not any(chosen.name == STAGE.name for chosen in plan.picked("trainers")):
        return
    yield from weight_problems(plan)
    for key, (why, hint) in REFUSED.items():
        if key in plan.settings and plan[key]:
            yield Problem(plan.settings[key].origin, f"{key}: {why}", hint)
    for chosen in plan.picked("strategies") if plan.spread.shards != "nothing" else ():
        what = f"{chosen.name}: the stage ppo answers with the model that learns, which needs it whole"
        yield Problem(chosen.why, what, "Leave it out, or use stage: grpo.")
    if plan["num_beams"] > 1:
        yield Problem(plan.settings["num_beams"].origin, "num_beams: answers to learn from are drawn", "Write num_beams: 1")
    if plan["do_sample"] and not plan["temperature"]:
        yield Problem(plan.settings["temperature"].origin, "temperature: 0 draws nothing at random", "Write temperature: 1.0")
