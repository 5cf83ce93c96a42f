"""Commands that take a configuration: their own options anywhere among its words."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.main import main
from tunesmith.keys import KeyTable
from tunesmith.plugins import Plugins

COMPAT = Path(__file__).parent / "compat"
LINES = yaml.safe_load((COMPAT / "command_lines.yaml").read_text(encoding="utf-8"))


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.option("--json", "as_json", is_flag=True)
@click.option("--strict", is_flag=True)
@click.option("--for", "command", default="train")
@click.pass_obj
def probe(plugins: Plugins, arguments: tuple[str, ...], as_json: bool, strict: bool, command: str) -> None:
    config = read_arguments(plugins, arguments, {})
    settings = {key: setting.value for key, setting in config.settings.items()}
    click.echo(repr((settings, str(config.file) if config.file else None, as_json, strict, command)))


def run(*words: str) -> Any:
    result = CliRunner().invoke(probe, words, obj=Plugins(found=[]), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return ast.literal_eval(result.output)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("seed: 1\n")
    return "run.yaml"


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "run.yaml", "max_steps=-1", "--bf16", "--for", "chat"],
        ["run.yaml", "--json", "--max_steps", "-1", "--for", "chat", "--bf16"],
        ["run.yaml", "--max-steps=-1", "--bf16", "--for=chat", "--json"],
        ["--bf16", "--for", "chat", "--max_steps", "-1", "--json", "run.yaml"],
    ],
)
def test_own_options_work_before_between_and_after(config: str, words: list[str]) -> None:
    assert run(*words) == ({"seed": 1, "max_steps": -1, "bf16": True}, config, True, False, "chat")


def test_the_value_of_a_key_may_be_a_file_that_looks_like_a_configuration(config: str) -> None:
    values, file, *_ = run("--accelerator_config", "fsdp.json", "run.yaml")
    assert (values, file) == ({"accelerator_config": "fsdp.json", "seed": 1}, config)


def test_without_any_file_the_words_are_the_configuration() -> None:
    assert run("--stage", "sft", "dataset=a,b")[:2] == ({"stage": "sft", "dataset": ("a", "b")}, None)


def test_help_still_works() -> None:
    result = CliRunner().invoke(probe, ["--help"])
    assert result.exit_code == 0
    assert "[RUN.yaml] [key=value | --key value]…" in result.output


def test_problems_reach_the_user_as_two_lines_and_status_2(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", config, "cutof_len=3"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == ["error: command line: there is no key cutof_len", "    Did you mean 'cutoff_len'?"]


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line["words"])[:40])
def test_command_lines_that_users_have(line: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = Plugins()
    if "lora_target" not in KeyTable.of(plugins):
        pytest.skip("the default packages are not installed")
    monkeypatch.chdir(tmp_path)
    Path("CONFIG.yaml").write_text("model_name_or_path: MODEL\n")
    config = read_arguments(plugins, line["words"], line.get("environment", {}))
    values = {key: config.value(key) for key in line["gives"]}
    assert {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()} == line["gives"]
    assert config.value("model_name_or_path") == "MODEL"
