"""Configurations: files with lines, layers, what users mean, and everything that can be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tunesmith import settings
from tunesmith.config import RunConfig
from tunesmith.errors import ConfigError, Problem
from tunesmith.plugins import Plugins

HOST_ONLY = Plugins(found=[])
NO_MEGATRON = "There is no Megatron backend; deepspeed and fsdp shard large models."


def read(source: Any = None, *words: str, environ: Mapping[str, str] | None = None) -> RunConfig:
    return settings.read(HOST_ONLY, source, words, environ or {})


def problems(source: Any = None, *words: str, environ: Mapping[str, str] | None = None) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        read(source, *words, environ=environ)
    return list(caught.value.problems)


def problem(source: Any = None, *words: str, environ: Mapping[str, str] | None = None) -> Problem:
    (one,) = problems(source, *words, environ=environ)
    return one


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "run.yaml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


# -- what is read --------------------------------------------------------------------------------------------------------


def test_each_value_says_where_it_comes_from_and_whose_it_is(here: Path) -> None:
    config = read(write("stage: sft\n\nlearning_rate: 1e-4\n"), "cutoff_len=64", environ={"TUNESMITH_BACKEND": "x"})
    found = {key: (s.value, s.origin, s.owner, s.given) for key, s in config.settings.items()}
    assert found == {
        "stage": ("sft", "run.yaml:1", "host", True),
        "learning_rate": (0.0001, "run.yaml:3", "transformers", True),
        "backend": ("x", "TUNESMITH_BACKEND", "host", True),
        "cutoff_len": (64, "command line", "host", True),
    }
    assert (config.value("max_samples"), config.origin("max_samples")) == (None, "default")
    assert config.file == Path("run.yaml")


def test_the_command_line_beats_the_environment_and_that_beats_the_file(here: Path) -> None:
    path = write("seed: 1\ncutoff_len: 1\nval_size: 1\n")
    config = read(path, "seed=3", environ={"TUNESMITH_SEED": "2", "TUNESMITH_CUTOFF_LEN": "2"})
    assert [config.value(key) for key in ("seed", "cutoff_len", "val_size")] == [3, 2, 1.0]


TRAPS = """
eval_strategy: no
run_name: no
project: 1e-4
hub_revision: 4.10
default_system: "null"
tool_format: null
optim_args:
learning_rate: 1e-4
adam_epsilon: 1.0e-8
weight_decay: 5
bf16: off
plot_loss: yes
enable_thinking: none
report_to: none
max_steps: 1e3
logging_dir: 2024-01-01
dataset: [no, on, 1.0]
"""


def test_words_mean_what_users_mean_not_what_yaml_1_1_makes_of_them(here: Path) -> None:
    config = read(write(TRAPS))
    assert {key: setting.value for key, setting in config.settings.items()} == {
        "eval_strategy": "no",
        "run_name": "no",
        "project": "1e-4",
        "hub_revision": "4.10",
        "default_system": "null",
        "tool_format": None,
        "optim_args": None,
        "learning_rate": 0.0001,
        "adam_epsilon": 1e-8,
        "weight_decay": 5.0,
        "bf16": False,
        "plot_loss": True,
        "enable_thinking": None,
        "report_to": ("none",),
        "max_steps": 1000,
        "logging_dir": "2024-01-01",
        "dataset": ("no", "on", "1.0"),
    }


def test_inside_untyped_mappings_the_rules_of_yaml_1_2_hold(here: Path) -> None:
    text = "accelerator_config:\n  a: no\n  b: true\n  c: 1e-4\n  d: ~\n  e: '5'\n  f: [off, 0x10, 7, -.inf]\n"
    value = read(write(text)).value("accelerator_config")
    assert value == {"a": "no", "b": True, "c": 0.0001, "d": None, "e": "5", "f": ["off", "0x10", 7, float("-inf")]}


def test_json_is_read_as_json_with_the_lines_of_its_keys(here: Path) -> None:
    text = (
        '{\n\t"run_name": "no",\n\n\t"seed": 7,"bf16": true,'
        '\n\t"accelerator_config": {"a": "\\ud83d\\ude00"}, "dataset": ["a"]\n}\n'
    )
    config = read(write(text, "run.json"))
    assert {key: (s.value, s.origin) for key, s in config.settings.items()} == {
        "run_name": ("no", "run.json:2"),
        "seed": (7, "run.json:4"),
        "bf16": (True, "run.json:4"),
        "accelerator_config": ({"a": "\U0001f600"}, "run.json:5"),
        "dataset": (("a",), "run.json:5"),
    }


def test_a_mapping_from_python_is_a_configuration_too() -> None:
    config = read({"eval_strategy": False, "learning_rate": "1e-4", "dataset": ["a", "b"], "packing": None})
    assert [config.value(key) for key in ("eval_strategy", "learning_rate", "dataset", "packing")] == [
        "no",
        0.0001,
        ("a", "b"),
        None,
    ]
    assert config.origin("dataset") == "Python"


def test_an_empty_file_is_an_empty_configuration(here: Path) -> None:
    assert read(write("# nothing yet\n")).settings == {} == read(write("{}", "run.json")).settings


def test_an_alias_stands_for_its_anchor(here: Path) -> None:
    config = read(write("dataset: &sets [a, b]\neval_dataset: *sets\n"))
    assert config.value("eval_dataset") == ("a", "b")


# -- overrides -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["learning_rate=1e-4"], "learning_rate", 0.0001),
        (["--learning_rate", "1e-4"], "learning_rate", 0.0001),
        (["--learning-rate=1e-4"], "learning_rate", 0.0001),
        (["--bf16"], "bf16", True),
        (["--bf16", "false"], "bf16", False),
        (["--bf16", "seed=3"], "bf16", True),
        (["--max_steps", "-1"], "max_steps", -1),
        (["--resume_from_checkpoint"], "resume_from_checkpoint", True),
        (["--resume_from_checkpoint", "runs/a"], "resume_from_checkpoint", "runs/a"),
        (["--label_names", "a", "b", "--bf16"], "label_names", ("a", "b")),
        (["default_system=a=b and c"], "default_system", "a=b and c"),
        (["--default_system", "x=y"], "default_system", "x=y"),
        (["default_system="], "default_system", None),
        (["seed=1", "--seed", "2"], "seed", 2),
        (["--accelerator_config", "fsdp.json"], "accelerator_config", "fsdp.json"),
        (['accelerator_config={"a": 1}'], "accelerator_config", {"a": 1}),
        (["accelerator_config.a.b=no", "accelerator_config.a.c=2"], "accelerator_config", {"a": {"b": "no", "c": 2}}),
    ],
)
def test_every_way_to_override(words: list[str], key: str, value: Any) -> None:
    config = read(None, *words)
    assert (config.value(key), config.origin(key)) == (value, "command line")


def test_a_dotted_key_reaches_into_a_mapping_of_the_file(here: Path) -> None:
    path = write("accelerator_config:\n  a: 1\n  b: {c: 2}\n")
    assert read(path, "accelerator_config.b.c=3").value("accelerator_config") == {"a": 1, "b": {"c": 3}}


def test_the_file_may_stand_among_the_words(here: Path) -> None:
    write("seed: 1\n")
    config = read(None, "--bf16", "run.yaml", "cutoff_len=9")
    assert (config.value("seed"), config.value("bf16"), config.value("cutoff_len")) == (1, True, 9)


# -- what is wrong -------------------------------------------------------------------------------------------------------


def test_every_problem_is_told_at_once_with_its_place(here: Path) -> None:
    path = write("learning_rat: 1\ncutoff_len: -5\nmix_strategy: concatt\nbf16: maybe\nuse_mca: true\n")
    assert problems(path, "seed=x", environ={"TUNESMITH_VAL_SIZE": "much"}) == [
        Problem("run.yaml:1", "there is no key learning_rat", "Did you mean 'learning_rate'?"),
        Problem("run.yaml:2", "cutoff_len must be a whole number, at least 1, not -5"),
        Problem(
            "run.yaml:3",
            "mix_strategy must be one of concat, interleave_under, interleave_over, interleave_once, not concatt",
            "Did you mean 'concat'?",
        ),
        Problem("run.yaml:4", "bf16 must be true or false, not maybe", "Write true or false."),
        Problem(
            "run.yaml:5", "use_mca is not supported", "There is no Megatron backend; deepspeed and fsdp shard large models."
        ),
        Problem("TUNESMITH_VAL_SIZE", "val_size must be a number, at least 0, not much"),
        Problem("command line", "seed must be a whole number, not x"),
    ]


def test_a_key_given_twice_names_both_lines(here: Path) -> None:
    assert problem(write("seed: 1\nbf16: true\nseed: 2\n")) == Problem(
        "run.yaml:3", "seed is given twice, first at run.yaml:1", "Keep one of them."
    )
    assert problem(write('{"seed": 1,\n "seed": 1}', "run.json")).what == "seed is given twice, first at run.json:1"
    assert problem(write("accelerator_config:\n  a: 1\n  a: 2\n")).what == "a is given twice, again on line 3"
    assert "a is given twice" in problem(write('{"accelerator_config": {"a": 1, "a": 2}}', "run.json")).what


def test_null_for_a_key_that_needs_a_value_names_the_default(here: Path) -> None:
    assert problem(write("cutoff_len: null\n")).instead == "Leave it out for its default, 2048."


def test_a_secret_is_not_repeated_in_an_error() -> None:
    assert "hunter2" not in str(problem({"hf_hub_token": ["hunter2"]}))


@pytest.mark.parametrize(
    ("name", "text", "where", "what"),
    [
        ("run.yaml", "seed: 1\n  bf16: true\n", "run.yaml:2", "this is not YAML"),
        ("run.yaml", "a: 1\nb: {\n", "run.yaml:3", "this is not YAML"),
        ("run.yaml", "accelerator_config:\n\t- a\n", "run.yaml:2", "this is not YAML"),
        ("run.yaml", "- seed\n", "run.yaml:1", "a configuration has lines of the form `key: value`"),
        ("run.yaml", "just words\n", "run.yaml:1", "a configuration has lines of the form `key: value`"),
        ("run.yaml", "seed: 1\n---\nseed: 2\n", "run.yaml:2", "this is not YAML"),
        (
            "run.yaml",
            "run_name: !!python/object/apply:os.system [ls]\n",
            "run.yaml:1",
            "the tag tag:yaml.org,2002:python",
        ),
        ("run.yaml", "dataset: &a [*a]\n", "run.yaml:1", "the alias on line 1 holds itself"),
        (
            "run.yaml",
            "a: &a {b: 1}\naccelerator_config:\n  <<: *a\n",
            "run.yaml:2",
            "merging with << on line 3 is not supported",
        ),
        ("run.yaml", "{}: 1\n", "run.yaml:1", "the key on line 1 is no word"),
        ("run.json", '{"seed": 1,\n}', "run.json:2", "this is not JSON: a key in double quotes is missing"),
        ("run.json", '{"seed": 1\n "bf16": true}', "run.json:2", "this is not JSON: ',' or '}' is missing"),
        ("run.json", '{"seed" 1}', "run.json:1", "this is not JSON: ':' is missing"),
        ("run.json", '{"seed": one}', "run.json:1", "this is not JSON: Expecting value"),
        ("run.json", "[1]", "run.json:1", "this is not JSON: a configuration is one JSON object"),
        ("run.json", "{}\n{}", "run.json:2", "this is not JSON: there is more after the object"),
    ],
)
def test_a_malformed_file_names_the_line(here: Path, name: str, text: str, where: str, what: str) -> None:
    found = problem(write(text, name))
    assert found.where == where
    assert found.what.startswith(what)


def test_a_file_that_is_no_text_says_so(here: Path) -> None:
    Path("run.yaml").write_bytes(b"seed: \xff\xfe")
    assert problem(Path("run.yaml")) == Problem("run.yaml", "this is not a text file in UTF-8", "Save it as UTF-8.")


def test_a_missing_file_names_the_nearest_one(here: Path) -> None:
    write("", "llama_lora.yaml")
    assert problem(Path("lama_lora.yaml")) == Problem(
        "command line", "there is no configuration file lama_lora.yaml", "Did you mean 'llama_lora.yaml'?"
    )
    assert problem(Path("runs/a.yaml")).instead == "There is no folder runs."
    Path("dir.yaml").mkdir()
    assert problem(Path("dir.yaml")).what == "dir.yaml is a folder"


def test_two_files_are_one_too_many(here: Path) -> None:
    write("seed: 1\n")
    assert problem(None, "run.yaml", "other.yaml").what == "2 configuration files: run.yaml and other.yaml"
    assert problem(Path("run.yaml"), "other.yaml").what == "2 configuration files: run.yaml and other.yaml"


@pytest.mark.parametrize(
    ("words", "what", "instead"),
    [
        (["--learning_rate"], "--learning_rate needs a value", "Write --learning_rate VALUE, or learning_rate=VALUE."),
        (
            ["--learning_rate", "--bf16"],
            "--learning_rate needs a value",
            "Write --learning_rate VALUE, or learning_rate=VALUE.",
        ),
        (["stray"], "'stray' is neither a configuration file nor an override", "Write key=value, or name a configuration file"),
        (["--nonsens", "3"], "there is no key nonsens", ""),
        (["seed.x=3"], "seed must be a whole number, not 3", ""),
        (
            ["accelerator_config=a.json", "accelerator_config.b=1"],
            "accelerator_config must be a mapping to take accelerator_config.b, not 1",
            "Leave accelerator_config.b",
        ),
        (["--without", "acme"], "without is not supported", "It is an option of the program: tunesmith --without NAME"),
    ],
)
def test_wrong_words_on_the_command_line(words: list[str], what: str, instead: str) -> None:
    found = problem(None, *words)
    assert (found.where, found.what) == ("command line", what)
    assert found.instead.startswith(instead)


# -- known, but not ours -------------------------------------------------------------------------------------------------


def test_a_key_still_to_come_is_typed_and_kept_with_who_will_bring_it() -> None:
    config = read({"downsample_mode": "4x"})
    found = config.settings["downsample_mode"]
    assert (found.value, found.owner) == ("4x", "tunesmith-multimodal")
    assert problem({"downsample_mode": "many"}).what.startswith("downsample_mode must be one of")


def test_a_refused_key_at_its_default_changes_nothing_and_says_so() -> None:
    config = read({"use_mca": False})
    assert config.settings == {}
    assert config.notices == ("Python: use_mca is left out: false changes nothing",)


def test_a_key_of_a_package_that_is_not_installed_names_it() -> None:
    assert problem({"lora_rank": 8}) == Problem(
        "Python", "there is no key lora_rank", "It comes with tunesmith-lora: pip install tunesmith-lora"
    )


def test_the_same_configuration_in_yaml_json_and_python(here: Path) -> None:
    plain = {
        "seed": 7,
        "dataset": ["a", "b"],
        "bf16": True,
        "learning_rate": 0.0001,
        "accelerator_config": {"a": [1, None]},
        "run_name": None,
    }
    yaml = write("seed: 7\ndataset: a,b\nbf16: true\nlearning_rate: 1e-4\naccelerator_config: {a: [1, null]}\nrun_name:\n")
    values = [
        {k: s.value for k, s in read(source).settings.items()} for source in (yaml, write(json.dumps(plain), "run.json"), plain)
    ]
    assert values[0] == values[1] == values[2]
