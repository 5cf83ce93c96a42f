"""The first losses of supervised fine-tuning beside those of LLaMA-Factory: same weights, same rows, same seed, float32.

    python benchmarks/parity.py --peer-python /path/to/peer/bin/python [--steps 20]

The peer lives in an environment of its own. Both read the same files, one through `tunesmith.api`, the other through its
`run_exp`. A LoRA run starts from one adapter that both go on with, since each library draws a new one from random numbers in
its own order. The peer writes its `vicuna` without the blanks of the published one, so our side uses a template file that
writes the peer's text: what is compared is the training, not the templates.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

OURS = """
import json, sys
from tunesmith import api
api.train(json.loads(sys.argv[1]))
"""
PEERS_VICUNA = """
[peers_vicuna]
default_system = '''A chat between a curious user and an artificial intelligence assistant. \
The assistant gives helpful, detailed, and polite answers to the user's questions.'''
system = "{system}"
user = "USER: {content} ASSISTANT:"
prompt = ""
reply = "{content}{eos}"
stop = ["<|eot_id|>"]
"""
PEERS = """
import json, sys
from llamafactory.train.tuner import run_exp
run_exp(json.loads(sys.argv[1]))
"""


def main() -> int:
    """Print both losses step by step, and the largest difference for each tuner."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        worst = [compare(Path(folder), tuner, options) for tuner in ("full", "lora")]
    return int(max(worst) > options.tolerance)


def compare(folder: Path, tuner: str, options: argparse.Namespace) -> float:
    """The largest difference between the two programs' losses with one tuner."""
    keys = configuration(folder, tuner, options)
    template = folder / "peers_vicuna.toml"
    template.write_text(PEERS_VICUNA)
    mine = {"template": str(template), "backend": "cpu", "data_cache_dir": str(folder / "cache")}
    ours = losses(sys.executable, OURS, {**keys, **mine, "output_dir": str(folder / f"{tuner}-ours")})
    own = {"template": "vicuna", "do_train": True, "use_cpu": True}
    peers = losses(options.peer_python, PEERS, {**keys, **own, "output_dir": str(folder / f"{tuner}-peers")})
    print(f"{tuner}: step, ours, peer, difference")
    for step, (one, other) in enumerate(zip(ours, peers, strict=True), start=1):
        print(f"  {step:3}  {one:.7f}  {other:.7f}  {one - other:+.1e}")
    worst = max(abs(one - other) for one, other in zip(ours, peers, strict=True))
    print(f"{tuner}: largest difference {worst:.1e} over {len(ours)} steps\n")
    return worst


def configuration(folder: Path, tuner: str, options: argparse.Namespace) -> dict[str, Any]:
    """What both programs are asked to do."""
    model = folder / "model"
    if not model.exists():
        prepare(folder, model)
    keys: dict[str, Any] = {
        "model_name_or_path": str(model),
        "stage": "sft",
        "finetuning_type": tuner,
        "dataset": "rows",
        "dataset_dir": str(folder),
        "cutoff_len": 256,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": options.steps,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "disable_shuffling": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "seed": 7,
        "optim": "adamw_torch",
    }
    return {**keys, "adapter_name_or_path": str(adapter(folder, model))} if tuner == "lora" else keys


def prepare(folder: Path, model: Path) -> None:
    """A small model, and rows of different lengths, some with several turns."""
    from tunesmith.runtime.tiny import make_tiny

    make_tiny("llama", model)
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    rows = [
        {
            "instruction": f"Say {words[i % 10]} {i}.",
            "output": " ".join(words[: 1 + i % 9]),
            "history": [["Hello", "Hi"]] if i % 3 == 0 else [],
        }
        for i in range(160)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    info = {
        "rows": {"file_name": "rows.json", "columns": {"prompt": "instruction", "response": "output", "history": "history"}}
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))


def adapter(folder: Path, model: Path) -> Path:
    """An adapter for both to go on with; its second matrices are not zero, so that a wrong load shows."""
    target = folder / "adapter"
    if not target.exists():
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(3)
        base = AutoModelForCausalLM.from_pretrained(model)
        config = LoraConfig(
            r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
        )
        get_peft_model(base, config).save_pretrained(target)
    return target


def losses(python: str, code: str, keys: dict[str, Any]) -> list[float]:
    """Run one program and read its log."""
    done = subprocess.run([python, "-c", code, json.dumps(keys)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{python} failed:\n{done.stderr[-3000:]}")
    state = json.loads((Path(keys["output_dir"]) / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


if __name__ == "__main__":
    sys.exit(main())
