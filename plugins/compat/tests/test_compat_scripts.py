"""The real console scripts and the module, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from tunesmith.stacks import wheels
from tunesmith.testing.fixtures import write_dataset

pytest_plugins = ["tunesmith.testing.fixtures"]

PACKAGE = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LINES = (Path(__file__).parent / "commands.txt").read_text(encoding="utf-8").splitlines()
ROWS = [{"instruction": f"Say {letter}.", "output": letter} for letter in "abcdefghijkl"]


def start(*words: str | Path, cwd: Path, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TUNESMITH_CACHE": str(cwd / "cache")}
    environment = {**os.environ, **quiet, **variables}
    return subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=300
    )


def script(name: str, *words: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return start(BIN / name, *words, cwd=cwd, **more)


@pytest.mark.parametrize("name", ["llamafactory-cli", "lmf"])
def test_it_says_its_version(name: str, tmp_path: Path) -> None:
    ran = script(name, "version", cwd=tmp_path)
    assert (ran.returncode, ran.stdout.split()[0]) == (0, "tunesmith")


@pytest.mark.parametrize("words", [(), ("help",), ("-h",)])
def test_help_lists_the_commands(words: tuple[str, ...], tmp_path: Path) -> None:
    ran = script("lmf", *words, cwd=tmp_path)
    assert ran.returncode == 0
    assert {"train", "export", "chat", "api", "webui"} <= set(ran.stdout.split())


def test_an_unknown_command_fails(tmp_path: Path) -> None:
    ran = script("llamafactory-cli", "trian", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (2, "error: LLaMA-Factory has no command 'trian'.\n  Did you mean 'train'?\n")


def test_what_is_wrong_with_a_run_ends_it_with_2(tmp_path: Path) -> None:
    ran = script("llamafactory-cli", "train", "--stage", "sft", "--lora_rnak", "8", cwd=tmp_path)
    assert ran.returncode == 2
    assert "there is no key lora_rnak" in ran.stderr


# -- beside the original -------------------------------------------------------------------------------------------------


def test_it_refuses_to_run_beside_the_original(tmp_path: Path) -> None:
    held = tmp_path / "llamafactory-0.9.4.dist-info"
    held.mkdir()
    (held / "METADATA").write_text("Metadata-Version: 2.1\nName: llamafactory\nVersion: 0.9.4\n")
    ran = script("llamafactory-cli", "version", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "llamafactory 0.9.4" in ran.stderr
    assert "pip uninstall llamafactory" in ran.stderr


def test_the_wheel_leaves_the_originals_module_alone(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    options = ["--quiet", "--no-deps", "--no-index"]
    built = start(sys.executable, "-m", "pip", "wheel", *options, "--no-build-isolation", "-w", ".", PACKAGE, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert start(*pip, "install", *options, wheel, cwd=tmp_path).returncode == 0
    (site,) = tmp_path.glob("env/lib/python*/site-packages")

    def found() -> Path:
        where = start(python, "-c", "import llamafactory; print(llamafactory.__file__)", cwd=tmp_path, PYTHONPATH="")
        return Path(where.stdout.strip())

    assert found() == site / "tunesmith_compat" / "stand_in" / "llamafactory" / "__init__.py"
    assert {path.name for path in (tmp_path / "env" / "bin").iterdir()} >= {"llamafactory-cli", "lmf"}
    (site / "llamafactory").mkdir()
    (site / "llamafactory" / "__init__.py").touch()
    assert found() == site / "llamafactory" / "__init__.py"
    assert start(*pip, "uninstall", "--quiet", "--yes", "tunesmith-compat", cwd=tmp_path).returncode == 0
    assert not [path for path in site.iterdir() if "tunesmith" in path.name]
    assert found() == site / "llamafactory" / "__init__.py"


def test_a_stack_gets_the_package_with_its_code(tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(wheels.pack("tunesmith-compat", tmp_path)).namelist())
    assert {"tunesmith_compat/program.py", "tunesmith_compat/stand_in/llamafactory/train.py"} <= names


# -- whole runs ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the long line of ``commands.txt`` was run as it stands, less the half precision that a processor lacks."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "MODEL").symlink_to(tiny_model)
    (folder / "data").mkdir()
    write_dataset(folder / "data", "identity", ROWS)
    write_dataset(folder / "data", "alpaca_zh_demo", ROWS)
    (line,) = (line for line in LINES if "alpaca_zh_demo" in line)
    program, *words = line.removesuffix(" --fp16").split()
    ran = script(program, *words, cwd=folder)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "evaluation_strategy is read as eval_strategy" in ran.stderr
    return folder


def test_a_line_of_flags_trains(trained: Path) -> None:
    results = json.loads((trained / "OUT" / "all_results.json").read_text())
    assert results["epoch"] == 5
    assert (trained / "OUT" / "adapter_model.safetensors").is_file()


def test_what_was_trained_answers(trained: Path) -> None:
    (trained / "chat.yaml").write_text("model_name_or_path: MODEL\nadapter_name_or_path: OUT\ntemplate: llama3\n")
    ran = script("lmf", "chat", "chat.yaml", "max_new_tokens=3", "--json", cwd=trained, stdin="Hello\n")
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert json.loads(ran.stdout)["prompt"] == "Hello"


def test_what_was_trained_is_merged(trained: Path) -> None:
    (trained / "export.yaml").write_text(
        "model_name_or_path: MODEL\nadapter_name_or_path: OUT\ntemplate: llama3\nfinetuning_type: lora\nexport_dir: MERGED\n"
    )
    ran = script("llamafactory-cli", "export", "export.yaml", cwd=trained)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert (trained / "MERGED" / "model.safetensors").is_file()


def test_torchrun_starts_the_module_twice(trained: Path) -> None:
    (trained / "run.yaml").write_text(
        "model_name_or_path: MODEL\nstage: sft\nfinetuning_type: lora\ndataset: identity\ntemplate: llama3\n"
        "output_dir: BY_MODULE\nmax_steps: 1\n"
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    ran = start(sys.executable, *torchrun, "-m", "llamafactory.train", "run.yaml", "lora_rank=2", "--seed", "3", cwd=trained)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert json.loads((trained / "BY_MODULE" / "adapter_config.json").read_text())["r"] == 2
