"""Prompts, a toy reward and a tiny model that can learn to get more of it, for stages that answer and are rated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from tunesmith import planning, settings
from tunesmith.plan import Plan
from tunesmith.plugins import LOCAL_FILE, Plugins
from tunesmith.runtime.tiny import make_tiny

#: How to make a plan of one stage, from the keys that a test adds.
Make = Callable[..., Plan]
#: Of the tiny model, where nothing else is said.
WIDTH = 64
#: A toy reward: the share of an answer's characters that are vowels, n or t. Chance gives about a tenth.
SINGING = """
from tunesmith import RewardSpec, hookimpl
from tunesmith.contracts import Reward

TUNESMITH_API = (1, 0)


class Singing(Reward):
    def __init__(self, plan):
        self.plan = plan

    def score(self, prompts, completions, extras):
        assert all(row["level"] == 3 and one.turns[-1].text.startswith("Give") for one, row in zip(prompts, extras))
        return [sum(letter in "aeioutn" for letter in turn.text) / max(len(turn.text), 1) for turn in completions]


@hookimpl
def tunesmith_rewards():
    return [RewardSpec("singing", f"{__name__}:Singing", "The share of vowels, n and t.")]
"""


def prompts_home(folder: Path, **shape: int) -> Path:
    """A tiny model in ``model``, the datasets ``prompts`` and ``pairs``, and the reward function ``singing``.

    :param shape: of the model, as :func:`tunesmith.runtime.tiny.make_tiny` takes it.
    """
    make_tiny("qwen3", folder / "model", **shape)
    _widen(folder / "model" / "model.safetensors", 8 * WIDTH / shape.get("hidden", WIDTH))
    (folder / LOCAL_FILE).write_text(SINGING)
    (folder / "prompts.json").write_text(json.dumps([{"instruction": f"Give me {n}.", "level": 3} for n in range(8)]))
    pairs = [{"instruction": f"Give me {n}.", "chosen": "GLADLY", "rejected": "never"} for n in range(8)]
    (folder / "pairs.json").write_text(json.dumps(pairs))
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    info = {"prompts": {"file_name": "prompts.json"}, "pairs": {"file_name": "pairs.json", "ranking": True, "columns": columns}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def _widen(file: Path, times: float) -> None:
    """Random words lie so close together that nothing but their own weights could make one much likelier than another."""
    words = ("embed", "lm_head")
    tensors = {
        name: tensor * times if any(word in name for word in words) else tensor for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, {"format": "pt"})


def plan_maker(home: Path, plugins: Plugins, **usual: Any) -> Make:
    """Makes plans over what :func:`prompts_home` made; ``usual`` are keys of the stage."""
    given: dict[str, Any] = {
        "do_train": True,
        "model_name_or_path": str(home / "model"),
        "dataset_dir": str(home),
        "dataset": "prompts",
        "template": "qwen3",
        "backend": "cpu",
        "data_cache_dir": str(home / "cache"),
        "verbosity": "error",
        "disable_gradient_checkpointing": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
        "lr_scheduler_type": "constant",
        **usual,
    }
    return lambda **keys: planning.make(settings.read(plugins, {**given, **keys}, environ={}), plugins, "train")


def history(folder: Path) -> list[dict[str, Any]]:
    """What a run has logged."""
    entries: list[dict[str, Any]] = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return entries


def logged(folder: Path, name: str) -> list[float]:
    """One measure of what a run has logged."""
    return [entry[name] for entry in history(folder) if name in entry]
