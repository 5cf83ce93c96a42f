"""The stages one by one: what a step costs beyond forward, backward and optimizer, and the first losses beside LLaMA-Factory's.

    python benchmarks/stages.py                                             # own time, a minute or two
    python benchmarks/stages.py --scaling                                   # two processes over one, a minute or two
    python benchmarks/stages.py --peer-python /path/to/peer/bin/python      # losses, about half a minute a line

Own time: 8 million parameters, bfloat16, one thread, processor time, medians over steps. Passes of a reference model are
forward passes, and counted as such.

Scaling: rows per second of two processes over those of one, a thread and as many rows of a step to each, the better of two runs
that take turns. It needs two cores that nobody else uses.

Losses: both programs read the same files with the same seed in float32, as `parity.py` does. What is made to agree: the value
head is one that both read, without the dropout that the peer's has; with an adapter our reference model is named, since the
peer's is the model without the adapter and ours the model as it starts; plain text begins with the token that the tokenizer
puts before every text, which the peer leaves out. KTO's reference point is estimated from other pairs in each program (the
peer: neighbours within a block of rows; here: the next row with another prompt), so that losses agree while it is zero and
differ a little afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

import numpy as np
from parity import OURS, PEERS, PEERS_VICUNA, adapter, losses, prepare
from train_step import SIZES, VOCABULARY, timed
from tunesmith.data.conversation import Tokens
from tunesmith.testing.small_run import SmallStore, small_model, small_plan, small_plugins, small_session
from tunesmith.testing.together import Trial, together

PLUGINS = {name: f"tunesmith_{name}.plugin" for name in ("sft", "reward", "preference", "full", "lora")}
#: How much a step may hold beside work.
LIMIT = 0.03


@dataclass(frozen=True)
class Case:
    """One line of the comparison. ``close``: how near the losses have to be; ``None`` where they are known to differ."""

    stage: str
    tuner: str = "full"
    keys: Mapping[str, Any] = field(default_factory=dict)
    close: float | None = 1e-5

    @property
    def name(self) -> str:
        """As it is printed."""
        return " ".join([self.stage, self.tuner, *(f"{key}={value}" for key, value in self.keys.items())])


#: Rows of a step.
ROWS = 4
#: Rows that each process has in a step, where scaling is measured: short ones.
BATCH = 48
CASES = (
    Case("pt", keys={"packing": False}),
    Case("sft", keys={"use_dft_loss": True}),
    Case("sft", keys={"use_eaft_loss": True}),
    Case("sft", keys={"use_asft_loss": True}),
    Case("rm"),
    Case("rm", "lora"),
    *(Case("dpo", keys={"pref_loss": loss}) for loss in ("sigmoid", "hinge", "ipo", "kto_pair", "orpo", "simpo")),
    Case("dpo", keys={"pref_loss": "sigmoid", "pref_ftx": 0.1, "dpo_label_smoothing": 0.1}),
    Case("dpo", "lora", {"pref_loss": "sigmoid"}),
    Case("kto", close=None),
)

# ---- own time --------------------------------------------------------------------------------------------------------


def rows(stage: str, count: int, length: int) -> SmallStore:
    """Rows of ``length`` tokens whose second half is learned."""
    generator = np.random.default_rng(0)
    weights = np.repeat(np.array([0, 1], np.float32), length // 2)

    def tokens() -> Tokens:
        return Tokens(generator.integers(5, VOCABULARY, length), weights)

    names = {"rm": ("chosen", "rejected"), "dpo": ("chosen", "rejected")}.get(stage, ("tokens",))
    facts = [{"desirable": bool(i % 2)} if stage == "kto" else {} for i in range(count)]
    return SmallStore([{**{name: tokens() for name in names}, **fact} for fact in facts])


def own_time(stage: str, tuner: str, steps: int) -> float:
    """The share of a step that is not work."""
    width, layers, length = SIZES[8]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers, "num_attention_heads": 8}
        small_model(folder / "model", vocab_size=VOCABULARY, num_key_value_heads=8, max_position_embeddings=length, **shape)
        plugins = small_plugins(**PLUGINS)
        keys: dict[str, Any] = {"bf16": True, "per_device_train_batch_size": 1, "learning_rate": 1e-5, "logging_steps": 10}
        plan = small_plan(folder, plugins, stage, picked={"tuners": tuner}, **keys)
        session = small_session(plan, plugins, rows(stage, steps, length // (2 if stage in ("rm", "dpo", "kto") else 1)))
        return timed(session).outside


# ---- scaling ---------------------------------------------------------------------------------------------------------


def scaling(stage: str, steps: int) -> float:
    """Rows per second of two processes over those of one."""
    width, layers, length = SIZES[8]
    best = {1: 0.0, 2: 0.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers, "num_attention_heads": 8}
        small_model(folder / "model", vocab_size=VOCABULARY, num_key_value_heads=8, max_position_embeddings=length, **shape)
        for turn in range(2):
            for processes in best:
                out = folder / f"{turn}-{processes}"
                best[processes] = max(best[processes], _rows_per_second(folder, out, (stage, processes, steps)))
    return best[2] / best[1]


def _rows_per_second(folder: Path, out: Path, what: tuple[str, int, int]) -> float:
    stage, processes, steps = what
    keys: dict[str, Any] = {"per_device_train_batch_size": BATCH, "learning_rate": 1e-5, "max_steps": steps}
    plan = small_plan(folder, small_plugins(**PLUGINS), stage, picked={"tuners": "full"}, output_dir=str(out), **keys)
    names = ("chosen", "rejected") if stage in ("rm", "dpo") else ("tokens",)
    together([Trial(plan, PLUGINS, BATCH * processes * 2, sequences=names)], out / "processes", processes)
    lines = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return float(next(line["train_samples_per_second"] for line in lines if "train_samples_per_second" in line))


# ---- losses ----------------------------------------------------------------------------------------------------------


def compare(cases: Sequence[Case], python: str, steps: int) -> Iterator[tuple[Case, float]]:
    """The largest difference of each case."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        for number, case in enumerate(cases):
            yield case, _difference(folder / str(number), folder, case, (python, steps))


def _difference(out: Path, folder: Path, case: Case, how: tuple[str, int]) -> float:
    python, steps = how
    keys: dict[str, Any] = {
        **{"model_name_or_path": str(folder / "model"), "stage": case.stage, "finetuning_type": case.tuner},
        **{"dataset": {"pt": "texts", "sft": "rows", "kto": "liked"}.get(case.stage, "pairs"), "dataset_dir": str(folder)},
        **{"cutoff_len": 256, "per_device_train_batch_size": ROWS, "max_steps": steps, "learning_rate": 1e-4, "seed": 7},
        **{"lr_scheduler_type": "cosine", "disable_shuffling": True, "logging_steps": 1, "save_strategy": "no"},
        **{"report_to": "none", "optim": "adamw_torch", **case.keys},
    }
    own: dict[str, Any] = {"backend": "cpu", "data_cache_dir": str(folder / "cache"), "output_dir": f"{out}-ours"}
    own |= {} if case.stage == "pt" else {"template": str(folder / "peers_vicuna.toml")}
    if case.tuner == "lora":
        keys["adapter_name_or_path"] = str(folder / "adapter")
        own |= {"ref_model": str(folder / "model")} if case.stage == "dpo" else {}
    theirs = {"template": "vicuna", "do_train": True, "use_cpu": True, "output_dir": f"{out}-peers"}
    if case.stage == "pt":
        theirs["dataset"] = "opened_texts"
    ours, peers = losses(sys.executable, OURS, {**keys, **own}), losses(python, PEERS, {**keys, **theirs})
    if case.stage == "pt":
        peers = [loss * whole / (whole - ROWS) for loss, whole in zip(peers, _tokens(folder, steps), strict=True)]
    return max(abs(one - other) for one, other in zip(ours, peers, strict=True))


def _tokens(folder: Path, steps: int) -> Iterator[int]:
    """How many tokens each step's texts have. The peer divides by this, and by it nobody can say the first token of a text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    texts = [row["text"] + tokenizer.eos_token for row in json.loads((folder / "opened_texts.json").read_text())]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return (sum(lengths[step * ROWS : (step + 1) * ROWS]) for step in range(steps))


def write_data(folder: Path) -> None:
    """A model with a value head that both programs read, and rows for every stage."""
    import torch
    from safetensors.torch import save_file

    prepare(folder, folder / "model")
    (folder / "peers_vicuna.toml").write_text(PEERS_VICUNA)
    file = folder / "model" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "summary_dropout_prob": 0.0}))
    generator = torch.Generator().manual_seed(1)
    head = {
        "v_head.summary.weight": torch.randn(1, config["hidden_size"], generator=generator) * 0.1,
        "v_head.summary.bias": torch.zeros(1),
    }
    for place in (folder / "model", adapter(folder, folder / "model")):
        save_file(head, place / "value_head.safetensors", {"format": "pt"})
    rows = json.loads((folder / "rows.json").read_text())
    pairs = [{"instruction": r["instruction"], "chosen": r["output"], "rejected": f"No, {i}."} for i, r in enumerate(rows)]
    liked = [{"instruction": r["instruction"], "output": r["output"], "kto_tag": i % 3 > 0} for i, r in enumerate(rows)]
    texts = [{"text": f"{r['instruction']} {r['output']}"} for r in rows]
    begin = json.loads((folder / "model" / "tokenizer_config.json").read_text())["bos_token"]
    opened = [{"text": begin + one["text"]} for one in texts]
    for name, made in (("pairs", pairs), ("liked", liked), ("texts", texts), ("opened_texts", opened)):
        (folder / f"{name}.json").write_text(json.dumps(made))
    info = json.loads((folder / "dataset_info.json").read_text())
    sides = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    info["pairs"] = {"file_name": "pairs.json", "ranking": True, "columns": sides}
    info["liked"] = {
        "file_name": "liked.json",
        "columns": {"prompt": "instruction", "response": "output", "kto_tag": "kto_tag"},
    }
    info |= {name: {"file_name": f"{name}.json", "columns": {"prompt": "text"}} for name in ("texts", "opened_texts")}
    (folder / "dataset_info.json").write_text(json.dumps(info))


def main() -> int:
    """Print a line to each stage or case; status 1 where one is beyond its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--only", help="cases whose name holds this")
    options = parser.parse_args()
    bad = False
    if options.peer_python:
        cases = [case for case in CASES if not options.only or options.only in case.name]
        for case, worst in compare(cases, options.peer_python, options.steps):
            bad |= case.close is not None and worst > case.close
            print(f"{case.name:60} largest difference {worst:.1e}", flush=True)
        return int(bad)
    if options.scaling:
        for stage in ("sft", "dpo"):
            print(f"{stage:4} two processes over one: {scaling(stage, options.steps):.2f}", flush=True)
        return 0
    import torch

    torch.set_num_threads(1)
    for stage in ("pt", "sft", "rm", "dpo", "kto"):
        for tuner in ("full", "lora"):
            share = own_time(stage, tuner, options.steps + 5)
            bad |= share > LIMIT
            print(f"{stage:4} {tuner:5} outside forward, backward and optimizer {share:.1%}", flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
