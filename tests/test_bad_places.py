"""What a user sees when a folder, a checkpoint, an adapter or the machine stands in the way, and what is left afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Refused = Callable[..., str]
ADAPTER = "adapter_name_or_path=adapter"


def run(*words: str) -> int:
    from tunesmith.cli.main import main

    return main(words)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the first test that needs a finished run puts it."""
    return {"folder": tmp_path_factory.mktemp("trained") / "out"}


@pytest.fixture
def finished(desk: Path, trained: dict[str, Path]) -> Path:
    """``out``, which holds a finished run of ``run.yaml`` with two checkpoints."""
    if not trained["folder"].exists():
        assert run("train", "run.yaml", "--quiet") == 0
        shutil.copytree(desk / "out", trained["folder"])
    shutil.rmtree(desk / "out", ignore_errors=True)
    return Path(shutil.copytree(trained["folder"], desk / "out"))


@pytest.fixture
def without_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a model's weights all the same meets a TypeError."""
    monkeypatch.setattr("tunesmith.runtime.loading.read_weights", None)


# ---- another run -----------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_another_run(finished: Path, refused: Refused) -> None:
    told = refused()
    assert "run.yaml:9: output_dir: out already holds a run" in told
    assert "resume_from_checkpoint: true" in told
    assert "overwrite_output_dir: true" in told
    assert "contradict each other" in refused("resume_from_checkpoint=true", "overwrite_output_dir=true")
    assert "out holds checkpoint-1, checkpoint-2." in refused("resume_from_checkpoint=out/checkpoint-3")


@pytest.mark.parametrize(
    ("word", "name", "keys"),
    [
        ("lora_rank=4", "tuner", "lora_rank was 2, now 4"),
        ("finetuning_type=full", "tuner", 'finetuning_type was "lora", now "full"'),
        ("template=chatml", "template", 'template was "qwen3", now "chatml"'),
        ("cutoff_len=50", "data", "cutoff_len was 2048, now 50"),
        ("model_name_or_path=other", "model", 'now "other"'),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    finished: Path, tiny_model: Path, refused: Refused, without_models: None, word: str, name: str, keys: str
) -> None:
    other = Path(shutil.copytree(tiny_model, finished.parent / "other"))
    (other / "config.json").write_text(json.dumps({**json.loads((other / "config.json").read_text()), "rms_norm_eps": 1e-3}))
    told = refused(word, "resume_from_checkpoint=true", loads=True)
    assert f"out/checkpoint-2 cannot be continued: {name} changed since it was written (" in told
    assert keys in told
    assert f"accept it with allow_drift: {name}" in told


def test_other_data_do_not_fit_a_checkpoint(finished: Path, refused: Refused, without_models: None) -> None:
    (finished.parent / "rows.jsonl").write_text('{"instruction": "Say 9.", "output": "9"}\n' * 4)
    assert "cannot be continued: data changed" in refused("resume_from_checkpoint=true", loads=True)


def test_a_checkpoint_of_another_run_needs_trust(finished: Path, refused: Refused, without_models: None) -> None:
    told = refused("output_dir=new", "resume_from_checkpoint=out/checkpoint-1", loads=True)
    assert "out/checkpoint-1 is not used: it does not belong to new" in told
    assert "trust_checkpoint: true" in told


# ---- adapters --------------------------------------------------------------------------------------------------------


@pytest.fixture
def adapter(finished: Path) -> Path:
    """An adapter for the model of ``run.yaml``, without its run around it."""
    folder = finished.parent / "adapter"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(finished / name, folder)
    shutil.rmtree(finished)
    return folder


def test_a_damaged_adapter_is_found_before_the_model_is_read(adapter: Path, tiny_model: Path, refused: Refused) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    chat = f"chat model_name_or_path={tiny_model} template=qwen3 --prompt hi"
    export = f"export model_name_or_path={tiny_model} template=qwen3 export_dir=whole"
    for told in (refused(ADAPTER), refused(ADAPTER, command=chat, config=""), refused(ADAPTER, command=export, config="")):
        assert "command line: adapter/adapter_model.safetensors is damaged: it has" in told
        assert "Copy or download the file again." in told
    (adapter / "adapter_config.json").write_text("{")
    assert "adapter_config.json cannot be read" in refused(ADAPTER)


def test_an_adapter_for_a_model_of_another_shape(adapter: Path, refused: Refused) -> None:
    from tunesmith.runtime.tiny import make_tiny

    wide = make_tiny("qwen3", adapter.parent / "wide", hidden=96)
    for command in ("train", "chat --prompt hi", "export export_dir=whole"):
        config = "run.yaml" if command == "train" else ""
        words = [f"model_name_or_path={wide}", ADAPTER, "template=qwen3"]
        told = refused(*words, command=command, config=config, loads=True)
        assert "The adapter in adapter does not fit Qwen3ForCausalLM: size mismatch for" in told
        assert "base_model_name_or_path in the adapter's adapter_config.json" in told


def test_an_adapter_that_was_trained_on_another_model_is_mentioned(
    adapter: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_model, adapter.parent / "cousin")
    assert run("plan", "run.yaml", ADAPTER, "model_name_or_path=cousin", "--json") == 0
    notices = json.loads(capsys.readouterr().out)["notices"]
    assert any(f"the adapter adapter was trained on {tiny_model}, not on cousin" in notice for notice in notices)


# ---- places that cannot be written -----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["rows.jsonl", "rows.jsonl/out"])
def test_a_place_below_a_file(tiny_model: Path, refused: Refused, folder: str) -> None:
    assert "command line: output_dir: rows.jsonl is a file, not a folder" in refused(f"output_dir={folder}")
    assert "Prepared data cannot be kept in rows.jsonl" in refused(f"data_cache_dir={folder}")
    assert "Prepared data cannot be kept in rows.jsonl" in refused(f"tokenized_path={folder}")
    export = f"export model_name_or_path={tiny_model} template=qwen3"
    assert "export_dir: " in refused(f"export_dir={folder}", command=export, config="")
    if folder != "rows.jsonl":
        assert "Not a directory: rows.jsonl/out" in refused(folder, command="new template acme --out", config="")


def test_folders_that_hold_something_else(desk: Path, tiny_model: Path, refused: Refused) -> None:
    (desk / "full").mkdir()
    (desk / "full" / "notes.md").write_text("mine")
    export = f"export model_name_or_path={tiny_model} template=qwen3"
    told = refused("export_dir=full", command=export, config="")
    assert "command line: export_dir: full already holds something" in told
    assert "tokenized_path: full holds files that are no prepared data" in refused("tokenized_path=full")
    assert "full is there already and not empty" in refused(command="tiny qwen3 --out full", config="")


@pytest.fixture
def disk(desk: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small or a read-only disk at ``disk``."""
    place = desk / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this machine lets this user mount nothing: {done.stderr.strip()}")
        return place

    yield mount
    subprocess.run(["umount", place], capture_output=True)


def test_no_permission_to_write(disk: Callable[[str], Path], tiny_model: Path, refused: Refused) -> None:
    disk("ro")
    assert "command line: output_dir: no permission to write into disk" in refused("output_dir=disk/out")
    assert "Prepared data cannot be kept in disk/cache/runs: Read-only file system." in refused("data_cache_dir=disk/cache")
    export = f"export model_name_or_path={tiny_model} template=qwen3"
    assert "export_dir: no permission to write into" in refused("export_dir=disk/whole", command=export, config="")
    told = refused(command="tiny qwen3 --out disk/tiny", config="", loads=True)
    assert told.splitlines() == ["error: Read-only file system: disk/tiny", "  Write somewhere else."]


def test_a_disk_that_fills_while_data_are_prepared(
    desk: Path, disk: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    with (desk / "rows.jsonl").open("w") as rows:
        rows.writelines(json.dumps({"instruction": f"Say {n}.", "output": "much " * 500}) + "\n" for n in range(400))
    place = disk("size=256k")
    assert run("train", "run.yaml", "data_cache_dir=disk/cache") == 2
    told = capfd.readouterr().err
    assert "Prepared data could not be written to disk/cache/rows: No space left on device." in told
    assert "Make room, or write data_cache_dir: a folder on another disk." in told
    assert not [path for path in place.rglob("*") if path.is_file() and not path.name.startswith(".lock")]
    assert not (desk / "out").exists()


def test_a_disk_that_fills_while_training(disk: Callable[[str], Path], capfd: pytest.CaptureFixture[str]) -> None:
    place = disk("size=200k")
    assert run("train", "run.yaml", "output_dir=disk/out") == 2
    told = capfd.readouterr().err
    assert "error: Writing disk/out/checkpoint-1 failed: No space left on device." in told
    assert "free some space" in told
    assert [path.name for path in place.rglob("*") if path.is_file() and path.stat().st_size] == ["run.json"]
    assert '"status": "failed"' in (place / "out" / "run.json").read_text()


def test_a_disk_that_fills_while_exporting(
    disk: Callable[[str], Path], tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = disk("size=200k")
    assert run("export", f"model_name_or_path={tiny_model}", "template=qwen3", "export_dir=disk/whole") == 2
    assert "whole failed: No space left on device." in capfd.readouterr().err
    assert list(place.iterdir()) == []


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


def _heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it, and so would its children


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_while_data_are_prepared_leaves_nothing(desk: Path, workers: int) -> None:
    with (desk / "rows.jsonl").open("w") as rows:
        rows.writelines(json.dumps({"instruction": f"Say {n}.", "output": f"{n} " * 40}) + "\n" for n in range(60_000))
    command = [sys.executable, "-m", "tunesmith.cli.main", "train", "run.yaml", f"preprocessing_num_workers={workers}"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen(command, start_new_session=True, preexec_fn=_heed_ctrl_c, **pipes)
    began = time.monotonic()
    while not list(desk.glob("cache/rows/.staging-*/*")) and child.poll() is None and time.monotonic() - began < 60:
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, told = child.communicate(timeout=60)
    assert (child.returncode, out.strip(), told.strip()) == (130, "", "Stopped.")
    assert not [path for path in desk.glob("cache/**/*") if path.is_file() and not path.name.startswith(".lock")]
    assert not list(desk.glob("cache/rows/.staging*"))
    assert not (desk / "out").exists()
