"""Experts by kt-kernel against torch's own, on the processor: tokens per second and memory; prefill, decoding, training.

A model with the layout of Qwen3-MoE: as many layers as asked for, 32 experts of which 4 answer for a token, random weights in
bfloat16. Training is forward and backward with updates of rank 8 on all experts. Variants take turns in each round, and the
median round of each counts; memory is what the process holds once the model is ready, in a process of its own. The kernel's
own threads wait by asking again and again, so time is measured, not work: the machine has to be quiet. A few minutes on two
cores; ``--only training`` is one column, ``--variants "kt 8 bits"`` one row, beside the one that ratios are against.

Runs where kt-kernel is, in its stack:

    tunesmith stack create ktransformers
    PYTHON=~/.local/share/tunesmith/stacks/ktransformers/bin/python
    $PYTHON benchmarks/experts.py
    $PYTHON benchmarks/experts.py --width 2048 --inner 768 --layers 4 --threads 16
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
from tunesmith_ktransformers.experts import put_in
from tunesmith_ktransformers.kernel import KtKernel, Tuning

SIZES = {"width": 1024, "inner": 512, "layers": 2, "experts": 32, "tokens": 512}
CHOSEN = 4
DECODED = 32
VOCABULARY = 4096
#: What ratios are against.
FLOOR = "torch grouped_mm"
#: Name → bits in the kernel, and implementation of transformers' for torch's own.
VARIANTS: dict[str, tuple[int, str]] = {
    "torch eager": (0, "eager"),
    "torch grouped_mm": (0, "grouped_mm"),
    "kt 16 bits": (16, ""),
    "kt 8 bits": (8, ""),
    "kt 4 bits": (4, ""),
}


def build(options: argparse.Namespace, variant: str, *, learn: bool) -> Any:
    """A model with this variant's experts."""
    bits, implementation = VARIANTS[variant]
    config = Qwen3MoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=options.width,
        intermediate_size=options.inner,
        moe_intermediate_size=options.inner,
        num_hidden_layers=options.layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=options.width // 8,
        num_experts=options.experts,
        num_experts_per_tok=CHOSEN,
        decoder_sparse_step=1,
    )
    torch.manual_seed(0)
    before, _ = torch.get_default_dtype(), torch.set_default_dtype(torch.bfloat16)
    model: Any = Qwen3MoeForCausalLM(config)
    torch.set_default_dtype(before)
    if implementation:
        model.set_experts_implementation(implementation)
    if learn:
        targets = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=[], target_parameters=targets))
    if bits:
        tuning = Tuning(bits=bits, threads=options.threads, tokens=options.tokens, retain=True)

        def make(number: int, sizes: Any, rank: int) -> KtKernel:
            return KtKernel(number, sizes, tuning, rank)

        put_in(model, make, retain=True, tokens=options.tokens, chosen=CHOSEN)
    gc.collect()
    return model


def prefill(model: Any, ids: torch.Tensor) -> None:
    """One pass over a prompt."""
    with torch.no_grad():
        model(input_ids=ids, use_cache=False, logits_to_keep=1)


def decode(model: Any, ids: torch.Tensor) -> None:
    """One token after the other, each by itself."""
    with torch.no_grad():
        for place in range(DECODED):
            model(input_ids=ids[:, place : place + 1], use_cache=False)


def train(model: Any, ids: torch.Tensor) -> None:
    """Forward and backward."""
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    model.zero_grad()


WORKS: dict[str, tuple[Callable[[Any, torch.Tensor], None], bool]] = {
    "prefill": (prefill, False),
    "decoding": (decode, False),
    "training": (train, True),
}


def rates_of(options: argparse.Namespace, work: str) -> dict[str, float]:
    """Tokens per second of each variant, in its median round."""
    act, learn = WORKS[work]
    count = DECODED if work == "decoding" else options.tokens
    ids = torch.randint(5, VOCABULARY, (1, options.tokens), generator=torch.Generator().manual_seed(0))
    models = {name: build(options, name, learn=learn) for name in options.variants}
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(options.rounds + 1):
        for name, model in models.items():
            start = time.perf_counter()
            act(model, ids)
            if turn:  # the first one warms up
                times[name].append(time.perf_counter() - start)
    return {name: count / median(each) for name, each in times.items()}


def memory(variant: str, options: argparse.Namespace) -> float:
    """What a process with this model holds, in MiB."""
    sizes = [f"--{name}={getattr(options, name)}" for name in (*SIZES, "threads")]
    command = [sys.executable, __file__, *sizes, "--memory", variant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def held() -> float:
    """This process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=[*WORKS, "memory"], default=[*WORKS, "memory"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--memory", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        before = held()
        model = build(options, options.memory, learn=False)
        print(held() - before)
        del model
        return
    options.variants = [name for name in VARIANTS if name == FLOOR or name in options.variants]
    report(options)


def report(options: argparse.Namespace) -> None:
    """One row for each variant."""
    numbers = 3 * options.width * options.inner * options.experts * options.layers / 1e6
    print(f"{options.layers} layers of {options.experts} experts, {options.width} → {options.inner}: {numbers:.0f} M numbers")
    rates = {work: rates_of(options, work) for work in WORKS if work in options.only}
    sized = "memory" in options.only
    print(" " * 18 + "".join(f"{work:>12} tok/s   ratio" for work in rates) + ("     MiB" if sized else ""))
    for name in options.variants:
        shown = "".join(f"{each[name]:18.0f}{each[name] / each[FLOOR]:8.2f}" for each in rates.values())
        print(f"{name:18}{shown}" + (f"{memory(name, options):8.0f}" if sized else ""))


if __name__ == "__main__":
    main()
