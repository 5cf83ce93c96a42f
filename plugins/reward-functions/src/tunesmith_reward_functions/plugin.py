"""What this package offers: reward functions for ``reward_funcs``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import Problem, RewardSpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


def _spec(name: str, load: str, summary: str, options: str) -> RewardSpec:
    here = "tunesmith_reward_functions"
    return RewardSpec(name, f"{here}.{load}", summary, f"{here}.options:{options}")


FORMAT = _spec("format", "form:Format", "1 where the answer matches a pattern.", "FormatOptions")
LENGTH = _spec("length", "form:Length", "1 for answers of the wanted length, else less.", "LengthOptions")
EXACT = _spec("exact_match", "matching:Exact", "1 where the answer is the row's own.", "ExactOptions")
NUMBER = _spec("numeric_match", "matching:Number", "1 where the last number is that of the row's answer.", "NumberOptions")
SCHEMA = _spec("json_schema", "schema:Schema", "1 where the answer is JSON that a schema allows.", "SchemaOptions")


@hookimpl
def tunesmith_rewards() -> list[RewardSpec]:
    """Five functions."""
    return [FORMAT, LENGTH, EXACT, NUMBER, SCHEMA]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What the picked functions cannot work with."""
    picked = {chosen.name for chosen in plan.picked("rewards")}
    if FORMAT.name in picked:
        try:
            re.compile(plan["reward_format"])
        except re.error as error:
            where = plan.settings["reward_format"].origin
            yield Problem(where, f"reward_format is no regular expression: {error}", "Python's module re says what it may be.")
    if LENGTH.name in picked and plan["reward_min_words"] > plan["reward_max_words"]:
        what = f"reward_min_words: {plan['reward_min_words']} is more than reward_max_words: {plan['reward_max_words']}"
        yield Problem(plan.settings["reward_min_words"].origin, what, "Let the least be no more than the most.")
    if SCHEMA.name in picked and (file := plan["reward_json_schema"]) and not Path(file).expanduser().is_file():
        where = plan.settings["reward_json_schema"].origin
        yield Problem(where, f"reward_json_schema: there is no file {file}", "Name a file that holds a JSON Schema.")
