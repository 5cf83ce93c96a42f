"""DeepSpeed's configuration: a file or mapping, what is laid over it, and old spellings in words of today. No torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith import TunesmithError
from tunesmith.mapping_files import read_mapping

ZERO = "zero_optimization"
#: Switches of ``zero_optimization`` that DeepSpeed refuses today → the sections that replaced them.
OLD = {
    "cpu_offload": "offload_optimizer",
    "cpu_offload_params": "offload_param",
    "cpu_offload_param": "offload_param",
    "cpu_offload_use_pin_memory": "",
}
#: What transformers fills in from the training arguments. DeepSpeed has other defaults of its own.
FILLED: Mapping[str, Any] = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "bf16": {"enabled": "auto"},
    "fp16": {"enabled": "auto"},
}
STAGES = (0, 1, 2, 3)


def read_config(
    base: Mapping[str, Any] | str | None, overlay: Mapping[str, Any] | None, folder: Path
) -> tuple[dict[str, Any], list[str]]:
    """The whole configuration, and what was translated in it.

    :param base: a mapping, or a JSON file: looked for beside the run's configuration, then in the working folder.
    :param overlay: laid over it, section by section.
    :param folder: the folder of the run's configuration.
    :raises TunesmithError: the file cannot be read, or there is no such stage.
    """
    config = laid_over(read_mapping(base, folder, "DeepSpeed"), overlay or {})
    notices = _translate(config)
    for key, value in FILLED.items():
        config.setdefault(key, copy.deepcopy(value))
    if (stage := stage_of(config)) not in STAGES:
        raise TunesmithError(f"DeepSpeed's zero_optimization has no stage {stage!r}.", "Write stage: 0, 1, 2 or 3.")
    return config, notices


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` over ``below``: mappings are joined, everything else is replaced."""
    joined = dict(below)
    for key, value in above.items():
        under = joined.get(key)
        joined[key] = laid_over(under, value) if isinstance(value, Mapping) and isinstance(under, Mapping) else value
    return joined


def _translate(config: dict[str, Any]) -> list[str]:
    """Put old switches of ``zero_optimization`` into words of today, in place."""
    zero, notices = config.get(ZERO), []
    if not isinstance(zero, dict):
        return []
    for old in [key for key in zero if key in OLD]:
        value, section = zero.pop(old), OLD[old]
        if section and value:
            zero.setdefault(section, {"device": "cpu"})
            notices.append(f"deepspeed: {ZERO}.{old}: true is now {section}: {{device: cpu}}")
        else:
            notices.append(f"deepspeed: {ZERO}.{old}: {str(value).lower()} is left out, DeepSpeed does not know it any more")
    return notices


def stage_of(config: Mapping[str, Any]) -> Any:
    """The stage of ZeRO, 0 where there is none."""
    zero = config.get(ZERO)
    return zero.get("stage", 0) if isinstance(zero, Mapping) else 0


def offloads(config: Mapping[str, Any], what: str) -> bool:
    """Whether ``"optimizer"`` or ``"param"`` is kept in CPU memory or on disk."""
    zero = config.get(ZERO)
    section = zero.get(f"offload_{what}") if isinstance(zero, Mapping) else None
    return isinstance(section, Mapping) and section.get("device", "none") != "none"
