"""Which layers and weights of a loaded model get an update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn
from transformers.pytorch_utils import Conv1D
from tunesmith import TunesmithError
from tunesmith.errors import nearest
from tunesmith.runtime.held_still import held_still

from tunesmith_lora.options import LoraOptions, expression
from tunesmith_lora.patterns import ALL, names, picks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Layers beside linear ones that peft can update, when they are asked for by name.
NAMED_ONLY = (nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Targets:
    """What gets an update, by full dotted names, and what learns in full beside it."""

    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    saved: tuple[str, ...]


def find_targets(model: PreTrainedModel, options: LoraOptions) -> Targets:
    """Look up the names in the options.

    :raises TunesmithError: a name matches nothing; the message lists what there is. Or an update of an output head
        would change the embeddings that share its weight.
    """
    modules = find_layers(model, options.lora_target)
    _check_not_shared(model, modules)
    parameters = _parameters(model, options.lora_target_parameters or ())
    return Targets(modules, parameters, find_saved(model, options.additional_target or ()))


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer, plain or quantised: quantised ones are called so and share no class."""
    return isinstance(module, (nn.Linear, Conv1D)) or "Linear" in type(module).__name__


def expert_weights(model: nn.Module) -> tuple[str, ...]:
    """Weights that hold one matrix for each expert in a single tensor: (experts, out, in)."""
    return tuple(name for name, parameter in model.named_parameters() if parameter.ndim == 3 and "conv" not in name)


def shorten(model: nn.Module, chosen: Sequence[str]) -> list[str]:
    """The last words of the names where they mean exactly the chosen modules, else the full names.

    Adapters with short names are the ones that other programs read.
    """
    short = sorted({name.rpartition(".")[2] for name in chosen})
    meant = {name for name, _ in model.named_modules() if names(name, short)}
    return short if meant == set(chosen) else sorted(chosen)


def shares_weight(model: PreTrainedModel) -> bool:
    """Whether the output head and the input embeddings are one weight."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    return head is not None and table is not None and head.weight is table.weight


def find_layers(model: PreTrainedModel, target: Sequence[str], key: str = "lora_target") -> tuple[str, ...]:
    """Full names of the layers that ``target``, the value of ``key``, means.

    :raises TunesmithError: a name matches nothing; the message lists what there is.
    """
    still = held_still(model)
    if ALL in target:
        head, inside = model.get_output_embeddings(), {id(module) for module in model.base_model.modules()}
        layers = ((name, module) for name, module in model.named_modules() if is_linear(module))
        return tuple(name for name, module in layers if id(module) in inside - still and module is not head)
    found = [(name, one) for name, one in model.named_modules() if is_linear(one) or isinstance(one, NAMED_ONLY)]
    return _among([name for name, module in found if id(module) not in still], target, key)


def find_norms(model: PreTrainedModel, target: Sequence[str], key: str) -> tuple[str, ...]:
    """The same among normalisation layers; ``all`` means every one of them."""
    known = [name for name, module in model.named_modules() if "norm" in type(module).__name__.lower()]
    return tuple(known) if ALL in target else _among(known, target, key)


def _among(known: Sequence[str], target: Sequence[str], key: str) -> tuple[str, ...]:
    chosen = tuple(name for name in known if picks(name, target))
    unmatched = [one for one in target if not names_any(known, one)] if expression(target) is None else []
    if unmatched or not chosen:
        raise _unknown(key, ",".join(unmatched or target), known)
    return chosen


def names_any(known: Iterable[str], wanted: str) -> bool:
    """Whether ``wanted`` is the name, or the end of the name, of something known."""
    return any(names(name, (wanted,)) for name in known)


def _parameters(model: PreTrainedModel, wanted: Sequence[str]) -> tuple[str, ...]:
    if not wanted:
        return ()
    known = expert_weights(model)
    if not known:
        hint = "Leave lora_target_parameters out: all of this model's matrices belong to layers."
        raise TunesmithError(f"{type(model).__name__} has no fused experts.", hint)
    for one in wanted:
        if one != ALL and not names_any(known, one):
            raise _unknown("lora_target_parameters", one, known)
    return known if ALL in wanted else tuple(name for name in known if names(name, wanted))


def find_saved(model: PreTrainedModel, wanted: Sequence[str]) -> tuple[str, ...]:
    """The modules that ``additional_target`` names.

    :raises TunesmithError: one of them is not there.
    """
    known = [name for name, module in model.named_modules() if name and list(module.parameters())]
    for one in wanted:
        if not names_any(known, one):
            raise _unknown("additional_target", one, known)
    return tuple(wanted)


def _unknown(key: str, wanted: str, known: Iterable[str]) -> TunesmithError:
    counts = Counter(name.rpartition(".")[2] for name in known if not name.rpartition(".")[2].isdigit())
    listed = ", ".join(f"{name} (×{count})" for name, count in counts.items())
    return TunesmithError(
        f"{key}: {wanted} matches nothing in this model.", f"{nearest(wanted, counts)} There are: {listed}.".strip()
    )


def _check_not_shared(model: PreTrainedModel, chosen: Iterable[str]) -> None:
    if not shares_weight(model):
        return
    ends = (model.get_output_embeddings(), model.get_input_embeddings())
    shared = [name for name, module in model.named_modules() if name in set(chosen) and any(module is end for end in ends)]
    if shared:
        raise TunesmithError(
            f"lora_target names {shared[0]}, whose weight is both the input embeddings and the output head of this model.",
            "Leave it out, or let it learn in full: additional_target: embed_tokens",
        )
