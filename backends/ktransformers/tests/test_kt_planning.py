"""What a plan with ``use_kt`` says here, and what processors, settings and folders are taken for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from tunesmith import planning, settings
from tunesmith.cli.doctor import doctor
from tunesmith.errors import ConfigError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.testing import PluginSuite
from tunesmith_ktransformers import checks, processor
from tunesmith_ktransformers.command import experts
from tunesmith_ktransformers.converted import ConvertedFacts, facts_in, missing_files
from tunesmith_ktransformers.facts import facts_of
from tunesmith_ktransformers.kernel_wishes import option_faults, wishes_of
from tunesmith_ktransformers.options import KtOptions
from tunesmith_ktransformers.plugin import STACK

PLUGINS = Plugins()
GENOA = "flags\t\t: fpu avx2 avx512f avx512bw avx512_vnni avx512_vbmi avx512_bf16"


class TestPlugin(PluginSuite):
    plugin = "ktransformers"
    folder = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("run")
    make_tiny("qwen3-moe", folder / "model")
    make_tiny("llama", folder / "dense")
    (folder / "rows.json").write_text(json.dumps([{"instruction": f"Say {i}.", "output": str(i)} for i in range(8)]))
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    return folder


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A processor that can, with memory, and no stack."""
    monkeypatch.setattr(processor, "read_flags", lambda: processor.instruction_sets(GENOA))
    monkeypatch.setattr(processor, "free_memory", lambda: 64 * 1024**3)
    monkeypatch.setattr(processor, "numa_nodes", lambda: 1)
    monkeypatch.setenv("TUNESMITH_STACKS", str(tmp_path))


def keys(folder: Path, **more: Any) -> dict[str, Any]:
    given = {"model_name_or_path": str(folder / "model"), "dataset": "rows", "dataset_dir": str(folder), "template": "auto"}
    given |= {"output_dir": str(folder / "out"), "use_kt": True, "finetuning_type": "lora", "stage": "sft", "backend": "cpu"}
    return {**given, "bf16": True, **more}


def plan(folder: Path, command: str = "train", **more: Any) -> Plan:
    given = keys(folder, **more)
    if command != "train":
        given = {key: given[key] for key in given if key not in ("dataset", "dataset_dir", "output_dir", "stage", "bf16")}
    return planning.make(settings.read(PLUGINS, given, environ={}), PLUGINS, command)


# ---- plans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "chat", "api", "batch", "eval"])
def test_a_run_belongs_into_the_stack_and_the_plan_says_what_experts_take(folder: Path, command: str) -> None:
    made = plan(folder, command)
    assert made.stack == "ktransformers"
    assert "tunesmith stack create ktransformers" in [one.instead for one in made.missing]
    assert any(notice.startswith("experts: ") and "in 16 bits on the processor" in notice for notice in made.notices)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"finetuning_type": "full"}, "use_kt does not work with finetuning_type: full"),
        ({"bf16": False}, "ktransformers does not compute in float32"),
        ({"kt_use_lora_experts": True}, "adds experts that no other program can load"),
        ({"kt_lora_expert_num": 2}, "kt_lora_expert_num does nothing without kt_use_lora_experts"),
        ({"kt_non_expert_weight_path": "x"}, "kt_non_expert_weight_path is not needed"),
        ({"kt_weight_path": "nowhere"}, "kt_weight_path: there is no folder nowhere"),
        ({"kt_expert_checkpoint_path": "nowhere"}, "nowhere is no model folder"),
        ({"kt_bits": 4}, "4-bit experts come in blocks of 128, and here they are 64 → 64"),
        ({"kt_config": {"kt_num_thread": 4}}, "kt_config: there is no kt_num_thread"),
        ({"kt_config": {"kt_num_threads": "many"}}, "kt_num_threads is 'many'"),
        ({"kt_config": {"kt_backend": "AMXINT8"}, "kt_bits": 16}, "contradict each other: kt_backend 8, kt_bits 16"),
        ({"kt_config": {"kt_backend": "RAWINT4"}}, "kt_backend: RAWINT4 is nothing the kernel trains in here"),
        ({"kt_config": {"kt_num_gpu_experts": 2}}, "kt_num_gpu_experts has no place here"),
        ({"kt_config": {"kt_threadpool_count": 4}}, "cannot be shared out over 4 parts in blocks of 32"),
        ({"kt_cpu_activation": "recompute", "disable_gradient_checkpointing": True}, "recompute saves little"),
        ({"full_determinism": True, "kt_config": {"kt_num_threads": 2}}, "in the order in which its 2 threads come"),
        ({"use_unsloth": True}, "ktransformers cannot work beside unsloth"),
    ],
)
def test_what_cannot_work_is_a_sentence(folder: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(folder, **more)
    assert said in caught.value.message


def test_a_dense_model_has_no_experts(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"dense \(llama\) is no mixture of experts"):
        plan(folder, model_name_or_path=str(folder / "dense"))


def test_what_only_this_machine_lacks_does_not_forbid_a_plan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "read_flags", lambda: processor.instruction_sets("flags : avx2 avx512f avx512bw"))
    monkeypatch.setattr(processor, "free_memory", lambda: 1024**2)
    said = [one.what for one in plan(folder).missing]
    assert any("this processor has AVX512 BASE at best" in what for what in said)
    assert any("of memory while the model is loaded, and 1.0 MiB is free" in what for what in said)


# ---- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "build"),
    [
        (GENOA, "avx512_bf16"),
        (f"{GENOA} amx_tile amx_int8 amx_bf16", "amx"),
        ("flags : avx2 avx512f avx512bw avx512vnni", "avx512_vnni"),
        ("flags : avx2", "avx2"),
        ("flags : sse4_2", None),
        ("Features : neon", None),
    ],
)
def test_instruction_sets_decide_on_the_build(flags: str, build: str | None) -> None:
    assert processor.best_build(processor.instruction_sets(flags)) == build


def test_nodes_count_where_this_process_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 9})
    for name, cpus in (("node0", "0-3,8-11\n"), ("node1", "4-7\n"), ("node2", "\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpulist").write_text(cpus)
    assert processor.numa_nodes(tmp_path) == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 5})
    assert processor.numa_nodes(tmp_path) == 2


def test_two_threads_of_a_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    for cpu, siblings in ((0, "0,2"), (1, "1,3"), (2, "0,2")):
        place = tmp_path / f"cpu{cpu}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(f"{siblings}\n")
    assert processor.cores(tmp_path) == 2


def test_a_container_has_what_its_limit_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    proc = tmp_path / "meminfo"
    proc.write_text("MemTotal: 1000 kB\nMemAvailable: 500 kB\n")
    assert processor.free_memory(proc, tmp_path) == 500 * 1024
    (tmp_path / "memory.max").write_text("300000\n")
    (tmp_path / "memory.current").write_text("100000\n")
    assert processor.free_memory(proc, tmp_path) == 200000
    (tmp_path / "memory.max").write_text("max\n")
    assert processor.free_memory(proc, tmp_path) == 500 * 1024


# ---- models and settings ---------------------------------------------------------------------------------------------


def test_facts_are_read_from_configurations_of_several_families() -> None:
    deepseek = {"model_type": "deepseek_v3", "hidden_size": 7168, "moe_intermediate_size": 2048, "intermediate_size": 18432}
    deepseek |= {"n_routed_experts": 256, "num_experts_per_tok": 8, "num_hidden_layers": 61, "first_k_dense_replace": 3}
    facts = facts_of(deepseek)
    assert facts is not None
    assert (facts.count, facts.chosen, facts.width, facts.layers) == (256, 8, 2048, 58)
    assert facts.numbers == 58 * 256 * 3 * 7168 * 2048
    assert facts.held(8) == facts.numbers + 4 * 256 * (2 * 2048 + 7168) * 58
    mixtral = {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 14336, "hidden_size": 4096}
    found = facts_of({"text_config": mixtral})
    assert found is not None
    assert found.width == 14336
    assert facts_of({"hidden_size": 64, "intermediate_size": 128}) is None


def test_settings_come_to_what_the_kernel_is_told() -> None:
    config = {"kt_num_threads": 7, "kt_threadpool_count": 2, "kt_model_max_length": 99, "kt_expert_weight_format": "INT8"}
    options = KtOptions(kt_config=config)
    assert not list(option_faults(options))
    wishes = wishes_of(options, tokens=4096, checkpointed=False)
    assert (wishes.threads, wishes.pools, wishes.tokens, wishes.bits, wishes.retain) == (7, 2, 99, 8, True)
    plain = wishes_of(KtOptions(), tokens=10**6, checkpointed=True)
    assert (plain.bits, plain.tokens, plain.retain) == (16, 16384, False)
    assert wishes_of(KtOptions(kt_cpu_activation="retain"), tokens=1, checkpointed=True).retain


def converted(folder: Path, facts: ConvertedFacts, *, note: bool) -> Path:
    """Files as kt-kernel names them, without sense in them."""
    for name in missing_files(folder, facts):
        file = Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(int(file.name.split("_")[3].removesuffix("Byte"))))
    if note:
        facts.write(folder)
    return folder


@pytest.mark.parametrize("note", [True, False])
def test_converted_experts_are_recognised_and_counted(folder: Path, tmp_path: Path, note: bool) -> None:
    (tmp_path / "kt").mkdir()
    kt = converted(tmp_path / "kt", ConvertedFacts(8, 1, 2, 4, 64, 64, "qwen3_moe"), note=note)
    found = facts_in(kt)
    assert found is not None
    assert (found.bits, found.pools, found.layers, found.count, found.hidden, found.width) == (8, 1, 2, 4, 64, 64)
    made = plan(folder, kt_weight_path=str(kt))
    assert any("in 8 bits on the processor" in notice for notice in made.notices)
    with pytest.raises(ConfigError, match="contradict each other: kt_bits 16, kt_weight_path 8"):
        plan(folder, kt_weight_path=str(kt), kt_bits=16)
    next(kt.rglob("INT8_up_3_*quant*")).unlink()
    with pytest.raises(ConfigError, match="1 files are missing or cut short"):
        plan(folder, kt_weight_path=str(kt))


def test_experts_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "kt").mkdir()
    kt = converted(tmp_path / "kt", ConvertedFacts(8, 1, 1, 4, 128, 64), note=True)
    with pytest.raises(ConfigError, match="holds other experts: layers 1 instead of 2, hidden 128 instead of 64"):
        plan(folder, kt_weight_path=str(kt))


def test_the_stack_says_why_it_is_one() -> None:
    (pin,) = map(Requirement, STACK.pins)
    wanted = {Requirement(one).name: Requirement(one).specifier for one in STACK.requirements}
    assert not any(pin.specifier.contains(one.version) for one in wanted[pin.name])


def test_preflight_names_what_the_processor_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith_ktransformers.preflight import findings

    assert [one.level for one in findings()][:2] == ["ok", "ok"]
    monkeypatch.setattr(processor, "read_flags", lambda: processor.instruction_sets("flags : avx512f avx512bw avx512_vnni"))
    first = next(iter(findings()))
    assert first.level == "fail"
    assert "lacks avx512_vbmi avx512_bf16" in first.what
    assert checks.block_fault(64, 64, 16, 1) is None


def test_the_commands_print_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = CliRunner().invoke(experts, ["check", "--json"])
    assert found.exit_code == 0
    assert [one["level"] for one in json.loads(found.stdout)] == ["ok", "ok", "ok", "warn"]
    seen = CliRunner().invoke(doctor, ["--backend", "ktransformers"], obj=PLUGINS)
    assert "the processor runs kt-kernel's build avx512_bf16" in seen.output
    assert "there is no backend" not in seen.output
    monkeypatch.setattr(processor, "read_flags", frozenset)
    assert "fail" in CliRunner().invoke(experts, ["check"]).output
