"""Whom a page lets in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tunesmith import api
from tunesmith.errors import ConfigError
from tunesmith_webui.options import WebOptions


@pytest.mark.parametrize("given", [{"gradio_server_name": "0.0.0.0"}, {"gradio_server_name": "::"}, {"gradio_share": True}])
def test_others_are_let_in_by_a_password_only(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="there is no web_password"):
        api.plan(given, command="webui")
    assert api.plan({**given, "web_password": "opensesame"}, command="webui")


def test_a_password_is_masked_in_what_is_kept() -> None:
    assert "opensesame" not in api.plan({"web_password": "opensesame"}, command="webui").to_json()


def test_nothing_given_means_this_machine() -> None:
    assert api.plan({}, command="webui").options(WebOptions).address == "127.0.0.1"
    assert api.plan({"gradio_ipv6": True}, command="webui").options(WebOptions).address == "::1"


def test_all_languages_say_everything() -> None:
    import tomllib

    folder = Path(__file__).parents[1] / "src/tunesmith_webui/words"
    said = {file.stem: set(tomllib.loads(file.read_text(encoding="utf-8"))) for file in folder.glob("*.toml")}
    assert {"en", "zh"} <= set(said)
    assert all(words == said["en"] for words in said.values())
