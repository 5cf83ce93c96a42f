"""What this package offers."""

from __future__ import annotations

from tunesmith import EngineSpec, hookimpl

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_engines() -> list[EngineSpec]:
    """Generation by transformers, on any device that it runs on."""
    load = "tunesmith_huggingface.engine:HuggingfaceEngine"
    return [EngineSpec("huggingface", load, "Generation by transformers: no server, any device, adapters as trained.")]
