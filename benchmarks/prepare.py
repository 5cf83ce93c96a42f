"""SFT data preparation against its floor: the raw tokenizer's ``encode_batch_fast`` on the same text in the same run.

    python benchmarks/prepare.py                      about a million tokens, under two minutes
    python benchmarks/prepare.py --tokens 30000000    the size that the project's figures are quoted at
    python benchmarks/prepare.py --rounds 0 --peer-python /path/to/peer/bin/python    only the memory, beside LLaMA-Factory's

Prints tokens per CPU-second of both and their ratio, for one worker and for several, with and without packing, and which share
of preparing the renderer takes.
Start-up (imports, reading the tokenizer, spawning processes) is measured on an almost empty dataset and taken off.
Peak memory is that of a process of its own with all its workers, shared pages counted once, start-up included.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tunesmith.data.conversation import Conversation
from tunesmith.data.dataset_info import describe
from tunesmith.data.dataset_rows import make_format
from tunesmith.data.flow import prepare
from tunesmith.data.learning import Learning, drafted
from tunesmith.data.preparation import make_tools
from tunesmith.defaults.local_files import LocalFiles
from tunesmith.host_options import DataOptions, ModelOptions
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.testing.hand_plan import hand_plan

TEXT = Path(__file__).parents[1] / "core/src/tunesmith/tiny_text"
#: How words are told apart before they are split further: as Llama 3 and Qwen do it.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TARGET = 0.85
#: The largest share of preparing that rendering may cost.
SHARE = 0.1
#: Long enough that no row is cut: both sides must have the same tokens.
CUTOFF = 16384


@dataclass(frozen=True)
class Measured:
    """Seconds of all threads and processes together, and of the clock."""

    cpu: float
    wall: float


def measure(work: Callable[[], object]) -> Measured:
    """Run something and see what it costs."""
    before, clock = _cpu(), time.perf_counter()
    work()
    return Measured(_cpu() - before, time.perf_counter() - clock)


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


# ---- the data --------------------------------------------------------------------------------------------------------


def make_model(folder: Path) -> Path:
    """A model folder with a byte-level BPE tokenizer of the size of the shipped text."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=8000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train([str(file) for file in sorted(TEXT.glob("*.txt"))], trainer)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {"eos_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def sentences() -> list[str]:
    """The lines of the shipped text."""
    return [
        line for file in sorted(TEXT.glob("*.txt")) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()
    ]


def rows(count: int, length: float, seed: int = 0) -> Iterator[dict[str, str]]:
    """Exchanges of very different length, most of them below the mean of roughly ``length`` tokens, as in instruction data."""
    lines, dice = sentences(), random.Random(seed)
    for _ in range(count):
        asked, said = (1 + int(dice.expovariate(share / length)) for share in (100.0, 30.0))
        question, reply = " ".join(dice.choices(lines, k=asked)), "\n".join(dice.choices(lines, k=said))
        yield {"instruction": question, "input": "", "output": reply}


def write_rows(folder: Path, count: int, length: float) -> None:
    """The dataset ``bench`` of so many rows, and ``start`` of two."""
    folder.mkdir()
    for name, number in (("bench", count), ("start", 2)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(number, length))
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    entries = {name: {"file_name": f"{name}.jsonl", "columns": columns} for name in ("bench", "start")}
    (folder / "dataset_info.json").write_text(json.dumps(entries))


# ---- what is measured ------------------------------------------------------------------------------------------------


def make_plan(root: Path, dataset: str, **options: object) -> Plan:
    """The plan of a run that only prepares, into a cache of its own."""
    number = len(list(root.glob("cache-*")))
    cache = str(root / f"cache-{number}")
    data = DataOptions(template="chatml", dataset_dir=str(root / "data"), data_cache_dir=cache, cutoff_len=CUTOFF, **options)  # type: ignore[arg-type]
    (root / f"cache-{number}").mkdir()
    model = str(root / "model")
    found = describe([dataset], "train", dataset_dir=str(root / "data"), wants=("conversation",), plugins=PLUGINS)
    plan = hand_plan(data, ModelOptions(model_name_or_path=model), seed=0)
    return replace(plan, datasets=tuple(found.datasets), models={"policy": ModelWish("policy", model)})


def ours(root: Path, **options: object) -> tuple[Measured, int]:
    """What preparing costs beyond start-up, and how many tokens it made."""
    start = measure(lambda: prepare(make_plan(root, "start", preprocessing_batch_size=1, **options), PLUGINS))
    found = []
    whole = measure(lambda: found.append(prepare(make_plan(root, "bench", **options), PLUGINS)))
    return Measured(whole.cpu - start.cpu, whole.wall - start.wall), found[0].report.sources[0].tokens


@dataclass(frozen=True)
class Text:
    """The same rows as conversations, and as the text that a model would read."""

    plan: Plan
    conversations: list[Conversation]
    texts: list[str]

    @classmethod
    def of(cls, root: Path) -> Text:
        """Read and render the dataset."""
        plan = make_plan(root, "bench")
        encoder, renderer = make_tools(plan, PLUGINS)
        format = make_format(plan.datasets[0], PLUGINS)
        examples = [format.read(row, "conversation") for _, row in LocalFiles(plan.datasets[0]).rows()]
        made = [drafted(example, renderer, encoder, Learning())[0].drafts[0] for example in examples]
        talks = [example for example in examples if isinstance(example, Conversation)]
        return cls(plan, talks, [draft.rendered.text for draft in made])


def rendering(text: Text) -> Measured:
    """What the renderer alone costs, conversations to pieces."""
    renderer = make_tools(text.plan, PLUGINS)[1]
    assert renderer is not None
    return measure(lambda: [renderer.render(conversation) for conversation in text.conversations])


def floor(root: Path, texts: list[str], batch: int = 1000) -> tuple[Measured, int]:
    """What the raw tokenizer alone costs on the same text; reading and rendering are not counted."""
    tokenizer = Tokenizer.from_file(str(root / "model/tokenizer.json"))
    tokens = 0

    def work() -> None:
        nonlocal tokens
        for at in range(0, len(texts), batch):
            tokens += sum(map(len, tokenizer.encode_batch_fast(texts[at : at + batch], add_special_tokens=False)))

    return measure(work), tokens


PLUGINS = Plugins()


# ---- memory ----------------------------------------------------------------------------------------------------------

PEER = """
import json, sys
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
if __name__ == "__main__":
    model, data, training, _, _ = get_train_args(json.load(open(sys.argv[1])))
    loaded = load_tokenizer(model)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data)
    get_dataset(template, model, data, training, stage="sft", **loaded)
"""


def peak_memory(command: list[str]) -> int:
    """Bytes that a program and all its children take at most; looked at twenty times a second."""
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        found, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            peak = max(peak, _memory([found, *_children(found)]))
            time.sleep(0.05)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{command[0]} failed:\n{said.read()[-3000:]}")
    return peak


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _memory(processes: list[psutil.Process]) -> int:
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):  # it ended meanwhile
            continue
    return total


def show_memory(root: Path, peer: str | None, workers: int) -> None:
    """Both programs on the same rows, each with one worker and with several."""
    keys: dict[str, object] = {"model_name_or_path": str(root / "model"), "dataset": "bench", "dataset_dir": str(root / "data")}
    keys |= {
        "cutoff_len": CUTOFF,
        "template": "chatml",
        "output_dir": str(root / "out"),
        "stage": "sft",
        "train_from_scratch": True,
    }
    for number in dict.fromkeys((1, workers)):
        own = {"data_cache_dir": str(root / f"memory-{number}"), "preprocessing_num_workers": number}
        words = [f"{key}={value}" for key, value in {**keys, **own}.items() if key not in ("output_dir", "stage")]
        ours = peak_memory([str(Path(sys.executable).with_name("tunesmith")), "data", "report", *words])
        line = f"peak memory, {number} worker{'s' if number > 1 else ''}: {ours / 1e9:.2f} GB"
        if peer:
            file = root / f"peer-{number}.json"
            own = {"do_train": True, "use_cpu": True, "overwrite_cache": True, "preprocessing_num_workers": number}
            file.write_text(json.dumps({**keys, **own}))
            (root / "peer.py").write_text(PEER)
            theirs = peak_memory([peer, str(root / "peer.py"), str(file)])
            line += f"; the peer {theirs / 1e9:.2f} GB, ratio {ours / theirs:.2f}"
        print(line)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000, help="roughly how many tokens to prepare")
    parser.add_argument("--row-tokens", type=float, default=500, help="roughly how long a row is on average")
    parser.add_argument("--workers", type=int, default=2, help="how many processes the last figure uses")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often all of it is timed; medians are shown; 0 times nothing"
    )
    parser.add_argument("--peer-python", help="python of an environment with LLaMA-Factory, to compare peak memory with")
    options = parser.parse_args()
    ways: dict[str, dict[str, object]] = {"one worker": {}, "packed": {"packing": True}}
    ways[f"{options.workers} workers"] = {"preprocessing_num_workers": options.workers}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_model(root / "model")
        write_rows(root / "data", max(100, int(options.tokens / options.row_tokens)), options.row_tokens)
        if options.rounds:
            show_speed(root, ways, options.rounds)
        show_memory(root, options.peer_python, options.workers)


def show_speed(root: Path, ways: dict[str, dict[str, object]], rounds: int) -> None:
    """The table of tokens per CPU-second."""
    text = Text.of(root)
    gc.freeze()  # the texts are the benchmark's own: nobody who prepares data has all of it in memory to be looked through
    found = [one_round(root, text, ways) for _ in range(rounds)]
    print(f"{len(text.texts):,} rows; medians of {rounds} rounds; the ratio is of tokens per CPU-second; target {TARGET}")
    print(f"{'':24}{'tokens':>12}{'CPU s':>9}{'clock s':>9}{'tokens/CPU s':>14}{'ratio':>8}")
    for name in found[0]:
        show(name, [round[name] for round in found], [round["raw tokenizer"] for round in found])
    share = median(round["renderer alone"][0].cpu / round["one worker"][0].cpu for round in found)
    print(f"the renderer's share of preparing with one worker: {share:.1%} (at most {SHARE:.0%})")


Result = tuple[Measured, int]


def one_round(root: Path, text: Text, ways: dict[str, dict[str, object]]) -> dict[str, Result]:
    """Everything once, the raw tokenizer first, so that whatever else the machine does hits all of them alike."""
    raw = floor(root, text.texts)
    found = {"raw tokenizer": raw, "renderer alone": (rendering(text), raw[1])}
    return found | {name: ours(root, **more) for name, more in ways.items()}


def show(name: str, rounds: list[Result], raw: list[Result]) -> None:
    """One line."""
    speed, cpu, wall = (median(values) for values in zip(*((n / m.cpu, m.cpu, m.wall) for m, n in rounds), strict=True))
    ratio = median((n / m.cpu) / (floor_n / floor_m.cpu) for (m, n), (floor_m, floor_n) in zip(rounds, raw, strict=True))
    print(f"{name:24}{rounds[0][1]:>12,}{cpu:>9.2f}{wall:>9.2f}{speed:>14,.0f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
