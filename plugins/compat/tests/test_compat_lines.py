"""Every command line that users know becomes the plan it asks for, or names the package that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunesmith import TunesmithError, settings
from tunesmith.environment import known_variable
from tunesmith.plugins import Plugins
from tunesmith.testing import PluginSuite
from tunesmith.testing.fixtures import write_dataset
from tunesmith_compat.command_line import CommandLine, read_line
from tunesmith_compat.migrate import plan_of
from tunesmith_compat.subcommands import SUBCOMMANDS

pytest_plugins = ["tunesmith.testing.fixtures"]

LINES = (Path(__file__).parent / "commands.txt").read_text(encoding="utf-8").splitlines()
ROWS = [{"instruction": "Say a.", "output": "a"}, {"instruction": "Say b.", "output": "b"}]
PLUGINS = Plugins()
MODEL = "model_name_or_path: MODEL\ntemplate: llama3\n"
CONFIGS = {
    "train": f"{MODEL}stage: sft\nfinetuning_type: lora\ndataset: identity\ndataset_dir: data\noutput_dir: OUT\n",
    "export": f"{MODEL}export_dir: MERGED\n",
}


class TestPlugin(PluginSuite):
    plugin = "compat"
    folder = Path(__file__).parents[1]


@pytest.fixture
def place(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the lines name: a model, an adapter's folder, data."""
    monkeypatch.chdir(tmp_path)
    Path("MODEL").symlink_to(tiny_model)
    Path("data").mkdir()
    write_dataset(Path("data"), "identity", ROWS)
    write_dataset(Path("data"), "alpaca_zh_demo", ROWS)
    Path("ADAPTER").mkdir()
    Path("ADAPTER/adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "MODEL"}')
    return tmp_path


@pytest.mark.parametrize("line", LINES)
def test_a_line_becomes_a_plan(line: str, place: Path) -> None:
    read = read_line([line])
    Path("CONFIG.yaml").write_text(CONFIGS.get(read.command, MODEL))
    if read.command not in PLUGINS.commands.names:
        with pytest.raises(TunesmithError, match=SUBCOMMANDS[read.command].brought_by):
            plan_of(read, PLUGINS, {})
        assert not settings.gather(PLUGINS, None, read.words, read.variables).problems
        return
    if "USE_KT=1" in line or "vllm" in line:  # they run in a stack, which a test does not make
        with pytest.raises(TunesmithError, match=r"the stack \w+ has not been made"):
            plan_of(read, PLUGINS, {})
        return
    plan = plan_of(read, PLUGINS, {})
    if not SUBCOMMANDS[read.command].reads_keys:
        assert plan is None
        return
    assert plan is not None
    assert (plan.command, plan["model_name_or_path"]) == (read.command, "MODEL")
    assert plan["template"] == ("qwen" if "qwen" in read.words else "llama3")
    for variable in filter(None, map(known_variable, read.variables)):
        assert settings.gather(PLUGINS, None, read.words, read.variables).origin(variable.key) == variable.name


def test_the_long_line_means_what_it_says(place: Path) -> None:
    plan = plan_of(read_line([next(line for line in LINES if "alpaca_zh_demo" in line)]), PLUGINS, {})
    assert plan is not None
    assert (plan["eval_strategy"], plan["lora_target"], plan["num_train_epochs"]) == ("steps", ("q_proj", "v_proj"), 5.0)
    assert [dataset.name for dataset in plan.datasets] == ["alpaca_zh_demo", "identity"]


def test_what_another_program_alone_has_is_refused(place: Path) -> None:
    Path("CONFIG.yaml").write_text(CONFIGS["train"])
    with pytest.raises(TunesmithError, match="use_v1 is not supported"):
        plan_of(read_line(["USE_V1=1 llamafactory-cli train CONFIG.yaml"]), PLUGINS, {})


# -- reading lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "here"),
    [
        ("lmf version", "tunesmith version"),
        ("API_PORT=8000 llamafactory-cli api a.yaml", "API_PORT=8000 tunesmith api a.yaml"),
        ("/usr/bin/llamafactory-cli train \\\n  a.yaml \\\n  seed=1  # once", "tunesmith train a.yaml seed=1"),
        ("python3.11 -m llamafactory.train a.yaml", "tunesmith train a.yaml"),
        ("python src/train.py --stage sft", "tunesmith train --stage sft"),
        ("torchrun --nnodes=2 -m llamafactory.train 'my run.yaml'", "torchrun --nnodes=2 -m tunesmith.train 'my run.yaml'"),
        ("accelerate launch --cpu src/train.py a.yaml", "accelerate launch --cpu -m tunesmith.train a.yaml"),
        ("deepspeed --num_gpus 8 LLaMA-Factory/src/train.py a.yaml", "deepspeed --num_gpus 8 --module tunesmith.train a.yaml"),
        ("python -m torch.distributed.run -m llamafactory.train a", "python -m torch.distributed.run -m tunesmith.train a"),
    ],
)  # fmt: skip
def test_a_line_is_written_for_here(line: str, here: str) -> None:
    assert read_line([line]).here() == here


def test_words_and_a_whole_line_are_the_same() -> None:
    words = ["A=b c", "lmf", "train", "x.yaml", "seed=1"]
    assert read_line(words) == CommandLine({"A": "b c"}, (), "train", ("x.yaml", "seed=1"))
    assert read_line(["'A=b c' lmf train x.yaml seed=1"]) == read_line(words)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("python train.py", "does not start LLaMA-Factory"),
        ("A=1", "does not start LLaMA-Factory"),
        ("lmf train $RUN", "for a shell to read"),
        ("lmf train a.yaml && lmf export b.yaml", "for a shell to read"),
        ("lmf train a.yaml > log", "for a shell to read"),
        ("lmf train 'a.yaml", "not complete"),
        ("torchrun src/api.py a.yaml", "only training"),
    ],
)
def test_what_is_no_such_line_is_refused(line: str, told: str) -> None:
    with pytest.raises(TunesmithError, match=told):
        read_line([line])
