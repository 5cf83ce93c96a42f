"""What this package offers: the engine ``sglang`` and the stack that it lives in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import EngineSpec, Problem, StackSpec, hookimpl
from tunesmith.served_models import AdapterLimits, check_served, said_twice

from tunesmith_sglang.options import SglangOptions

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

ENGINE = EngineSpec(
    "sglang",
    "tunesmith_sglang.engine:SglangEngine",
    "SGLang, as a server in a stack of its own.",
    options=SglangOptions,
    stack="sglang",
)

STACK = StackSpec(
    "sglang",
    "SGLang and the versions that it wants.",
    requirements=("sglang>=0.5.23,<0.6",),
    kind="server",
    pins=("torch==2.14.1", "transformers==5.19.0", "tokenizers==0.23.2", "openai==2.8.0"),
)

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


@hookimpl
def tunesmith_engines() -> list[EngineSpec]:
    """Generation by SGLang."""
    return [ENGINE]


@hookimpl
def tunesmith_stacks() -> list[StackSpec]:
    """Where it runs."""
    return [STACK]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What the server cannot do, and what of its arguments is said twice."""
    if not any(chosen.name == ENGINE.name for chosen in plan.picked("engines")):
        return
    yield from check_served(plan, ENGINE.name, LIMITS)
    if plan["sglang_tp_size"] == 0:
        yield Problem(
            plan.settings["sglang_tp_size"].origin, "sglang_tp_size is 0", "Write a number of devices, or -1 for all."
        )
    if plan["sglang_lora_backend"] == "flashinfer":
        what = "SGLang has no kernels for adapters by the name flashinfer any more"
        yield Problem(plan.settings["sglang_lora_backend"].origin, what, "Write sglang_lora_backend: triton")
    yield from said_twice(plan, "sglang_config", OURS)
