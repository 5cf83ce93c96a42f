"""Starts of a low-rank update that look at the data first: EVA, CorDA and LoRA-GA, by peft's own arithmetic.

What comes before that arithmetic is done here: peft's helpers want models before they have adapters, batches of one shape and
loops of their own, and a stage's rows and loss are neither.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from types import SimpleNamespace
from typing import Any

import torch
from peft import EvaConfig, initialize_lora_eva_weights
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.config import LoraGAConfig
from torch import nn
from transformers.pytorch_utils import Conv1D
from tunesmith import TunesmithError

from tunesmith_lora.options import LoraOptions

ADAPTER = "default"
Loss = Callable[[Any], torch.Tensor]
#: Forward passes for each row that EVA may take until its directions stand still.
ROUNDS = 50
#: Tokens for each direction that EVA looks at together.
TOKENS = 8


def fit(model: Any, method: str, options: LoraOptions, examples: Iterable[Any], loss: Loss) -> None:
    """Give the updates of ``model`` the start that ``method`` finds in the first ``lora_init_samples`` examples."""
    rows = list(islice(examples, options.lora_init_samples))
    if not rows:
        raise TunesmithError(f"lora_init: {method} looks at the training data, and there is none.", "Give a dataset.")
    formats = {layer: layer.lora_A[ADAPTER].weight.dtype for _, layer in updated(model)}
    METHODS[method](model, options, rows, loss)
    for layer, dtype in formats.items():
        if ADAPTER in layer.lora_A:
            layer.lora_A.to(dtype)
            layer.lora_B.to(dtype)


def updated(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Linear layers with an update, and their names."""
    for name, module in model.named_modules():
        if (
            isinstance(module, LoraLayer)
            and ADAPTER in module.lora_A
            and isinstance(module.get_base_layer(), nn.Linear | Conv1D)
        ):
            yield name, module


# ---- EVA -------------------------------------------------------------------------------------------------------------


def _eva(model: Any, options: LoraOptions, rows: list[Any], loss: Loss) -> None:
    """Principal directions of each layer's input, with more ranks where they explain more (Paischl et al. 2024,
    arXiv:2410.07170)."""
    config = model.peft_config[ADAPTER]
    config.init_lora_weights = "eva"
    config.eva_config = EvaConfig(rho=options.lora_eva_rho, tau=options.lora_eva_tau, whiten=options.lora_eva_whiten)
    calls = 0

    def forward(_: Any, batch: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > ROUNDS * len(rows):
            what = f"EVA's directions do not stand still after {ROUNDS} rounds over {len(rows)} rows."
            raise TunesmithError(what, "Give it more rows: lora_init_samples, or less to find: lora_rank, lora_eva_rho.")
        loss(batch)

    most = max(layer.r[ADAPTER] for _, layer in updated(model))
    with contextlib.redirect_stdout(io.StringIO()):  # peft prints when a row is shorter than the rank
        initialize_lora_eva_weights(
            model,
            dataloader=rows,
            forward_fn=forward,
            prepare_model_inputs_fn=lambda batch, _: batch.get("labels") if isinstance(batch, Mapping) else None,
            prepare_layer_inputs_fn=_Gathered(TOKENS * round(most * options.lora_eva_rho)),
            gather_distributed_inputs=False,
            show_progress_bar=False,
        )
    config.eva_config, config.init_lora_weights = None, True


class _Gathered:
    """Inputs of a layer, (tokens, width), held back until there are enough to look for directions in: rows may be short.

    The first time peft asks for a layer it only wants to know which layers have the same input.
    """

    def __init__(self, least: int) -> None:
        self.least = least
        self.held: dict[str, list[torch.Tensor]] = {}

    def __call__(self, given: Any, labels: torch.Tensor | None, name: str) -> torch.Tensor:
        states = (given[0] if isinstance(given, tuple | list) else given).detach()
        learned = labels is not None and labels.shape == states.shape[:2] and (labels != -100)
        states = states[learned] if isinstance(learned, torch.Tensor) else states.flatten(0, -2)
        if name not in self.held:
            self.held[name] = []
            return states
        held = self.held[name]
        held.append(states)
        if sum(map(len, held)) < self.least:
            return states[:0]
        self.held[name] = []
        return torch.cat(held)


# ---- CorDA -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _corda(model: Any, options: LoraOptions, rows: list[Any], loss: Loss) -> None:
    """Directions of the weight weighed by the covariance of its input (Yang et al. 2024, arXiv:2406.05223)."""
    from peft.tuners.lora.corda import CordaEigens, collect_eigens_for_layer  # imports a package that peft does not require

    with _covariances(model, len(rows)):
        for batch in rows:
            loss(batch)
    for _, layer in updated(model):
        base, rank = layer.get_base_layer(), layer.r[ADAPTER]
        found = collect_eigens_for_layer(base, SimpleNamespace())
        del base.covariance_matrix
        part = slice(None, rank) if options.lora_corda_method == "ipm" else slice(-rank, None)
        device = base.weight.device
        left, right = (side[:, part].clone().to(device) for side in (found.U_WC, found.V_WC))
        base.eigens = CordaEigens(S_WC=found.S_WC[part].clone(), U_WC=left, V_WC=right)
        layer.corda_init(ADAPTER, "corda")


@contextmanager
def _covariances(model: nn.Module, rows: int) -> Iterator[None]:
    """Within it, each updated layer sums up the covariance of its input, (width, width), as the mean over ``rows``."""

    def add(module: Any, given: tuple[torch.Tensor, ...], _: Any) -> None:
        states = given[0].detach().flatten(0, -2).float()
        states = states / states.max().abs()
        module.covariance_matrix = module.covariance_matrix + states.T @ states / rows

    handles = []
    for _, layer in updated(model):
        layer.get_base_layer().covariance_matrix = 0
        handles.append(layer.get_base_layer().register_forward_hook(add))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# ---- LoRA-GA ---------------------------------------------------------------------------------------------------------


def _lora_ga(model: Any, options: LoraOptions, rows: list[Any], loss: Loss) -> None:
    """Directions of the first gradient, so that the first step goes where full fine-tuning would (Wang, Yu and Li 2024,
    arXiv:2407.05000)."""
    layers = [layer for _, layer in updated(model)]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        model.requires_grad_(False)
        for layer in layers:
            layer.get_base_layer().weight.requires_grad_(True)
        for batch in rows:
            (loss(batch) / len(rows)).backward()
    finally:
        model.requires_grad_(False)
        for parameter in learning:
            parameter.requires_grad_(True)
    config = LoraGAConfig(
        direction=options.lora_ga_direction,
        scale=options.lora_ga_scale,
        stable_gamma=options.lora_ga_stable_gamma,
    )
    for layer in layers:
        base = layer.get_base_layer()
        base._peft_loraga_grad, base.weight.grad = base.weight.grad, None
        with torch.no_grad():
            layer.lora_ga_init(ADAPTER, config)


METHODS: Mapping[str, Callable[[Any, LoraOptions, list[Any], Loss], None]] = {"eva": _eva, "corda": _corda, "lora_ga": _lora_ga}
