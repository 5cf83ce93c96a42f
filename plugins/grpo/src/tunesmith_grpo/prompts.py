"""Prompts as trl takes them: names, behind which the ids lie that the run's own renderer made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import Dataset
from tunesmith.data.conversation import Prompt
from tunesmith.data.prompt_facts import prompt_of_facts


class PromptBook:
    """All prompts of a run by name, ``train/0`` and so on: trl carries the name about and never sees text to render."""

    def __init__(self, stores: Mapping[str, Any]) -> None:
        self.stores = stores

    def dataset(self, name: str) -> Dataset:
        """The names of one store's prompts."""
        return Dataset.from_dict({"prompt": [f"{name}/{row}" for row in range(len(self.stores[name]))]})

    def ids(self, prompt: str) -> list[int]:
        """What generation starts from."""
        name, row = self._place(prompt)
        found: list[int] = np.asarray(self.stores[name][row]["prompt"].ids).tolist()
        return found

    def prompt(self, prompt: str) -> Prompt:
        """The conversation, and the row's other columns."""
        name, row = self._place(prompt)
        return prompt_of_facts(self.stores[name].facts(row))

    def _place(self, prompt: str) -> tuple[str, int]:
        name, _, row = prompt.rpartition("/")
        return name, int(row)
