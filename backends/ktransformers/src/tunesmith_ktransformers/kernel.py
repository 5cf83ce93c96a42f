"""kt-kernel's expert operator for one layer: frozen weights in 16, 8 or 4 bits, low-rank updates, forward and backward.

Verified with kt-kernel 0.7.2. Its classes for training compute everything that is needed to answer as well, so there is no
other path here. What it would end the process for (sizes that its blocks do not divide) is refused before it is called.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
from tunesmith import TunesmithError

from tunesmith_ktransformers.checks import block_fault

METHODS = {16: "AMXBF16_SFT", 8: "AMXINT8_SFT", 4: "AMXINT4_SFT"}
#: The matrices of an update by name, as kt-kernel calls them.
UPDATES = ("gate_lora_a", "gate_lora_b", "up_lora_a", "up_lora_b", "down_lora_a", "down_lora_b")


@dataclass(frozen=True)
class Sizes:
    """Experts of one layer: how many, how many answer for a token, the model's width and theirs."""

    count: int
    chosen: int
    hidden: int
    width: int


@dataclass(frozen=True)
class Tuning:
    """How the kernel works: bits of the weights, threads, parts (one a NUMA node), and tokens that one call may take.

    ``retain``: each layer keeps what its forward computed until its backward; else all layers share one place for it.
    ``share_backward``: the weights that the backward multiplies with are made anew for each layer, which halves memory.
    """

    bits: int = 16
    threads: int = 1
    pools: int = 1
    tokens: int = 4096
    retain: bool = False
    share_backward: bool = True


class Kernel(Protocol):
    """The operator that :class:`~tunesmith_ktransformers.experts.KernelExperts` calls.

    ``update`` and ``gradients`` hold the six matrices of a low-rank update and what the last backward gave for them, in
    bfloat16 by the names in ``UPDATES``: ``*_a`` (experts, rank, in), ``*_b`` (experts, out, rank); empty for rank 0.
    """

    rank: int
    update: Mapping[str, torch.Tensor]
    gradients: Mapping[str, torch.Tensor]

    def forward(self, inputs: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """(tokens, hidden), (tokens, chosen) and (tokens, chosen) → (tokens, hidden). ``keep``: a backward will follow."""

    def backward(self, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of inputs and weights for that of the last output that was kept; fills ``gradients``."""

    def updated(self) -> None:
        """The matrices in ``update`` have changed."""


#: kt-kernel tells layers apart by their number, through all models of a process: one that comes twice ends the process.
_NUMBERS = itertools.count()


class KtKernel:
    """kt-kernel's ``AMXSFTMoEWrapper``, which also runs on AVX512 with bfloat16.

    :param layer: the number of the layer among those with experts, by which converted weights are found.
    """

    def __init__(self, layer: int, sizes: Sizes, tuning: Tuning, rank: int) -> None:
        check_blocks(sizes, tuning)
        self.layer, self.rank, self.sizes = layer, rank, sizes
        method = METHODS[tuning.bits] + ("" if rank else "_SkipLoRA")
        with silenced():
            self._wrapper = kt_kernel().KTMoEWrapper(
                layer_idx=next(_NUMBERS),
                num_experts=sizes.count,
                num_experts_per_tok=sizes.chosen,
                hidden_size=sizes.hidden,
                moe_intermediate_size=sizes.width,
                gpu_experts_mask=None,
                num_gpu_experts=0,
                cpuinfer_threads=tuning.threads,
                threadpool_count=tuning.pools,
                weight_path=None,
                chunked_prefill_size=tuning.tokens,
                mode="sft",
                method=method,
                lora_rank=rank or 1,
                lora_alpha=float(rank or 1),  # the scale is in the matrices
                max_cache_depth=1,
            )
        self._wrapper._get_buffer = lambda tokens: _buffer(sizes, tokens)
        self._wrapper.share_cache_pool = not tuning.retain
        self._wrapper.share_backward_bb = tuning.share_backward
        self.update = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in update_shapes(sizes, rank).items()}
        self.gradients = {name: torch.zeros_like(matrix) for name, matrix in self.update.items()}

    def load(self, gate: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> None:
        """Copy the weights, (experts, width, hidden) twice and (experts, hidden, width), into the kernel's form."""
        for name, weight in (("gate_proj", gate), ("up_proj", up), ("down_proj", down)):
            setattr(self._wrapper, name, weight.to(torch.bfloat16).contiguous())
        self._fill()

    def load_files(self, folder: Path) -> None:
        """Read weights that were converted before, from ``_layer_N`` in ``folder``."""
        with TemporaryDirectory() as place:
            (Path(place) / f"_layer_{self._wrapper.layer_idx}").symlink_to((folder / f"_layer_{self.layer}").resolve())
            self._wrapper.weight_path = place
            self._fill()

    def _fill(self) -> None:
        with silenced():
            self._wrapper.load_weights(torch.arange(self.sizes.count))
            if self.rank:
                self._wrapper.init_lora_weights(
                    **self.update, **{f"grad_{name}": matrix for name, matrix in self.gradients.items()}
                )

    def forward(self, inputs: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """See :class:`Kernel`."""
        answer: torch.Tensor = self._wrapper.forward(inputs, chosen, weights, save_for_backward=keep)
        return answer

    def backward(self, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Kernel`."""
        inputs, weights = self._wrapper.backward(gradient)
        return inputs, weights

    def updated(self) -> None:
        """See :class:`Kernel`."""
        self._wrapper.update_lora_weights()


_BUFFERS: dict[tuple[int, int], Any] = {}


def _buffer(sizes: Sizes, tokens: int) -> Any:
    """Where inputs and outputs of a call lie, for all layers of one size; kt-kernel's own knows one size a process."""
    from kt_kernel.sft.base import KExpertsSFTBuffer

    key = (sizes.hidden, sizes.chosen)
    if key not in _BUFFERS or _BUFFERS[key].qlen < tokens:
        _BUFFERS[key] = KExpertsSFTBuffer(tokens, sizes.hidden, sizes.width, sizes.count, sizes.chosen, 1)
    return _BUFFERS[key]


def update_shapes(sizes: Sizes, rank: int) -> dict[str, tuple[int, int, int]]:
    """The shapes of the six matrices of an update; none for rank 0."""
    if not rank:
        return {}
    ends = {"gate": (sizes.hidden, sizes.width), "up": (sizes.hidden, sizes.width), "down": (sizes.width, sizes.hidden)}
    shapes = {}
    for name, (into, out) in ends.items():
        shapes[f"{name}_lora_a"] = (sizes.count, rank, into)
        shapes[f"{name}_lora_b"] = (sizes.count, out, rank)
    return shapes


def check_blocks(sizes: Sizes, tuning: Tuning) -> None:
    """Refuse sizes that would end the process.

    :raises TunesmithError: the kernel's blocks do not divide a size.
    """
    if fault := block_fault(sizes.hidden, sizes.width, tuning.bits, tuning.pools):
        raise TunesmithError(*fault)


# ---- the package -----------------------------------------------------------------------------------------------------


def kt_kernel() -> Any:
    """The package kt-kernel.

    :raises TunesmithError: it is not here, or has no backward pass for this processor.
    """
    try:
        with silenced():
            import kt_kernel as package
            from kt_kernel.sft import amx
    except ImportError as error:
        raise TunesmithError(f"kt-kernel cannot be imported: {error}", "tunesmith stack create ktransformers") from error
    if not amx._HAS_AMX_SFT_SUPPORT:
        build = package.__cpu_variant__
        hint = "It needs AMX, or AVX512 with bfloat16; tunesmith experts check says what is here."
        raise TunesmithError(f"kt-kernel's build for this processor ({build}) has no backward pass.", hint)
    return package


@contextmanager
def silenced() -> Iterator[None]:
    """Within it, what C++ prints to standard output goes to standard error: answers of a command are on the former.

    The kernel says good-bye when the process ends, after Python: from then on nothing is let through.
    """
    atexit.unregister(_mute)
    atexit.register(_mute)
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1) if os.environ.get("KT_KERNEL_DEBUG") == "1" else _to_nowhere()
    try:
        yield
    finally:
        _flush_c()
        os.dup2(kept, 1)
        os.close(kept)


def _mute() -> None:
    sys.stdout.flush()
    _to_nowhere()


def _to_nowhere() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _flush_c() -> None:
    """Empty C's own buffer, which would otherwise be written later."""
    ctypes.CDLL(None).fflush(None)
