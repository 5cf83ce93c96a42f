"""What ``accelerate launch`` was told and keeps to itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunesmith import TunesmithError
from tunesmith.accelerate_launch import words_meant

STARTED = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_USE_CPU": "True"}


def launched(folder: Path, text: str, *more: str) -> list[str]:
    (folder / "a.yaml").write_text(text)
    return ["python", "/bin/accelerate", "launch", "--config_file", str(folder / "a.yaml"), *more, "-m", "tunesmith.train"]


def test_processes_that_it_does_not_start_are_started(tmp_path: Path) -> None:
    parent = launched(tmp_path, "use_cpu: true\nnum_processes: 3\n")
    words, said = words_meant(STARTED, parent, ["run.yaml"])
    assert words == ["nproc_per_node=3"]
    assert "one of the 3 processes" in said[0]
    assert words_meant(STARTED, [*parent[:-2], "--num-processes=4", *parent[-2:]], [])[0] == ["nproc_per_node=4"]
    assert words_meant(STARTED, parent, ["run.yaml", "--nproc_per_node", "2"]) == ([], [])


def test_its_default_configuration_counts(tmp_path: Path) -> None:
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate/default_config.yaml").write_text("num_processes: 2\n")
    parent = ["accelerate", "launch", "-m", "tunesmith.train"]
    assert words_meant({**STARTED, "HF_HOME": str(tmp_path)}, parent, [])[0] == ["nproc_per_node=2"]
    assert words_meant({**STARTED, "HF_HOME": str(tmp_path)}, [*parent[:2], "--cpu", *parent[2:]], [])[0] == []


def test_half_precision_becomes_a_key() -> None:
    started = {"ACCELERATE_MIXED_PRECISION": "bf16", "RANK": "1"}
    assert words_meant(started, ["accelerate", "launch"], ["run.yaml"]) == (["bf16=true"], [])
    assert words_meant(started, ["accelerate", "launch"], ["run.yaml", "bf16=false"]) == ([], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distributed_type: FSDP\nuse_cpu: true\nnum_processes: 2\n", "leaves FSDP out"),
        ("distributed_type: DEEPSPEED\nuse_cpu: true\nnum_processes: 2\n", "leaves DEEPSPEED out"),
        ("distributed_type: MULTI_CPU\nnum_processes: 4\nnum_machines: 2\n", "several machines"),
    ],
)
def test_what_nobody_would_do_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TunesmithError, match=message):
        words_meant(STARTED, launched(tmp_path, text), ["run.yaml"])


def test_others_are_left_alone() -> None:
    assert words_meant({"RANK": "0"}, ["torchrun"], ["run.yaml"]) == ([], [])
    assert words_meant({}, ["bash"], ["run.yaml"]) == ([], [])
