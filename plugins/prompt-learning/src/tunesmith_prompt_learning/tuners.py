"""Tuners that learn virtual tokens, by peft.

Three things are different from peft's own way. What the model answers has the length of what it was given: the places of the
virtual tokens are cut off, so that every stage finds each token where it is. What is saved is a finished prompt for everybody,
and the network that made it to go on learning from. And a run's rows belong to one task, whatever calls the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from peft import (
    MultitaskPromptTuningConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    TaskType,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from tunesmith import TunesmithError
from tunesmith.contracts import Tuner
from tunesmith.runtime.loading import model_folder

from tunesmith_prompt_learning.options import (
    MultitaskOptions,
    PrefixOptions,
    PromptLearningOptions,
    PromptOptions,
    PTuningOptions,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

ADAPTER = "default"
CONFIG, WEIGHTS, ENCODER = "adapter_config.json", "adapter_model.safetensors", "prompt_encoder.safetensors"


class PromptLearningTuner(Tuner):
    """What the four have in common. Subclasses say which configuration their options make."""

    options: ClassVar[type[PromptLearningOptions]]
    kind: ClassVar[type[PeftConfig]]

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._options: Any = plan.options(self.options)

    def fields(self, model: PreTrainedModel) -> dict[str, Any]:
        """Fields of peft's configuration beside the number of tokens."""
        return {}

    # -- the contract ------------------------------------------------------------------------------------------------

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Put a prompt of random embeddings in front of every text; nothing else learns."""
        config = self.kind(
            task_type=TaskType.CAUSAL_LM, num_virtual_tokens=self._options.num_virtual_tokens, **self.fields(model)
        )
        return self._finished(get_peft_model(model, config))

    def load(self, model: PreTrainedModel, path: Path, *, trainable: bool) -> PreTrainedModel:
        """Put the prompt in ``path`` in front of every text.

        :raises TunesmithError: there is none, it fits another model, or only the finished prompt of a network is there and it
            should go on learning.
        """
        config = self._read_config(path)
        _check_sizes(config, model, path)
        try:
            if not trainable:
                return self._finished(PeftModel.from_pretrained(model, path, config=config).requires_grad_(False))
            config.inference_mode = False
            tuned = get_peft_model(model, config)
            tuned.prompt_encoder[ADAPTER].load_state_dict(self._encoder_state(tuned, path))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise TunesmithError(
                f"The prompt in {path} does not fit {type(model).__name__}: {reason}", "Look at model_name_or_path."
            ) from error
        return self._finished(tuned)

    def save(self, model: PreTrainedModel, directory: Path) -> None:
        """Write the finished prompt as peft does, and the network or table it comes from."""
        model.save_pretrained(directory)
        (directory / "README.md").unlink(missing_ok=True)
        state = {name: tensor.detach().cpu().clone() for name, tensor in model.prompt_encoder[ADAPTER].state_dict().items()}
        save_file(state, directory / ENCODER, {"format": "pt"})

    @contextmanager
    def without(self, model: PreTrainedModel) -> Iterator[None]:
        """Within it, ``model`` answers as its base would."""
        with model.disable_adapter():
            yield

    def describe(self, model: PreTrainedModel) -> list[str]:
        """How much learns."""
        learns, total = model.get_nb_trainable_parameters()
        tokens = model.peft_config[ADAPTER].num_virtual_tokens
        return [f"{tokens} virtual tokens: {learns:,} of {total:,} weights learn ({learns / total:.2%})"]

    # -- parts -------------------------------------------------------------------------------------------------------

    def _finished(self, tuned: Any) -> Any:
        tuned.forward = _of_its_own_length(tuned.forward)
        return tuned

    def _read_config(self, path: Path) -> PeftConfig:
        missing = next((name for name in (CONFIG, WEIGHTS) if not (path / name).is_file()), None)
        if missing:
            raise TunesmithError(f"{path} holds no learned prompt: {missing} is missing.", "Give the folder that it is in.")
        config = PeftConfig.from_pretrained(path)
        if type(config) is not self.kind:
            raise TunesmithError(f"The adapter in {path} is of the kind {config.peft_type}.", "Pick the tuner that made it.")
        return config

    def _encoder_state(self, tuned: Any, path: Path) -> dict[str, torch.Tensor]:
        if (path / ENCODER).is_file():
            return load_file(path / ENCODER)
        names = list(tuned.prompt_encoder[ADAPTER].state_dict())
        if names != ["embedding.weight"]:
            what = f"{path} holds a finished prompt, and not the network that made it, so it cannot go on learning."
            raise TunesmithError(what, f"Copy {ENCODER} too, or start anew.")
        return {names[0]: load_file(path / WEIGHTS)["prompt_embeddings"]}


class PromptTuner(PromptLearningTuner):
    """Prompt tuning (Lester, Al-Rfou and Constant 2021, arXiv:2104.08691)."""

    options = PromptOptions
    kind = PromptTuningConfig

    def fields(self, model: PreTrainedModel) -> dict[str, Any]:
        """Where the prompt starts from; the tokenizer that reads a text is the model's own."""
        found = {"prompt_tuning_init": self._options.prompt_init.upper()}
        if self._options.prompt_init == "text":
            folder = model_folder(self._plan, str(self._plan["model_name_or_path"]))
            found |= {"prompt_tuning_init_text": self._options.prompt_init_text, "tokenizer_name_or_path": str(folder)}
        return found

    def _finished(self, tuned: Any) -> Any:
        config = tuned.peft_config[ADAPTER]  # it has begun: whoever loads it needs neither text nor tokenizer
        config.prompt_tuning_init, config.prompt_tuning_init_text, config.tokenizer_name_or_path = "RANDOM", None, None
        return super()._finished(tuned)


class PTuningTuner(PromptLearningTuner):
    """P-tuning (Liu et al. 2021, arXiv:2103.10385)."""

    options = PTuningOptions
    kind = PromptEncoderConfig

    def fields(self, model: PreTrainedModel) -> dict[str, Any]:
        """The network that makes the prompt."""
        options = self._options
        return {
            "encoder_reparameterization_type": options.p_tuning_encoder.upper(),
            "encoder_hidden_size": options.p_tuning_hidden_size or model.config.get_text_config().hidden_size,
            "encoder_num_layers": options.p_tuning_num_layers,
            "encoder_dropout": options.p_tuning_dropout,
        }


class PrefixTuner(PromptLearningTuner):
    """Prefix tuning (Li and Liang 2021, arXiv:2101.00190)."""

    options = PrefixOptions
    kind = PrefixTuningConfig

    def fields(self, model: PreTrainedModel) -> dict[str, Any]:
        """Whether a network makes the keys and values."""
        width = self._options.prefix_hidden_size or model.config.get_text_config().hidden_size
        return {"prefix_projection": self._options.prefix_projection, "encoder_hidden_size": width}


class MultitaskTuner(PromptLearningTuner):
    """Multitask prompt tuning (Wang et al. 2023, arXiv:2303.02861); which task the rows belong to is told by a key."""

    options = MultitaskOptions
    kind = MultitaskPromptTuningConfig

    def fields(self, model: PreTrainedModel) -> dict[str, Any]:
        """Tasks and the rank of their matrices."""
        return {"num_tasks": self._options.multitask_num_tasks, "num_ranks": self._options.multitask_rank}

    def _finished(self, tuned: Any) -> Any:
        tuned.get_prompt = partial(_prompt_of_task, tuned.get_prompt, self._options.multitask_task)
        return super()._finished(tuned)


def _check_sizes(config: Any, model: PreTrainedModel, path: Path) -> None:
    text = model.config.get_text_config()
    there, wanted = (config.num_layers,), (text.num_hidden_layers,)
    if not isinstance(config, PrefixTuningConfig):
        there, wanted = (*there, config.token_dim), (*wanted, text.hidden_size)
    if there != wanted:
        what = f"The prompt in {path} does not fit {type(model).__name__}: layers and width are {there}, and not {wanted}."
        raise TunesmithError(what, "Look at model_name_or_path.")


def _prompt_of_task(get_prompt: Callable[..., Any], task: int, batch_size: int, task_ids: Any = None, **more: Any) -> Any:
    return get_prompt(batch_size, task_ids=torch.full((batch_size,), task) if task_ids is None else task_ids, **more)


def _of_its_own_length(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward pass whose logits and hidden states are those of the tokens that it was given, without the virtual ones.

    Its loss leaves out the first token, which the last virtual one would predict, as every stage does.
    """

    @wraps(forward)
    def trimmed(input_ids: Any = None, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("labels") is not None:
            kwargs["labels"] = kwargs["labels"].clone()
            kwargs["labels"][:, 0] = -100
        outputs = forward(input_ids, *args, **kwargs)
        given = input_ids if input_ids is not None else kwargs.get("inputs_embeds")
        if given is None or getattr(outputs, "logits", None) is None:
            return outputs
        extra = outputs.logits.shape[1] - given.shape[1]
        if extra > 0:
            outputs.logits = outputs.logits[:, extra:]
            if getattr(outputs, "hidden_states", None) is not None:
                outputs.hidden_states = tuple(state[:, extra:] for state in outputs.hidden_states)
        return outputs

    return trimmed
