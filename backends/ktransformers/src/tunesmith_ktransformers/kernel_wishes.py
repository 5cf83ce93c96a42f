"""How the kernel shall work, out of the flat keys; what contradicts itself is a fault, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import nearest

import tunesmith_ktransformers.converted as converted
import tunesmith_ktransformers.processor as processor
from tunesmith_ktransformers.options import KtOptions

#: The keys of kt_config that mean something here, and their types.
KNOWN: Mapping[str, type[int] | type[str] | type[bool]] = {
    "kt_num_threads": int,
    "kt_threadpool_count": int,
    "kt_tp_enabled": bool,
    "kt_model_max_length": int,
    "kt_backend": str,
    "kt_expert_weight_format": str,
    "kt_share_backward_bb": bool,
}
#: Keys that others know, and what to write instead.
ELSEWHERE: Mapping[str, str] = {
    "kt_num_gpu_experts": "All experts are on the processor: leave it out.",
    "kt_weight_path": "Write it as a key of its own: kt_weight_path: FOLDER",
    "kt_expert_checkpoint_path": "Write it as a key of its own: kt_expert_checkpoint_path: FOLDER",
    "kt_non_expert_weight_path": "Leave it out: the other weights are read from the model.",
    "kt_activation_policy": "Write kt_cpu_activation: retain or recompute.",
    "kt_max_cache_depth": "Leave it out: what is not kept is computed again.",
    "kt_share_cache_pool": "Write kt_cpu_activation: recompute to share it, retain not to.",
    "kt_train_mode": "It follows from finetuning_type: leave it out.",
    "kt_full_weight_grad": "Experts themselves do not learn here: leave it out.",
    "kt_lora_rank": "Write lora_rank.",
    "kt_lora_alpha": "Write lora_alpha.",
    "kt_lora_dropout": "Write lora_dropout.",
    "kt_force_fused_expert_lora": "It is always so: leave it out.",
    "kt_skip_expert_loading": "Leave it out.",
    "kt_weight_lifecycle": "Leave it out.",
    "kt_use_lora_experts": "Leave it out.",
    "kt_lora_expert_num": "Leave it out.",
    "kt_lora_expert_intermediate_size": "Leave it out.",
}
#: What kt_backend and kt_expert_weight_format say about bits.
NAMED_BITS = {"amxbf16": 16, "bf16": 16, "fp8": 16, "int8": 8, "amxint8": 8, "int4": 4, "amxint4": 4}
MOST_TOKENS = 16384
EXPERT_KEYS = ("kt_lora_expert_num", "kt_lora_expert_intermediate_size")


@dataclass(frozen=True)
class Wishes:
    """The same as ``kernel.Tuning``, before torch is there."""

    bits: int
    threads: int
    pools: int
    tokens: int
    retain: bool
    share_backward: bool


def wishes_of(options: KtOptions, *, tokens: int, checkpointed: bool) -> Wishes:
    """What the options come to; they must be without faults.

    :param tokens: how many a step has at most.
    :param checkpointed: torch computes layers a second time before their backward, so that keeping gains nothing.
    """
    config = options.kt_config or {}
    pools = int(config.get("kt_threadpool_count") or processor.numa_nodes())
    policy = options.kt_cpu_activation or ("recompute" if checkpointed else "retain")
    return Wishes(
        bits=bits_of(options),
        threads=int(config.get("kt_num_threads") or processor.cores()),
        pools=1 if config.get("kt_tp_enabled") is False else pools,
        tokens=min(MOST_TOKENS, int(config.get("kt_model_max_length") or max(32, tokens))),
        retain=policy == "retain",
        share_backward=config.get("kt_share_backward_bb") is not False,
    )


def bits_of(options: KtOptions) -> int:
    """16, 8 or 4: as asked for, else as the converted experts are, else 16."""
    if options.kt_bits is not None:
        return options.kt_bits
    named = [*_named(options.kt_config or {}).values()]
    if named:
        return named[0]
    found = converted.bits_in(options.kt_weight_path) if options.kt_weight_path else None
    return found or 16


def _named(config: Mapping[str, Any]) -> dict[str, int]:
    words = {key: str(config[key]).lower() for key in ("kt_backend", "kt_expert_weight_format") if config.get(key)}
    return {key: NAMED_BITS[word] for key, word in words.items() if word in NAMED_BITS}


def option_faults(options: KtOptions) -> Iterator[tuple[str, str, str]]:
    """Key, what is wrong with it, and what to write instead."""
    yield from _config_faults(options.kt_config or {})
    if options.kt_use_lora_experts:
        what = "kt_use_lora_experts adds experts that no other program can load and that cannot be merged"
        yield "kt_use_lora_experts", what, "Write lora_target_parameters: all, which updates the model's own."
    for key in EXPERT_KEYS:
        if getattr(options, key) is not None and not options.kt_use_lora_experts:
            yield key, f"{key} does nothing without kt_use_lora_experts", "Leave it out."
    if options.kt_non_expert_weight_path:
        what = "kt_non_expert_weight_path is not needed: the other weights are read from the model, FP8 as bfloat16"
        yield "kt_non_expert_weight_path", what, "Leave it out."
    if options.kt_weight_path and options.kt_expert_checkpoint_path:
        what = "kt_weight_path and kt_expert_checkpoint_path each say where the experts are"
        yield "kt_expert_checkpoint_path", what, "Keep one of them."
    yield from _bit_faults(options)


def _config_faults(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for key, value in config.items():
        if key in ELSEWHERE:
            yield "kt_config", f"kt_config: {key} has no place here", ELSEWHERE[key]
        elif key not in KNOWN:
            yield "kt_config", f"kt_config: there is no {key}", nearest(key, KNOWN) or f"There are {', '.join(KNOWN)}."
        elif not _is_a(value, KNOWN[key]):
            kind = {int: "a number above zero", bool: "true or false", str: "a word"}[KNOWN[key]]
            yield "kt_config", f"kt_config: {key} is {value!r}", f"Write {kind}."
        elif KNOWN[key] is str and str(value).lower() not in (*NAMED_BITS, "auto"):
            known = ", ".join(NAMED_BITS)
            yield "kt_config", f"kt_config: {key}: {value} is nothing the kernel trains in here", f"Write auto, {known}."


def _is_a(value: Any, kind: type) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0 if kind is int else isinstance(value, kind)


def _bit_faults(options: KtOptions) -> Iterator[tuple[str, str, str]]:
    said = _named(options.kt_config or {})
    said |= {"kt_bits": options.kt_bits} if options.kt_bits is not None else {}
    if options.kt_weight_path:
        fault = converted.folder_fault(options.kt_weight_path)
        if fault:
            yield "kt_weight_path", *fault
        elif bits := converted.bits_in(options.kt_weight_path):
            said["kt_weight_path"] = bits
    if len(set(said.values())) > 1:
        words = ", ".join(f"{key} {bits}" for key, bits in said.items())
        yield next(iter(said)), f"the bits of the experts contradict each other: {words}", "Keep one of them."
