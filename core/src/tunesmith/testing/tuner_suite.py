"""The suite that every tuner runs: a tiny model is trained for real, saved, loaded, continued, merged and switched off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from tunesmith import AdapterMark, TunerSpec
from tunesmith.contracts import Tuner
from tunesmith.layer_merge import whole_model_needed
from tunesmith.plan import Plan
from tunesmith.runtime.hollow import hollow_out
from tunesmith.spec import options_of
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.spec_check import load, option_faults, spec_faults
from tunesmith.testing.tiny_models import logits, tiny_batch, tiny_llama

#: Files that could run code when they are read.
UNSAFE = (".bin", ".pt", ".pth", ".pkl", ".pickle")

#: How many rows a tuner may look at before it starts.
EXAMPLES = 64


class TunerSuite:
    """That a tuner trains what it says and nothing else, and loses nothing on the way to disk and back.

    Set ``spec``, the ``options`` to try it with, and say by name which weights learn::

        class TestAcme(TunerSuite):
            spec = ACME
            options = (AcmeOptions(acme_size=4),)

            def learns(self, name: str) -> bool:
                return "acme_" in name

    A tuner with several ways of working subclasses the suite once for each.
    """

    spec: ClassVar[TunerSpec]
    options: ClassVar[tuple[object, ...]] = ()
    keys: ClassVar[Mapping[str, Any]] = {}
    """Keys of other owners that the tuner reads."""
    tolerance: ClassVar[float] = 1e-5
    """The largest difference between logits that counts as none."""
    reload_tolerance: ClassVar[float] = 0.0
    """The same after saving and loading, which loses nothing unless what is saved is another form of what was learned."""
    learning_rate: ClassVar[float] = 1e-2

    def learns(self, name: str) -> bool:
        """Whether the weight ``name`` of the applied model is one that learns."""
        raise NotImplementedError("say which weights this tuner lets learn")

    def model(self) -> Any:
        """A fresh base: the same weights at every call."""
        return tiny_llama()

    # -- what is under test ----------------------------------------------------------------------------------------

    @cached_property
    def plan(self) -> Plan:
        """A plan with the options of the suite."""
        return hand_plan(*self.options, picked={"tuners": self.spec.name}, **{"learning_rate": 1e-4, "seed": 1, **self.keys})

    def tuner(self) -> Tuner:
        """A new tuner, as a run makes it."""
        tuner: Tuner = load(self.spec)(self.plan)
        return tuner

    def prepared(self) -> tuple[Tuner, Any]:
        """A tuner and a model that it was applied to and that it has fitted to some examples, as at the start of a run."""
        tuner = self.tuner()
        torch.manual_seed(0)
        model = tuner.apply(self.model())
        tuner.initialize(model, (tiny_batch(seed=seed, rows=1) for seed in range(EXAMPLES)), lambda batch: model(**batch).loss)
        return tuner, model

    def trained(self) -> tuple[Tuner, Any]:
        """A tuner and a model that learned for three steps."""
        tuner, model = self.prepared()
        self.steps(model, 3)
        return tuner, model

    def steps(self, model: Any, count: int) -> list[float]:
        """Train for ``count`` steps and return the losses. Plain SGD, so that nothing but the weights carries over."""
        model.train()
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=self.learning_rate)
        losses = []
        for step in range(count):
            loss = model(**tiny_batch(seed=step)).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        model.eval()
        return losses

    # -- tests -----------------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line; options are a frozen dataclass in which every key has help."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        assert not faults, "\n".join(faults)

    def test_only_declared_weights_move(self) -> None:
        """After three steps the weights that differ are exactly those that :meth:`learns` names."""
        _, model = self.prepared()
        before = {name: tensor.clone() for name, tensor in model.state_dict(keep_vars=False).items()}
        declared = {name for name, _ in model.named_parameters() if self.learns(name)}
        assert declared, "learns() names no weight"
        assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == declared
        self.steps(model, 3)
        moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
        assert {name for name, _ in model.named_parameters() if name in moved} == declared
        assert not moved - dict(model.named_parameters(remove_duplicate=False)).keys(), "buffers moved"

    def test_it_starts_the_same_way_every_time(self) -> None:
        """With one seed and the same examples it begins with the same weights, and leaves no gradients behind."""
        (_, one), (_, other) = self.prepared(), self.prepared()
        state = other.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())
        assert all(parameter.grad is None for parameter in one.parameters())

    def test_it_learns(self) -> None:
        """Shown one batch again and again, the loss falls."""
        _, model = self.prepared()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=self.learning_rate)
        losses = []
        for _ in range(6):
            loss = model(**tiny_batch()).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < losses[0]

    def test_saved_and_loaded_it_answers_the_same(self, tmp_path: Path) -> None:
        """On a fresh base, what was saved gives the same logits, and they are not the base's."""
        tuner, model = self.trained()
        tuner.save(model, tmp_path)
        fresh = self.tuner().load(self.model(), tmp_path, trainable=False)
        assert torch.allclose(logits(fresh), logits(model), rtol=0, atol=self.reload_tolerance)
        assert not torch.allclose(logits(fresh), logits(self.model()), atol=self.tolerance)
        assert not any(parameter.requires_grad for parameter in fresh.parameters()), "loaded to be used, not trained"

    def test_it_goes_on_from_what_it_saved(self, tmp_path: Path) -> None:
        """Loaded to train, the same weights learn, and two more steps end where an uninterrupted run ends."""
        tuner, model = self.trained()
        tuner.save(model, tmp_path)
        resumed = self.tuner().load(self.model(), tmp_path, trainable=True)
        learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert {name for name, parameter in resumed.named_parameters() if parameter.requires_grad} == learning
        torch.manual_seed(3)
        expected = self.steps(model, 2)
        torch.manual_seed(3)
        assert self.steps(resumed, 2) == pytest.approx(expected, abs=self.tolerance)
        assert torch.allclose(logits(resumed), logits(model), atol=self.tolerance)

    def test_it_writes_safetensors_that_it_recognises(self, tmp_path: Path) -> None:
        """Weights are safetensors, nothing needs unpickling, and the marks of the spec are there."""
        tuner, model = self.trained()
        tuner.save(model, tmp_path)
        files = [file for file in tmp_path.rglob("*") if file.is_file()]
        assert [file for file in files if file.suffix == ".safetensors"]
        assert not [file for file in files if file.suffix in UNSAFE]
        for mark in self.spec.marks:
            _check_mark(tmp_path, mark)
        if self.spec.saves == "adapter":
            assert self.spec.marks, "an adapter needs a mark by which its folder is recognised"
        else:
            assert (tmp_path / "config.json").is_file(), "a whole model needs its configuration beside it"

    def test_merged_it_answers_the_same(self, tmp_path: Path) -> None:
        """Merged, as it is or from what was saved, it answers the same, in the base's own class with its weights' names."""
        if not self.spec.mergeable:
            pytest.skip("the spec says that it cannot be merged")
        tuner, model = self.trained()
        expected = logits(model)
        (tmp_path / "saved").mkdir()
        tuner.save(model, tmp_path / "saved")
        again = self.tuner()
        exported = again.merge(again.load(self.model(), tmp_path / "saved", trainable=False))
        assert torch.allclose(logits(exported), expected, atol=self.tolerance)
        merged = tuner.merge(model)
        base = self.model()
        assert type(merged) is type(base)
        assert set(merged.state_dict()) == set(base.state_dict())
        assert torch.allclose(logits(merged), expected, atol=self.tolerance)
        merged.save_pretrained(tmp_path / "merged")
        assert torch.allclose(logits(type(base).from_pretrained(tmp_path / "merged")), expected, atol=self.tolerance)

    def test_merged_layer_by_layer_it_is_the_same(self, tmp_path: Path) -> None:
        """Piece by piece, on a model whose weights take no memory, it gives what merging the whole model gives."""
        tuner, model = self.trained()
        tuner.save(model, tmp_path)
        if reason := whole_model_needed(self.spec, tmp_path):
            pytest.skip(reason)
        whole, plain = self.tuner(), self.model().state_dict()
        expected = whole.merge(whole.load(self.model(), tmp_path, trainable=False)).state_dict()
        apart = self.tuner()
        found: dict[str, torch.Tensor] = {}
        for piece in apart.layer_merges(apart.load(hollow_out(self.model()), tmp_path, trainable=False)):
            assert piece.weights, "a piece that changes nothing"
            found |= piece.merge({name: plain[name].clone() for name in piece.weights})
        assert found
        for name, tensor in expected.items():
            assert torch.equal(found.get(name, plain[name]), tensor), f"{name} differs"

    def test_switched_off_it_is_its_base(self) -> None:
        """Within ``without`` the model answers as its base, and afterwards as it did before."""
        tuner, model = self.trained()
        if not self.spec.disables:
            with pytest.raises(TypeError), tuner.without(model):
                pass
            return
        learned = logits(model)
        with tuner.without(model):
            assert torch.allclose(logits(model), logits(self.model()), atol=self.tolerance)
        assert torch.equal(logits(model), learned)

    def test_its_groups_hold_what_learns_once(self) -> None:
        """Optimizer groups, where it makes any, hold each learning weight exactly once."""
        tuner, model = self.trained()
        groups = tuner.param_groups(model)
        if groups is None:
            return
        grouped = [id(parameter) for group in groups for parameter in group["params"]]
        assert len(grouped) == len(set(grouped))
        assert set(grouped) == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


def _check_mark(folder: Path, mark: AdapterMark) -> None:
    file = folder / mark.file
    assert file.is_file(), f"the spec promises {mark.file}"
    if mark.key:
        assert str(json.loads(file.read_text(encoding="utf-8")).get(mark.key)) == mark.value
