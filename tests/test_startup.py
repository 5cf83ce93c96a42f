"""Looking at what is installed starts quickly because it imports nothing heavy. Timing is in benchmarks/startup.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "peft", "accelerate", "datasets", "trl", "numpy", "pyarrow", "pandas", "tokenizers"}
TUNESMITH = Path(sys.executable).with_name("tunesmith")


def imported_by(*arguments: str) -> set[str]:
    """Top-level packages that the console script imports, as the interpreter itself reports them."""
    command = [sys.executable, "-X", "importtime", str(TUNESMITH), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 0, said
    rows = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {row.rsplit("|", 1)[-1].strip().split(".")[0] for row in rows}


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("version",), ("plugins",), ("plugins", "--json"), ("train", "--help"), ("env",), ("explain", "--help")],
    ids=" ".join,
)
def test_a_look_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    imported = imported_by(*arguments)
    assert "tunesmith" in imported
    assert not imported & HEAVY


def test_no_options_are_made_before_somebody_asks_for_keys() -> None:
    """Each options dataclass costs a third of a millisecond; a command line that reads no keys needs none of them."""
    code = "from tunesmith.cli.main import main; main(['version']); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name for name in done.stdout.split() if name.startswith("tunesmith_")}
    assert "tunesmith_lora.plugin" in imported
    assert not {name for name in imported if name.endswith("options")}
    assert "tunesmith_lora.peft_kinds" not in imported


def test_importing_the_api_costs_nothing_heavy() -> None:
    code = "import sys, tunesmith, tunesmith.contracts, tunesmith.hookspecs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & HEAVY


def test_a_look_does_not_import_what_runs_are_made_of() -> None:
    """Declaring plugins name these in annotations only; together they would add a quarter to every command."""
    code = "from tunesmith.plugins import Plugins; list(Plugins().offers()); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tunesmith.plan", "tunesmith.contracts", "tunesmith.settings", "yaml"} & set(done.stdout.split())
