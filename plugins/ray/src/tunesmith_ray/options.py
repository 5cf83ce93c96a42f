"""The flat keys of Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class RayOptions:
    """How many workers a run has in a Ray cluster, and where they are."""

    use_ray: Annotated[bool, "Start processes through Ray."] = False
    ray_num_workers: Annotated[int, "Workers, one device each.", Range(least=1)] = 1
    ray_run_name: Annotated[str | None, "Name of the run in Ray; nothing given: that of output_dir."] = None
    ray_storage_path: Annotated[str | None, "Folder or URL that the result is copied to, below ray_run_name."] = None
    ray_init_kwargs: Annotated[dict[str, Any] | None, "Arguments of ray.init, such as address."] = None
    ray_max_failures: Annotated[int, "Times that all workers are started again after one failed.", Range(least=0)] = 0
    ray_wait: Annotated[int, "Seconds to wait until the cluster has room for all workers.", Range(least=1)] = 600
    resources_per_worker: Annotated[
        dict[str, Any] | None, "What each worker gets; nothing given: a CPU, and a GPU where the cluster has some."
    ] = None
    placement_strategy: Annotated[
        Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"], "How workers are placed on machines."
    ] = "PACK"
