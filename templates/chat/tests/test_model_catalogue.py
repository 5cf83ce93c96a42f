"""The catalogue of published models: well formed, at one with the templates that are here, and of use to a plan."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase

import pytest
from tunesmith.model_names import KnownModel, known_models, suggestion, templates_for
from tunesmith.plugins import Plugins

HUBS = ("huggingface", "modelscope", "modelers")


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins(only=["chat-templates"])


@pytest.fixture(scope="module")
def rows(plugins: Plugins) -> list[KnownModel]:
    return list(known_models(plugins))


def test_every_template_it_names_is_here(plugins: Plugins, rows: list[KnownModel]) -> None:
    assert {row.template for row in rows if row.template} <= set(plugins.templates.names)
    assert len(rows) > 634
    assert sum(bool(row.template) for row in rows) > 450


def test_names_are_well_formed_and_unique(rows: list[KnownModel]) -> None:
    assert not [name for name, times in Counter(row.name for row in rows).items() if times > 1]
    for hub in HUBS:
        names = [row.on_hubs[hub] for row in rows if hub in row.on_hubs]
        assert names
        assert not [name for name in names if not re.fullmatch(r"[\w.-]+/[\w.-]+", name)]
        assert not [name for name, times in Counter(map(str.lower, names)).items() if times > 1]
    assert all(set(row.on_hubs) <= set(HUBS) for row in rows)
    assert all(row.on_hubs for row in rows)


def test_patterns_of_templates_do_not_say_otherwise(plugins: Plugins, rows: list[KnownModel]) -> None:
    for row in rows:
        name = row.on_hubs.get("huggingface", "")
        fitting = {o.spec.name for o in plugins.templates if any(fnmatchcase(name, pattern) for pattern in o.spec.models)}
        assert not row.template or fitting <= {row.template}, (name, row.template, fitting)


@pytest.mark.parametrize(
    "name",
    [
        *("google/gemma-2-2b-it", "google/gemma-3-4b-it", "zai-org/GLM-4.6V", "zai-org/GLM-4.7-Flash", "openbmb/MiniCPM-V-4_6"),
        *("Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3-Omni-30B-A3B-Captioner", "Qwen/Qwen3-Next-80B-A3B-Thinking"),
        *(
            "Qwen/Qwen3-Embedding-8B",
            "Qwen/Qwen3-Coder-30B-A3B-Instruct",
            "Qwen/Qwen3-8B-Base",
            "Qwen/Qwen2.5-Math-7B-Instruct",
        ),
        *("LiquidAI/LFM2-VL-1.6B", "meta-llama/Llama-3.2-11B-Vision-Instruct"),
    ],
)
def test_patterns_stop_at_their_family(plugins: Plugins, name: str) -> None:
    """Text models of a generation do not take in what others of its name are made for."""
    text = {"gemma", "glm4_6", "glm4_7", "minicpm_v", "qwen3", "qwen3_nothink", "qwen", "lfm2_0", "llama3_2"}
    assert not [
        o.spec.name for o in plugins.templates if o.spec.name in text and any(fnmatchcase(name, p) for p in o.spec.models)
    ]


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3_0"),
        ("LLM-Research/Meta-Llama-3.1-8B-Instruct", "llama3"),
        ("meta-llama/Llama-3.2-1B-Instruct", "llama3_2"),
        ("Qwen/Qwen2-7B-Instruct-AWQ", "qwen2"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen"),
        ("/models/Qwen2.5-Coder-7B-Instruct", "qwen2_5_coder"),
        ("Qwen/Qwen3-4B-Thinking-2507", "qwen3_thinking"),
        ("deepseek-ai/DeepSeek-V3-0324", "deepseek3_0324"),
        ("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "deepseekr1_0528_qwen3"),
        ("ibm-granite/granite-3.2-8b-instruct", "granite3_3"),
        ("mistralai/Mistral-7B-Instruct-v0.1", "mistral_v0_1"),
    ],
)
def test_generations_are_told_apart(plugins: Plugins, name: str, template: str) -> None:
    assert templates_for(name, plugins) == (template,)


def test_base_models_have_none_and_slips_are_noticed(plugins: Plugins) -> None:
    assert templates_for("Qwen/Qwen2.5-7B", plugins) == ()
    assert "Qwen/Qwen2.5-7B-Instruct" in suggestion("Qwen/Qwen2.5-7B-Instuct", plugins)
