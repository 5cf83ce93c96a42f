"""When FSDP shares the model of a run. Called while planning. No torch."""

from __future__ import annotations

from pathlib import Path

from tunesmith import Scene, TunesmithError

from tunesmith_fsdp.config import ASKED, TRUE, read_config


def wanted(scene: Scene) -> str:
    """The key ``fsdp``, the sizes of ``parallelism_config``, or ``accelerate launch`` with an FSDP configuration."""
    asked = scene.value("fsdp")
    if asked and str(asked).lower() not in ("false", "no_shard"):
        return "fsdp" if asked is True else f"fsdp: {asked}"
    if (size := (scene.value("parallelism_config") or {}).get("dp_shard_size", 1)) not in (None, 1):
        return f"parallelism_config: dp_shard_size: {size}"
    return "accelerate launch asks for it" if scene.environ.get(ASKED, "").lower() in TRUE else ""


def notices(scene: Scene) -> list[str]:
    """What was left out or translated."""
    try:
        return read_config(scene.value, scene.environ, Path(scene.folder))[1]
    except TunesmithError:
        return []  # said by check_plan, with its place
