"""What is known of published models, and what plans, lists and explanations say of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tunesmith.errors import TunesmithError
from tunesmith.model_names import find_known, read_catalogue, suggestion, templates_for
from tunesmith.plugins import Plugins
from tunesmith.specs import ModelCatalogueSpec

PLUGIN = """
from pathlib import Path
from tunesmith import ModelCatalogueSpec, TemplateSpec, hookimpl

TUNESMITH_API = (1, 0)
HERE = Path(__file__).parent


@hookimpl
def tunesmith_models():
    return [ModelCatalogueSpec("field", str(HERE / "models.csv"))]


@hookimpl
def tunesmith_templates():
    return [TemplateSpec(name, str(HERE / "t.toml"), name, models=models) for name, models in
            {"acme": ("acme/Acme-*",), "acme2": ("acme/Acme-2*",)}.items()]
"""
ROWS = """model,template,hf,ms
Acme-7B-Chat,acme,acme/Acme-7B-Chat,AcmeAI/Acme-7B-Chat
Acme-2-7B,acme2,acme/Acme-2-7B,
Acme-Base,,acme/Acme-Base,
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    (tmp_path / "tunesmith_local.py").write_text(PLUGIN)
    (tmp_path / "models.csv").write_text(ROWS)
    return Plugins(only=["local"], local=tmp_path)


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        ("acme/Acme-7B-Chat", ("acme",)),
        ("AcmeAI/acme-7b-chat", ("acme",)),
        ("/models/Acme-7B-Chat", ("acme",)),
        ("acme/Acme-2-7B", ("acme2",)),  # the catalogue knows better than two patterns that both fit
        ("acme/Acme-2-70B", ("acme", "acme2")),
        ("acme/Acme-Base", ()),
        ("other/Thing", ()),
    ],
)
def test_the_catalogue_is_asked_before_patterns(plugins: Plugins, name: str, fitting: tuple[str, ...]) -> None:
    assert templates_for(name, plugins) == fitting


def test_a_name_that_is_nearly_a_published_one_is_suggested(plugins: Plugins) -> None:
    assert "acme/Acme-7B-Chat" in suggestion("acme/Acme-7B-Chta", plugins)
    assert suggestion("acme/Acme-7B-Chat", plugins) == ""
    assert [row.name for row in find_known("acme/Acme-Base", plugins)] == ["Acme-Base"]


@pytest.mark.parametrize(("text", "what"), [("name,template\n", "other columns"), ("model,template\na,b,c\n", ":2: ")])
def test_a_malformed_catalogue_says_where(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(TunesmithError, match=what):
        read_catalogue(ModelCatalogueSpec("bad", str(file)))


def test_commands_tell_what_is_known_of_a_model(plugins: Plugins) -> None:
    from tunesmith.cli.explain import explain
    from tunesmith.cli.template import template

    told = CliRunner().invoke(explain, ["acme/Acme-7B-Chat", "--json"], obj=plugins, catch_exceptions=False).output
    assert json.loads(told)["templates"] == ["acme"]
    listed = CliRunner().invoke(template, ["list", "--model", "acme/Acme-2-7B"], obj=plugins, catch_exceptions=False)
    assert [line.split()[0] for line in listed.output.splitlines()] == ["acme2"]
    with pytest.raises(TunesmithError, match="known to be that of nobody/Other-9B"):
        CliRunner().invoke(template, ["list", "--model", "nobody/Other-9B"], obj=plugins, catch_exceptions=False)
