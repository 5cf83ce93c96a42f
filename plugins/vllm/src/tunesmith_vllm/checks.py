"""What a plan asks of the server that it cannot do, and what of its arguments is said twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tunesmith.errors import Problem
from tunesmith.plan import Plan
from tunesmith.served_models import AdapterLimits, check_served, said_twice

#: The engine that needs a device.
WITH_DEVICE = "vllm"
#: Plain LoRA, and nothing saved beside it.
LIMITS = AdapterLimits(
    "LORA", ("use_dora", "modules_to_save", "layer_replication", "alora_invocation_tokens", "lora_bias", "bias")
)

#: What of vLLM's arguments is ours to say, and by which key.
OURS = {
    "model": "model_name_or_path",
    "tokenizer": "model_name_or_path",
    "max_model_len": "vllm_maxlen",
    "gpu_memory_utilization": "vllm_gpu_util",
    "enforce_eager": "vllm_enforce_eager",
    "max_lora_rank": "vllm_max_lora_rank",
    "enable_lora": "adapter_name_or_path",
    "lora_modules": "adapter_name_or_path",
    "dtype": "infer_dtype",
    "trust_remote_code": "trust_remote_code",
    **dict.fromkeys(("host", "port", "uds", "api_key", "served_model_name", "generation_config", "skip_tokenizer_init"), ""),
}


def problems(plan: Plan, picked: str) -> Iterator[Problem]:
    """Everything that can be known before the server is started."""
    yield from check_served(plan, picked, replace(LIMITS, highest_rank=plan["vllm_max_lora_rank"]))
    where = plan.settings["infer_backend"].origin
    on_processor = plan.the("backends").name == "cpu" if any(plan.picked("backends")) else False
    if picked == WITH_DEVICE and on_processor:
        yield Problem(where, "vllm needs a device, and this run has none", "Write infer_backend: vllm-cpu")
    yield from said_twice(plan, "vllm_config", OURS)
