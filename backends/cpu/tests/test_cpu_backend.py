"""The backend ``cpu`` against the conformance suite, and what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tunesmith.testing import BackendSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_cpu.backend import CpuBackend, threads
from tunesmith_cpu.memory import read_memory
from tunesmith_cpu.plugin import tunesmith_backends, tunesmith_check_plan
from tunesmith_cpu.preflight import cores, nodes, pages
from tunesmith_cpu.probe import probe, usable_cores
from tunesmith_cpu.processor import processor_flags


class TestPlugin(PluginSuite):
    plugin = "cpu"
    folder = Path(__file__).parents[1]


class TestCpu(BackendSuite):
    spec = tunesmith_backends()[0]


def test_it_reads_processor_flags_of_x86_and_arm(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n")
    assert "avx512_bf16" in processor_flags(file)
    file.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert processor_flags(file) == {"fp", "asimd", "bf16"}
    assert processor_flags(tmp_path / "none") == frozenset()


def test_the_probe_says_how_bfloat16_is_computed() -> None:
    detail = probe().detail
    assert detail["bfloat16"] in {"amx_bf16", "avx512_bf16", "sve_bf16", "bf16", "emulated"}
    assert detail["cores"] >= 1


@pytest.mark.parametrize(("limit", "cores"), [("max 100000", None), ("100000 100000", 1), ("50000 100000", 1)])
def test_a_quota_of_the_container_limits_the_cores(tmp_path: Path, limit: str, cores: int | None) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    assert usable_cores(tmp_path) == (cores or usable_cores(tmp_path / "none"))


def test_a_limit_of_the_container_is_all_the_memory_there_is(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**29}\n")
    memory = read_memory(tmp_path)
    assert memory.total == 2**30
    assert memory.free <= 2**29
    (tmp_path / "memory.max").write_text("max\n")
    assert read_memory(tmp_path).total > 2**30


def test_processes_of_one_machine_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith_cpu.backend.usable_cores", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert threads() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert threads() == 1


@pytest.mark.parametrize(("given", "expected"), [(None, [3]), ("2", [])])
def test_threads_are_the_usable_cores_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: list[int]
) -> None:
    calls: list[int] = []
    monkeypatch.setattr("tunesmith_cpu.backend.usable_cores", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    CpuBackend(hand_plan())
    assert calls == expected


def test_advice_names_three_ways_out_in_the_numbers_of_the_run() -> None:
    plan = hand_plan(per_device_train_batch_size=8, gradient_accumulation_steps=2, cutoff_len=4096)
    advice = CpuBackend(plan).advice(MemoryError())
    assert "1. per_device_train_batch_size: 4 with gradient_accumulation_steps: 4" in advice
    assert "2. cutoff_len: 2048" in advice
    assert "3. bf16: true" in advice


def test_advice_recognises_the_words_of_torch() -> None:
    backend = CpuBackend(hand_plan())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert "GiB held" in backend.advice(caught.value)
    assert "shorter rows" in backend.advice(caught.value)


@pytest.mark.parametrize(
    ("given", "level", "said"),
    [({}, "ok", "8 cores"), ({"OMP_NUM_THREADS": "2"}, "warn", "6 of 8"), ({"OMP_NUM_THREADS": "16"}, "warn", "8 cores may")],
)
def test_cores_that_would_idle_or_be_crowded_are_named(given: dict[str, str], level: str, said: str) -> None:
    (found,) = cores(given, 8)
    assert found.level == level
    assert said in found.what


def test_several_memory_nodes_get_a_hint(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / "devices" / "system" / "node" / f"node{number}").mkdir(parents=True)
    (found,) = nodes(tmp_path)
    assert found.level == "warn"
    assert "numactl" in found.fix
    assert not list(nodes(tmp_path / "none"))


@pytest.mark.parametrize(("chosen", "level"), [("always [madvise] never", "ok"), ("always madvise [never]", "warn")])
def test_huge_pages(tmp_path: Path, chosen: str, level: str) -> None:
    folder = tmp_path / "kernel" / "mm" / "transparent_hugepage"
    folder.mkdir(parents=True)
    (folder / "enabled").write_text(chosen)
    (found,) = pages(tmp_path)
    assert found.level == level
    assert "THP_MEM_ALLOC_ENABLE=1" in found.what + found.fix


@pytest.mark.parametrize(
    ("flag", "bf16", "said"),
    [("", True, "emulates bfloat16"), ("", False, ""), ("bf16", True, "")],
)
def test_the_plan_says_where_bfloat16_is_emulated(monkeypatch: pytest.MonkeyPatch, flag: str, bf16: bool, said: str) -> None:
    monkeypatch.setattr("tunesmith_cpu.processor.bfloat16_by", lambda: flag)
    plan = hand_plan(picked={"backends": "cpu", "trainers": "sft"}, bf16=bf16)
    notices = [one.what for one in tunesmith_check_plan(plan)]
    assert bool(notices) == bool(said)
    assert said in "".join(notices)
    assert not list(tunesmith_check_plan(hand_plan(picked={"backends": "cuda", "trainers": "sft"}, bf16=True)))
