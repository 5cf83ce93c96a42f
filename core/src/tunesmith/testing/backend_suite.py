"""The suite that every device backend runs. Where the device is not here, it checks that the backend says so, and why."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import pytest
import torch
import torch.distributed
from safetensors.torch import load_file, save_file

from tunesmith import BackendSpec, TunesmithError
from tunesmith.contracts import Backend, Probe
from tunesmith.installation import preflight
from tunesmith.plan import Plan
from tunesmith.spec import options_of
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.spec_check import load, option_faults, spec_faults
from tunesmith.testing.tiny_models import logits, tiny_batch, tiny_llama, tiny_moe

MEBIBYTE = 2**20

_PROBE = """
import importlib, json, sys
from dataclasses import asdict
module, _, name = sys.argv[1].partition(":")
found = asdict(getattr(importlib.import_module(module), name)())
print(json.dumps({"probe": found, "torch": "torch" in sys.modules}))
"""


class BackendSuite:
    """That a backend finds its device without torch, and that everything a run asks of the device works.

    ::

        class TestAcme(BackendSuite):
            spec = ACME
            exhausted = RuntimeError("acme: device memory exhausted")
    """

    spec: ClassVar[BackendSpec]
    options: ClassVar[tuple[object, ...]] = ()
    keys: ClassVar[Mapping[str, Any]] = {}
    """Keys of other owners that the backend reads."""
    exhausted: ClassVar[BaseException] = MemoryError()
    """An error that this device raises when its memory is full."""
    tolerance: ClassVar[float] = 1e-4
    """How far the device's own expert operators may be from torch's, in logits."""

    # -- what is under test ----------------------------------------------------------------------------------------

    @cached_property
    def plan(self) -> Plan:
        """A plan with the options of the suite."""
        keys = {"seed": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "cutoff_len": 2048, **self.keys}
        return hand_plan(*self.options, picked={"backends": self.spec.name}, **keys)

    def probe(self) -> Probe:
        """Whether the device is here."""
        module, _, name = self.spec.probe.partition(":")
        found: Probe = getattr(__import__(module, fromlist=[name]), name)()
        return found

    @cached_property
    def backend(self) -> Backend:
        """The backend's object; tests that need it are skipped, with the reason, where there is no device."""
        found = self.probe()
        if not found.here:
            pytest.skip(f"{self.spec.name} is not here: {found.reason}")
        backend: Backend = load(self.spec)(self.plan)
        return backend

    # -- tests that need no device ---------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line, options are documented, variables for the environment are text."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        assert not faults, "\n".join(faults)
        assert self.spec.dtypes
        assert self.spec.attention
        assert all(isinstance(word, str) for item in self.spec.environment.items() for word in item)

    def test_it_is_looked_for_without_torch(self) -> None:
        """In a fresh process the probe answers, imports no torch, and gives a reason when the device is not here."""
        command = [sys.executable, "-c", _PROBE, self.spec.probe]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout.splitlines()[-1])
        assert not answer["torch"], "the probe imports torch"
        found = Probe(**answer["probe"])
        assert found.devices > 0 if found.here else found.reason

    def test_what_the_probe_says_is_data(self) -> None:
        """Asked again it answers the same, and all of it can be written as JSON."""
        assert json.dumps(asdict(self.probe())) == json.dumps(asdict(self.probe()))

    def test_its_preflight_says_what_mends(self) -> None:
        """Lines are data, and what is not ok says what to do; where the device is not here, one says so."""
        if not self.spec.preflight:
            pytest.skip("it has no preflight")
        found = list(preflight(self.spec))
        assert found
        assert json.dumps([asdict(line) for line in found])
        assert all(line.fix for line in found if line.level != "ok"), [line.what for line in found]
        assert self.probe().here or any(line.level == "fail" for line in found)

    # -- tests on the device ---------------------------------------------------------------------------------------

    def test_it_computes_on_its_device(self) -> None:
        """Tensors live on the device that the spec names, and a product of matrices is right."""
        device = self.backend.device()
        assert device.type == self.spec.device
        left = torch.arange(12.0, device=device).reshape(3, 4)
        self.backend.synchronize()
        assert torch.allclose((left @ left.T).cpu(), left.cpu() @ left.cpu().T)

    def test_it_trains_in_every_dtype_it_promises(self) -> None:
        """A forward and backward pass under its autocast gives a loss and finite gradients."""
        for name in self.spec.dtypes:
            if (dtype := self._dtype(name)) is None:
                continue
            model = tiny_llama().to(self.backend.device()).train()
            batch = {key: value.to(self.backend.device()) for key, value in tiny_batch().items()}
            with self.backend.autocast(dtype):
                loss = model(**batch).loss
            loss.backward()
            assert math.isfinite(loss.item()), name
            assert all(torch.isfinite(p.grad).all() for p in model.parameters()), name

    def _dtype(self, name: str) -> torch.dtype | None:
        """The dtype; ``None`` where this very device refuses it although others of its kind can."""
        try:
            dtype = self.backend.dtype(name)
        except TunesmithError as error:
            refusal = error
        else:
            assert dtype is getattr(torch, name)
            return dtype
        assert refusal.hint, f"the refusal of {name} does not say what to write instead"
        return None

    def test_it_refuses_other_dtypes(self) -> None:
        """``auto`` is one of its own; what the spec does not list is the user's mistake, with a hint."""
        assert str(self.backend.dtype("auto")).removeprefix("torch.") in self.spec.dtypes
        for name in {"float32", "bfloat16", "float16", "float7"} - set(self.spec.dtypes):
            with pytest.raises(TunesmithError) as caught:
                self.backend.dtype(name)
            assert caught.value.hint

    def test_the_same_seed_gives_the_same_numbers(self) -> None:
        """Seeded alike it draws alike, seeded otherwise otherwise."""
        assert torch.equal(self._drawn(5), self._drawn(5))
        assert not torch.equal(self._drawn(5), self._drawn(6))

    def _drawn(self, seed: int) -> torch.Tensor:
        self.backend.seed(seed)
        return torch.rand(8, device=self.backend.device())

    def test_its_random_state_survives_a_file(self, tmp_path: Path) -> None:
        """Through safetensors and back, the numbers that follow are the same."""
        self.backend.seed(5)
        state = self.backend.rng_state()
        assert state
        save_file(state, tmp_path / "rng.safetensors")
        expected = torch.rand(8, device=self.backend.device())
        torch.rand(100, device=self.backend.device())
        self.backend.set_rng_state(load_file(tmp_path / "rng.safetensors"))
        assert torch.equal(torch.rand(8, device=self.backend.device()), expected)

    def test_its_memory_figures_are_sane(self) -> None:
        """Figures fit together, and a tensor of 64 MiB shows in them."""
        self.backend.empty_cache()  # else the tensor may fit into what earlier ones left
        before = self.backend.memory()
        assert 0 <= before.used <= before.peak
        assert 0 <= before.free <= before.total
        held = torch.ones(64 * MEBIBYTE, dtype=torch.uint8, device=self.backend.device())
        self.backend.synchronize()
        after = self.backend.memory()
        assert after.used - before.used > 32 * MEBIBYTE
        assert after.peak >= after.used
        del held
        self.backend.empty_cache()

    def test_it_times_its_own_work(self) -> None:
        """Three times the work takes longer, and no longer than a clock on the wall says."""
        once, thrice = (min(self._timed(times) for _ in range(3)) for times in (1, 3))
        assert 0 < once[0] <= once[1]
        assert once[0] < thrice[0] <= thrice[1]

    def _timed(self, times: int) -> tuple[float, float]:
        """Seconds by the device and by the wall, for some products of matrices."""
        matrix = torch.ones(512, 512, device=self.backend.device()) / 512
        matrix = matrix @ matrix  # what is only done once
        self.backend.synchronize()
        wall, begun = perf_counter(), self.backend.mark()
        for _ in range(8 * times):
            matrix = matrix @ matrix
        seconds = self.backend.elapsed(begun, self.backend.mark())
        self.backend.synchronize()
        return seconds, perf_counter() - wall

    def test_its_arguments_make_transformers_use_it(self, tmp_path: Path) -> None:
        """Training arguments built as a run builds them name its device, and so does accelerate."""
        from accelerate import Accelerator
        from transformers import TrainingArguments

        from tunesmith.runtime.device_choice import Home, make_arguments

        home = Home(self.backend.device(), self.spec.process_group)
        with forgotten_device():
            arguments = make_arguments(TrainingArguments, {"output_dir": str(tmp_path), **self.backend.arguments()}, home)
            assert arguments.device.type == Accelerator().device.type == self.spec.device
            assert arguments.n_gpu <= 1

    def test_its_processes_can_talk(self) -> None:
        """The process group that the spec names adds up a tensor of this device."""
        tensor = torch.ones(3, device=self.backend.device())
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group(self.spec.process_group, store=store, rank=0, world_size=1)
        try:
            torch.distributed.all_reduce(tensor)
        finally:
            torch.distributed.destroy_process_group()
        assert tensor.tolist() == [1.0, 1.0, 1.0]

    def test_its_experts_answer_like_any(self) -> None:
        """A mixture of experts with its own expert operators gives the logits of torch's."""
        batch = {key: value.to(self.backend.device()) for key, value in tiny_batch().items()}
        expected = logits(tiny_moe().to(self.backend.device()), batch)
        replaced = self.backend.replace_experts(tiny_moe().to(self.backend.device()))
        assert torch.allclose(logits(replaced, batch), expected, atol=self.tolerance)

    def test_it_knows_its_own_errors(self) -> None:
        """Memory that runs out gets advice; an error that is none of its own gets none."""
        assert self.backend.advice(self.exhausted)
        assert self.backend.advice(ValueError("column 3 is missing")) == ""


@contextmanager
def forgotten_device() -> Iterator[None]:
    """Within it, accelerate has not decided for a device yet: it decides once per process, for whoever asks first."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    try:
        yield
    finally:
        AcceleratorState._reset_state(True)
