"""Putting an adapter of peft on a model, from nothing or from a folder, and folding it in again."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft import PeftModel, TaskType
from safetensors import SafetensorError
from tunesmith import TunesmithError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: What a model's class is called → the kind of task that peft treats it as, which decides about its head.
TASKS = {
    "ForCausalLM": TaskType.CAUSAL_LM,
    "ForConditionalGeneration": TaskType.CAUSAL_LM,
    "ForSequenceClassification": TaskType.SEQ_CLS,
    "ForTokenClassification": TaskType.TOKEN_CLS,
}


def task_of(model: PreTrainedModel) -> TaskType | None:
    """peft's word for what the model does."""
    if model.config.is_encoder_decoder:
        return TaskType.SEQ_2_SEQ_LM
    return next((task for end, task in TASKS.items() if type(model).__name__.endswith(end)), None)


def put_on(model: PreTrainedModel, folder: Path, config: Any, *, trainable: bool) -> PeftModel:
    """The adapter in ``folder``, with every weight accounted for.

    :raises TunesmithError: it belongs to another model.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        try:
            tuned = PeftModel.from_pretrained(model, folder, config=config, is_trainable=trainable)
        except (RuntimeError, ValueError, UserWarning, SafetensorError) as error:
            first = first_reason(error)
            hint = "Look at model_name_or_path, and at base_model_name_or_path in the adapter's adapter_config.json."
            raise TunesmithError(f"The adapter in {folder} does not fit {type(model).__name__}: {first}", hint) from error
    return tuned if trainable else tuned.requires_grad_(False)


def fold_in(model: Any) -> PreTrainedModel:
    """Add what was learned to the weights and return the plain model.

    :raises TunesmithError: the sum is not a number somewhere.
    """
    try:
        merged: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        hint = "It was trained to values that are no numbers."
        raise TunesmithError(f"The adapter cannot be merged: {error}", hint) from error
    return merged


def learning_share(model: Any) -> str:
    """How much of the model learns, for the log."""
    learns, total = model.get_nb_trainable_parameters()
    return f"{learns:,} of {total:,} weights learn ({learns / total:.2%})"


def first_reason(error: BaseException) -> str:
    """What is wrong first, of the many lines that torch lists under a title when shapes differ."""
    title, *rest = str(error).strip().splitlines() or [type(error).__name__]
    if not rest or not title.endswith(":"):
        return title
    return rest[0].strip() + (f" (and {len(rest) - 1} more)" if len(rest) > 1 else "")
