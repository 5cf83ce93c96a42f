"""The packages work as wheels: in a new environment, the core alone, with a plugin, and without it again."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkout import CORE, Package, plugin_packages

PACKAGES = [CORE, *plugin_packages()]

READ_A_ROW = """
from tunesmith.plugins import Plugins
offer = Plugins().formats.get("alpaca")
reader = offer.load()(offer.spec.columns, offer.spec.tags)
print(reader.read({"instruction": "Say hello.", "input": "", "output": "Hello!"}, "conversation").turns[-1].text)
"""


class Environment:
    """A new virtual environment, which knows nothing of the one that the tests run in."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        self.bin = folder / "bin"
        self.wheels = wheels
        unwanted = ("PYTHONPATH", "VIRTUAL_ENV", "TUNESMITH_WITHOUT")
        self.variables = {name: value for name, value in os.environ.items() if name not in unwanted}

    def pip(self, *words: str) -> None:
        """Install or uninstall."""
        command = [self.bin / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
        subprocess.run(command, check=True, env=self.variables, stdout=subprocess.DEVNULL)

    def run(self, program: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment."""
        command = [self.bin / program, *words]
        return subprocess.run(command, capture_output=True, text=True, env=self.variables, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path) -> Environment:
    """A new environment with the core; its three requirements come from the index. Tests leave it as they found it."""
    made = Environment(tmp_path_factory.mktemp("clean") / "venv", wheelhouse)
    made.pip("install", "--find-links", str(wheelhouse), "tunesmith-core")
    return made


def test_a_plugin_comes_and_goes_with_its_wheel(environment: Environment) -> None:
    alone = environment.run("tunesmith", "plugins")
    assert "defaults" in alone.stdout, alone.stderr
    assert "alpaca" not in alone.stdout

    environment.pip("install", "--no-index", "--no-deps", "--find-links", str(environment.wheels), "tunesmith-alpaca")
    assert "tunesmith-alpaca" in environment.run("tunesmith", "plugins").stdout
    assert environment.run("python", "-c", READ_A_ROW).stdout == "Hello!\n"

    environment.pip("uninstall", "--yes", "tunesmith-alpaca")
    assert "alpaca" not in environment.run("tunesmith", "plugins").stdout
    gone = environment.run("python", "-c", READ_A_ROW)
    assert "There is no format 'alpaca'" in gone.stderr


def test_the_core_alone_says_what_to_install(environment: Environment, tmp_path: Path) -> None:
    """From the catalogue that it ships with: a plan lists it, a run ends with it."""
    (tmp_path / "run.yaml").write_text("model_name_or_path: nowhere\nstage: sft\ntemplate: qwen3\noutput_dir: out\n")
    planned = environment.run("tunesmith", "plan", "run.yaml", cwd=tmp_path)
    trained = environment.run("tunesmith", "train", "run.yaml", cwd=tmp_path)
    assert (planned.returncode, trained.returncode) == (0, 2), planned.stderr + trained.stderr
    for package in ("tunesmith-sft", "tunesmith-lora", "tunesmith-chat-templates"):
        assert package in planned.stdout
        assert package in trained.stderr
    assert "Traceback" not in trained.stderr
    assert not (tmp_path / "out").exists()


def test_help_needs_nothing_but_the_core(environment: Environment) -> None:
    """Every command that the core offers explains itself without the libraries that do the work."""
    commands = environment.run("python", "-c", "from tunesmith.plugins import Plugins; print(*Plugins().commands.names)")
    for name in commands.stdout.split():
        said = environment.run("tunesmith", name, "--help")
        assert said.returncode == 0, f"{name}: {said.stderr}"


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_wheel_holds_every_file_of_its_code(package: Package, wheelhouse: Path) -> None:
    """Data files too: what is missing from a wheel works in the checkout and nowhere else."""
    (wheel,) = wheelhouse.glob(f"{package.distribution.replace('-', '_')}-*.whl")
    source = package.source.parent
    files = (file.relative_to(source) for file in package.source.rglob("*") if file.is_file())
    written = {str(file) for file in files if not any(part.startswith((".", "__pycache__")) for part in file.parts)}
    with zipfile.ZipFile(wheel) as archive:
        left_out = sorted(written - set(archive.namelist()))
    assert not left_out
