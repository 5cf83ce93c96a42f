"""When DeepSpeed shares the model of a run, and what it shards. Called while planning. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith import Scene, TunesmithError

from tunesmith_deepspeed.config import read_config, stage_of


def wanted(scene: Scene) -> str:
    """The key ``deepspeed`` (or ``deepspeed_config`` alone), or ``accelerate launch`` with a DeepSpeed configuration."""
    name = scene.value("deepspeed")
    if name:
        return f"deepspeed: {name}" if isinstance(name, str) else "deepspeed"
    if scene.value("deepspeed_config"):
        return "deepspeed_config"
    return "accelerate launch asks for it" if by_accelerate(scene) else ""


def by_accelerate(scene: Scene) -> bool:
    """Whether ``accelerate launch`` has told its processes to use DeepSpeed."""
    return scene.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true"


def shards(scene: Scene) -> str:
    """What no process holds all of, by the stage."""
    stage = stage_of(_config(scene)[0]) if not by_accelerate(scene) else scene.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
    return {"0": "nothing", "3": "weights"}.get(str(stage), "optimizer")


def notices(scene: Scene) -> list[str]:
    """What was translated."""
    return _config(scene)[1]


def _config(scene: Scene) -> tuple[dict[str, Any], list[str]]:
    try:
        return read_config(scene.value("deepspeed"), scene.value("deepspeed_config"), Path(scene.folder))
    except TunesmithError:
        return {}, []  # said by check_plan, with its place
