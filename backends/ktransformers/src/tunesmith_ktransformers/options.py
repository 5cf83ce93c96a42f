"""The flat keys of the accelerator ``ktransformers``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class KtOptions:
    """Experts of a mixture on the processor, by kt-kernel."""

    use_kt: Annotated[bool, "Run mixture-of-experts layers on the processor."] = False
    kt_bits: Annotated[
        Literal[16, 8, 4] | None,
        "Bits that the kernel holds experts in. Those of kt_weight_path where that is given, else 16 (bfloat16).",
    ] = None
    kt_cpu_activation: Annotated[
        Literal["retain", "recompute"] | None,
        "Keep what the experts computed until the gradient needs it, or compute it again. "
        "Recomputed where gradient checkpointing is on, else kept.",
    ] = None
    kt_weight_path: Annotated[
        str | None, "Experts that tunesmith experts convert wrote, in 8 or 4 bits, in place of the model's own."
    ] = None
    kt_expert_checkpoint_path: Annotated[
        str | None, "A model folder to read the experts from, in place of the model's own; FP8 is read as bfloat16."
    ] = None
    kt_non_expert_weight_path: Annotated[
        str | None, "Known from elsewhere and refused: the other weights are read from the model, FP8 as bfloat16."
    ] = None
    kt_use_lora_experts: Annotated[
        bool | None, "Known from elsewhere and refused when true: nothing else could load such experts."
    ] = None
    kt_lora_expert_num: Annotated[int | None, "How many of them."] = None
    kt_lora_expert_intermediate_size: Annotated[int | None, "How wide they are."] = None
    kt_config: Annotated[
        dict[str, Any] | None,
        "Further settings of the kernel: kt_num_threads, kt_threadpool_count, kt_model_max_length, kt_backend, "
        "kt_expert_weight_format, kt_share_backward_bb.",
    ] = None
