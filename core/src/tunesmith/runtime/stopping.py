"""Where generation ends: the run's stop tokens, for predicting, for serving and in ``generation_config.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig

from tunesmith.contracts import Renderer
from tunesmith.errors import TunesmithError
from tunesmith.host_options import GenerationOptions
from tunesmith.plan import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Settings that only count when tokens are drawn at random.
DRAWING = ("temperature", "top_p", "top_k")


def stop_ids(tokenizer: PreTrainedTokenizerBase, renderer: Renderer | None) -> list[int]:
    """The ids that end an answer: the template's stop tokens first, then the tokenizer's own end of text.

    :raises TunesmithError: a stop word of the template is no single token of this tokenizer.
    """
    ids = []
    for word in renderer.stop if renderer else ():
        number = tokenizer.convert_tokens_to_ids(word)
        if not isinstance(number, int) or number == tokenizer.unk_token_id:
            raise TunesmithError(
                f"The template stops at {word!r}, which is no token of this tokenizer.", "Use the model's own template."
            )
        ids.append(number)
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    return list(dict.fromkeys(ids))


def generation_config(plan: Plan, tokenizer: PreTrainedTokenizerBase, renderer: Renderer | None) -> GenerationConfig:
    """The plan's sampling and the run's stop tokens, as transformers writes them beside a model."""
    wanted: dict[str, Any] = asdict(plan.options(GenerationOptions))
    wanted.pop("skip_special_tokens")
    if not wanted["do_sample"]:
        wanted = {key: value for key, value in wanted.items() if key not in DRAWING}
    if wanted["num_beams"] == 1:
        wanted.pop("length_penalty")
    return GenerationConfig(
        **wanted,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stop_ids(tokenizer, renderer) or None,
        pad_token_id=tokenizer.pad_token_id,
    )
