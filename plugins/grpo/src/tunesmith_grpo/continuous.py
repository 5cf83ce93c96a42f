"""Answers by transformers' continuous batching: an answer leaves when it ends, and another prompt takes its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers.generation import ContinuousBatchingConfig
from trl.models import unwrap_model_for_generation
from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Tokens in a page of the pool, where the configuration does not say.
PAGE = 32
#: Tokens that are computed at once, where the configuration does not say: prompts are read in pieces of this.
AT_ONCE = 2048
#: Seconds between two looks at whether the engine still runs.
LOOK = 1.0


def pool(prompts: Sequence[Sequence[int]], room: int, given: Mapping[str, Any]) -> ContinuousBatchingConfig:
    """A pool of keys and values that holds all answers whole, and nothing more: transformers would take what memory is free.

    :param room: tokens that an answer may have.
    :param given: fields of :class:`ContinuousBatchingConfig` that go before.
    """
    page = int(given.get("page_size") or PAGE)
    sized: dict[str, Any] = {"page_size": page}
    if not given.get("num_blocks") and not given.get("max_memory_percent"):
        sized["num_blocks"] = sum(-(-(len(prompt) + room) // page) + 1 for prompt in prompts)
    if not given.get("max_batch_tokens"):
        sized["max_batch_tokens"] = max(AT_ONCE, len(prompts))
    # Another attention than the run's would come from a hub, and with it other numbers.
    return ContinuousBatchingConfig(**{**sized, "auto_switch_to_flash": False, **given})


def answer(trainer: Any, prompts: Sequence[Sequence[int]], given: Mapping[str, Any]) -> list[list[int]]:
    """Token ids of one answer to each prompt.

    :param trainer: one of trl's trainers with a generation configuration.
    :raises TunesmithError: the engine broke off.
    """
    settings = pool(prompts, trainer.max_completion_length, given)
    with _whole_model(trainer) as model, torch.no_grad():
        manager = model.init_continuous_batching(
            generation_config=trainer.generation_config, continuous_batching_config=settings
        )
        try:
            # All wait before the first step: when each comes would otherwise be chance, and with it what is drawn.
            names = manager.add_requests(list(map(list, prompts)), max_new_tokens=trainer.max_completion_length)
            manager.start()
            found = _collect(manager, len(prompts))
        finally:
            manager.stop(block=True)
            manager.destroy()
    return [found[name] for name in names]


def _collect(manager: Any, count: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    while len(found) < count:
        result = manager.get_result(timeout=LOOK)
        if result is None:
            if manager.is_running():
                continue
            raise TunesmithError("transformers' continuous batching has broken off.", _hint(manager))
        if result.error is not None:
            raise TunesmithError(f"An answer has failed in transformers' continuous batching: {result.error}", _hint(manager))
        if result.is_finished():
            found[result.request_id] = list(result.generated_tokens)
    return found


def _hint(manager: Any) -> str:
    why = manager.background_thread_status.fatal_error
    said = f"It says: {why}. " if why is not None else ""
    return f"{said}A larger pool may help (transformers_continuous_batching_config: {{num_blocks: …}}), or leave it out."


@contextmanager
def _whole_model(trainer: Any) -> Iterator[Any]:
    """The model that learns, as one that can answer, in the number format that it has."""
    gather = trainer.args.ds3_gather_for_generation
    recomputing = trainer.args.gradient_checkpointing_kwargs
    with (
        unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gather_deepspeed3_params=gather,
            gradient_checkpointing_kwargs=recomputing,
        ) as model,
        trainer._dist.summon_full_params(trainer.model_wrapped, recurse=False),
    ):
        training = model.training
        model.eval()
        try:
            yield model
        finally:
            model.train(training)
