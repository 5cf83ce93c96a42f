"""What a model's folder says about its head: whether it predicts tokens, rates every place of a text, or whole texts."""

from __future__ import annotations

from pathlib import Path

from tunesmith.model_folder import read_json

#: The weights of a value head, beside a model or an adapter: ``v_head.summary.weight`` and ``v_head.summary.bias``.
VALUE_HEAD = "value_head.safetensors"
#: The same as other programs write it who pickle.
PICKLED_VALUE_HEAD = "value_head.bin"
CLASSIFIER = "ForSequenceClassification"


def has_value_head(folder: Path) -> bool:
    """Whether a value head lies in ``folder``."""
    return (folder / VALUE_HEAD).is_file()


def classifies(folder: Path) -> bool:
    """Whether the model in ``folder`` was made to put a label on a whole text."""
    return any(str(name).endswith(CLASSIFIER) for name in read_json(folder, "config.json").get("architectures") or ())
