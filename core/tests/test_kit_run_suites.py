"""The suites for tuners, accelerators and backends: each fault they promise to find is found, and good ones pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tunesmith import AcceleratorSpec, AdapterMark, BackendSpec, Switch, TunerSpec, TunesmithError
from tunesmith.contracts import Accelerator, Backend, Memory, Probe, Tuner
from tunesmith.testing import AcceleratorSuite, BackendSuite, TunerSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import tiny_llama

# ---- plans by hand -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AcmeOptions:
    acme_size: Annotated[int, "How large it is."] = 3
    use_acme: Annotated[bool, "Use it."] = False


def test_a_plan_by_hand_knows_what_was_given() -> None:
    plan = hand_plan(AcmeOptions(acme_size=5), picked={"tuners": "acme"}, seed=7)
    assert plan.options(AcmeOptions) == AcmeOptions(5)
    assert plan["seed"] == 7
    assert [name for name, setting in plan.settings.items() if setting.given] == ["acme_size", "seed"]
    assert plan.the("tuners").name == "acme"
    with pytest.raises(TypeError, match="AcmeOptions"):
        hand_plan(AcmeOptions)


# ---- tuners ------------------------------------------------------------------------------------------------------------


class NormTuner(Tuner):
    """Lets the norms learn, and saves nothing else."""

    def __init__(self, plan: Any) -> None:
        self.base: dict[str, torch.Tensor] = {}

    def apply(self, model: Any) -> Any:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("norm" in name)
        self.base = {name: parameter.detach().clone() for name, parameter in self.norms(model)}
        return model

    def norms(self, model: Any) -> list[tuple[str, Any]]:
        return [(name, parameter) for name, parameter in model.named_parameters() if "norm" in name]

    def save(self, model: Any, directory: Path) -> None:
        save_file({name: parameter.detach() for name, parameter in self.norms(model)}, directory / "norms.safetensors")

    def load(self, model: Any, path: Path, *, trainable: bool) -> Any:
        model = self.apply(model)
        model.load_state_dict(load_file(path / "norms.safetensors"), strict=False)
        return model if trainable else model.requires_grad_(False)

    @contextmanager
    def without(self, model: Any) -> Iterator[None]:
        learned = {name: parameter.data for name, parameter in self.norms(model)}
        for name, parameter in self.norms(model):
            parameter.data = self.base[name]
        yield
        for name, parameter in self.norms(model):
            parameter.data = learned[name]


class TestNorms(TunerSuite):
    spec = TunerSpec(
        "norms", "acme:NormTuner", "Norms learn.", saves="adapter", marks=(AdapterMark("norms.safetensors"),), disables=True
    )
    kind: type[Tuner] = NormTuner
    learning_rate = 0.1

    def tuner(self) -> Tuner:
        return self.kind(self.plan)

    def learns(self, name: str) -> bool:
        return "norm" in name


class Overreaching(NormTuner):
    def apply(self, model: Any) -> Any:
        super().apply(model).lm_head.weight.requires_grad_(True)
        return model


class Secretive(NormTuner):
    """Changes a weight that it did not declare, without a gradient."""

    def apply(self, model: Any) -> Any:
        model = super().apply(model)
        model.register_forward_hook(self.nudge)
        return model

    def nudge(self, model: Any, *_: Any) -> None:
        model.lm_head.weight.data.add_(1e-3)


class Forgetful(NormTuner):
    def save(self, model: Any, directory: Path) -> None:
        kept = dict(self.norms(model)[:-1])
        save_file({name: parameter.detach() for name, parameter in kept.items()}, directory / "norms.safetensors")


class Pickling(NormTuner):
    def save(self, model: Any, directory: Path) -> None:
        super().save(model, directory)
        torch.save({}, directory / "extra.bin")


class Unmarked(NormTuner):
    def save(self, model: Any, directory: Path) -> None:
        super().save(model, directory)
        (directory / "norms.safetensors").rename(directory / "other.safetensors")


class Frozen(NormTuner):
    def load(self, model: Any, path: Path, *, trainable: bool) -> Any:
        return super().load(model, path, trainable=False)


class Thawed(NormTuner):
    def load(self, model: Any, path: Path, *, trainable: bool) -> Any:
        return super().load(model, path, trainable=True)


class Traced(NormTuner):
    def merge(self, model: Any) -> Any:
        model.register_parameter("trace", torch.nn.Parameter(torch.zeros(1)))
        return model


class Unmerged(NormTuner):
    def merge(self, model: Any) -> Any:
        return tiny_llama()


class AlwaysOn(NormTuner):
    @contextmanager
    def without(self, model: Any) -> Iterator[None]:
        yield


class StaysOff(NormTuner):
    @contextmanager
    def without(self, model: Any) -> Iterator[None]:
        for name, parameter in self.norms(model):
            parameter.data = self.base[name]
        yield


class Doubling(NormTuner):
    def param_groups(self, model: Any) -> list[dict[str, Any]]:
        parameters = [parameter for _, parameter in self.norms(model)]
        return [{"params": parameters}, {"params": parameters[:1]}]


class Unlearning(NormTuner):
    """Learns uphill."""

    def apply(self, model: Any) -> Any:
        model = super().apply(model)
        for _, parameter in self.norms(model):
            parameter.register_hook(torch.neg)
        return model


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (Overreaching, "test_only_declared_weights_move"),
        (Secretive, "test_only_declared_weights_move"),
        (Unlearning, "test_it_learns"),
        (Forgetful, "test_saved_and_loaded_it_answers_the_same"),
        (Thawed, "test_saved_and_loaded_it_answers_the_same"),
        (Frozen, "test_it_goes_on_from_what_it_saved"),
        (Pickling, "test_it_writes_safetensors_that_it_recognises"),
        (Unmarked, "test_it_writes_safetensors_that_it_recognises"),
        (Traced, "test_merged_it_answers_the_same"),
        (Unmerged, "test_merged_it_answers_the_same"),
        (AlwaysOn, "test_switched_off_it_is_its_base"),
        (StaysOff, "test_switched_off_it_is_its_base"),
        (Doubling, "test_its_groups_hold_what_learns_once"),
    ],
)
def test_a_faulty_tuner_fails(kind: type[Tuner], test: str, tmp_path: Path) -> None:
    suite = TestNorms()
    suite.kind = kind  # type: ignore[misc]
    fails(suite, test, tmp_path)


def fails(suite: Any, test: str, tmp_path: Path) -> None:
    """That one test of a suite fails, and that it fails by an assertion and not by accident."""
    method = getattr(suite, test)
    wants = method.__func__.__code__.co_varnames[: method.__func__.__code__.co_argcount]
    with pytest.raises(AssertionError):
        method(tmp_path) if "tmp_path" in wants else method()


# ---- accelerators ------------------------------------------------------------------------------------------------------


class Counting(Accelerator):
    """Counts forward passes, and changes nothing."""

    def __init__(self, plan: Any) -> None:
        self.calls = 0

    def before_load(self, plan: Any) -> None:
        """Nothing to do."""

    def after_load(self, model: Any) -> Any:
        model.register_forward_hook(self.seen)
        return model

    def seen(self, *_: Any) -> None:
        self.calls += 1


class Idle(Counting):
    def after_load(self, model: Any) -> Any:
        return model


class Inexact(Counting):
    def after_load(self, model: Any) -> Any:
        model.lm_head.weight.data.mul_(1.001)
        return super().after_load(model)


class Inventive(Counting):
    def arguments(self, plan: Any) -> dict[str, Any]:
        return {"there_is_no_such_argument": True}


class TestCounting(AcceleratorSuite):
    spec = AcceleratorSpec("acme", "acme:Counting", "Counts.", options=AcmeOptions, switch=Switch("use_acme"))
    options = (AcmeOptions(use_acme=True),)
    kind: type[Accelerator] = Counting

    def accelerator(self) -> Any:
        return self.kind(self.plan)  # type: ignore[call-arg]

    def at_work(self, accelerator: Any, model: Any) -> bool:
        return bool(accelerator.calls >= self.steps)


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (Idle, "test_it_is_really_at_work"),
        (Inexact, "test_losses_and_gradients_stay_the_same"),
        (Inventive, "test_what_it_asks_for_are_training_arguments"),
    ],
)
def test_a_faulty_accelerator_fails(kind: type[Accelerator], test: str, tmp_path: Path) -> None:
    suite = TestCounting()
    suite.kind = kind  # type: ignore[misc]
    fails(suite, test, tmp_path)


# ---- backends ----------------------------------------------------------------------------------------------------------


class Plain(Backend):
    """The processor, as simply as can be."""

    def __init__(self, plan: Any) -> None:
        self.held = 0

    def device(self, local_rank: int = 0) -> torch.device:
        return torch.device("cpu")

    def dtype(self, wanted: str) -> torch.dtype:
        if wanted not in ("auto", "float32"):
            raise TunesmithError(f"no {wanted}", "Write nothing.")
        return torch.float32

    def arguments(self) -> dict[str, Any]:
        return {"use_cpu": True}

    def seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def rng_state(self) -> dict[str, torch.Tensor]:
        return {"state": torch.get_rng_state()}

    def set_rng_state(self, state: Any) -> None:
        torch.set_rng_state(state["state"])

    def memory(self, local_rank: int = 0) -> Memory:
        self.held += 64 * 2**20
        return Memory(self.held, self.held, 2**30, 2**31)

    def advice(self, error: BaseException) -> str:
        return "Buy more." if isinstance(error, MemoryError) else ""


class Generous(Plain):
    def dtype(self, wanted: str) -> torch.dtype:
        return torch.float32


class Unseeded(Plain):
    def seed(self, seed: int) -> None:
        """Nothing."""


class Amnesiac(Plain):
    def set_rng_state(self, state: Any) -> None:
        """Nothing."""


class Unmeasured(Plain):
    def memory(self, local_rank: int = 0) -> Memory:
        return Memory(1, 1, 1, 1)


class Chatty(Plain):
    def advice(self, error: BaseException) -> str:
        return "Buy more."


class Wrong(Plain):
    def replace_experts(self, model: Any) -> Any:
        model.lm_head.weight.data.mul_(1.1)
        return model


class Elsewhere(Plain):
    def device(self, local_rank: int = 0) -> torch.device:
        return torch.device("meta")


class TestPlain(BackendSuite):
    spec = BackendSpec("acme", "acme:Plain", "A processor.", probe="tunesmith.testing.hand_plan:hand_plan")
    kind: type[Backend] = Plain

    @property
    def backend(self) -> Any:  # type: ignore[override]
        held: Any = self.__dict__.setdefault("made", self.kind(self.plan))
        return held

    def probe(self) -> Probe:
        return Probe(True, devices=1)

    def test_it_is_looked_for_without_torch(self) -> None:
        """Looked at below, with probes that are files."""


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (Elsewhere, "test_it_computes_on_its_device"),
        (Generous, "test_it_refuses_other_dtypes"),
        (Unseeded, "test_the_same_seed_gives_the_same_numbers"),
        (Amnesiac, "test_its_random_state_survives_a_file"),
        (Unmeasured, "test_its_memory_figures_are_sane"),
        (Wrong, "test_its_experts_answer_like_any"),
        (Chatty, "test_it_knows_its_own_errors"),
    ],
)
def test_a_faulty_backend_fails(kind: type[Backend], test: str, tmp_path: Path) -> None:
    suite = TestPlain()
    suite.kind = kind  # type: ignore[misc]
    try:
        fails(suite, test, tmp_path)
    except pytest.fail.Exception:  # what refuses nothing raises nothing, which pytest reports its own way
        assert kind is Generous


PROBES = {
    "good": "from tunesmith.contracts import Probe\ndef probe():\n    return Probe(False, 'there is none')\n",
    "heavy": "import torch\nfrom tunesmith.contracts import Probe\ndef probe():\n    return Probe(True, devices=1)\n",
    "silent": "from tunesmith.contracts import Probe\ndef probe():\n    return Probe(False)\n",
}


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_that_imports_torch_or_gives_no_reason_fails(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"acme_{name}.py").write_text(PROBES[name])
    (tmp_path / "torch.py").touch()  # as good as the real one to be caught with, and faster
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    class Probed(BackendSuite):
        spec = BackendSpec("acme", "acme:Plain", "A processor.", probe=f"acme_{name}:probe")

    if name == "good":
        Probed().test_it_is_looked_for_without_torch()
    else:
        with pytest.raises(AssertionError):
            Probed().test_it_is_looked_for_without_torch()


def test_without_a_device_tests_on_it_are_skipped_with_the_reason() -> None:
    class Absent(TestPlain):
        backend = BackendSuite.backend

        def probe(self) -> Probe:
            return Probe(False, "the moon is full")

    with pytest.raises(pytest.skip.Exception, match="the moon is full"):
        Absent().test_it_computes_on_its_device()
