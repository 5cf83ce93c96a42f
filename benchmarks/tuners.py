"""What each tuner costs: step time and peak memory against ``full``, and against the library called by hand.

The same model and padded rows, float32, gradient checkpointing off, one thread; each figure comes from a process of its own.
Ours is a whole run of the stage ``sft``; by hand is the library's own call (peft's ``get_peft_model``) in the loop that anybody
would write, or that loop on our model where no library has the tuner. Processor time, median over steps, the first left out;
memory is what the process grew by beyond its libraries, and once more as a share of the whole process. Both ways take turns in
each round, the other one first each time, and the median of the rounds counts.

    python benchmarks/tuners.py                               # a dozen tuners, one round, eight to ten minutes
    python benchmarks/tuners.py --only full lora --rounds 3   # decides about two of them
    python benchmarks/tuners.py --only full lora --size 25    # longer steps: fixed costs weigh less
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

#: Millions of parameters → width, layers, tokens in a row.
SIZES = {8: (256, 6, 256), 25: (512, 6, 512)}
VOCABULARY = 4096
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Case:
    """A tuner, its keys, and peft's configuration class with fields for the same; none where peft has nothing of the kind."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    targets: bool = True


CASES: dict[str, Case] = {
    "full": Case(),
    "freeze": Case({"freeze_trainable_layers": 2}),
    "lora": Case({"lora_rank": 8}, "LoraConfig", {"r": 8, "lora_alpha": 16}),
    "adalora": Case({}, "AdaLoraConfig", {"total_step": 1000}),
    "loha": Case({}, "LoHaConfig"),
    "lokr": Case({}, "LoKrConfig"),
    "oft": Case({}, "OFTConfig"),
    "vera": Case({}, "VeraConfig"),
    "ia3": Case({}, "IA3Config", {"feedforward_modules": []}),
    "hra": Case({}, "HRAConfig"),
    "miss": Case({}, "MissConfig"),
    "prompt": Case({"num_virtual_tokens": 20}, "PromptTuningConfig", {"num_virtual_tokens": 20}, targets=False),
    "adapter": Case({"bottleneck_type": "houlsby"}),
}


# ---- one process -----------------------------------------------------------------------------------------------------


def measure(way: str, name: str, folder: Path, steps: int, length: int) -> dict[str, float]:
    """Run in a process of its own: seconds of a step, share of it outside the work, bytes that were added at the peak."""
    import torch
    from train_step import WARM_UP, rows

    torch.set_num_threads(1)
    store = rows(steps + WARM_UP, length)
    store = type(store)(store.rows, packed=False)
    _import_libraries()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock = (_ours if way == "ours" else _by_hand)(name, folder, store)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "step": clock.step,
        "outside": clock.outside if way == "ours" else 0.0,
        "memory": (peak - before) * 1024,
        "process": peak * 1024,
    }


def _import_libraries() -> None:
    """What either way stands on, and what those libraries import when they are first used: no part of what a tuner costs."""
    import peft  # noqa: F401
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from transformers import Trainer, TrainingArguments

    Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(torch.nn.Linear(1, 1), TrainingArguments(folder, use_cpu=True, report_to="none"))
    AcceleratorState._reset_state(reset_partial_state=True)


def _ours(name: str, folder: Path, store: Any) -> Any:
    import train_step

    return train_step.timed(_session(name, folder, store))


def _session(name: str, folder: Path, store: Any) -> Any:
    from tunesmith.testing.small_run import small_plan, small_plugins, small_session

    modules = {"sft": "tunesmith_sft.plugin", "full": "tunesmith_full.plugin", "lora": "tunesmith_lora.plugin"}
    modules |= {"prompts": "tunesmith_prompt_learning.plugin", "bottleneck": "tunesmith_bottleneck.plugin"}
    plugins = small_plugins(**modules)
    keys = {"finetuning_type": name, "per_device_train_batch_size": 1, "learning_rate": 1e-4, "disable_shuffling": True}
    keys |= {"logging_steps": 10, "overwrite_output_dir": True, **CASES[name].keys}
    return small_session(small_plan(folder, plugins, "sft", picked={"tuners": name}, **keys), plugins, store)


def _by_hand(name: str, folder: Path, store: Any) -> Any:
    import torch
    from train_step import Clock
    from tunesmith.runtime.collate import Collator, Rows

    model = _prepared(name, folder, store).train()
    learns = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learns, lr=1e-4, weight_decay=0.0, fused=True)
    clock = Clock()
    for step, batch in enumerate(torch.utils.data.DataLoader(Rows(store), batch_size=1, collate_fn=Collator(0))):
        model(**batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(learns, 1.0)
        optimizer.step()
        if name == "adalora":
            model.base_model.update_and_allocate(step)
        optimizer.zero_grad()
        clock.tick()
    return clock


def _prepared(name: str, folder: Path, store: Any) -> Any:
    """The model as the library alone prepares it; ours, in a bare loop, where no library has this tuner."""
    import peft
    from transformers import AutoModelForCausalLM

    case = CASES[name]
    if not case.config and name != "full":
        return _session(name, folder, store).models["policy"]
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    if name == "full":
        return model
    places = {"target_modules": TARGETS} if case.targets else {}
    return peft.get_peft_model(model, getattr(peft, case.config)(task_type="CAUSAL_LM", **places, **case.fields))


# ---- all of them -----------------------------------------------------------------------------------------------------


def compare(names: list[str], size: int, steps: int, rounds: int, show: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Both ways of each tuner in turn, on one model."""
    from tunesmith.testing.small_run import small_model

    width, layers, length = SIZES[size]
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        shape = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers, "num_attention_heads": 8}
        small_model(
            Path(folder, "model"), vocab_size=VOCABULARY, num_key_value_heads=8, max_position_embeddings=2 * length, **shape
        )
        for name in names:
            found[name] = _compared(lambda way, name=name: _in_a_process(way, name, folder, steps, length), rounds)
            found[name]["of_full"] = found[name]["step_ms"] / found.get("full", found[name])["step_ms"]
            found[name]["memory_of_full"] = found[name]["memory_mb"] / found.get("full", found[name])["memory_mb"]
            show(_line(name, found[name]))
    return found


def _compared(run: Callable[[str], dict[str, float]], rounds: int) -> dict[str, float]:
    """Medians over the rounds. A ratio is that of two processes of one round, which the machine treated alike."""
    each: dict[str, list[float]] = {}
    for turn in range(rounds):
        order = ("hand", "ours") if turn % 2 == 0 else ("ours", "hand")
        got = {way: run(way) for way in order}
        ours, hand = got["ours"], got["hand"]
        row = {"step_ms": 1000 * ours["step"], "outside": ours["outside"], "memory_mb": ours["memory"] / 2**20}
        row |= {f"{key}_of_library": ours[key] / hand[key] for key in ("step", "memory", "process")}
        for key, value in row.items():
            each.setdefault(key, []).append(value)
    return {key: statistics.median(values) for key, values in each.items()}


def _in_a_process(way: str, name: str, folder: str, steps: int, length: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", way, name, folder, str(length), "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} {name} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _line(name: str, one: Mapping[str, float]) -> str:
    return (
        f"{name:8} {one['step_ms']:7.1f} ms  of full {one['of_full']:.2f}  of the library {one['step_of_library']:.2f}"
        f"  outside {one['outside']:.1%}  memory {one['memory_mb']:6.0f} MB  of full {one['memory_of_full']:.2f}"
        f"  of the library {one['memory_of_library']:.2f}, whole process {one['process_of_library']:.3f}"
    )


def main() -> int:
    """Print a line for each tuner; status 1 when more than ``--limit`` of a step is neither forward, backward nor optimizer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(CASES), nargs="*", default=list(CASES))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--limit", type=float, default=0.03, help="largest share of a step that may not be work")
    parser.add_argument("--rounds", type=int, default=1, help="how often both ways of a tuner take turns")
    parser.add_argument("--size", type=int, choices=list(SIZES), default=8, help="millions of parameters")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.measure:
        way, name, folder, length = wanted.measure
        print(json.dumps(measure(way, name, Path(folder), wanted.steps, int(length))))
        return 0
    found = compare(wanted.only, wanted.size, wanted.steps, wanted.rounds, lambda line: print(line, flush=True))
    print(json.dumps(found))
    return int(any(one["outside"] > wanted.limit for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
