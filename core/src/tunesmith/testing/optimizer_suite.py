"""The suite that every optimizer runs: it learns, keeps the groups it is given, and a resumed run repeats itself exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import TrainingArguments

from tunesmith import OptimizerSpec
from tunesmith.contracts import Optimizer
from tunesmith.plan import Plan
from tunesmith.runtime.tensor_tree import load_tree, save_tree
from tunesmith.spec import options_of
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.spec_check import default_keys, load, option_faults, spec_faults
from tunesmith.testing.tiny_models import tiny_batch, tiny_llama


@dataclass(frozen=True)
class Trained:
    """What a run left: its losses, and the weights it ended with."""

    losses: list[float]
    weights: dict[str, torch.Tensor]


class OptimizerSuite:
    """That an optimizer learns, moves what it is given and nothing else, and loses nothing in a checkpoint.

    Set ``spec`` and the plugin's module, and the ``keys`` that turn it on::

        class TestAcme(OptimizerSuite):
            spec = ACME
            plugin = "tunesmith_acme.plugin"
            keys = {"use_acme": True, "acme_size": 4}

    Whether a step is the right one is for tests of your own: compute one by hand.
    """

    spec: ClassVar[OptimizerSpec]
    plugin: ClassVar[str]
    keys: ClassVar[Mapping[str, Any]] = {}
    """Flat keys to run with."""
    falls_to: ClassVar[float] = 0.8
    """What the loss must have fallen to after 24 steps, as a share of the first."""
    moves_at_once: ClassVar[bool] = False
    """Weights move within the backward pass rather than in ``step``."""

    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def plan(self, folder: Path, **keys: Any) -> Plan:
        """A plan of a small run with this optimizer."""
        picked = {"optimizers": self.spec.name}
        return small_plan(folder, small_plugins(tested=self.plugin), "small", picked=picked, **{**self.keys, **keys})

    def run(self, folder: Path, rows: int = 16, **keys: Any) -> Trained:
        """Train a small model once."""
        plugins = small_plugins(tested=self.plugin)
        session = small_session(self.plan(folder, **keys), plugins, SmallStore(small_rows(rows)))
        session.trainer.run(session)
        weights = {name: weight.detach().clone() for name, weight in session.models["policy"].named_parameters()}
        session.close()
        return Trained(small_losses(session), weights)

    def made(self, model: Any, groups: list[dict[str, Any]], folder: Path) -> torch.optim.Optimizer:
        """The optimizer over ``groups``, as a run makes it."""
        optimizer: Optimizer = load(self.spec)(self.plan(folder))
        return optimizer.build(model, groups, TrainingArguments(str(folder / "arguments"), learning_rate=1e-2, use_cpu=True))

    def steps(self, model: Any, optimizer: torch.optim.Optimizer, count: int = 3, start: int = 0) -> None:
        """Some steps of training, without a trainer."""
        for step in range(start, start + count):
            model(**tiny_batch(seed=step)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    # -- what it says ----------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line, options are documented, and there is a switch, off by default."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        assert not faults, "\n".join(faults)
        assert self.spec.switch is not None, "nothing would ever turn it on"
        own = default_keys(self.spec)
        assert own.get(self.spec.switch.key, object()) != self.spec.switch.value

    def test_what_it_asks_for_are_training_arguments(self, tmp_path: Path) -> None:
        """Each argument that it sets is one that transformers has."""
        plan = self.plan(tmp_path)
        assert set(load(self.spec)(plan).arguments(plan)) <= {item.name for item in fields(TrainingArguments)}

    # -- what it does ----------------------------------------------------------------------------------------------

    def test_it_learns_a_tiny_set(self, tmp_path: Path) -> None:
        """Eight rows, again and again."""
        losses = self.run(tmp_path, rows=8, per_device_train_batch_size=8, max_steps=24).losses
        assert losses[-1] < self.falls_to * losses[0]

    def test_a_resumed_run_ends_with_the_same_weights(self, tmp_path: Path) -> None:
        """Losses and weights of a run that was stopped in its middle are those of one that never was, to the last bit."""
        whole = self.run(tmp_path, num_train_epochs=2.0, save_strategy="steps", save_steps=3)
        for step in (3, 9):
            start = str(tmp_path / "out" / f"checkpoint-{step}")
            again = self.run(tmp_path, num_train_epochs=2.0, resume_from_checkpoint=start)
            assert again.losses == whole.losses
            different = [name for name, weight in whole.weights.items() if not torch.equal(weight, again.weights[name])]
            assert not different, f"resumed from step {step}, these weights differ: {different[:4]}"

    def test_its_state_goes_through_files_without_pickle(self, tmp_path: Path) -> None:
        """Written and read back into a new optimizer, it takes the same next steps."""
        models = tiny_llama(), tiny_llama()
        first, second = (self.made(model, _one_group(model), tmp_path) for model in models)
        self.steps(models[0], first)
        save_tree(tmp_path / "state", first.state_dict())
        models[1].load_state_dict(models[0].state_dict())
        second.load_state_dict(load_tree(tmp_path / "state"))
        for model, optimizer in zip(models, (first, second), strict=True):
            self.steps(model, optimizer, start=3)
        assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))

    def test_frozen_weights_stay(self, tmp_path: Path) -> None:
        """What is in no group does not move."""
        model = tiny_llama()
        frozen = {name: weight.requires_grad_(False) for name, weight in model.named_parameters() if "layers.0" in name}
        before = {name: weight.clone() for name, weight in frozen.items()}
        optimizer = self.made(model, _one_group(model), tmp_path)
        self.steps(model, optimizer)
        assert all(torch.equal(weight, before[name]) for name, weight in frozen.items())

    def test_a_group_keeps_its_own_learning_rate(self, tmp_path: Path) -> None:
        """A tuner's group with a rate of nothing stays where it is, and the others move."""
        model = tiny_llama()
        still = [weight for name, weight in model.named_parameters() if ".mlp." in name]
        moving = [weight for name, weight in model.named_parameters() if ".mlp." not in name]
        before = [weight.detach().clone() for weight in still]
        elsewhere = [weight.detach().clone() for weight in moving]
        groups: list[dict[str, Any]] = [
            {"params": still, "lr": 0.0, "weight_decay": 0.1},
            {"params": moving, "weight_decay": 0.0},
        ]
        self.steps(model, self.made(model, groups, tmp_path))
        assert all(torch.equal(weight, old) for weight, old in zip(still, before, strict=True))
        assert not all(torch.equal(weight, old) for weight, old in zip(moving, elsewhere, strict=True))

    def test_a_scheduler_is_obeyed(self, tmp_path: Path) -> None:
        """It takes the rate that its groups have at the moment of the step."""
        model = tiny_llama()
        optimizer = self.made(model, _one_group(model), tmp_path)
        assert optimizer.param_groups
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        before = [weight.detach().clone() for weight in model.parameters()]
        self.steps(model, optimizer)
        assert all(torch.equal(weight, old) for weight, old in zip(model.parameters(), before, strict=True))

    def test_it_moves_weights_when_it_says(self, tmp_path: Path) -> None:
        """In ``step``, or within the backward pass, which then leaves no gradients behind."""
        model = tiny_llama()
        before = [weight.detach().clone() for weight in model.parameters()]
        self.made(model, _one_group(model), tmp_path)
        model(**tiny_batch()).loss.backward()
        moved = any(not torch.equal(weight, old) for weight, old in zip(model.parameters(), before, strict=True))
        assert moved == self.moves_at_once
        if self.moves_at_once:
            assert all(weight.grad is None for weight in model.parameters())


def _one_group(model: Any) -> list[dict[str, Any]]:
    return [{"params": [weight for weight in model.parameters() if weight.requires_grad], "weight_decay": 0.0}]
