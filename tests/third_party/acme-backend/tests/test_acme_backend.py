import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from acme_backend.plugin import ACME
from acme_backend.probe import probe
from tunesmith import api
from tunesmith.testing import BackendSuite, PluginSuite

needs_cards = pytest.mark.skipif(not probe().here, reason=f"no card of Acme can be emulated: {probe().reason}")


class TestPlugin(PluginSuite):
    plugin = "acme-backend"
    folder = Path(__file__).parents[1]


class TestAcme(BackendSuite):
    spec = ACME
    exhausted = torch.OutOfMemoryError("acme:0 out of memory")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The keys of a run that learns sums, which name no device."""
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("run")
    make_tiny("llama", folder / "model")
    rows = [{"instruction": f"What is {a} plus {b}?", "input": "", "output": f"{a + b}."} for a in range(6) for b in range(4)]
    (folder / "sums.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"sums": {"file_name": "sums.json"}}))
    return {
        "model_name_or_path": str(folder / "model"),
        "dataset": "sums",
        "dataset_dir": str(folder),
        "data_cache_dir": str(folder / "cache"),
        "template": "llama3",
        "finetuning_type": "lora",
        "lora_dropout": 0.1,
        "output_dir": str(folder / "out"),
        "learning_rate": 1e-3,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "save_steps": 4,
        "disable_tqdm": True,
    }


def losses(run):
    history = json.loads((Path(run["output_dir"]) / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@needs_cards
@pytest.mark.parametrize("precision", [{}, {"bf16": True}], ids=["float32", "bfloat16"])
def test_a_lora_run_learns_on_a_card_and_resumes_exactly(run, tmp_path, precision):
    run = {**run, "backend": "acme", "output_dir": str(tmp_path / "out"), **precision}
    outcome = api.train(run)
    whole = losses(run)
    assert outcome.steps == len(whole) == 12
    assert whole[-1] < whole[0]
    assert torch.acme.max_memory_allocated() > 0
    api.train({**run, "resume_from_checkpoint": str(tmp_path / "out" / "checkpoint-4")})
    assert losses(run) == whole


@needs_cards
def test_a_line_of_yaml_moves_a_run_to_the_card_and_nothing_changes(run, tmp_path):
    found = []
    for name in ("cpu", "acme"):
        file = tmp_path / f"{name}.yaml"
        keys = {**run, "output_dir": str(tmp_path / name), "max_steps": 4, "lora_dropout": 0.0, "backend": name}
        file.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in keys.items()))
        api.train(file)
        found.append(losses(keys))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


@needs_cards
@pytest.mark.long
def test_two_processes_on_two_cards_learn_what_one_does(run, tmp_path):
    keys = {**run, "backend": "acme", "max_steps": 4, "lora_dropout": 0.0}
    api.train({**keys, "output_dir": str(tmp_path / "one"), "per_device_train_batch_size": 4})
    two = {**keys, "output_dir": str(tmp_path / "two"), "per_device_train_batch_size": 2}
    file = tmp_path / "run.json"
    file.write_text(json.dumps(two))
    command = [sys.executable, "-m", "tunesmith.cli.main", "train", str(file)]
    environment = {name: value for name, value in os.environ.items() if name != "ACME_VISIBLE_DEVICES"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert list((tmp_path / "two" / "checkpoint-4").glob("rng-1*")), "this was no run of two processes"
    assert losses(two) == pytest.approx(losses({"output_dir": str(tmp_path / "one")}), abs=1e-4)


@needs_cards
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: torch.ones(2, device="acme") + torch.ones(2), "acme:0 and cpu"),
        (lambda: torch.ones(2, device="acme:0") + torch.ones(2, device="acme:1"), "acme:0 and acme:1"),
        (lambda: torch.ones(2, device="acme", dtype=torch.float64), "Double"),
        (lambda: torch.ones(2, device="acme:7"), "There is no acme:7"),
        (lambda: torch.ones(2**30, device="acme"), "out of memory"),
        (lambda: torch.ones(2, device="acme").numpy(), "convert acme:0"),
        (lambda: torch.rand(2, device="acme", generator=torch.Generator()), "generator"),
    ],
)
def test_what_a_card_refuses(run, wrong, said):
    from acme_backend.backend import AcmeBackend

    AcmeBackend(None)
    with pytest.raises((RuntimeError, TypeError), match=said):
        wrong()


@needs_cards
def test_random_numbers_of_a_card_are_its_own(run):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    torch.nn.functional.dropout(torch.ones(50, device="acme"), 0.5)
    assert torch.equal(torch.rand(3), expected)
    own = torch.Generator("acme").manual_seed(3)
    drawn = torch.rand(3, device="acme", generator=own)
    assert torch.equal(drawn, torch.rand(3, device="acme", generator=own.manual_seed(3)))
