"""How long commands that only look take, as whole processes, against the interpreter's own start and against the peer.

Every command runs once per round, in turn, so that whatever else the machine does hits all of them alike. Printed are medians
of wall-clock times, medians of processor times (which a busy machine stretches less), and the ratio of the former to the floor
(an interpreter that does nothing) or, with ``--peer-python``, to the peer's command of the same purpose. The peer
(llamafactory) lives in an environment of its own.

    python benchmarks/startup.py
    python benchmarks/startup.py --peer-python PEER_ENVIRONMENT/bin/python --rounds 5
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FLOOR = "floor: python -c pass"
#: Compiled modules are kept, as on every machine that does not say otherwise; the round that is not counted makes them.
KEPT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT = {**KEPT, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "DISABLE_VERSION_CHECK": "1"}


@dataclass(frozen=True)
class Command:
    """What is timed. ``against`` names the command it is compared with; ``target`` is in seconds."""

    name: str
    line: tuple[str, ...]
    against: str = FLOOR
    target: float | None = None


def commands(folder: Path, peer: str | None) -> list[Command]:
    """Ours, the floor, and the peer's where there is one."""
    ours = (sys.executable, "-m", "tunesmith.cli.main")
    version = "peer: version" if peer else FLOOR
    usage = "peer: train --help" if peer else FLOOR
    found = [
        Command(FLOOR, (sys.executable, "-c", "pass")),
        Command("floor: import click, pluggy, yaml", (sys.executable, "-c", "import click, pluggy, yaml")),
        Command("tunesmith --help", (*ours, "--help"), version, 0.25),
        Command("tunesmith version", (*ours, "version"), version, 0.25),
        Command("tunesmith plugins", (*ours, "plugins"), version, 0.25),
        Command("tunesmith train --help", (*ours, "train", "--help"), usage),
        Command("tunesmith explain learning_rate", (*ours, "explain", "learning_rate"), usage),
        Command("tunesmith plan run.yaml", (*ours, "plan", str(folder / "run.yaml")), usage, 2.0),
    ]
    if peer:
        found.append(Command("peer: version", (peer, "-m", "llamafactory.cli", "version")))
        found.append(Command("peer: train --help", (peer, "-m", "llamafactory.cli", "train", "--help")))
    return found


def prepare(folder: Path) -> None:
    """A small model, a dataset and a configuration that can be planned."""
    make = [sys.executable, "-m", "tunesmith.cli.main", "tiny", "qwen3", "--out", str(folder / "model")]
    subprocess.run(make, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    (folder / "rows.json").write_text('[{"instruction": "Say A.", "input": "", "output": "A"}]', encoding="utf-8")
    (folder / "dataset_info.json").write_text('{"rows": {"file_name": "rows.json"}}', encoding="utf-8")
    settings = {
        "model_name_or_path": folder / "model",
        "dataset_dir": folder,
        "dataset": "rows",
        "template": "qwen3",
        "stage": "sft",
        "finetuning_type": "lora",
        "output_dir": folder / "out",
    }
    (folder / "run.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()), encoding="utf-8")


@dataclass(frozen=True)
class Run:
    """One run of a command: seconds on the clock, and seconds of processor time of it and its children."""

    wall: float
    cpu: float


def run(line: Sequence[str], folder: Path) -> Run:
    """Run a command, which must succeed."""
    before, start = _children(), time.perf_counter()
    done = subprocess.run(line, env=ENVIRONMENT, cwd=folder, capture_output=True, text=True, check=False)
    taken = Run(time.perf_counter() - start, _children() - before)
    if done.returncode:
        sys.exit(f"{' '.join(line)} failed:\n{done.stderr[-2000:]}")
    return taken


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(todo: Sequence[Command], folder: Path, rounds: int) -> dict[str, list[Run]]:
    """Runs by command; one round that is not counted fills the caches."""
    runs: dict[str, list[Run]] = {command.name: [] for command in todo}
    for number in range(rounds + 1):
        for command in todo:
            taken = run(command.line, folder)
            if number:
                runs[command.name].append(taken)
    return runs


def report(todo: Sequence[Command], runs: dict[str, list[Run]]) -> bool:
    """Print the table; returns whether every target was met."""
    wall = {name: statistics.median(one.wall for one in found) for name, found in runs.items()}
    cpu = {name: statistics.median(one.cpu for one in found) for name, found in runs.items()}
    print(f"{'command':<34} {'median':>8} {'least':>8} {'cpu':>8}   ratio")
    for command in todo:
        name, least = command.name, min(one.wall for one in runs[command.name])
        target = f", target {command.target} s" if command.target else ""
        ratio = f"   {wall[name] / wall[command.against]:5.2f} of {command.against}{target}" if command.name != FLOOR else ""
        print(f"{name:<34} {wall[name]:7.3f}s {least:7.3f}s {cpu[name]:7.3f}s{ratio}")
    missed = [command.name for command in todo if command.target and wall[command.name] > command.target]
    print("every target met" if not missed else f"target missed: {', '.join(missed)}")
    return not missed


def main() -> None:
    """Measure and print; exits with 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="an interpreter that has llamafactory")
    parser.add_argument("--rounds", type=int, default=7)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        todo = commands(folder, wanted.peer_python)
        met = report(todo, measure(todo, folder, wanted.rounds))
    sys.exit(not met)


if __name__ == "__main__":
    main()
