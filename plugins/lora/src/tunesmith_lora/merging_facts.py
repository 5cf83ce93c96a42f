"""Which adapters of peft can be merged layer by layer, known from their folder alone. No torch, no peft."""

from __future__ import annotations

from pathlib import Path

from tunesmith.model_folder import read_json

#: What an adapter that moved frozen weights leaves in its folder; ``start.py`` reads it.
START = "lora_start.safetensors"
#: peft's words for kinds that compute what they need from the base's weights while they are put on.
WHOLE = frozenset({"ADAMSS", "FROD", "OSF", "PSOFT"})


def obstacle(folder: Path) -> str:
    """Why the adapter in ``folder`` needs the whole model to be merged; empty where it does not."""
    config = read_json(folder, "adapter_config.json")
    if (kind := config.get("peft_type")) in WHOLE:
        return f"{kind} takes a part of the model's weights when it is put on, so that it needs all of them"
    if (folder / START).is_file():
        return f"the adapter in {folder} moved a part of the model's weights, which has to be taken out again first"
    if config.get("layer_replication"):
        return f"the adapter in {folder} repeats layers"
    if config.get("init_lora_weights") == "mica":
        return f"the adapter in {folder} keeps directions of the model's weights"
    return ""
