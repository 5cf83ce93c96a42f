"""Small random models of real architectures, with tokenizers that fit: for tests, demos and benchmarks."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.errors import TunesmithError, nearest
from tunesmith.runtime.tiny.families import Family, Sizes, families, find_family

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Family", "Sizes", "families", "make_tiny"]


def make_tiny(family: str, out: Path, *, seed: int = 0, **sizes: int) -> Path:
    """Write a small random model and its tokenizer into ``out``; the same seed, sizes and library versions give the same bytes.

    :param family: a name from :func:`families`.
    :param sizes: fields of :class:`Sizes`.
    :raises TunesmithError: no such family or size, sizes that do not fit, or a folder that is not empty.
    """
    facts, chosen = find_family(family), _sizes(sizes)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TunesmithError(f"{out} is there already and not empty.", "Write another --out, or remove it first.")
    # Both import torch and transformers, which merely listing the families must not.
    from tunesmith.runtime.tiny.tokens import make_tokenizer
    from tunesmith.runtime.tiny.weights import make_model, no_progress_bars

    tokenizer = make_tokenizer(facts, chosen.vocab, chosen.context)
    _give_chat(facts, tokenizer)
    model = make_model(facts, chosen, tokenizer, seed)
    with no_progress_bars():
        model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    for name, content in facts.processor.items():
        (out / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return out


def _sizes(sizes: dict[str, int]) -> Sizes:
    known = Sizes.__dataclass_fields__
    for name in sizes:
        if name not in known:
            raise TunesmithError(
                f"A small model has no size {name!r}.", nearest(name, known) or f"There are: {', '.join(known)}."
            )
    return Sizes(**sizes)


def _give_chat(family: Family, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = files(__package__).joinpath("chat", f"{family.chat}.jinja").read_text(encoding="utf-8")
