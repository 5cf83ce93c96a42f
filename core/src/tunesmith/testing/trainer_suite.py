"""The suite that every stage runs: it learns, its losses do not depend on how a batch is split, and it resumes exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tunesmith import TrainerSpec
from tunesmith.contracts import Outcome
from tunesmith.data.conversation import EXAMPLE_KINDS
from tunesmith.testing.small_run import (
    SmallStore,
    small_losses,
    small_measures,
    small_model,
    small_plan,
    small_plugins,
    small_rows,
    small_session,
)
from tunesmith.testing.spec_check import spec_faults
from tunesmith.testing.two_processes import Job, run_in_two

#: The sequences that a row holds for each kind of example.
SEQUENCES: Mapping[str, tuple[str, ...]] = {
    "conversation": ("tokens",),
    "document": ("tokens",),
    "preference": ("chosen", "rejected"),
    "prompt": ("prompt",),
}


class TrainerSuite:
    """That a stage does with rows what its spec says, on a model of two layers.

    Set ``spec`` and the plugin's module; rows come by themselves for stages that want conversations, documents or
    preferences, and from :meth:`rows` for others::

        class TestAcme(TrainerSuite):
            spec = ACME
            plugin = "tunesmith_acme.plugin"
    """

    spec: ClassVar[TrainerSpec]
    plugin: ClassVar[str]
    keys: ClassVar[Mapping[str, Any]] = {}
    """Flat keys to run with."""
    falls_to: ClassVar[float] = 0.8
    """What the loss must have fallen to after 24 steps, as a share of the first."""
    gains: ClassVar[tuple[str, float]] = ("", 0.0)
    """A logged measure that must have grown instead, and by how much: the reward, where a loss says nothing of the answers."""
    times: ClassVar[int] = 1
    """How often an epoch learns from each row: the answers to a prompt, in stages that weigh several against each other."""
    tolerance: ClassVar[float] = 1e-4
    """The largest difference between losses of one batch that was split in different ways."""

    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def rows(self, count: int) -> Sequence[Mapping[str, Any]]:
        """Rows as the data road would prepare them for this stage."""
        kind = next((kind for kind in self.spec.wants if kind in SEQUENCES), None)
        if kind is None:
            raise NotImplementedError(f"say which rows a stage that wants {self.spec.wants} learns from")
        return small_rows(count, names=SEQUENCES[kind])

    def run(self, folder: Path, rows: int = 16, **keys: Any) -> tuple[Outcome, list[float]]:
        """Train once; the outcome and the logged losses."""
        plugins = small_plugins(tested=self.plugin)
        plan = small_plan(folder, plugins, self.spec.name, **{**self.keys, **keys})
        session = small_session(plan, plugins, SmallStore(self.rows(rows)))
        outcome: Outcome = session.trainer.run(session)
        session.close()
        return outcome, small_losses(session)

    # -- what it says ----------------------------------------------------------------------------------------------

    def test_the_spec_is_sound(self) -> None:
        """Names, summary, options and the object behind it."""
        assert not list(spec_faults(self.spec))

    def test_it_wants_kinds_of_example_that_there_are(self) -> None:
        """A misspelt kind would match no dataset."""
        assert self.spec.wants
        assert set(self.spec.wants) <= set(EXAMPLE_KINDS)

    # -- what it does ----------------------------------------------------------------------------------------------

    def test_the_outcome_tells_steps_and_loss(self, tmp_path: Path) -> None:
        """16 rows in batches of 2 make 8 steps; every metric is a finite number."""
        outcome, losses = self.run(tmp_path)
        assert outcome.steps == len(losses) == 8 * self.times
        assert not outcome.stopped
        assert "train_loss" in outcome.metrics
        assert all(math.isfinite(value) for value in outcome.metrics.values())

    def test_it_learns_a_tiny_set(self, tmp_path: Path) -> None:
        """Eight rows, again and again."""
        _, losses = self.run(tmp_path, rows=8, per_device_train_batch_size=8, max_steps=24, num_train_epochs=99.0)
        measure, by = self.gains
        if not measure:
            assert losses[-1] < self.falls_to * losses[0]
            return
        seen = small_measures(tmp_path / "out", measure)
        assert sum(seen[-4:]) / 4 > sum(seen[:4]) / 4 + by, seen

    def test_losses_do_not_depend_on_how_a_batch_is_split(self, tmp_path: Path) -> None:
        """Eight rows at once, or one at a time eight times over."""
        whole = self.run(tmp_path / "whole", per_device_train_batch_size=8)[1]
        split = self.run(tmp_path / "split", per_device_train_batch_size=1, gradient_accumulation_steps=8)[1]
        assert whole == pytest.approx(split, abs=self.tolerance)

    def test_losses_do_not_depend_on_how_many_processes_there_are(self, tmp_path: Path) -> None:
        """Eight rows in one process, or four in each of two; two epochs, so that gradients count."""
        keys = {**self.keys, "disable_shuffling": True, "num_train_epochs": 2.0}
        whole = self.run(tmp_path / "whole", per_device_train_batch_size=8, **keys)[1]
        (tmp_path / "two").mkdir()
        small_model(tmp_path / "two" / "model")
        half = {**keys, "per_device_train_batch_size": 4}
        job = Job(self.plugin, self.spec.name, str(tmp_path / "two"), self.rows(16), half)
        (split,) = run_in_two(tmp_path, [job])
        assert whole == pytest.approx(split, abs=self.tolerance)

    def test_a_resumed_run_repeats_the_losses_exactly(self, tmp_path: Path) -> None:
        """In the middle of an epoch and at its end, to the last bit."""
        folder = tmp_path / "run"
        often = 4 * self.times
        _, losses = self.run(folder, num_train_epochs=2.0, save_strategy="steps", save_steps=often)
        for step in (often, 2 * often, 3 * often):
            start = str(folder / "out" / f"checkpoint-{step}")
            _, again = self.run(folder, num_train_epochs=2.0, resume_from_checkpoint=start)
            assert again == losses
