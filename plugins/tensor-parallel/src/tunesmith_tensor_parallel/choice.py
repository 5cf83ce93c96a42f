"""When layers are split over the processes of a run. Called while planning. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith import Scene

#: What each process is told by ``accelerate launch`` with sizes of parallelism.
TOLD, TOLD_SIZE = "ACCELERATE_USE_PARALLELISM_CONFIG", "PARALLELISM_CONFIG_TP_SIZE"


def wanted(scene: Scene) -> str:
    """The key ``tp_size``, or ``accelerate launch`` with such a size."""
    size = scene.value("tp_size")
    if isinstance(size, int) and size > 1:
        return f"tp_size: {size}"
    return f"accelerate launch asks for tp_size: {told}" if (told := told_size(scene.environ)) > 1 else ""


def told_size(environ: Mapping[str, str]) -> int:
    """What ``accelerate launch`` was told, 1 where it was told nothing."""
    on = environ.get(TOLD, "").lower() in ("true", "1", "yes", "on")
    return int(environ.get(TOLD_SIZE) or 1) if on else 1
