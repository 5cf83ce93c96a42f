"""What this package offers: the quantizer ``torchao`` and the accelerator ``float8``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import AcceleratorSpec, Problem, QuantizerSpec, Switch, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import ModelWish, Plan

    from tunesmith_torchao.options import TorchaoOptions

TUNESMITH_API = (1, 0)

# transformers imports torchao wherever it is installed, and torchao says then which libraries for other devices do not load
# and which of its names torch renamed. Nobody can do anything about either.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

SPEC = QuantizerSpec(
    "torchao",
    "tunesmith_torchao.quantizer:TorchaoQuantizer",
    "Eight bits (whole numbers or fp8), four on a GPU, quantisation-aware training.",
    options="tunesmith_torchao.options:TorchaoOptions",
    needs=("torchao",),
    bits=(4, 8),
    reads=("torchao",),
    # A scale in float32 for every row of 8-bit weights; scale and zero in bfloat16 for every group of 4-bit ones.
    stores={4: 4.25, 8: 8.1},
    kernels={4: ("cutlass",)},
    packages={4: ("mslk",)},
    layers="tensor",
    writes=(4, 8),
    plain_with=Switch("quantization_aware"),
)
FLOAT8 = AcceleratorSpec(
    "float8",
    "tunesmith_torchao.float8:Float8Training",
    "Linear layers computed in 8-bit floating point while they learn.",
    options="tunesmith_torchao.options:Float8Options",
    needs=("torchao",),
    switch=Switch("fp8"),
    order=20,
    kernels=("float8",),
    elsewhere="NVIDIA devices from compute capability 8.9 on (Ada, Hopper) and AMD's MI300 have them. Write bf16: true.",
    excludes=("unsloth", "ktransformers"),
    dtypes=("bfloat16", "float32"),
)
GROUPS = (32, 64, 128, 256)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """One accelerator."""
    return [FLOAT8]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What torchao, and adapters over it, cannot do."""
    if any(chosen.name == FLOAT8.name for chosen in plan.picked("accelerators")):
        from tunesmith_torchao.float8_checks import problems

        yield from problems(plan)
    from tunesmith_torchao.options import TorchaoOptions

    for wish in plan.models.values():
        if wish.quantizer.startswith(f"{SPEC.name}@"):
            yield from _problems(plan, plan.options(TorchaoOptions), wish)


def _problems(plan: Plan, options: TorchaoOptions, wish: ModelWish) -> Iterator[Problem]:
    origin = {key: setting.origin for key, setting in plan.settings.items()}
    if options.torchao_group_size not in GROUPS:
        listed = ", ".join(map(str, GROUPS))
        yield Problem(origin["torchao_group_size"], "torchao has no groups of that size", f"Write one of {listed}.")
    if options.torchao_format == "float" and wish.bits == 4:
        yield Problem(origin["torchao_format"], "torchao has no floating point of 4 bits", "Write quantization_bit: 8.")
    if options.quantization_aware and plan.command == "train":
        if not wish.bits:
            what = "quantization_aware trains plain weights, and the model's are quantised already"
            yield Problem(origin["quantization_aware"], what, "Give the model that they were made from.")
        if options.torchao_format == "float":
            what = "torchao imitates whole numbers in training, not floating point, where only weights are quantised"
            yield Problem(origin["torchao_format"], what, "Write torchao_format: int.")
    elif wish.bits == 4 and plan.command == "train" and wish.role == "policy":
        what = "adapters cannot learn over torchao's 4 bits: peft has none for them"
        hint = "Write quantization_bit: 8, quantization_aware: true, or quantization_method: bitsandbytes."
        yield Problem(origin["quantization_bit"], what, hint)
