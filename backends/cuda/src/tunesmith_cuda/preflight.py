"""What is worth knowing about the devices here before a run, line by line. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith.contracts import Finding, Probe

from tunesmith_cuda.probe import probe

GIBIBYTE = 2**30
#: The first compute capability of NVIDIA's with bfloat16 and TF32 in hardware (Ampere).
AMPERE = (8, 0)
ALLOCATORS = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
INSTALL = "tunesmith env shows what was found; drivers come from the vendor, torch builds from pytorch.org/get-started."


def preflight() -> Iterator[Finding]:
    """The driver, the torch build, every device, the allocator."""
    return look(probe(), os.environ)


def look(found: Probe, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What :func:`preflight` says of what a probe has found."""
    if not found.here:
        yield Finding("fail", found.reason, INSTALL)
    for number, device in enumerate(found.detail.get("devices", ())):
        yield from _device(number, device, found.detail)
    if found.here:
        yield Finding("ok", f"torch {found.detail['torch']['version']} was built for {_built_for(found.detail['torch'])}")
        yield from _allocator(environ)


def _device(number: int, device: Mapping[str, Any], detail: Mapping[str, Any]) -> Iterator[Finding]:
    words = f"device {number}: {device['name']}, {device['memory'] / GIBIBYTE:.0f} GiB"
    if detail.get("vendor") != "NVIDIA":
        yield Finding("ok", words)
    elif tuple(map(int, device["capability"].split("."))) < AMPERE:
        fix = "Write fp16: true instead of bf16: true, and leave tf32 out."
        yield Finding("warn", f"{words}, compute capability {device['capability']}: no bfloat16, no TF32", fix)
    else:
        yield Finding("ok", f"{words}, compute capability {device['capability']}: bfloat16 and TF32")


def _built_for(torch: Mapping[str, str]) -> str:
    return f"CUDA {torch['cuda']}" if torch["cuda"] else f"ROCm {torch['hip']}"


def _allocator(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Runs ask for segments that grow, unless somebody has asked for something else."""
    for name in ALLOCATORS:
        if (value := environ.get(name)) is not None and "expandable_segments:True" not in value:
            fix = f"Add expandable_segments:True to {name}, or unset it."
            yield Finding("warn", f"{name}={value} leaves memory in pieces of fixed size, with holes between them", fix)
