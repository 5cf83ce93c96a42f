"""The same file on several devices: one word changes, the losses stay. Devices that are not here are emulated, and named so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkout import ROOT
from tunesmith.installation import probe
from tunesmith.plugins import Plugins
from tunesmith.testing.emulator import why_not

#: Puts the backend npu on an emulated device, as a plugin beside the configuration.
LOCAL = """
import sys
from dataclasses import replace

sys.path.insert(0, {tests!r})

from tunesmith import hookimpl
from tunesmith_npu.plugin import BACKEND

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_backends():
    # deepspeed, which accelerate imports where it is installed, asks more of a device than is emulated
    variables = {{**BACKEND.environment, "DS_ACCELERATOR": "cpu"}}
    places = {{"load": "emulated_npu:EmulatedNpuBackend", "probe": "emulated_probe:probe", "preflight": ""}}
    return [replace(BACKEND, name="npu-emulated", environment=variables, **places)]
"""
#: What differs between devices that compute in the same number format: the order in which sums are taken.
CLOSE = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 5e-3}

RUN = {
    "stage": "sft",
    "finetuning_type": "lora",
    "dataset": "sums",
    "template": "llama3",
    "max_steps": 4,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "save_steps": 2,
    "disable_tqdm": True,
    "nproc_per_node": 1,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a few sums, and the plugin that emulates."""
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("place")
    make_tiny("llama", folder / "model")
    rows = [{"instruction": f"What is {a} plus {b}?", "input": "", "output": f"{a + b}."} for a in range(6) for b in range(4)]
    (folder / "sums.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"sums": {"file_name": "sums.json"}}))
    (folder / "tunesmith_local.py").write_text(LOCAL.format(tests=str(ROOT / "backends" / "npu" / "tests")))
    places = {"model_name_or_path": "model", "dataset_dir": ".", "data_cache_dir": "cache"}
    (folder / "run.yaml").write_text(yaml.safe_dump({**RUN, **places}))
    return folder


def trained(place: Path, backend: str, name: str, *more: str) -> list[float]:
    """The losses of the run on a device that is named in the environment; the file is always the same one."""
    environment = {**os.environ, "TUNESMITH_BACKEND": backend, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tunesmith.cli.main", "train", "run.yaml", f"output_dir={name}", *more]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    history = json.loads((place / name / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def others() -> list[str]:
    """Every backend that is here and is no processor, and the emulated one."""
    here = [offer.spec.name for offer in Plugins().backends if offer.spec.device != "cpu" and probe(offer.spec).here]
    return [*here, "npu-emulated"]


@pytest.mark.skipif(bool(why_not()), reason=f"no device can be emulated: {why_not()}")
def test_a_word_in_the_environment_swaps_the_device_and_no_loss(place: Path) -> None:
    expected = trained(place, "cpu", "on-cpu")
    assert len(expected) == 4
    for backend in others():
        found = trained(place, backend, f"on-{backend}")
        assert found == pytest.approx(expected, abs=CLOSE["float32"]), backend
        resumed = trained(place, backend, f"on-{backend}", f"resume_from_checkpoint=on-{backend}/checkpoint-2")
        assert resumed == found, backend


@pytest.mark.long
@pytest.mark.skipif(bool(why_not()), reason=f"no device can be emulated: {why_not()}")
def test_in_bfloat16_the_losses_are_as_close_as_it_is(place: Path) -> None:
    expected = trained(place, "cpu", "half-cpu", "bf16=true")
    for backend in others():
        assert trained(place, backend, f"half-{backend}", "bf16=true") == pytest.approx(expected, abs=CLOSE["bfloat16"]), (
            backend
        )


@pytest.mark.long
@pytest.mark.skipif(bool(why_not()), reason=f"no device can be emulated: {why_not()}")
def test_in_float16_the_losses_are_those_of_float32_and_a_run_goes_on_exactly(place: Path) -> None:
    """Gradients are scaled on the device, and the scale is in the checkpoint. Processors are not asked for float16."""
    expected = trained(place, "cpu", "whole-cpu")
    for backend in others():
        found = trained(place, backend, f"scaled-{backend}", "fp16=true")
        assert found == pytest.approx(expected, abs=CLOSE["float16"]), backend
        resumed = f"resume_from_checkpoint=scaled-{backend}/checkpoint-2"
        assert trained(place, backend, f"scaled-{backend}", "fp16=true", resumed) == found, backend
