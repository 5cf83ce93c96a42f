"""Environment variables: every one that users know sets its key, and nothing is set by what belongs to somebody else."""

from __future__ import annotations

import pytest
from tunesmith import settings
from tunesmith.environment import known_variable, read_environment, variables
from tunesmith.errors import ConfigError, Problem
from tunesmith.keys import KeyTable
from tunesmith.planning.draft import Draft
from tunesmith.planning.settings_in_use import settle
from tunesmith.plugins import Plugins

HOST_ONLY = Plugins(found=[])
ALL = Plugins()
TABLE = KeyTable.of(ALL)


@pytest.mark.parametrize("variable", [v for v in variables() if v.key], ids=lambda v: v.name)
def test_a_variable_sets_a_key_that_exists(variable: object) -> None:
    assert variable.key in TABLE  # type: ignore[attr-defined]


@pytest.mark.parametrize("variable", [v for v in variables() if not v.key], ids=lambda v: v.name)
def test_a_variable_that_sets_no_key_says_who_reads_it(variable: object) -> None:
    assert variable.note  # type: ignore[attr-defined]
    assert read_environment({variable.name: "1"}) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "value", "key", "typed"),
    [
        ("FORCE_TORCHRUN", "1", "force_torchrun", True),
        ("NNODES", "2:4", "nnodes", "2:4"),
        ("NODE_RANK", "1", "node_rank", 1),
        ("MASTER_PORT", "29500", "master_port", 29500),
        ("API_PORT", "8000", "api_port", 8000),
        ("USE_KT", "true", "use_kt", True),
        ("USE_RAY", "y", "use_ray", True),
        ("LLAMAFACTORY_VERBOSITY", "debug", "verbosity", "debug"),
        ("USE_MODELSCOPE_HUB", "1", "use_modelscope_hub", True),
        ("NPU_JIT_COMPILE", "0", "npu_jit_compile", False),
        ("TUNESMITH_BACKEND", "cpu", "backend", "cpu"),
        ("TUNESMITH_LEARNING_RATE", "1e-4", "learning_rate", 0.0001),
        ("TUNESMITH_DATASET", "a,b", "dataset", ("a", "b")),
    ],
)
def test_a_variable_is_typed_like_its_key(name: str, value: str, key: str, typed: object) -> None:
    config = settings.read(ALL, environ={name: value})
    assert (config.value(key), config.origin(key)) == (typed, name)


def test_a_variable_with_an_upper_case_value_that_users_write() -> None:
    assert settings.read(HOST_ONLY, environ={"LLAMAFACTORY_VERBOSITY": "WARN"}).value("verbosity") == "warning"


def test_ours_beats_the_one_that_users_know_from_elsewhere() -> None:
    config = settings.read(HOST_ONLY, environ={"MASTER_PORT": "1", "TUNESMITH_MASTER_PORT": "2"})
    assert (config.value("master_port"), config.origin("master_port")) == (2, "TUNESMITH_MASTER_PORT")


def test_an_empty_variable_sets_nothing() -> None:
    assert settings.read(HOST_ONLY, environ={"USE_RAY": "", "TUNESMITH_SEED": ""}).settings == {}


def test_the_programs_own_variables_are_no_keys() -> None:
    assert settings.read(HOST_ONLY, environ={"TUNESMITH_WITHOUT": "acme", "PATH": "/bin", "HOSTNAME": "box"}).settings == {}


def test_a_misspelt_variable_of_ours_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        settings.read(HOST_ONLY, environ={"TUNESMITH_BACKEDN": "cpu", "MASTER_PORT": "high"})
    assert caught.value.problems == (
        Problem("MASTER_PORT", "master_port must be a whole number, at least 1 and at most 65535, not high"),
        Problem("TUNESMITH_BACKEDN", "there is no key backedn", "Did you mean 'backend'?"),
    )


def test_a_variable_for_a_command_that_is_not_installed_is_somebody_elses() -> None:
    """Many programs read ``API_KEY``. One of ours by name is another matter."""
    assert settings.read(HOST_ONLY, environ={"API_KEY": "x", "MAX_CONCURRENT": "many"}).settings == {}
    with pytest.raises(ConfigError, match="comes with tunesmith-api"):
        settings.read(HOST_ONLY, environ={"TUNESMITH_API_KEY": "x"})


def test_a_variable_that_stands_for_many_is_known() -> None:
    assert known_variable("RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES") is not None
    assert known_variable("PATH") is None


def planned(environ: dict[str, str], *words: str) -> tuple[set[str], set[str]]:
    """What a plan calls unused, and where what it calls missing was asked for."""
    draft = Draft(settings.read(HOST_ONLY, None, words, environ), HOST_ONLY, HOST_ONLY.commands.get("train").spec)
    settle(draft)
    return set(draft.unused), {problem.where for problem in draft.missing}


def test_what_launchers_and_other_programs_set_does_not_disturb_a_run() -> None:
    noise = {"MASTER_ADDR": "node-0", "MASTER_PORT": "29500", "NODE_RANK": "0", "API_PORT": "9000", "GRADIO_SHARE": "1"}
    unused, missing = planned(noise)
    assert unused == set()
    assert not missing & set(noise)


def test_what_a_variable_asks_for_and_nobody_brings_is_said() -> None:
    with pytest.raises(ConfigError, match="USE_RAY: there is no key use_ray"):
        planned({"USE_RAY": "1"})


def test_the_same_key_written_by_hand_is_shown_as_unused() -> None:
    assert "master_port" in planned({"TUNESMITH_MASTER_PORT": "9000"})[0]
    assert "master_port" in planned({}, "master_port=9")[0]
