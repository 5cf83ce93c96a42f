"""The models that a run works with, by what they do in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Role:
    """A model that a run works with, and the flat keys that say which one it is.

    :param name: ``policy``, ``reference``, ``reward``, ``teacher``.
    :param model: the key with its folder or hub name.
    :param adapters: the key with the adapters on top of it.
    :param bits: the key that asks for it in few bits.
    :param head: what it has to do beyond predicting tokens (``"lm"``): rate every place of a text as well (``"value"``), or
        rate whole texts (``"score"``: a model with a value head, or one that was made to classify).
    :param kind: the key that says what ``model`` names, where that is not always a model; ``kinds``: what its values mean.
    :param as_started: where no model is given it is the policy as it is before it learns; otherwise one has to be given.
    :param needed: ``"module:function"``, called while planning with a function from a key to its value: whether this run needs
        the role. Always where empty.
    """

    name: str
    model: str = ""
    adapters: str = ""
    bits: str = ""
    head: Literal["lm", "value", "score"] = "lm"
    kind: str = ""
    kinds: Mapping[str, Literal["model", "adapter", "address"]] = field(default_factory=dict)
    as_started: bool = False
    needed: str = ""


#: The model that learns, or that a command is about.
POLICY = Role("policy", "model_name_or_path", "adapter_name_or_path", "quantization_bit")
