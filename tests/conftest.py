"""What several tests of the whole repository share: its packages as wheels, and a folder to make mistakes in."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkout import CORE, ROOT, plugin_packages

#: Somebody else's packages: their tests run where they are installed, by test_third_party.py.
collect_ignore = ["third_party"]

UNWANTED = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*_cache")


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of every package. Processes of one test run share it; the first one builds."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheelhouse"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "wheels").is_dir():
            _build(shared / "sources", shared / "making")
            (shared / "making").rename(shared / "wheels")
    return shared / "wheels"


def _build(sources: Path, wheels: Path) -> None:
    """Build from copies, so that nothing is left behind in the checkout."""
    copies = [sources / package.folder.relative_to(ROOT) for package in (CORE, *plugin_packages())]
    for copy in copies:
        shutil.copytree(ROOT / copy.relative_to(sources), copy, ignore=UNWANTED)
    pip = ["-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, *pip, "--wheel-dir", wheels, *copies], check=True)


# ---- bad input -------------------------------------------------------------------------------------------------------

RUN = {
    "dataset": "rows", "dataset_dir": ".", "data_cache_dir": "cache", "template": "qwen3", "backend": "cpu",
    "finetuning_type": "lora", "lora_rank": 2, "output_dir": "out", "max_steps": 2, "save_steps": 1,
    "per_device_train_batch_size": 2, "disable_tqdm": "true",
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that nobody may change."""
    from tunesmith.runtime.tiny import make_tiny

    return make_tiny("qwen3", tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def desk(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's working folder: four rows, and a configuration ``run.yaml`` that trains on them."""
    lines = {"model_name_or_path": tiny_model, **RUN}.items()
    (tmp_path / "run.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines))
    rows = [{"instruction": f"Say {number}.", "output": str(number)} for number in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "dataset_info.json").write_text('{"rows": {"file_name": "rows.jsonl"}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def refused(
    desk: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command line that must be refused, and return what the user is told.

    Makes sure of exit code 2, no output, no traceback, every file as it was, and, unless ``loads``, no session opened: a
    module that cannot be imported stands in for the one that reads models.
    """

    def refuse(*words: str, command: str = "train", config: str = "run.yaml", loads: bool = False) -> str:
        from tunesmith.cli.main import main

        before = contents(desk), contents(tiny_model)
        capsys.readouterr()
        with monkeypatch.context() as patch:
            if not loads:
                for module in ("tunesmith.runtime.session", "tunesmith.runtime.loading"):
                    patch.setitem(sys.modules, module, None)
            code = main([*command.split(), *config.split(), *words])
        told = capsys.readouterr()
        assert (code, told.out) == (2, ""), told.err
        assert "Traceback" not in told.err
        assert (contents(desk), contents(tiny_model)) == before
        return told.err

    return refuse


def contents(folder: Path) -> dict[str, Any]:
    """Every path below a folder with what would tell that it was touched, but for the cache of prepared data."""
    paths = (path for path in folder.rglob("*") if "cache" not in path.parts and "__pycache__" not in path.parts)
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None for path in paths}
