"""Small random models of the families that see, each with its own configuration classes, tokens and processor files."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from tunesmith.runtime.tiny import Sizes
from tunesmith.runtime.tiny.families import Family, find_family
from tunesmith.runtime.tiny.tokens import make_tokenizer
from tunesmith.runtime.tiny.weights import make_config


@dataclass(frozen=True)
class Seeing:
    """How a small model of a family is made.

    :param template: the template that writes for it; ``asked``: a question about two pictures as its model wants to read it.
    :param base: the family of small models that its language model and tokens are like; ``config``: the whole configuration.
    :param own: whether the language model's configuration is a class of the family's own, rather than that of ``base``.
    :param tokens: special tokens more; ``named``: what the tokenizer calls them; ``marks``: configuration key → token.
    :param processor: its class; ``images``: preprocessor_config.json; ``settings``: processor_config.json.
    """

    template: str
    asked: str
    base: str
    config: str
    processor: str
    images: Mapping[str, Any]
    vision: Mapping[str, Any]
    marks: Mapping[str, str]
    own: bool = False
    text: Mapping[str, Any] = field(default_factory=dict)
    top: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)


def read_seeing(file: Path) -> dict[str, Seeing]:
    """The families in a TOML file, one table to each."""
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: Seeing(**{**table, "tokens": tuple(table.get("tokens", ()))}) for name, table in tables.items()}


def make_seeing(facts: Seeing, folder: Path) -> None:
    """Write the small model into ``folder``."""
    base = find_family(facts.base)
    family: Family = replace(base, special=(*base.special, *(token for token in facts.tokens if token not in base.special)))
    tokenizer = make_tokenizer(family, 2048, 4096)
    marks = {key: tokenizer.convert_tokens_to_ids(token) for key, token in facts.marks.items()}
    text = make_config(family, Sizes(), tokenizer).to_dict() | facts.text
    for key in ("model_type", "architectures") if facts.own else ("architectures",):
        text.pop(key, None)
    tied = {"tie_word_embeddings": bool(text.get("tie_word_embeddings"))}
    config = getattr(transformers, facts.config)(
        text_config=text, vision_config=dict(facts.vision), **marks, **facts.top, **tied
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    ends = tokenizer.convert_tokens_to_ids(list(base.stop))
    model.generation_config = transformers.GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if facts.named:
        told = folder / "tokenizer_config.json"
        told.write_text(json.dumps({**json.loads(told.read_text()), "extra_special_tokens": dict(facts.named)}))
    for file, content in (("preprocessor_config", facts.images), ("processor_config", facts.settings)):
        (folder / f"{file}.json").write_text(json.dumps({"processor_class": facts.processor, **content}))
