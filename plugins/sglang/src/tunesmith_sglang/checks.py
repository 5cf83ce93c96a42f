"""What a plan asks of the server that it cannot do, and what of its arguments is said twice."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.errors import Problem
from tunesmith.plan import Plan
from tunesmith.served_models import AdapterLimits, check_served, said_twice

#: Plain LoRA, and nothing saved beside it.
LIMITS = AdapterLimits(
    "LORA", ("use_dora", "modules_to_save", "layer_replication", "alora_invocation_tokens", "lora_bias", "bias")
)

#: What of SGLang's arguments is ours to say, and by which key.
OURS = {
    "model_path": "model_name_or_path",
    "tokenizer_path": "model_name_or_path",
    "context_length": "sglang_maxlen",
    "mem_fraction_static": "sglang_mem_fraction",
    "tp_size": "sglang_tp_size",
    "tensor_parallel_size": "sglang_tp_size",
    "lora_backend": "sglang_lora_backend",
    "lora_paths": "adapter_name_or_path",
    "dtype": "infer_dtype",
    "trust_remote_code": "trust_remote_code",
    **dict.fromkeys(("host", "port", "api_key", "config", "incremental_streaming_output", "skip_tokenizer_init"), ""),
}


def problems(plan: Plan) -> Iterator[Problem]:
    """Everything that can be known before the server is started."""
    yield from check_served(plan, "sglang", LIMITS)
    if plan["sglang_tp_size"] == 0:
        yield Problem(
            plan.settings["sglang_tp_size"].origin, "sglang_tp_size is 0", "Write a number of devices, or -1 for all."
        )
    if plan["sglang_lora_backend"] == "flashinfer":
        what = "SGLang has no kernels for adapters by the name flashinfer any more"
        yield Problem(plan.settings["sglang_lora_backend"].origin, what, "Write sglang_lora_backend: triton")
    yield from said_twice(plan, "sglang_config", OURS)
