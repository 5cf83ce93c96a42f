"""The flat keys of the profiler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class ProfilerOptions:
    """Which steps are recorded, and what of them."""

    enable_torch_profiler: Annotated[bool, "Record a profile of some steps."] = False
    profiler_output_dir: Annotated[str | None, "Folder of the profile; nothing given means profiler in the output folder."] = (
        None
    )
    profiler_wait_steps: Annotated[int, "Steps before it starts.", Range(least=0)] = 1
    profiler_warmup_steps: Annotated[int, "Steps that are run and thrown away.", Range(least=0)] = 1
    profiler_active_steps: Annotated[int, "Steps that are recorded.", Range(least=1)] = 1
    profiler_repeat: Annotated[int, "Times that this is done; 0 never ends.", Range(least=0)] = 1
    profiler_record_shapes: Annotated[bool, "Record shapes."] = True
    profiler_profile_memory: Annotated[bool, "Record memory."] = True
    profiler_with_stack: Annotated[bool, "Record where calls came from."] = True
    profile_modules: Annotated[
        tuple[str, ...], "Modules to time by themselves, as shell patterns of their names: model.layers.*.mlp."
    ] = ()
