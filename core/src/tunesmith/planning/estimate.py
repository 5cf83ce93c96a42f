"""How much memory a run will take, by arithmetic.

Weights, gradients and optimizer states follow from counts; activations from the usual formula for a transformer block
(Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", §4), with the logits on top.
The figure is for one process; what processes share (ZeRO, FSDP) counts in equal parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from tunesmith.plan import Estimate, ModelWish
from tunesmith.planning.draft import Draft
from tunesmith.planning.models import find_in
from tunesmith.planning.quantizing import quantizer_of
from tunesmith.planning.shapes import ModelShape, read_shape

#: No figure here was compared with measured peaks yet; until it is, the truth may be half as much again or half as little.
NOT_VALIDATED = 0.5
#: Numbers an optimizer keeps per learned number, for those that keep other than Adam's two.
OPTIMIZER_STATES = {
    "sgd": 0.0,
    "adafactor": 0.1,
    "adagrad": 1.0,
    "rmsprop": 1.0,
    "lion_32bit": 1.0,
    "lion_8bit": 0.25,
    "adamw_8bit": 0.5,
}
ADAM_STATES = 2.0
#: Sequences in a row, by kind of example, where they are more than one: both answers go through the model together.
SEQUENCES = {"preference": 2}
#: Bytes that a logit costs beside itself and its gradient: a copy in float32, its log-probability, and the gradient of that.
IN_FULL = 12
#: What each process holds a part of, by what the strategy shards.
SHARED = {"optimizer": ("gradients", "optimizer"), "weights": ("weights", "gradients", "optimizer")}


def estimate(draft: Draft) -> None:
    """Fill ``draft.estimate`` where the model's shape can be known."""
    draft.estimate = None if draft.problems else estimated(draft)


def estimated(draft: Draft) -> Estimate | None:
    """What the run will take with the settings so far; ``None`` where the model's shape cannot be known."""
    if "policy" not in draft.models or not draft.models["policy"].path:
        return None
    folder = find_in(draft, draft.models["policy"].path).folder
    shape = read_shape(folder) if folder else None
    if shape is None:
        return None
    parts, trainable = _training(draft, shape) if draft.picked("trainers") else ({"weights": _weights(draft, shape, 0)}, 0)
    parts |= dict(_others(draft))
    return Estimate(shape.parameters, trainable, parts, NOT_VALIDATED, f"arithmetic on {shape.basis}")


def _training(draft: Draft, shape: ModelShape) -> tuple[dict[str, int], int]:
    trainable = count_trainable(draft, shape)
    size = 2 if draft.value("pure_bf16") else 4
    states = count_states(draft, shape)
    parts = {
        "weights": _weights(draft, shape, trainable),
        "gradients": trainable * size,
        "optimizer": int(trainable * states * size),
        **_activations(draft, shape),
    }
    shared = SHARED.get(draft.spread.shards, ())
    return {part: size // draft.spread.processes if part in shared else size for part, size in parts.items()}, trainable


def count_states(draft: Draft, shape: ModelShape) -> float:
    """How many numbers the picked optimizer keeps for each one that learns."""
    for spec in draft.picked("optimizers"):
        if spec.states:
            module, _, function = spec.states.partition(":")
            return float(getattr(import_module(module), function)(shape.weights, draft.value))
        return ADAM_STATES
    return OPTIMIZER_STATES.get(str(draft.value("optim")), ADAM_STATES)


def _others(draft: Draft) -> Iterator[tuple[str, int]]:
    """The weights of the models that do not learn, but for those that are in memory anyway."""
    for role, wish in draft.models.items():
        folder = find_in(draft, wish.path).folder if role != "policy" and wish.path else None
        shape = read_shape(folder) if folder else None
        if shape is not None:
            yield f"{role} model", _frozen(draft, shape, wish)


def count_trainable(draft: Draft, shape: ModelShape) -> int:
    """How many numbers the picked tuner lets learn."""
    for spec in draft.picked("tuners"):
        if spec.trainable:
            module, _, function = spec.trainable.partition(":")
            return int(getattr(import_module(module), function)(shape.weights, draft.value))
    return shape.parameters


def _weights(draft: Draft, shape: ModelShape, trainable: int) -> int:
    wish, learns = draft.models["policy"], trainable * (2 if draft.value("pure_bf16") else 4)
    whole = _frozen(draft, shape, wish)
    return whole + learns if wish.packed else int(whole * max(0, 1 - trainable / shape.parameters)) + learns


def _frozen(draft: Draft, shape: ModelShape, wish: ModelWish) -> int:
    """Weights that do not learn: in few bits as many as their files hold, or what the quantizer makes of linear layers."""
    plain = 2.0 if _low_precision(draft) or (wish.quantizer and not wish.packed) else shape.bytes_per_weight
    spec = quantizer_of(draft, wish) if wish.packed else None
    if spec is None:
        return int(shape.parameters * plain)
    if not wish.bits:
        return int(shape.parameters * shape.bytes_per_weight)
    if shape.in_experts:
        share = shape.in_experts / shape.parameters
        draft.notices.append(f"{spec.name} leaves the fused experts of this model, {share:.0%} of its weights, as they are")
    bits = spec.stores.get(wish.bits, wish.bits)
    return int(shape.in_layers * bits / 8 + (shape.parameters - shape.in_layers) * plain)


def _low_precision(draft: Draft) -> bool:
    return any(bool(draft.value(key)) for key in ("bf16", "fp16", "pure_bf16"))


def _sequences(draft: Draft) -> int:
    """How many sequences of a row a stage computes at once."""
    return max((SEQUENCES.get(kind, 1) for spec in draft.picked("trainers") for kind in spec.wants), default=1)


def _activations(draft: Draft, shape: ModelShape) -> dict[str, int]:
    tokens = int(draft.value("per_device_train_batch_size") or 1) * int(draft.value("cutoff_len") or 1) * _sequences(draft)
    size = 2 if _low_precision(draft) else 4
    block = tokens * (16 * shape.hidden + 3 * shape.intermediate) * size
    if draft.value("disable_gradient_checkpointing"):
        held = block * shape.layers
    else:
        held = tokens * shape.hidden * size * shape.layers + block
    return {"activations": held, "logits": tokens * shape.vocabulary * (2 * size + IN_FULL)}
