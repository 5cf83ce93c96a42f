"""The suite that every strategy runs: two real processes learn what one learns, and are what they say they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tunesmith import StrategySpec
from tunesmith.contracts import Strategy
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan, Spread
from tunesmith.spec import options_of
from tunesmith.specs import Scene
from tunesmith.testing.small_run import (
    SmallStore,
    small_losses,
    small_model,
    small_plan,
    small_plugins,
    small_rows,
    small_session,
)
from tunesmith.testing.spec_check import default_keys, load, option_faults, spec_faults
from tunesmith.testing.tiny_models import tiny_llama
from tunesmith.testing.together import Seen, Trial, together

#: Four steps of four rows each, with a checkpoint in the middle.
STEPS: Mapping[str, Any] = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "max_grad_norm": 1.0}
ROWS, STEP = 16, 4
LAST = "checkpoint-4"
#: What checkpoints may hold where nothing in them is pickled.
PLAIN = {".safetensors", ".json", ".jsonl", ".jinja", ".md", ".png", ".svg", ".yaml", ".txt"}


@dataclass(frozen=True)
class Evidence:
    """What runs have left in ``folder``: one process alone, and each of the suite's runs in two, by its name."""

    folder: Path
    alone: Seen
    runs: Mapping[str, Seen]


class StrategySuite:
    """That a model which processes share learns as in one, is saved whole, and goes on from its checkpoints.

    Set ``spec``, the plugin's module, what its model looks like, and the runs with the keys that ask for it::

        class TestAcme(StrategySuite):
            spec = ACME
            plugin = "tunesmith_acme.plugin"
            wraps = ("AcmeModel",)
            runs = {"plain": {"acme": True}, "large": {"acme": True, "acme_size": 4}}

    The first run is also resumed from its middle. All of them are made in one start of two processes.
    """

    spec: ClassVar[StrategySpec]
    plugin: ClassVar[str]
    runs: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Flat keys of each run."""
    wraps: ClassVar[tuple[str, ...]] = ()
    """Types that the model must be of, or be wrapped in, as the trainer has it."""
    apart: ClassVar[bool] = True
    """Each process learns from other rows; if not, all of them from the same ones."""
    close: ClassVar[float] = 2e-4
    """How near losses must come to those of one process."""
    near: ClassVar[tuple[float, float]] = (5e-4, 1e-3)
    """How near weights must come at the end: absolute and relative."""
    tied: ClassVar[bool] = True
    """Whether the model's first and last weights are one."""

    # -- the runs ------------------------------------------------------------------------------------------------------

    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    @pytest.fixture(scope="class")
    @classmethod
    def seen(cls, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
        """One process for comparison; then each run, and the first one resumed from its middle."""
        return gather([cls()], tmp_path_factory.mktemp("shared"))[0]

    def plan(self, folder: Path, name: str, **more: Any) -> Plan:
        """The plan of a run: as many rows in a step as one process has."""
        processes = {"per_device_train_batch_size": STEP // 2 if self.apart else STEP}
        given = {"output_dir": str(folder / name), **STEPS, **processes, **self.runs[name], **more}
        picked = {"strategies": self.spec.name}
        plugins = small_plugins(tested=self.plugin)
        plan = small_plan(folder, plugins, "small", picked=picked, **given)
        return replace(plan, spread=Spread(2, 2, self.shards(plan)))

    def shards(self, plan: Plan) -> str:
        """What no process holds all of."""
        return str(called(self.spec.shards, scene_of(plan))) if ":" in self.spec.shards else self.spec.shards

    def trials(self, folder: Path) -> dict[str, Trial]:
        """Every run, by name."""
        modules = {"tested": self.plugin}
        evals = {name: 4 if "eval_strategy" in keys else 0 for name, keys in self.runs.items()}
        found = {name: Trial(self.plan(folder, name), modules, ROWS, evals[name]) for name in self.runs}
        if self.spec.resumes != "none":
            first = next(iter(self.runs))
            again = {"resume_from_checkpoint": str(folder / first / "checkpoint-2"), "trust_checkpoint": self.spec.pickles}
            found["resumed"] = Trial(self.plan(folder, first, **again), modules, ROWS)
        return found

    # -- what is declared ----------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line, and options are documented."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        assert not faults, "\n".join(faults)

    def test_it_is_asked_for_by_its_keys_alone(self) -> None:
        """Each run's keys ask for it, and a run without any of them does not."""
        if not self.spec.when:
            return
        for keys in self.runs.values():
            assert called(self.spec.when, Scene(keys.get, {})), f"{dict(keys)} does not ask for {self.spec.name}"
        assert not called(self.spec.when, Scene(default_keys(self.spec).get, {})), "it is taken where nobody asks for it"

    # -- what it does --------------------------------------------------------------------------------------------------

    def test_two_processes_learn_what_one_learns(self, seen: Evidence) -> None:
        """The loss of every step."""
        for name in self.runs:
            assert not seen.runs[name].error, seen.runs[name].error
            assert seen.runs[name].losses == pytest.approx(seen.alone.losses, abs=self.close), name

    def test_the_model_is_what_it_says(self, seen: Evidence) -> None:
        """By the type of the model as it is trained."""
        for name in self.runs:
            assert set(self.wraps) <= set(seen.runs[name].wrapped), f"{name}: {seen.runs[name].wrapped}"

    def test_it_refuses_a_model_that_nobody_shares(self, tmp_path: Path) -> None:
        """``wrap_check`` of a plain model among two processes."""
        plan = self.plan(tmp_path, next(iter(self.runs)))
        strategy: Strategy = load(self.spec)(plan)
        try:
            strategy.wrap_check(tiny_llama(), 2)
        except TunesmithError:
            return
        raise AssertionError("it takes a plain model for one that two processes share")

    def test_final_weights_are_whole_and_load_anywhere(self, seen: Evidence) -> None:
        """What one process would have saved, for anybody to open."""
        for name in self.runs:
            one, other = (load_file(seen.folder / of / LAST / "model.safetensors") for of in ("alone", name))
            assert set(one) == set(other), name
            for weight in one:
                torch.testing.assert_close(other[weight], one[weight], atol=self.near[0], rtol=self.near[1])
            model = AutoModelForCausalLM.from_pretrained(seen.folder / name)
            assert type(model).__name__ == model.config.architectures[0] == "LlamaForCausalLM"

    def test_it_goes_on_from_its_checkpoint(self, seen: Evidence) -> None:
        """With the losses of the run that did not stop."""
        if self.spec.resumes != "none":
            first = seen.runs[next(iter(self.runs))]
            assert not seen.runs["resumed"].error, seen.runs["resumed"].error
            assert seen.runs["resumed"].losses == pytest.approx(first.losses, abs=1e-6)

    def test_its_checkpoints_hold_no_pickle(self, seen: Evidence) -> None:
        """Unless its spec says that they do."""
        first = seen.folder / next(iter(self.runs))
        kinds = {path.suffix for path in first.rglob("*") if path.is_file()}
        assert self.spec.pickles or kinds <= PLAIN, f"there are files of the kinds {sorted(kinds - PLAIN)}"


def gather(suites: list[StrategySuite], folder: Path) -> list[Evidence]:
    """The evidence of several suites, from one start of two processes."""
    found = []
    trials: dict[tuple[int, str], Trial] = {}
    for number, suite in enumerate(suites):
        place = folder / str(number)
        small_model(place / "model", tie_word_embeddings=suite.tied)
        trials |= {(number, name): trial for name, trial in suite.trials(place).items()}
    seen = dict(zip(trials, together(list(trials.values()), folder / "t"), strict=True))
    for number, _ in enumerate(suites):
        place = folder / str(number)
        runs = {name: one for (of, name), one in seen.items() if of == number}
        found.append(Evidence(place, _alone(place), runs))
    return found


def _alone(folder: Path) -> Seen:
    """The same steps in this process."""
    from tunesmith.runtime.artefacts import finish

    plugins = small_plugins()
    given = {**STEPS, "per_device_train_batch_size": STEP, "output_dir": str(folder / "alone")}
    session = small_session(small_plan(folder, plugins, "small", **given), plugins, SmallStore(small_rows(ROWS)))
    finish(session, session.trainer.run(session))
    return Seen(tuple(small_losses(session)))


def called(name: str, scene: Scene) -> Any:
    """What the planning function ``"module:function"`` of a spec says."""
    from importlib import import_module

    module, _, function = name.partition(":")
    return getattr(import_module(module), function)(scene)


def scene_of(plan: Plan) -> Scene:
    """What planning functions were told for this plan."""
    return Scene(lambda key: plan.settings[key].value if key in plan.settings else None, {}, devices=2)
