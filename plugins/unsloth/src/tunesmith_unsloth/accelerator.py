"""The model that learns, loaded and prepared by unsloth."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import TunesmithError
from tunesmith.contracts import Accelerator

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

#: unsloth asks the hub for a file so that its authors can count environments. Nobody asked for that here.
QUIET = {"UNSLOTH_DISABLE_STATISTICS": "1"}


class Unsloth(Accelerator):
    """Puts unsloth's own model classes and kernels under the run; tuner, data and trainer are the run's.

    On a CPU unsloth uses transformers' model classes and has no kernels of its own to offer: what is computed is the same, and
    the run shows that everything fits.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def before_load(self, plan: Plan) -> None:
        """Import it: it changes transformers, peft and trl, and wants to do so before models exist."""
        fast_model()

    def load(self, folder: Path, kwargs: Mapping[str, Any]) -> PreTrainedModel | None:
        """The weights, by unsloth's own loader.

        :raises TunesmithError: it does not know this kind of model, or cannot load it.
        """
        whole = any(chosen.name == "full" for chosen in self.plan.picked("tuners"))
        known = {key: kwargs[key] for key in ("attn_implementation", "device_map") if key in kwargs}
        try:
            model, _ = fast_model().from_pretrained(
                model_name=str(folder),
                max_seq_length=self.plan["cutoff_len"],
                dtype=kwargs["dtype"],
                load_in_4bit=self.plan["quantization_bit"] == 4,
                full_finetuning=whole,
                use_gradient_checkpointing=False,  # the run turns it on, with its own arguments
                trust_remote_code=kwargs.get("trust_remote_code", False),
                local_files_only=True,
                **known,
            )
        except (NotImplementedError, RuntimeError, ValueError, OSError) as error:
            raise TunesmithError(f"unsloth cannot load {folder}: {error}", "Leave use_unsloth out.") from error
        loaded: PreTrainedModel = model
        return loaded

    def after_tuner(self, model: PreTrainedModel) -> PreTrainedModel:
        """Put its kernels under an adapter, where it has some for this device, and switch the model to training."""
        fast = fast_model()
        patch = getattr(fast, "patch_peft_model", None)
        if patch is not None and hasattr(model, "peft_config"):
            model = patch(model, use_gradient_checkpointing=False)
        fast.for_training(model, use_gradient_checkpointing=False)
        return model


def fast_model() -> Any:
    """unsloth's class of models."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from unsloth import FastLanguageModel

    return FastLanguageModel
