"""The flat keys of answers by vLLM while a run learns, with trl's names and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class VllmRolloutOptions:
    """Where vLLM runs and how it is given the weights."""

    use_vllm: Annotated[bool, "Answer by vLLM, which gets the weights anew with every step."] = False
    vllm_mode: Annotated[
        Literal["colocate", "server"], "colocate: in the processes that learn; server: one that you have started."
    ] = "colocate"
    vllm_model_impl: Annotated[Literal["vllm", "transformers"], "Whose code of the model vLLM runs."] = "vllm"
    vllm_structured_outputs_regex: Annotated[str | None, "Answers match this regular expression."] = None
    vllm_server_base_url: Annotated[str | None, "Address of the server; goes before host and port."] = None
    vllm_server_host: Annotated[str, "Host of the server."] = "0.0.0.0"
    vllm_server_port: Annotated[int, "Port of the server.", Range(least=1, most=65535)] = 8000
    vllm_server_timeout: Annotated[float, "Seconds that the server may take to be there.", Range(least=0)] = 240.0
    vllm_group_port: Annotated[int, "Port over which weights are sent.", Range(least=1, most=65535)] = 51216
    vllm_gpu_memory_utilization: Annotated[float, "Share of the device's memory for vLLM.", Range(above=0, most=1)] = 0.3
    vllm_max_model_length: Annotated[int | None, "Tokens of a prompt and its answer; the model's own if not said."] = None
    vllm_tensor_parallel_size: Annotated[int, "Processes that share vLLM's copy of the weights.", Range(least=1)] = 1
    vllm_enable_sleep_mode: Annotated[bool, "Give vLLM's memory back while the run learns."] = False
    vllm_importance_sampling_correction: Annotated[bool, "Weigh tokens by how much likelier they are here than in vLLM."] = True
    vllm_importance_sampling_mode: Annotated[
        Literal["sequence_mask", "sequence_truncate", "token_mask", "token_truncate"],
        "What such a ratio is taken of, and what becomes of one out of bounds.",
    ] = "sequence_mask"
    vllm_importance_sampling_clip_max: Annotated[float | None, "Upper bound of such ratios."] = 3.0
    vllm_importance_sampling_clip_min: Annotated[float | None, "Lower bound of such ratios."] = None


PREFIX = "vllm_importance_sampling_"
#: Keys that only one of both modes, or only ``grpo``, acts on.
OF_MODE = {
    "server": ("vllm_server_base_url", "vllm_server_host", "vllm_server_port", "vllm_server_timeout", "vllm_group_port"),
    "colocate": (
        *("vllm_gpu_memory_utilization", "vllm_max_model_length", "vllm_tensor_parallel_size", "vllm_enable_sleep_mode"),
        "vllm_model_impl",
    ),
}
