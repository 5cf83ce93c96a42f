"""Peak memory and time of merging an adapter into a model of 400 million weights, beside LLaMA-Factory's:

    python benchmarks/export.py --peer-python /path/to/peer/bin/python [--dtype bfloat16] [--rounds 3]

The peer lives in an environment of its own. Weights and adapter are random and the same for both; each merge is a process of
its own that reads the files, merges on the processor and writes them again, the two programs in turn. Memory is the highest
resident set of the process, imports included; time is that of the whole command. The peer checks nothing of what it writes,
so ours is measured without verification, which would hold the model in memory, and with it for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OURS = "import sys; from tunesmith.cli.main import main; sys.exit(main(['export', *sys.argv[1:]]))"
PEERS = """
import json, sys
from llamafactory.train.tuner import export_model
export_model(json.loads(sys.argv[1]))
"""
SIZES = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 24, "num_attention_heads": 16}
SIZES |= {"num_key_value_heads": 16, "vocab_size": 32000}
TARGETS = {"memory": 0.6, "time": 1.0}


def main() -> int:
    """Print each program's medians and the ratios; the exit status says whether ours meet the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.make:
        print(f"{make(Path(options.make), options.dtype):,} weights in {options.dtype}", flush=True)
        return 0
    if not options.peer_python:
        parser.error("--peer-python is needed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: a process begins with the peak of the one that started it.
        subprocess.run(
            [sys.executable, __file__, "--make", name, "--dtype", options.dtype], check=True, stderr=subprocess.DEVNULL
        )
        found = measure(folder, options)
    return report(found)


def make(folder: Path, dtype: str) -> int:
    """A random model with a tokenizer in ``base`` and a random adapter of rank 16 in ``adapter``."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM
    from tunesmith.runtime.tiny import make_tiny

    torch.manual_seed(0)
    make_tiny("llama", folder / "base")
    config = LlamaConfig(**SIZES, tie_word_embeddings=False, eos_token_id=1, bos_token_id=2)
    model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder / "base")
    weights = model.num_parameters()
    adapter = get_peft_model(
        model, LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    )
    adapter.save_pretrained(folder / "adapter")
    return int(weights)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Memory in MiB and seconds of every round, by program."""
    keys: dict[str, Any] = {"model_name_or_path": str(folder / "base"), "adapter_name_or_path": str(folder / "adapter")}
    keys |= {"template": "llama3", "export_size": 5, "export_device": "cpu"}
    found: dict[str, list[dict[str, float]]] = {"ours": [], "peer": [], "ours, verified": []}
    for _ in range(options.rounds):
        for name, rounds in found.items():
            out = folder / "out"
            given = {**keys, "export_dir": str(out)}
            if name == "peer":
                command = [options.peer_python, "-c", PEERS, json.dumps(given)]
            else:
                verify = "--verify" if "verified" in name else "--no-verify"
                command = [sys.executable, "-c", OURS, *(f"{key}={value}" for key, value in given.items()), verify]
            rounds.append(run(command))
            subprocess.run(["rm", "-r", str(out)], check=True)
    return found


def run(command: list[str]) -> dict[str, float]:
    """What one process took."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(said)
    return {"memory": usage.ru_maxrss / 1024, "time": time.perf_counter() - began}


def report(found: dict[str, list[dict[str, float]]]) -> int:
    """Print the table; 1 where a target is missed."""
    medians = {name: {key: statistics.median(one[key] for one in rounds) for key in TARGETS} for name, rounds in found.items()}
    peer, missed = medians["peer"], False
    print(f"{'':16}{'memory':>10}{'of peer':>9}{'time':>9}{'of peer':>9}")
    for name, one in medians.items():
        ratios = {key: one[key] / peer[key] for key in TARGETS}
        missed |= name == "ours" and any(ratios[key] > most for key, most in TARGETS.items())
        print(f"{name:16}{one['memory']:>6.0f} MiB{ratios['memory']:>9.2f}{one['time']:>7.1f} s{ratios['time']:>9.2f}")
    print("a target is missed" if missed else "every target met")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
