"""`make demo`: make a small model, fine-tune it twice, merge, and ask the same held-out questions before and after.

Everything is done by commands that a user types; only the questions are asked through the Python API, to ask them all at
once. The demo checks what it claims and fails where that does not hold. It writes into `demo/` of the current folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
OUT = Path("demo")
MARK = OUT / ".tunesmith-demo"
sys.path.insert(0, str(HERE))

# No network is needed. A model this small gains nothing from a second thread, and two fighting for a busy core lose much.
os.environ.update({"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})

import questions  # noqa: E402
import tasks  # noqa: E402

KEYS = {"template": "qwen3", "enable_thinking": False}
#: What is asked, in the order of the table's columns.
MODELS: Mapping[str, Mapping[str, object]] = {
    "base": {"model_name_or_path": "demo/base", **KEYS},
    "full": {"model_name_or_path": "demo/full", **KEYS},
    "LoRA": {"model_name_or_path": "demo/base", "adapter_name_or_path": "demo/lora", **KEYS},
    "merged": {"model_name_or_path": "demo/merged", **KEYS},
}
SIZES = {"hidden": 128, "layers": 2, "heads": 4, "kv-heads": 4, "intermediate": 256, "vocab": 1024, "context": 512}
CURVES = tuple(OUT / name / "training_loss.png" for name in ("base", "full", "lora"))


def main() -> int:
    """Run every step and print the table; 0 when every claim holds."""
    started = time.monotonic()
    clear()
    run("tiny", "qwen3", "--out", "demo/tiny", *(word for name, size in SIZES.items() for word in (f"--{name}", str(size))))
    held_out = tasks.write(OUT / "data")
    for config in ("base", "full", "lora"):
        run("train", str(HERE / f"{config}.yaml"), "--quiet")
    run("export", str(HERE / "merge.yaml"))
    answers = {name: questions.ask(config, held_out) for name, config in MODELS.items()}
    scores = {name: questions.score(found) for name, found in answers.items()}
    show(scores, answers)
    run(
        "chat",
        *(f"{key}={value}" for key, value in MODELS["merged"].items()),
        "do_sample=false",
        "--prompt",
        "Hello, who are you?",
    )
    print(f"\nLoss curves: {', '.join(map(str, CURVES))}\n{time.monotonic() - started:.0f} seconds in all.")
    broken = [claim for claim, holds in claims(scores, answers).items() if not holds]
    for claim in broken:
        print(f"DOES NOT HOLD: {claim}", file=sys.stderr)
    return 1 if broken else 0


def clear() -> None:
    """Remove what an earlier demo wrote; a folder of that name that is somebody else's is left alone."""
    if OUT.exists() and not MARK.is_file():
        sys.exit(f"{OUT.absolute()} is there already and no demo wrote it. Run the demo in another folder.")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    MARK.touch()


def run(*words: str) -> None:
    """One command, as a user types it; the demo ends with its status when it fails."""
    print(f"\n$ tunesmith {' '.join(words)}", flush=True)
    status = subprocess.run([sys.executable, "-m", "tunesmith.cli.main", *words], check=False).returncode
    if status:
        sys.exit(status)


def show(scores: Mapping[str, Mapping[str, float]], answers: Mapping[str, Sequence[questions.Answer]]) -> None:
    """The table of exact matches, and one question of each task with what base and adapter answer."""
    counts = {task: sum(answer.row.task == task for answer in answers["base"]) for task in scores["base"]}
    counts["all"] = len(answers["base"])
    print("\nHeld-out questions answered exactly right:\n")
    print(f"{'task':<8}{'asked':>6}" + "".join(f"{name:>9}" for name in scores))
    for task in (*(task for task in counts if task != "all"), "all"):
        print(f"{task:<8}{counts[task]:>6}" + "".join(f"{scores[name][task]:>9.0%}" for name in scores))
    seen: set[str] = set()
    print()
    for before, after in zip(answers["base"], answers["LoRA"], strict=True):
        if before.row.task not in seen:
            seen.add(before.row.task)
            print(f"{before.row.question}\n    base  {' '.join(before.text.split())}\n    LoRA  {' '.join(after.text.split())}")


def claims(scores: Mapping[str, Mapping[str, float]], answers: Mapping[str, Sequence[questions.Answer]]) -> dict[str, bool]:
    """What the demo says, and whether it is so. Guessing would be right in less than one of a hundred of these questions."""
    texts = {name: [answer.text for answer in found] for name, found in answers.items()}
    return {
        "the base knows the job hardly at all (10% at most)": scores["base"]["all"] <= 0.1,
        "fine-tuned in full it knows it (80% at least, no task below 50%)": knows(scores["full"], 0.8),
        "with an adapter it knows it (75% at least, no task below 50%)": knows(scores["LoRA"], 0.75),
        "the merged model answers as model and adapter do": texts["merged"] == texts["LoRA"],
        "there is a picture of every loss curve": all(map(is_picture, CURVES)),
    }


def knows(score: Mapping[str, float], share: float) -> bool:
    """Whether a model answers at least this share of all questions, and half of each task."""
    return score["all"] >= share and min(score.values()) >= 0.5


def is_picture(file: Path) -> bool:
    """Whether a file is a PNG."""
    return file.is_file() and file.read_bytes().startswith(b"\x89PNG")


if __name__ == "__main__":
    sys.exit(main())
