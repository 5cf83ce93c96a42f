"""A compiled model learns over 20 steps what the plain one learns. Compiling takes minutes, so this is a long test."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunesmith.testing.small_run import (
    SmallStore,
    small_losses,
    small_model,
    small_plan,
    small_plugins,
    small_rows,
    small_session,
)


def losses(folder: Path, **keys: object) -> list[float]:
    plugins = small_plugins(tested="tunesmith_sft.plugin")
    small_model(folder / "model")
    given = {"model_name_or_path": str(folder / "model"), "max_steps": 20, "logging_steps": 1, "learning_rate": 1e-3, **keys}
    session = small_session(small_plan(folder, plugins, "sft", **given), plugins, SmallStore(small_rows(8)))
    session.trainer.run(session)
    session.close()
    return small_losses(session)


@pytest.mark.long
def test_a_compiled_model_learns_what_the_plain_one_learns(tmp_path: Path) -> None:
    from torch._dynamo.utils import counters

    plain = losses(tmp_path / "plain")
    counters.clear()
    assert losses(tmp_path / "compiled", torch_compile=True) == pytest.approx(plain, rel=1e-4)
    assert counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
