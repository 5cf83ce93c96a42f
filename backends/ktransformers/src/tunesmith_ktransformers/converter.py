"""Experts of a checkpoint into the files that kt-kernel reads, one layer in memory at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tunesmith import TunesmithError

from tunesmith_ktransformers.checks import block_fault
from tunesmith_ktransformers.converted import ConvertedFacts, missing_files
from tunesmith_ktransformers.expert_files import ExpertFiles
from tunesmith_ktransformers.facts import facts_of
from tunesmith_ktransformers.kernel import kt_kernel, silenced


@dataclass(frozen=True)
class Conversion:
    """What to convert, to where, in how many bits; in ``pools`` parts, one a NUMA node, by ``threads`` threads."""

    model: Path
    output: Path
    bits: int
    pools: int
    threads: int


def convert(wanted: Conversion, say: Callable[[str], None]) -> ConvertedFacts:
    """Write the experts of ``wanted.model``; the folder appears when it is complete.

    :raises TunesmithError: there are no experts, their sizes do not fit, or the folder is there.
    """
    if wanted.output.exists():
        raise TunesmithError(f"{wanted.output} is there already.", "Name another folder, or remove it.")
    files = ExpertFiles(wanted.model)
    facts = facts_of(files.config)
    if facts is None:
        raise TunesmithError(f"{wanted.model / 'config.json'} names no experts.", "Give a mixture of experts.")
    if fault := block_fault(facts.hidden, facts.width, wanted.bits, wanted.pools):
        raise TunesmithError(*fault)
    staging = wanted.output.with_name(f".staging-{wanted.output.name}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        layers = files.layers()
        for number, layer in enumerate(layers):
            _write_layer(wanted, staging, number, files.experts(layer), facts.chosen)
            say(f"layer {layer} ({number + 1} of {len(layers)})")
        sizes = {"count": facts.count, "hidden": facts.hidden, "width": facts.width}
        written = ConvertedFacts(wanted.bits, wanted.pools, len(layers), **sizes, model_type=facts.kind)
        if wrong := missing_files(staging, written):
            raise TunesmithError(f"kt-kernel did not write {len(wrong)} files, the first {wrong[0]}.", "Is the disk full?")
        written.write(staging)
        staging.rename(wanted.output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return written


def _write_layer(wanted: Conversion, folder: Path, number: int, weights: tuple[torch.Tensor, ...], chosen: int) -> None:
    extension = kt_kernel().kt_kernel_ext
    gate, up, down = (weight.contiguous() for weight in weights)
    count, width, hidden = gate.shape
    on_device, order = torch.zeros(count, dtype=torch.bool), torch.arange(count)
    with silenced():
        config = extension.moe.MOEConfig(count, chosen, hidden, width, on_device.data_ptr())
        config.layer_idx, config.max_len, config.path = number, 32, str(folder)
        config.save, config.load = True, False
        config.gate_proj, config.up_proj, config.down_proj = gate.data_ptr(), up.data_ptr(), down.data_ptr()
        workers = _workers(wanted)
        config.pool = workers.backend_
        layer = getattr(extension.moe, f"AMXInt{wanted.bits}_MOE")(config)
        workers.submit(layer.load_weights_task(order.data_ptr()))
        workers.sync()


def _workers(wanted: Conversion) -> Any:
    """kt-kernel's threads, of which a process has one set."""
    from kt_kernel.experts_base import _MoEBase

    return _MoEBase._get_cpu_infer(wanted.threads, wanted.pools)
