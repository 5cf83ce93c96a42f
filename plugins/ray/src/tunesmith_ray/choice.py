"""How many processes a run through Ray has. Called while planning."""

from __future__ import annotations

from tunesmith import Scene


def processes(scene: Scene) -> int:
    """One for each worker."""
    return int(scene.value("ray_num_workers") or 1)
