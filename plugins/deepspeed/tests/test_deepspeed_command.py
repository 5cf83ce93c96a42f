"""The ``deepspeed`` command with a hostfile, on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tunesmith.runtime.tiny import make_tiny


@pytest.mark.long
def test_the_command_starts_the_slots_that_it_includes(tmp_path: Path) -> None:
    """Slots 0 and 2 of three; each process is told its ``--local_rank``."""
    make_tiny("qwen3", tmp_path / "model")
    rows = [{"instruction": f"Give me {n}.", "output": "Gladly."} for n in range(8)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    (tmp_path / "hosts").write_text("localhost slots=3\n")
    zero = {"zero_optimization": {"stage": 2}, "zero_force_ds_cpu_optimizer": False}
    keys = {"model_name_or_path": "model", "dataset_dir": ".", "dataset": "rows", "template": "qwen3", "stage": "sft"}
    keys |= {"finetuning_type": "full", "backend": "cpu", "max_steps": 2, "per_device_train_batch_size": 2, "save_steps": 2}
    (tmp_path / "run.json").write_text(json.dumps({**keys, "report_to": "none", "deepspeed": zero, "output_dir": "out"}))
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [str(Path(sys.executable).with_name("deepspeed")), "--hostfile", "hosts", "--include", "localhost:0,2"]
    command += [
        "--no_ssh_check",
        "--master_addr",
        "127.0.0.1",
        f"--master_port={port}",
        "--module",
        "tunesmith.train",
        "run.json",
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Setting CUDA_VISIBLE_DEVICES=0,2" in done.stdout + done.stderr
    held = json.loads((tmp_path / "out/checkpoint-2/manifest.json").read_text())["files"]
    assert {"rng-0.json", "rng-1.json"} <= set(held)
    assert "rng-2.json" not in held
