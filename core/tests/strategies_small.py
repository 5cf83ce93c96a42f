"""Strategies for the tests of their suite: a sound one, and some with one fault each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tunesmith import Scene, StrategySpec, hookimpl
from tunesmith.runtime.data_parallel import DataParallel
from tunesmith.runtime.tensor_tree import save_tree

TUNESMITH_API = (1, 0)


def always(scene: Scene) -> str:
    """Nobody has to ask."""
    return "because"


class Sound(DataParallel):
    """As the host's."""


class Deaf(Sound):
    """Every process learns by itself, and nobody notices."""

    def share(self, model: Any) -> Any:
        model._is_accelerate_prepared = True
        return model

    def wrap_check(self, model: Any, processes: int) -> None:
        """Nothing."""


class Credulous(Sound):
    def wrap_check(self, model: Any, processes: int) -> None:
        """Nothing."""


class Forgetful(Sound):
    def save(self, trainer: Any, folder: Path) -> None:
        super().save(trainer, folder)
        if trainer.args.should_save:
            save_tree(folder / "optimizer", {**trainer.optimizer.state_dict(), "state": {}})


class Pickling(Sound):
    def save(self, trainer: Any, folder: Path) -> None:
        super().save(trainer, folder)
        if trainer.args.should_save:
            torch.save({}, folder / "extra.bin")


class Partial(Sound):
    """Saves half of what it was to make whole."""

    @contextmanager
    def half(self, model: Any) -> Iterator[None]:
        held = model.lm_head.weight.data
        model.lm_head.weight.data = torch.cat([held[: len(held) // 2], torch.zeros_like(held[len(held) // 2 :])])
        try:
            yield
        finally:
            model.lm_head.weight.data = held

    def whole(self, model: Any, *, added: bool) -> Any:
        return self.half(model)


KINDS = (Sound, Deaf, Credulous, Forgetful, Pickling, Partial)
SPECS: dict[str, StrategySpec] = {
    kind.__name__.lower(): StrategySpec(kind.__name__.lower(), f"{__name__}:{kind.__name__}", "For tests.") for kind in KINDS
}
SPECS["pushy"] = StrategySpec("pushy", f"{__name__}:Sound", "For tests.", when=f"{__name__}:always")


@hookimpl
def tunesmith_strategies() -> list[StrategySpec]:
    """All of them."""
    return list(SPECS.values())
