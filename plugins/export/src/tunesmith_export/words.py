"""What a model is talked with: its tokenizer, its renderer, and a few prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Conversation, Text, Turn
from tunesmith.data.tokens import make_encoder
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.loading import adapter_folder, load_tokenizer, model_folder
from tunesmith.templates import make_renderer

from tunesmith_export.answers import QUESTIONS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Words:
    """What turns conversations into ids. ``home`` is the folder that it was read from."""

    home: Path
    tokenizer: PreTrainedTokenizerBase
    renderer: Renderer
    prompts: tuple[tuple[int, ...], ...]


def words_of(plan: Plan, plugins: Plugins, wish: ModelWish) -> Words:
    """Those of a model with its adapters."""
    home = _home(plan, wish)
    there = replace(plan, models={"policy": replace(wish, path=str(home), adapters=())})
    renderer = make_renderer(plan, plugins, home)
    encoder = make_encoder(there, renderer)
    asked = (Conversation((Turn("user", (Text(question),)),)) for question in QUESTIONS)
    prompts = tuple(tuple(encoder.ids(renderer.render(talk, generation_prompt=True))) for talk in asked)
    return Words(home, load_tokenizer(there, there.models["policy"]), renderer, prompts)


def _home(plan: Plan, wish: ModelWish) -> Path:
    """The folder of the tokenizer and template that the model was last trained with."""
    folders = [adapter_folder(plan, name) for name in wish.adapters]
    own = [folder for folder in reversed(folders) if (folder / "tokenizer_config.json").is_file()]
    return own[0] if own else model_folder(plan, str(wish.path))
