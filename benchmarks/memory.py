"""The plan's estimate of memory beside what runs really take, by stage and tuner.

    python benchmarks/memory.py                 # about half a minute a line, on a CPU
    python benchmarks/memory.py --only dpo      # lines whose name holds this
    python benchmarks/memory.py --only "1 × "   # every stage with every tuner, at one size: some 7 minutes

Each line is a process of its own: two steps of a model of 58 million parameters over rows that fill `cutoff_len`. Measured is
the peak of the resident memory less what was there before anything was loaded, so that what the allocator keeps counts too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

SHAPE = {"vocab_size": 32000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8}
HEADS = {"num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 1024}
TUNERS: Mapping[str, Mapping[str, Any]] = {
    "full": {"finetuning_type": "full"},
    "lora": {"finetuning_type": "lora"},
    "qlora": {"finetuning_type": "lora", "quantization_bit": 4, "quantization_method": "bitsandbytes"},
}
STAGES = {"pt": "texts", "sft": "rows", "rm": "pairs", "dpo": "pairs", "kto": "liked"}
LENGTHS = ((1, 512), (4, 256))
#: How far from the truth the estimate may be.
NEAR = 0.15
#: What runs in a process of its own: it prints the estimate and the measured peak, in bytes.
CHILD = """
import json, resource, sys
from pathlib import Path
from tunesmith import launch, planning, settings
from tunesmith.plugins import Plugins
import tunesmith.runtime.batch_trainer, peft, transformers.models.llama.modeling_llama
plugins = Plugins()
plan = planning.make(settings.read(plugins, json.loads(sys.argv[1]), environ={}), plugins, "train")
resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
launch.train(plan, plugins)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([plan.estimate.total, peak - resident]))
"""


def write_data(folder: Path) -> None:
    """A model with random weights, and rows that are longer than any cut."""
    from tunesmith.testing.small_run import small_model

    small_model(folder / "model", **SHAPE, **HEADS)
    words = " ".join(str(number) for number in range(700))
    rows = [{"instruction": f"Say {i}.", "output": words} for i in range(16)]
    pairs = [{"instruction": f"Say {i}.", "chosen": words, "rejected": words[::-1]} for i in range(16)]
    liked = [{**row, "kto_tag": i % 2 == 0} for i, row in enumerate(rows)]
    for name, made in {"rows": rows, "pairs": pairs, "liked": liked, "texts": [{"text": words}] * 16}.items():
        (folder / f"{name}.json").write_text(json.dumps(made))
    answer = {"prompt": "instruction", "response": "output", "kto_tag": "kto_tag"}
    sides = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    info = {
        "rows": {"file_name": "rows.json"},
        "pairs": {"file_name": "pairs.json", "ranking": True, "columns": sides},
        "liked": {"file_name": "liked.json", "columns": answer},
        "texts": {"file_name": "texts.json", "columns": {"prompt": "text"}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))


def measured(folder: Path, stage: str, tuner: str, size: tuple[int, int]) -> tuple[int, int]:
    """Bytes that the plan expects, and that a run took."""
    batch, length = size
    keys = {
        **{"model_name_or_path": str(folder / "model"), "stage": stage, "dataset": STAGES[stage], "dataset_dir": str(folder)},
        **{"template": "chatml", "backend": "cpu", "output_dir": str(folder / "out"), "overwrite_output_dir": True},
        **{"per_device_train_batch_size": batch, "cutoff_len": length, "max_steps": 2, "save_strategy": "no"},
        **{"data_cache_dir": str(folder / "cache"), "do_train": True, "disable_tqdm": True, "verbosity": "error"},
        **({"packing": False} if stage == "pt" else {}),
        **TUNERS[tuner],
    }
    done = subprocess.run([sys.executable, "-c", CHILD, json.dumps(keys)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{stage} {tuner} failed:\n{done.stderr[-3000:]}")
    expected, peak = json.loads(done.stdout.splitlines()[-1])
    return expected, peak


def main() -> int:
    """Print a line to each stage, tuner and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="lines whose name holds this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        errors: list[float] = []
        for stage in STAGES:
            for tuner in TUNERS:
                for size in LENGTHS:
                    line = f"{stage:4} {tuner:5} {size[0]} × {size[1]:4}"
                    if options.only in line:
                        expected, peak = measured(folder, stage, tuner, size)
                        error = expected / peak - 1
                        errors.append(error)
                        print(
                            f"{line}  expected {expected / 2**20:6.0f}  measured {peak / 2**20:6.0f} MiB  {error:+.0%}",
                            flush=True,
                        )
    near = sum(abs(error) <= NEAR for error in errors)
    print(f"{near} of {len(errors)} within {NEAR:.0%}. None of them on a GPU, for which the estimate is not validated.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
