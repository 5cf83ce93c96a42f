"""The suite that every accelerator runs: the same model is trained with and without it, by transformers' own trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import Trainer, TrainingArguments

from tunesmith import AcceleratorSpec
from tunesmith.contracts import Accelerator
from tunesmith.plan import Plan
from tunesmith.runtime.collate import IGNORED
from tunesmith.spec import options_of
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.spec_check import default_keys, load, option_faults, spec_faults
from tunesmith.testing.tiny_models import tiny_batch, tiny_llama


@dataclass(frozen=True)
class Course:
    """How a training went: loss and norm of the gradients at each step."""

    losses: tuple[float, ...]
    norms: tuple[float, ...]


class AcceleratorSuite:
    """That an accelerator changes how a model is computed and not what, and that it is really at work.

    Set ``spec`` and the ``options`` that turn it on, and say how one sees that it is at work::

        class TestAcme(AcceleratorSuite):
            spec = ACME
            options = (AcmeOptions(use_acme=True),)

            def at_work(self, accelerator: Accelerator, model: Any) -> bool:
                return accelerator.calls > 0
    """

    spec: ClassVar[AcceleratorSpec]
    options: ClassVar[tuple[object, ...]] = ()
    keys: ClassVar[Mapping[str, Any]] = {}
    """Keys of other owners that the accelerator reads."""
    arguments: ClassVar[Mapping[str, Any]] = {}
    """Training arguments for both runs."""
    steps: ClassVar[int] = 20
    loss_tolerance: ClassVar[float] = 0.0
    norm_tolerance: ClassVar[float] = 0.0

    def at_work(self, accelerator: Accelerator, model: Any) -> bool:
        """Whether the accelerator had a part in what ``model`` just did."""
        raise NotImplementedError("say how one sees that this accelerator is at work")

    def model(self) -> Any:
        """A fresh model: the same weights at every call."""
        return tiny_llama()

    # -- what is under test ----------------------------------------------------------------------------------------

    @cached_property
    def plan(self) -> Plan:
        """A plan with the options of the suite."""
        return hand_plan(*self.options, picked={"accelerators": self.spec.name}, **{"seed": 1, **self.keys})

    def accelerator(self) -> Accelerator:
        """A new accelerator, as a run makes it; skipped where it has no device to work on."""
        needs_device = self.spec.backends and "cpu" not in self.spec.backends
        if needs_device and not torch.accelerator.is_available():
            pytest.skip(f"{self.spec.name} works on {', '.join(self.spec.backends)} only, and there is no such device")
        accelerator: Accelerator = load(self.spec)(self.plan)
        return accelerator

    def trained(self, accelerator: Accelerator | None, folder: Path) -> tuple[Any, Course]:
        """Train a fresh model, in the order in which a run calls an accelerator's verbs."""
        if accelerator is not None:
            accelerator.before_load(self.plan)
        model = self.model()
        if accelerator is not None:
            model = accelerator.after_load(model)
            model = accelerator.after_tuner(model)
        asked = accelerator.arguments(self.plan) if accelerator is not None else {}
        loss = accelerator.losses().get("token") if accelerator is not None else None
        return model, train(model, folder, {"max_steps": self.steps, **self.arguments, **asked}, loss)

    # -- tests -----------------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line, options are documented, and the switch is a key that somebody declares."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        assert not faults, "\n".join(faults)
        assert self.spec.switch is not None, "nothing would ever turn it on"

    def test_its_switch_is_off_by_default(self) -> None:
        """Nobody gets an accelerator without asking."""
        assert self.spec.switch is not None
        own = default_keys(self.spec)
        if self.spec.switch.key in own:
            assert own[self.spec.switch.key] != self.spec.switch.value

    def test_what_it_asks_for_are_training_arguments(self) -> None:
        """Each argument that it sets is one that transformers has."""
        assert set(self.accelerator().arguments(self.plan)) <= {item.name for item in fields(TrainingArguments)}

    def test_it_computes_the_losses_that_its_spec_lists(self) -> None:
        """A plan knows which losses it computes before the accelerator exists."""
        assert set(self.accelerator().losses()) == set(self.spec.losses)

    def test_losses_and_gradients_stay_the_same(self, tmp_path: Path) -> None:
        """Over some steps, losses and gradient norms are those of the plain run, within the stated tolerance."""
        accelerator = self.accelerator()
        _, plain = self.trained(None, tmp_path / "plain")
        _, with_it = self.trained(accelerator, tmp_path / "with")
        assert len(plain.losses) == self.steps
        assert plain.losses[-1] != plain.losses[0], "the plain run learned nothing, so that nothing was compared"
        assert with_it.losses == pytest.approx(plain.losses, rel=0, abs=self.loss_tolerance)
        assert with_it.norms == pytest.approx(plain.norms, rel=0, abs=self.norm_tolerance)

    def test_it_is_really_at_work(self, tmp_path: Path) -> None:
        """After training there is a trace of it."""
        accelerator = self.accelerator()
        model, _ = self.trained(accelerator, tmp_path)
        assert self.at_work(accelerator, model), "the run went well without it"


class _Recorder(Trainer):
    """Keeps each loss in full precision; takes an accelerator's where it is given one, as stages do."""

    def __init__(self, *args: Any, token_loss: Callable[..., Any] | None = None, **kwargs: Any) -> None:
        self.token_loss = token_loss
        self.losses: list[float] = []
        super().__init__(*args, **kwargs)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if self.token_loss is None:
            loss = super().compute_loss(model, inputs, *args, **kwargs)
        else:
            labels = inputs["labels"]
            each, _ = self.token_loss(model, {k: v for k, v in inputs.items() if k != "labels"}, labels, 0.0)
            loss = each.sum() / labels[:, 1:].ne(IGNORED).sum()
        self.losses.append(loss.item())
        return loss


def train(model: Any, folder: Path, arguments: Mapping[str, Any], token_loss: Callable[..., Any] | None = None) -> Course:
    """Train ``model`` on random rows with transformers' trainer, one row of loss and gradient norm a step."""
    usual = {"per_device_train_batch_size": 2, "learning_rate": 1e-3, "logging_steps": 1, "save_strategy": "no"}
    quiet = {"report_to": "none", "disable_tqdm": True, "seed": 1, "use_cpu": not torch.accelerator.is_available()}
    rows = [{key: value[0] for key, value in tiny_batch(seed=step, rows=1).items()} for step in range(64)]
    trainer = _Recorder(
        model, TrainingArguments(str(folder), **{**usual, **quiet, **arguments}), train_dataset=rows, token_loss=token_loss
    )
    trainer.train()
    norms = tuple(entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry)
    return Course(tuple(trainer.losses), norms)
