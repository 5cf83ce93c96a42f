"""Which modules of a model are gathered as one, and their weights shared out over a mesh of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from tunesmith import TunesmithError
from tunesmith.errors import nearest
from tunesmith.runtime.value_head import under_adapter, value_head
from tunesmith.runtime.weights_in_parts import is_part
from tunesmith.runtime.whole_weights import size_of

from tunesmith_fsdp.config import FsdpConfig


def mesh_of(config: FsdpConfig, device: torch.device, processes: int) -> DeviceMesh:
    """All processes in a row; or copies of the model down and its parts across (HSDP)."""
    if config.copies == 1:
        return init_device_mesh(device.type, (processes,), mesh_dim_names=("shard",))
    shape = (config.copies, processes // config.copies)
    return init_device_mesh(device.type, shape, mesh_dim_names=("replicate", "shard"))


def shard(model: Any, mesh: DeviceMesh, config: FsdpConfig, half: torch.dtype | None = None) -> None:
    """Share out every weight of ``model`` in place, under an adapter or not.

    :param half: what is computed in, where weights are held in another format; gradients are added up in float32.
    :raises TunesmithError: it has no such layers, or something outside of them learns.
    """
    plain, head = under_adapter(model), value_head(model)
    how: dict[str, Any] = {"mesh": mesh, "offload_policy": _offload(config)}
    if head is not None:  # in float32, whatever the model computes in
        fully_shard(head, **how)
    how["mp_policy"] = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32) if half else MixedPrecisionPolicy()
    for module in _alone(plain, config):
        fully_shard(module, reshard_after_forward=config.reshard, **how)
    inner, outer = plain.get_input_embeddings(), plain.get_output_embeddings()
    tied = inner is not None and outer is not None and inner.weight is outer.weight
    if inner is not None and not tied and not isinstance(inner, FSDPModule):
        fully_shard(inner, reshard_after_forward=config.reshard, **how)
    if half:
        how["mp_policy"] = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, output_dtype=torch.float32)
    fully_shard(plain, **how)
    plain._is_fsdp_managed_module = True  # so that generation goes on until the last process has finished
    model._is_accelerate_prepared = True  # or it would be wrapped a second time
    _check_nothing_is_left(model)


def parts_in_place(model: torch.nn.Module) -> None:
    """Give back what is still gathered, so that modules hold their parts."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _offload(config: FsdpConfig) -> OffloadPolicy:
    return CPUOffloadPolicy(pin_memory=torch.accelerator.is_available()) if config.offload else OffloadPolicy()


def _alone(model: Any, config: FsdpConfig) -> Iterator[torch.nn.Module]:
    """The modules that are gathered as one, inner ones before those around them."""
    modules = [module for module in reversed(list(model.modules())) if module is not model]
    if config.least and not config.layers:
        yield from _by_size(modules, config.least)
        return
    names = set(config.layers or getattr(model, "_no_split_modules", None) or ())
    here = {type(module).__name__ for module in modules}
    wrong = next(iter(sorted(set(config.layers) - here)), None)
    if wrong is not None:
        repeated = sorted(one for one in here if sum(type(module).__name__ == one for module in modules) > 1)
        hint = nearest(wrong, here) or f"There are {', '.join(repeated)}."
        raise TunesmithError(f"fsdp_config: transformer_layer_cls_to_wrap: {type(model).__name__} has no {wrong}.", hint)
    if not names & here:
        hint = "Write fsdp_config: {transformer_layer_cls_to_wrap: the class of its layers}, or {min_num_params: 1000000}."
        raise TunesmithError(f"fsdp: what the layers of {type(model).__name__} are is not known.", hint)
    yield from (module for module in modules if type(module).__name__ in names)


def _by_size(modules: list[torch.nn.Module], least: int) -> Iterator[torch.nn.Module]:
    taken: set[int] = set()
    for module in modules:
        own = [weight for weight in module.parameters() if id(weight) not in taken]
        if sum(map(size_of, own)) >= least and not isinstance(module, (torch.nn.ModuleList, torch.nn.ModuleDict)):
            taken |= {id(weight) for weight in own}
            yield module


def _check_nothing_is_left(model: Any) -> None:
    left = next((name for name, weight in model.named_parameters() if weight.requires_grad and not is_part(weight)), None)
    if left is not None:
        raise TunesmithError(
            f"fsdp: {left} lies outside the model's own modules, and each process would learn another.",
            "Use a tuner whose weights lie in the layers (lora), or leave fsdp out.",
        )
